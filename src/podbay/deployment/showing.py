"""A plan for people (as `kubectl diff` shows it) and for programs. Pure; values of Secrets never show."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator
from typing import Any, Final

from podbay.deployment.difference import after
from podbay.deployment.plan import Change, Plan
from podbay.objects.meta import Object
from podbay.pods.render import MASK, render

__all__ = ["plan_json", "plan_lines", "shown"]

_SERVER_FIELDS: Final = ("managedFields", "uid", "resourceVersion", "creationTimestamp", "generation")
_SIGNS: Final = {"create": "+", "update": "~", "delete": "-", "release": "~", "none": " "}


def plan_lines(plan: Plan) -> Iterator[str]:
    """A summary line for each object that changes, then the differences, then what stands in the way."""
    for change in plan.work:
        yield f"{_SIGNS[change.action]} {change}{_remark(change)}"
    for change in plan.work:
        yield from _difference(change)
    for obstacle in plan.obstacles:
        yield f"! {obstacle}"
    for note in plan.notes:
        yield f"note: {note}"


def _remark(change: Change) -> str:
    if change.action == "create":
        return " (missing, though podbay.yaml has not changed)" if change.drift else ""
    if change.action != "update":
        return ""
    visible = [each for each in change.fields if each.is_visible]
    if not visible:
        return " (nothing changes but who owns it)"
    others = sorted({owner for each in visible for owner in each.owners})
    by = f", changed by {', '.join(others)}" if others else ""
    return f" (drift{by})" if change.drift else by.replace(", ", " (", 1) + (")" if by else "")


def _difference(change: Change) -> Iterator[str]:
    before = shown(change.live) if change.live is not None else None
    if change.action == "delete" or change.desired is None:
        wanted = None
    elif change.live is None:
        wanted = shown(change.desired)
    else:
        wanted = shown(after(change.desired, change.live))
    name = ".".join(change.key)
    yield from difflib.unified_diff(
        _lines(before), _lines(wanted), f"cluster/{name}", f"podbay.yaml/{name}", lineterm=""
    )


def _lines(obj: Object | None) -> list[str]:
    return [] if obj is None else render(obj, reveal=True).splitlines()


def shown(obj: Object) -> Object:
    """A copy without what the server keeps for itself, and without a Secret's values."""
    left = copy.deepcopy({key: value for key, value in obj.items() if key != "status"})
    metadata = left.get("metadata") or {}
    for field in _SERVER_FIELDS:
        metadata.pop(field, None)
    if left.get("kind") == "Secret":
        for field in ("data", "stringData"):
            if left.get(field):
                left[field] = dict.fromkeys(left[field], MASK)
    first: Object = {key: left.pop(key) for key in ("apiVersion", "kind", "metadata") if key in left}
    return {key: _sorted(value) for key, value in (first | left).items()}


def _sorted(value: Any) -> Any:
    """The order of keys means nothing and differs between a file and a cluster."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_sorted(each) for each in value]
    return value


def plan_json(plan: Plan) -> dict[str, Any]:
    """The plan for programs; `changes` holds work only."""
    return {
        "deployment": plan.deployment.name,
        "namespace": plan.deployment.namespace,
        "changes": [_change_json(each) for each in plan.work],
        "obstacles": list(plan.obstacles),
        "notes": list(plan.notes),
    }


def _change_json(change: Change) -> dict[str, Any]:
    secret = change.key[0] == "Secret"
    return {
        "action": change.action,
        "kind": change.key[0],
        "name": change.key[1],
        "drift": change.drift,
        "obstacle": change.obstacle,
        "fields": [
            {
                "path": str(each),
                "live": MASK if secret and each.live is not None else each.live,
                "desired": MASK if secret and each.desired is not None else each.desired,
                "owners": list(each.owners),
            }
            for each in change.fields
        ],
    }
