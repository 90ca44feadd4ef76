"""Holds the declared faults and applies them to requests off the wire. Free of charge while there are none."""

from __future__ import annotations

import asyncio

from podbay.apiserver.faults.rules import STATUSES, Fault, read_fault
from podbay.apiserver.request import Request, RequestInfo, parse_request_info
from podbay.errors import ApiError

__all__ = ["EXTENSIONS", "FaultGate"]

EXTENSIONS = "/podbay.dev/"
"""Where faults are declared; requests there are never hit, or nobody could lift a fault."""


class FaultGate:
    """Consulted by the HTTP server before a request is served and before its answer is sent."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}
        self._next = 1

    def __bool__(self) -> bool:
        return bool(self._faults)

    def add(self, data: object) -> Fault:
        """Declare a fault. Raises InvalidInputError naming the field."""
        fault = read_fault(data, id_=f"fault-{self._next}")
        self._next += 1
        self._faults[fault.id] = fault
        return fault

    def standing(self) -> tuple[Fault, ...]:
        return tuple(self._faults.values())

    def remove(self, id_: str) -> bool:
        """Lift one fault; False when it is not there (it may have hit its last request)."""
        return self._faults.pop(id_, None) is not None

    def clear(self) -> None:
        self._faults.clear()

    async def before(self, request: Request) -> bool:
        """Delay, refuse (ApiError) or drop (False) a request; sets request.cut_after for streams."""
        if not self._faults or request.path.startswith(EXTENSIONS):
            return True
        info = parse_request_info(request)
        for fault in self._matching(request, info):
            if fault.do == "delay":
                self._hit(fault)
                await asyncio.sleep(fault.seconds)
            elif fault.do == "cut":
                if info.verb == "watch" or info.subresource in ("log", "exec", "attach", "portforward"):
                    self._hit(fault)
                    request.cut_after = fault.bytes
            elif not fault.after:
                self._hit(fault)
                if fault.do == "drop":
                    return False
                raise _refusal(fault)
        return True

    def after(self, request: Request) -> bool:
        """The request has taken effect: refuse (ApiError) or drop (False) its answer."""
        if not self._faults or request.path.startswith(EXTENSIONS):
            return True
        for fault in self._matching(request, parse_request_info(request)):
            if fault.after and fault.do in ("refuse", "drop"):
                self._hit(fault)
                if fault.do == "drop":
                    return False
                raise _refusal(fault)
        return True

    def _matching(self, request: Request, info: RequestInfo) -> list[Fault]:
        agent = request.headers.get("user-agent", "")
        return [f for f in self._faults.values() if f.match.hits(info, user=request.user.name, agent=agent)]

    def _hit(self, fault: Fault) -> None:
        left = fault.after_hit()
        if left is None:
            self._faults.pop(fault.id, None)
        else:
            self._faults[fault.id] = left


def _refusal(fault: Fault) -> ApiError:
    details = {"retryAfterSeconds": fault.retry_after} if fault.retry_after else {}
    message = fault.message or f"fault {fault.id} of podbay cluster fault"
    return ApiError(fault.status, STATUSES[fault.status], message, details=details)
