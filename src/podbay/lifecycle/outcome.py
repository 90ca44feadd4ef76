"""How a pod's run ended: decided once, from the pod's uid and container statuses (design D12), and written down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NoReturn, TypeAlias

from podbay.errors import InvalidInputError
from podbay.lifecycle.diagnosis.model import Diagnosis, diagnosis_from_json, diagnosis_to_json

__all__ = ["OUTCOME_VERSION", "Kind", "Outcome", "Receipt"]

OUTCOME_VERSION: Final = 1

Kind: TypeAlias = Literal[
    "succeeded",  # the main container ended 0 and its result, if one was asked for, was read
    "failed",  # the main container ended otherwise, by itself
    "oom_killed",  # the main container, or the process in it that mattered, was killed for its memory
    "result",  # the main container ended 0, and its result is lost, damaged, too large or no JSON
    "killed",  # ended by us, because somebody asked: a user's kill, a cleared task, Ctrl-C
    "timed_out",  # ended by us, because the run's own deadline passed
    "deadline",  # ended by the kubelet: activeDeadlineSeconds
    "deleted",  # somebody else deleted the pod before it had ended
    "evicted",  # the kubelet or the eviction API ended it
    "preempted",  # a pod of higher priority took its place
    "node_lost",  # its node went away
    "not_started",  # the main container never ran: cannot heal, or a deadline for starting passed
    "refused",  # the API server did not accept the pod
    "moved",  # there was no room; its pod, if there was one, is gone and never had a node
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What it took. Seconds of the engine's own clock; None for what did not happen or was not seen."""

    waited: float | None = None
    """For quota, queue, nodes: until the pod was bound to a node."""
    started: float | None = None
    """From being bound until the main container ran: pulling, volumes, init containers."""
    ran: float | None = None
    """The main container, by the node's clock."""
    ended: float | None = None
    """From the main container's end, as first heard of, until the outcome: rest of the log, result."""
    requests: Mapping[str, int] = field(default_factory=dict)
    """Requests about this pod by verb (kube.counter)."""
    node: str = ""
    image_id: str = ""
    """The main container's image as the node resolved it, with its digest."""
    held: float | None = None
    """From being bound until the main container's end: as long as what was requested was kept for the pod."""
    cpu: float = 0.0
    """Cores that the pod requested, as a scheduler counts them: all containers that run at once."""
    memory: int = 0
    """The same of memory, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it ended. `succeeded` alone is green."""

    kind: Kind
    message: str
    """One sentence, and the fix if there is one; for a person. Never holds a value of an environment variable."""
    exit_code: int | None = None
    """Of the main container; None when it never ended by itself or nobody saw it."""
    result: bytes | None = None
    """The content of the result file, also of a task that has failed by itself; None when there was none or none was asked
    for."""
    diagnosis: Diagnosis | None = None
    namespace: str = ""
    pod: str = ""
    """Name of the (last) pod; empty when none was created."""
    uid: str = ""
    incarnations: int = 1
    """Pods this run has used; more than one when the infrastructure lost some before the task began (design D13)."""
    infrastructure: bool = False
    """Nobody's task is at fault; another try may well succeed."""
    receipt: Receipt = field(default_factory=Receipt)

    @property
    def ok(self) -> bool:
        return self.kind == "succeeded"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, versioned. The result travels as text; bytes that are no UTF-8 as Latin-1 with a mark."""
        text, encoding = _as_text(self.result)
        return {
            "version": OUTCOME_VERSION,
            "kind": self.kind,
            "message": self.message,
            "exitCode": self.exit_code,
            "result": text,
            "resultEncoding": encoding,
            "diagnosis": None if self.diagnosis is None else diagnosis_to_json(self.diagnosis),
            "namespace": self.namespace,
            "pod": self.pod,
            "uid": self.uid,
            "incarnations": self.incarnations,
            "infrastructure": self.infrastructure,
            "receipt": {
                "waited": self.receipt.waited,
                "started": self.receipt.started,
                "ran": self.receipt.ran,
                "ended": self.receipt.ended,
                "requests": dict(self.receipt.requests),
                "node": self.receipt.node,
                "imageID": self.receipt.image_id,
                "held": self.receipt.held,
                "cpu": self.receipt.cpu,
                "memory": self.receipt.memory,
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        """Read what `to_json` wrote. Raises InvalidInputError for another version, and for what is none."""
        version = data.get("version")
        if version != OUTCOME_VERSION:
            raise InvalidInputError(
                f"outcome: version {version!r} is not known here (known: {OUTCOME_VERSION}); "
                "it was written by another version of podbay"
            )
        try:
            receipt = data.get("receipt") or {}
            return cls(
                kind=data["kind"],
                message=data["message"],
                exit_code=data.get("exitCode"),
                result=_as_bytes(data.get("result"), data.get("resultEncoding")),
                diagnosis=diagnosis_from_json(data["diagnosis"]) if data.get("diagnosis") else None,
                namespace=data.get("namespace", ""),
                pod=data.get("pod", ""),
                uid=data.get("uid", ""),
                incarnations=data.get("incarnations", 1),
                infrastructure=data.get("infrastructure", False),
                receipt=Receipt(
                    waited=receipt.get("waited"),
                    started=receipt.get("started"),
                    ran=receipt.get("ran"),
                    ended=receipt.get("ended"),
                    requests=receipt.get("requests") or {},
                    node=receipt.get("node", ""),
                    image_id=receipt.get("imageID", ""),
                    held=receipt.get("held"),
                    cpu=receipt.get("cpu", 0.0),
                    memory=receipt.get("memory", 0),
                ),
            )
        except (KeyError, TypeError, AttributeError) as err:
            raise InvalidInputError(f"outcome: not one of ours: {err}") from None

    def json_result(self) -> Any:
        """The result as JSON; None when there is none. Raises InvalidInputError for a result that is not JSON."""
        if self.result is None:
            return None
        try:
            # Not by orjson, which makes rounded numbers of whole ones that need more than 64 bits.
            return json.loads(self.result.decode(), parse_constant=_no_number)
        except (ValueError, RecursionError) as err:
            raise InvalidInputError(f"the result of pod {self.pod} is not JSON: {err}") from None


def _no_number(name: str) -> NoReturn:
    """NaN and the infinities, which Python writes and JSON does not know."""
    raise ValueError(f"{name} is no JSON")


def _as_text(result: bytes | None) -> tuple[str | None, str | None]:
    if result is None:
        return None, None
    try:
        return result.decode(), "utf-8"
    except UnicodeDecodeError:
        return result.decode("latin-1"), "latin-1"


def _as_bytes(text: str | None, encoding: str | None) -> bytes | None:
    return None if text is None else text.encode(encoding or "utf-8")
