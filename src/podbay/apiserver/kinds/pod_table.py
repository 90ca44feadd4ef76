"""The row of a pod in `kubectl get pods`.

Source: printPod in pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from podbay.apiserver.registry import Column
from podbay.apiserver.tables import AGE_COLUMN, NAME_COLUMN, age, since
from podbay.objects.meta import Object, name_of

__all__ = ["POD_COLUMNS", "pod_cells", "pod_row_conditions", "pod_status_word"]

POD_COLUMNS = (
    NAME_COLUMN,
    Column("Ready", "string", "The aggregate readiness state of this pod for accepting traffic."),
    Column("Status", "string", "The aggregate status of the containers in this pod."),
    Column(
        "Restarts",
        "string",
        "The number of times the containers in this pod have been restarted and when the last container in this "
        "pod has restarted.",
    ),
    AGE_COLUMN,
    Column(
        "IP",
        "string",
        "podIP address allocated to the pod. Routable at least within the cluster. Empty if not yet allocated.",
        priority=1,
    ),
    Column(
        "Node",
        "string",
        "NodeName indicates in which node this pod is scheduled. If empty, this pod is a candidate for scheduling "
        "by the scheduler defined in schedulerName. Once this field is set, the kubelet for this node becomes "
        "responsible for the lifecycle of this pod. This field should not be used to express a desire for the pod "
        "to be scheduled on a specific node. "
        "https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#nodename",
        priority=1,
    ),
    Column(
        "Nominated Node",
        "string",
        "nominatedNodeName is set only when this pod preempts other pods on the node, but it cannot be scheduled "
        "right away as preemption victims receive their graceful termination periods. This field does not "
        "guarantee that the pod will be scheduled on this node. Scheduler may decide to place the pod elsewhere "
        "if other nodes become available sooner. Scheduler may also decide to give the resources on this node to "
        "a higher priority pod that is created after preemption. As a result, this field may be different than "
        "PodSpec.nodeName when the pod is scheduled.",
        priority=1,
    ),
    Column(
        "Readiness Gates",
        "string",
        "If specified, all readiness gates will be evaluated for pod readiness. A pod is ready when all its "
        'containers are ready AND all conditions specified in the readiness gates have status equal to "True" '
        "More info: https://git.k8s.io/enhancements/keps/sig-network/580-pod-readiness-gates",
        priority=1,
    ),
)
_NONE = "<none>"
_SUCCEEDED = "The pod has completed successfully."
_FAILED = "The pod failed."

Part = Mapping[str, Any]


class _Tally:
    """Counts over container statuses, and the word that sums them up."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.ready = 0
        self.restarts = 0
        self.restarted_at = ""

    def add_restarts(self, status: Part) -> None:
        self.restarts += status.get("restartCount") or 0
        ended = (status.get("lastState") or {}).get("terminated") or {}
        self.restarted_at = max(self.restarted_at, ended.get("finishedAt") or "")


def pod_cells(pod: Object, now: datetime) -> list[Any]:
    """The cells under POD_COLUMNS."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    tally = _tally(pod)
    total = len(spec.get("containers") or ()) + sum(map(_is_sidecar, spec.get("initContainers") or ()))
    restarts = str(tally.restarts)
    if tally.restarts and tally.restarted_at:
        restarts = f"{tally.restarts} ({since(tally.restarted_at, now)} ago)"
    addresses = status.get("podIPs") or [{}]
    return [
        name_of(pod),
        f"{tally.ready}/{total}",
        tally.word,
        restarts,
        age(pod, now),
        addresses[0].get("ip") or _NONE,
        spec.get("nodeName") or _NONE,
        status.get("nominatedNodeName") or _NONE,
        _readiness_gates(spec, status),
    ]


def pod_status_word(pod: Object) -> str:
    """What the STATUS column shows."""
    return _tally(pod).word


def pod_row_conditions(pod: Object) -> list[dict[str, str]]:
    """`conditions` of the row: whether the pod has ended, for clients that hide such rows."""
    phase = (pod.get("status") or {}).get("phase")
    message = {"Succeeded": _SUCCEEDED, "Failed": _FAILED}.get(phase or "")
    if message is None:
        return []
    return [{"type": "Completed", "status": "True", "reason": str(phase), "message": message}]


def _tally(pod: Object) -> _Tally:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    conditions = status.get("conditions") or ()
    phase = status.get("phase") or ""
    word = status.get("reason") or phase
    if any(c.get("type") == "PodScheduled" and c.get("reason") == "SchedulingGated" for c in conditions):
        word = "SchedulingGated"
    sidecars = {c.get("name") for c in spec.get("initContainers") or () if _is_sidecar(c)}
    tally = _Tally(word)
    initializing = _count_init(tally, spec, status, sidecars)
    if not initializing or _is_true(conditions, "Initialized"):
        _count_containers(tally, status, sidecars)
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            tally.word = "Unknown"
        elif phase not in ("Succeeded", "Failed"):
            tally.word = "Terminating"
    return tally


def _is_sidecar(container: Part) -> bool:
    return container.get("restartPolicy") == "Always"


def _is_true(conditions: Any, kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in conditions)


def _count_init(tally: _Tally, spec: Part, status: Part, sidecars: set[Any]) -> bool:
    """Init containers up to the first that is not done; whether there is one."""
    for i, container in enumerate(status.get("initContainerStatuses") or ()):
        tally.add_restarts(container)
        state = container.get("state") or {}
        ended = state.get("terminated")
        if ended is not None and not ended.get("exitCode"):
            continue
        if container.get("name") in sidecars and container.get("started"):
            tally.ready += bool(container.get("ready"))
            continue
        waiting = (state.get("waiting") or {}).get("reason") or ""
        if ended is not None:
            tally.word = "Init:" + _ended_word(ended)
        elif waiting and waiting != "PodInitializing":
            tally.word = "Init:" + waiting
        else:
            tally.word = f"Init:{i}/{len(spec.get('initContainers') or ())}"
        return True
    return False


def _ended_word(ended: Part) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    if ended.get("signal"):
        return f"Signal:{ended['signal']}"
    return f"ExitCode:{ended.get('exitCode') or 0}"


def _count_containers(tally: _Tally, status: Part, sidecars: set[Any]) -> None:
    """Once a pod has started, only its sidecars' restarts count among those of init containers."""
    tally.restarts, tally.restarted_at = 0, ""
    for container in status.get("initContainerStatuses") or ():
        if container.get("name") in sidecars:
            tally.add_restarts(container)
    running = False
    for container in reversed(status.get("containerStatuses") or ()):
        tally.add_restarts(container)
        state = container.get("state") or {}
        waiting = (state.get("waiting") or {}).get("reason")
        if waiting:
            tally.word = waiting
        elif state.get("terminated") is not None:
            tally.word = _ended_word(state["terminated"])
        elif container.get("ready") and state.get("running") is not None:
            running = True
            tally.ready += 1
    if tally.word == "Completed" and running:
        ready = _is_true(status.get("conditions") or (), "Ready")
        tally.word = "Running" if ready else "NotReady"


def _readiness_gates(spec: Part, status: Part) -> str:
    gates = spec.get("readinessGates") or ()
    if not gates:
        return _NONE
    met = {c.get("type") for c in status.get("conditions") or () if c.get("status") == "True"}
    return f"{sum(gate.get('conditionType') in met for gate in gates)}/{len(gates)}"
