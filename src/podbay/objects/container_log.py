"""Which of a container's attempts a log request means, decided from the pod's status alone.

For every kind of node; reading the text is the node's own business.
Source: pkg/kubelet/kubelet_pods.go, validateContainerLogStatus (the words are those a client sees).
"""

from __future__ import annotations

from dataclasses import dataclass

from podbay.errors import ApiError
from podbay.objects.meta import Object
from podbay.objects.quoting import go_quote

__all__ = ["LoggedAttempt", "logged_attempt"]

_STATUS_LISTS = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
_PULL_WORDS = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}


@dataclass(frozen=True, slots=True)
class LoggedAttempt:
    """The attempt to read: its container ID as the status spells it ("runtime://id")."""

    container_id: str
    last: bool
    """It is the terminated attempt before the present one (`lastState`)."""


def logged_attempt(
    pod_name: str, pod_status: Object, container: str, *, previous: bool = False
) -> LoggedAttempt:
    """The attempt whose log answers. Raises ApiError 400 with the kubelet's sentence when there is none."""
    found = _container_status(pod_status, container)
    who = f"container {go_quote(container)} in pod {go_quote(pod_name)}"
    if found is None:
        raise _refusal(f"{who} is not available")
    state = found.get("state") or {}
    last = ((found.get("lastState") or {}).get("terminated")) or None
    last_id = (last or {}).get("containerID") or ""
    if previous:
        if not last_id:
            raise _refusal(f"previous terminated {who} not found")
        return LoggedAttempt(last_id, last=True)
    if state.get("running") is not None:
        return LoggedAttempt(found.get("containerID") or "", last=False)
    terminated = state.get("terminated")
    if terminated is not None and terminated.get("containerID"):
        return LoggedAttempt(terminated["containerID"], last=False)
    if terminated is not None or last is not None:
        # The next attempt could not be created: what there is to read is the one before it.
        if not last_id:
            raise _refusal(f"{who} is terminated")
        return LoggedAttempt(last_id, last=True)
    waiting = state.get("waiting")
    if waiting is None:
        raise _refusal(f"{who} is waiting to start - no logs yet")
    reason = waiting.get("reason") or ""
    raise _refusal(f"{who} is waiting to start: {_PULL_WORDS.get(reason, reason)}")


def _container_status(pod_status: Object, container: str) -> Object | None:
    for name in _STATUS_LISTS:
        for one in pod_status.get(name) or ():
            if one.get("name") == container:
                return dict(one)
    return None


def _refusal(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)
