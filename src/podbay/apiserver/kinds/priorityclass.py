"""PriorityClass: a name for a number. The two system classes exist from the start and cannot be deleted.

Resolving a pod's class is the Priority admission plugin's work. Source: pkg/registry/scheduling/priorityclass,
pkg/apis/scheduling/validation, pkg/apis/scheduling/v1/helpers.go.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from podbay.apiserver.field import FieldError, Path, forbidden, not_supported, required
from podbay.apiserver.kinds.strategies import GENERATION
from podbay.apiserver.metadata import immutable
from podbay.apiserver.registry import Column, ResourceType, Strategy, StrategyContext
from podbay.apiserver.tables import AGE_COLUMN, NAME_COLUMN, age
from podbay.objects.meta import Object
from podbay.objects.resource import GVR

__all__ = ["PRIORITY_CLASS", "RESOURCE_TYPES", "SYSTEM_CLASSES"]

_SYSTEM_PREFIX = "system-"
_HIGHEST_USER_PRIORITY = 1_000_000_000
_POLICIES = ("PreemptLowerPriority", "Never")

SYSTEM_CLASSES: dict[str, tuple[int, str]] = {
    "system-node-critical": (
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    "system-cluster-critical": (
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
}
"""Value and description of the classes that every cluster has."""


class PriorityClassStrategy(Strategy):
    """The value of a class never changes, pods were admitted with it."""

    def set_defaults(self, obj: Object) -> None:
        if obj.get("preemptionPolicy") is None:
            obj["preemptionPolicy"] = "PreemptLowerPriority"

    def prepare_for_create(self, obj: Object, ctx: StrategyContext) -> None:
        obj["metadata"][GENERATION] = 1

    def validate(self, obj: Object, ctx: StrategyContext) -> list[FieldError]:
        name, value = obj["metadata"].get("name") or "", obj.get("value") or 0
        errors: list[FieldError] = []
        if name.startswith(_SYSTEM_PREFIX):
            problem = _system_problem(name, value, bool(obj.get("globalDefault")))
            if problem:
                words = "priority class names with 'system-' prefix are reserved for system use only. error: "
                errors.append(forbidden(Path("metadata").child("name"), words + problem))
        elif value > _HIGHEST_USER_PRIORITY:
            words = f"maximum allowed value of a user defined priority is {_HIGHEST_USER_PRIORITY}"
            errors.append(forbidden(Path("value"), words))
        policy = obj.get("preemptionPolicy")
        if policy == "":
            errors.append(required(Path("preemptionPolicy")))
        elif policy is not None and policy not in _POLICIES:
            errors.append(not_supported(Path("preemptionPolicy"), policy, _POLICIES))
        return errors

    def undeletable(self, name: str) -> str:
        return "this is a system priority class and cannot be deleted" if name in SYSTEM_CLASSES else ""

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        errors: list[FieldError] = []
        if (obj.get("value") or 0) != (old.get("value") or 0):
            errors.append(forbidden(Path("value"), "may not be changed in an update."))
        policies = obj.get("preemptionPolicy"), old.get("preemptionPolicy")
        return errors + immutable(*policies, Path("preemptionPolicy"))


def _system_problem(name: str, value: int, global_default: bool) -> str:
    known = SYSTEM_CLASSES.get(name)
    if known is None:
        return f"{name} is not a known system priority class"
    if value != known[0]:
        return f"value of {name} PriorityClass must be {known[0]}"
    return f"globalDefault of {name} PriorityClass must be false" if global_default else ""


def _cells(obj: Object, now: datetime) -> list[Any]:
    return [
        obj["metadata"]["name"],
        obj.get("value") or 0,
        bool(obj.get("globalDefault")),
        age(obj, now),
        obj.get("preemptionPolicy") or "",
    ]


PRIORITY_CLASS = ResourceType(
    gvr=GVR("scheduling.k8s.io", "v1", "priorityclasses"),
    kind="PriorityClass",
    type_name="io.k8s.api.scheduling.v1.PriorityClass",
    namespaced=False,
    singular="priorityclass",
    short_names=("pc",),
    strategy=PriorityClassStrategy(),
    columns=(
        NAME_COLUMN,
        Column(
            "Value",
            "integer",
            "value represents the integer value of this priority class. This is the actual priority that pods "
            "receive when they have the name of this class in their pod spec.",
        ),
        Column(
            "Global-Default",
            "boolean",
            "globalDefault specifies whether this PriorityClass should be considered as the default priority for "
            "pods that do not have any priority class. Only one PriorityClass can be marked as `globalDefault`. "
            "However, if more than one PriorityClasses exists with their `globalDefault` field set to true, the "
            "smallest value of such global default PriorityClasses will be used as the default priority.",
        ),
        AGE_COLUMN,
        Column(
            "PreemptionPolicy",
            "string",
            "preemptionPolicy is the Policy for preempting pods with lower priority. One of Never, "
            "PreemptLowerPriority. Defaults to PreemptLowerPriority if unset.",
        ),
    ),
    cells=_cells,
)

RESOURCE_TYPES: tuple[ResourceType, ...] = (PRIORITY_CLASS,)
