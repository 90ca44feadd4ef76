"""Writing a pod's status to the API: only when it changed, on top of what others wrote meanwhile.

Source: pkg/kubelet/status/status_manager.go.
"""

from __future__ import annotations

from podbay.errors import ApiError
from podbay.node.parts import PODS, NodeParts
from podbay.node.podspec import is_terminal
from podbay.node.record import PodRecord
from podbay.node.status import final_status, pod_status
from podbay.node.view import Outcome
from podbay.objects.equality import semantically_equal
from podbay.objects.events import timestamp
from podbay.objects.meta import Object, name_of, namespace_of, uid_of

__all__ = ["StatusReporter"]


class StatusReporter:
    """Reports one pod. `last` is what was reported last, for answers that must not wait for the API's watch."""

    def __init__(self, parts: NodeParts, record: PodRecord) -> None:
        self._parts, self._record = parts, record
        self.last: Object = record.pod.get("status") or {}
        self._version = ""

    def is_own(self, pod: Object) -> bool:
        """Whether this is the object as the last report left it: no news."""
        return bool(self._version) and pod["metadata"].get("resourceVersion") == self._version

    async def report(self, *, final: bool = False) -> bool:
        """Make the API show what the record says; False when the pod is gone. Raises other ApiErrors."""
        parts, record = self._parts, self._record
        try:
            current = await parts.api.get(PODS, name_of(record.pod), namespace=namespace_of(record.pod))
        except ApiError as error:
            if error.code == 404:
                return False
            raise
        if uid_of(current) != uid_of(record.pod):
            return False
        record.pod = _lean(current)
        status = self._status(final=final)
        if is_terminal(current):
            # How a pod ended is said once, by whoever said it first.
            was = current["status"]
            status |= {key: was[key] for key in ("phase", "reason", "message") if key in was}
        self.last = status
        if semantically_equal(status, current.get("status") or {}):
            return True
        # In one process nothing comes between the reading and this; elsewhere the version refuses a lost update.
        changed = {**current, "status": status}
        written = await parts.api.update(PODS, changed, namespace=namespace_of(current), subresource="status")
        self._version = written["metadata"]["resourceVersion"]
        record.pod = _lean(written)
        return True

    async def reject(self, outcome: Outcome) -> None:
        """The node does not take the pod in: that is all there is to say of it."""
        pod, parts = self._record.pod, self._parts
        old = pod.get("status") or {}
        status: Object = {key: old[key] for key in ("qosClass", "startTime") if key in old}
        status |= {"phase": "Failed", "reason": outcome.reason, "message": outcome.message}
        status.setdefault("startTime", timestamp(parts.clock.now()))
        if generation := pod["metadata"].get("generation"):
            status["observedGeneration"] = generation
        self.last = status
        current = await parts.api.get(PODS, name_of(pod), namespace=namespace_of(pod))
        if uid_of(current) == uid_of(pod):
            await parts.api.update(
                PODS, {**current, "status": status}, namespace=namespace_of(pod), subresource="status"
            )

    def _status(self, *, final: bool) -> Object:
        parts, record = self._parts, self._record
        now = parts.clock.now()
        view = record.view(parts.clock.monotonic(), now.timestamp())
        make = final_status if final else pod_status
        return make(view, now, host_ip=parts.facts.ip, runtime=parts.runtime_name)


def _lean(pod: Object) -> Object:
    """The pod without its field managers, which nothing here reads."""
    return {**pod, "metadata": {k: v for k, v in pod["metadata"].items() if k != "managedFields"}}
