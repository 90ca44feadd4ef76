"""One healer at a time: leader election by a Lease (coordination.k8s.io), as client-go does it.

A leader stops believing in itself before anybody else may take its place: it trusts a renewal for two thirds of the
lease's duration, others wait for the whole of it. Both count on their own clocks from what they have seen, so clocks
that disagree do no harm. Source: client-go/tools/leaderelection.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from podbay.aio.clock import Clock
from podbay.errors import ApiError, PodbayError
from podbay.kube.client import KubeClient
from podbay.objects.meta import Object
from podbay.objects.resource import GVR

__all__ = ["DURATION", "Leader"]

LEASES: Final = GVR("coordination.k8s.io", "v1", "leases")
DURATION: Final = 30
"""Seconds."""


class Leader:
    """Competes for one Lease. Call `compete` every few seconds; `leads` says whether to act now."""

    def __init__(
        self,
        client: KubeClient,
        clock: Clock,
        *,
        namespace: str,
        name: str,
        holder: str,
        duration: int = DURATION,
    ) -> None:
        self._client, self._clock = client, clock
        self._namespace, self._name = namespace, name
        self._holder = holder
        self._duration = duration
        self._trusted_until = 0.0
        self._other: tuple[str, str] | None = None
        self._other_seen = 0.0

    @property
    def leads(self) -> bool:
        return self._clock.monotonic() < self._trusted_until

    async def compete(self) -> bool:
        """Take the Lease, or keep it. Whatever goes wrong costs at most the lead. Raises what rights lack."""
        asked = self._clock.monotonic()
        try:
            if await self._hold():
                self._trusted_until = asked + self._duration * 2 / 3
            else:
                self._trusted_until = 0.0
        except ApiError as error:
            if error.code in (401, 403):
                raise
        except PodbayError:
            # The renewal before this one still counts until its time is over.
            pass
        return self.leads

    async def release(self) -> None:
        """Let the next one begin at once."""
        if not self.leads:
            return
        self._trusted_until = 0.0
        lease = await self._read()
        if lease is not None and (lease.get("spec") or {}).get("holderIdentity") == self._holder:
            lease["spec"] = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
            await self._client.update(LEASES, lease, namespace=self._namespace)

    async def _hold(self) -> bool:
        lease = await self._read()
        now = _micro(self._clock.now())
        if lease is None:
            metadata = {"name": self._name, "namespace": self._namespace}
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
            await self._client.create(
                LEASES, {**body, "spec": self._spec(now, now, 0)}, namespace=self._namespace
            )
            return True
        spec = lease.get("spec") or {}
        mine = spec.get("holderIdentity") == self._holder
        if not mine and not self._is_free(spec):
            return False
        acquired = str(spec.get("acquireTime") or now) if mine else now
        transitions = int(spec.get("leaseTransitions") or 0) + (not mine)
        # It carries its resourceVersion: of two that take it at once, one is told 409.
        lease["spec"] = self._spec(acquired, now, transitions)
        await self._client.update(LEASES, lease, namespace=self._namespace)
        return True

    def _is_free(self, spec: dict[str, Any]) -> bool:
        """Nobody has it, or its holder has not renewed it for as long as it promised to, by our clock."""
        holder = str(spec.get("holderIdentity") or "")
        if not holder:
            return True
        seen = (holder, str(spec.get("renewTime")))
        now = self._clock.monotonic()
        if seen != self._other:
            self._other, self._other_seen = seen, now
        return now - self._other_seen > float(spec.get("leaseDurationSeconds") or self._duration)

    def _spec(self, acquired: str, renewed: str, transitions: int) -> dict[str, Any]:
        return {
            "holderIdentity": self._holder,
            "leaseDurationSeconds": self._duration,
            "acquireTime": acquired,
            "renewTime": renewed,
            "leaseTransitions": transitions,
        }

    async def _read(self) -> Object | None:
        try:
            return await self._client.get(LEASES, self._name, namespace=self._namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise


def _micro(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
