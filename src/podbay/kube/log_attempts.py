"""Which logs of a container there are to read, from its pod's status alone. Pure.

A container that is restarted is another container with another log; the node keeps the one before (`previous`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from podbay.objects.meta import Object

__all__ = ["Attempt", "ContainerLogs", "containers_of", "is_over"]

_LISTS = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
_ID_DIGITS = 12
"""As many as container tools show; two containers of one pod do not share them."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a container. id is short; previous is how its log is asked for; ended that no line will be added."""

    id: str
    previous: bool
    ended: bool


@dataclass(frozen=True, slots=True)
class ContainerLogs:
    """The attempts of a container whose logs the node has, older first."""

    attempts: tuple[Attempt, ...] = ()

    def find(self, attempt_id: str) -> Attempt | None:
        return next((a for a in self.attempts if a.id == attempt_id), None)


def is_over(pod: Object) -> bool:
    """The pod has come to its end: no container starts any more."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def containers_of(pod: Object) -> Iterator[tuple[str, ContainerLogs]]:
    """Name and logs of every container that has a status, in the order they start."""
    status = pod.get("status") or {}
    over = is_over(pod)
    for key in _LISTS:
        for container in status.get(key) or ():
            yield str(container.get("name")), _logs(container, over=over)


def _logs(container: Object, *, over: bool) -> ContainerLogs:
    state, last = container.get("state") or {}, container.get("lastState") or {}
    found = []
    earlier = _short((last.get("terminated") or {}).get("containerID"))
    if earlier:
        found.append(Attempt(earlier, previous=True, ended=True))
    terminated = state.get("terminated")
    if terminated is not None:
        now = _short(terminated.get("containerID") or container.get("containerID"))
        if now and now != earlier:
            found.append(Attempt(now, previous=False, ended=True))
    elif state.get("running") is not None:
        now = _short(container.get("containerID"))
        if now and now != earlier:
            # An evicted or lost pod has failed while its containers are still told of as running.
            found.append(Attempt(now, previous=False, ended=over))
    return ContainerLogs(tuple(found))


def _short(container_id: object) -> str:
    return str(container_id or "").rpartition("://")[2][:_ID_DIGITS]
