"""What one life of a run leaves to the next, above all about a pod that may not be there any more by then. Pure.

A pod that has ended, or that others are removing, is soon gone, and with it how it ended. Whoever comes after a crash
must not take a pod that had succeeded, or that was evicted, for one that somebody deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from podbay.lifecycle.checkpoint import Checkpoint
from podbay.lifecycle.state import Found, State
from podbay.lifecycle.view import view_of
from podbay.objects.meta import Object

__all__ = ["beginning", "known_pod", "remembered"]

_METADATA = ("name", "namespace", "uid", "deletionTimestamp", "deletionGracePeriodSeconds")
_SPEC = ("nodeName", "restartPolicy", "terminationGracePeriodSeconds")
_CONTAINER = ("name", "image", "restartPolicy", "resources")


def beginning(start: Checkpoint, now: float, pods: Sequence[Object]) -> Found:
    """How a life begins: what there is, and what the one before it wrote down."""
    return Found(
        now,
        pods,
        known_uid=start.uid,
        known_name=start.pod,
        incarnation=start.incarnation,
        spent=start.spent,
        last=start.last,
        deletion_seen=start.deletion_seen,
        killed_by=start.killed_by,
        withdrawing=start.withdrawing,
        outcome=start.outcome,
    )


def known_pod(state: State, manifest: Object) -> Object:
    """The pod as it is known; of one that was gone before anybody looked, at least whose events to ask for."""
    if state.pod is not None:
        return state.pod
    return {**manifest, "metadata": {**manifest["metadata"], "uid": state.uid}} if state.uid else manifest


def remembered(state: State, container: str) -> Object | None:
    """The pod's last state if it may be asked for later: without environment, commands and annotations, so no secret."""
    if not state.uid:
        return None
    if state.pod is None:
        # This life has not looked yet; what the last one knew must not be lost with it.
        return state.remembered
    pod = state.pod
    view = view_of(pod, container)
    if view.stage != "ended" and not state.deletion_seen:
        return None
    spec = pod.get("spec") or {}
    kept: dict[str, Any] = _only(spec, _SPEC)
    for kind in ("initContainers", "containers"):
        if spec.get(kind):
            kept[kind] = [_only(each, _CONTAINER) for each in spec[kind]]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _only(pod.get("metadata") or {}, _METADATA),
        "spec": kept,
        "status": pod.get("status") or {},
    }


def _only(fields: Object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: fields[name] for name in names if name in fields}
