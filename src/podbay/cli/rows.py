"""One pod as a row of a table and as the JSON object that every command's `--output json` has for a pod. Pure.

The shape of the object is promised in docs/cli.md: fields may be added, none goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from podbay.lifecycle.hold import held_until
from podbay.lifecycle.view import PodView, parse_time, view_of
from podbay.objects.meta import Object, annotations_of, labels_of, name_of, namespace_of
from podbay.pods.build import MAIN_CONTAINER_ANNOTATION
from podbay.pods.identity import identity_of

__all__ = [
    "COLUMNS",
    "age",
    "created",
    "key_of",
    "main_container_name",
    "pod_json",
    "row",
    "status_of",
    "task_of",
]

COLUMNS: Final = ("NAME", "STATUS", "TASK", "AGE", "NODE")
_KUBECTL_DEFAULT: Final = "kubectl.kubernetes.io/default-container"
_USUAL: Final = ("", "PodInitializing", "ContainerCreating")
_ENOUGH: Final = 60
"""Characters of a reason in a table; `explain` has all of it."""
_STAGES: Final = {
    "queued": "waiting for a scheduling gate",
    "scheduling": "waiting for the scheduler",
    "unschedulable": "waiting for a node",
    "pulling": "waiting for its image",
    "initializing": "Initializing",
    "starting": "Starting",
    "running": "Running",
}


def row(pod: Object, now: datetime, *, with_namespace: bool = False) -> list[str]:
    """The cells under COLUMNS (with_namespace: NAMESPACE in front of them)."""
    cells = [
        name_of(pod),
        _status_text(pod, now),
        _task_text(task_of(pod)),
        age(created(pod), now),
        (pod.get("spec") or {}).get("nodeName") or "-",
    ]
    return [namespace_of(pod), *cells] if with_namespace else cells


def pod_json(pod: Object) -> dict[str, Any]:
    """The pod as scripts see it."""
    view = view_of(pod, main_container_name(pod))
    main = view.main
    return {
        "name": view.name,
        "namespace": view.namespace,
        "uid": view.uid,
        "phase": view.phase,
        "status": status_of(pod),
        "reason": view.reason or (main.reason if main is not None else "") or None,
        "message": view.message or view.waiting_for or (main.message if main is not None else "") or None,
        "exitCode": main.exit_code if main is not None and main.began else None,
        "node": view.node or None,
        "image": _image(pod),
        "imageID": (main.image_id if main is not None else "") or None,
        "task": task_of(pod),
        "created": (pod.get("metadata") or {}).get("creationTimestamp"),
        "deleting": view.deleted_at is not None,
        "heldUntil": held_until(pod) or None,
    }


def _image(pod: Object) -> str | None:
    """What the manifest asks for; `imageID` is what the node made of it."""
    name = main_container_name(pod)
    containers = (pod.get("spec") or {}).get("containers") or ()
    return next((each.get("image") for each in containers if each.get("name") == name), None)


def status_of(pod: Object) -> str:
    """What it does now or how it ended, in a few words."""
    view = view_of(pod, main_container_name(pod))
    if view.stage == "ended":
        return _ended(view)
    if view.deleted_at is not None:
        return "Ending"
    if view.stage == "initializing":
        return f"Initializing{_init_progress(pod)}"
    words = _STAGES[view.stage]
    if view.stage == "running" and view.main is not None and view.main.restarts:
        return f"Running (restarts: {view.main.restarts})"
    reason = _waiting_reason(pod, view)
    return f"{words} ({reason})" if reason else words


def _status_text(pod: Object, now: datetime) -> str:
    until = held_until(pod)
    if not until or "deletionTimestamp" in (pod.get("metadata") or {}):
        return status_of(pod)
    end = parse_time(until)
    word = "was held until" if end is not None and end.tzinfo is not None and end <= now else "held until"
    return f"{status_of(pod)}, {word} {until}"


def _ended(view: PodView) -> str:
    main = view.main
    if view.phase == "Succeeded" or (view.phase != "Failed" and main is not None and main.exit_code == 0):
        return "Succeeded"
    if view.reason:
        return f"Failed ({view.reason})"
    if main is None or main.state != "terminated":
        return "Failed"
    code = f"exit code {main.exit_code}"
    return f"Failed ({code})" if main.reason in ("", "Error", "Completed") else f"Failed ({main.reason})"


def _waiting_reason(pod: Object, view: PodView) -> str:
    if view.stage == "unschedulable":
        return _brief(view.waiting_for)
    if view.stage not in ("starting", "pulling"):
        return ""
    status = pod.get("status") or {}
    for key in ("initContainerStatuses", "containerStatuses"):
        for each in status.get(key) or ():
            reason = str(((each.get("state") or {}).get("waiting") or {}).get("reason") or "")
            if reason not in _USUAL:
                return reason
    return ""


def _init_progress(pod: Object) -> str:
    inits = [
        c for c in (pod.get("spec") or {}).get("initContainers") or () if c.get("restartPolicy") != "Always"
    ]
    names = {c.get("name") for c in inits}
    done = sum(
        1
        for each in (pod.get("status") or {}).get("initContainerStatuses") or ()
        if each.get("name") in names and (each.get("state") or {}).get("terminated") is not None
    )
    return f" ({done} of {len(inits)} done)" if len(inits) > 1 else ""


def _brief(text: str) -> str:
    """The first clause: schedulers list what is wrong with every node."""
    clause = text.partition(". ")[0].rstrip(".").split(", ")[0]
    return clause if len(clause) <= _ENOUGH else clause[: _ENOUGH - 1].rstrip() + "…"


def main_container_name(pod: Object) -> str:
    """The container that runs the task, as far as the pod tells: ours, kubectl's default, else the first."""
    annotations = annotations_of(pod)
    containers: Sequence[Object] = (pod.get("spec") or {}).get("containers") or ()
    names = [str(c.get("name")) for c in containers]
    for wanted in (annotations.get(MAIN_CONTAINER_ANNOTATION), annotations.get(_KUBECTL_DEFAULT), "base"):
        if wanted in names:
            return str(wanted)
    return names[0] if names else "base"


def task_of(pod: Object) -> dict[str, Any] | None:
    """The Airflow task try that the pod belongs to: exactly from our annotations, else from the upstream's labels."""
    identity = identity_of(pod)
    if identity is not None:
        mapped: int | None = identity.map_index if identity.map_index >= 0 else None
        ids = (identity.dag_id, identity.task_id, identity.run_id)
        return _task(ids, mapped, identity.try_number)
    annotations, labels = annotations_of(pod), labels_of(pod)
    found = [annotations.get(key) or labels.get(key) for key in ("dag_id", "task_id", "run_id")]
    if found[0] is None or found[1] is None:
        return None
    index, number = labels.get("map_index", ""), labels.get("try_number", "")
    return _task(
        (found[0], found[1], found[2]),
        int(index) if index.isdecimal() else None,
        int(number) if number.isdecimal() else None,
    )


def _task(ids: tuple[str, str, str | None], map_index: int | None, number: int | None) -> dict[str, Any]:
    return {"dag": ids[0], "task": ids[1], "run": ids[2], "mapIndex": map_index, "try": number}


def _task_text(task: dict[str, Any] | None) -> str:
    if task is None:
        return "-"
    text = f"{task['dag']}.{task['task']}"
    if task["mapIndex"] is not None:
        text += f"[{task['mapIndex']}]"
    return f"{text} try {task['try']}" if task["try"] is not None else text


def created(pod: Object) -> datetime | None:
    """When the API server made it."""
    return parse_time((pod.get("metadata") or {}).get("creationTimestamp"))


def age(since: datetime | None, now: datetime) -> str:
    """How long ago, in the two largest units that matter (kubectl's way)."""
    if since is None:
        return "-"
    seconds = max(0, int((now - since).total_seconds()))
    days, hours, minutes = seconds // 86400, seconds // 3600, seconds // 60
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    return f"{hours}h" if days < 2 else f"{days}d"


def key_of(pod: Object) -> str:
    """NAMESPACE/NAME, as sentences name a pod."""
    return f"{namespace_of(pod)}/{name_of(pod)}"
