"""Pod conditions the scheduler writes, as merge patches. Pure.

Source: pkg/api/v1/pod/util.go (UpdatePodCondition), pkg/scheduler/schedule_one.go (updatePod).
"""

from __future__ import annotations

from datetime import datetime

from podbay.objects.events import timestamp
from podbay.objects.meta import Object

__all__ = ["condition_patch", "with_condition"]


def with_condition(pod: Object, condition: Object, now: datetime) -> list[Object] | None:
    """The pod's conditions with one set (observed now), or None when it says so already."""
    conditions = [dict(c) for c in (pod.get("status") or {}).get("conditions") or ()]
    generation = pod["metadata"].get("generation")
    fresh = {
        "type": condition["type"],
        **({"observedGeneration": generation} if generation else {}),
        "status": condition["status"],
        "lastProbeTime": None,
        "lastTransitionTime": timestamp(now),
        **{k: condition[k] for k in ("reason", "message") if condition.get(k)},
    }
    for i, old in enumerate(conditions):
        if old["type"] != fresh["type"]:
            continue
        if all(old.get(k) == fresh.get(k) for k in ("status", "reason", "message")):
            return None
        if old.get("status") == fresh["status"]:
            fresh["lastTransitionTime"] = old.get("lastTransitionTime")
        conditions[i] = fresh
        return conditions
    return [*conditions, fresh]


def condition_patch(
    pod: Object, *, reason: str, message: str, now: datetime, nominate: str | None
) -> Object | None:
    """PodScheduled=False and the nominated node ("" clears it, None leaves it); None when nothing changes."""
    status: Object = {}
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    conditions = with_condition(pod, condition, now)
    if conditions is not None:
        status["conditions"] = conditions
    current = (pod.get("status") or {}).get("nominatedNodeName") or ""
    if nominate is not None and nominate != current:
        status["nominatedNodeName"] = nominate or None
    return {"status": status} if status else None
