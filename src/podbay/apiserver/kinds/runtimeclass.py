"""RuntimeClass: which runtime handler runs a pod, what it costs, where it may run.

Merging it into pods is the RuntimeClass admission plugin's work. Source: pkg/registry/node/runtimeclass,
pkg/apis/node/validation.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from podbay.apiserver.field import FieldError, Path, invalid
from podbay.apiserver.kinds.pod_validation.resources import container_resources_errors
from podbay.apiserver.kinds.pod_validation.scheduling import tolerations_errors
from podbay.apiserver.metadata import immutable, validate_labels
from podbay.apiserver.registry import Column, ResourceType, Strategy, StrategyContext
from podbay.apiserver.tables import AGE_COLUMN, NAME_COLUMN, age
from podbay.objects.meta import Object
from podbay.objects.names import dns1123_label_errors
from podbay.objects.resource import GVR

__all__ = ["RESOURCE_TYPES", "RUNTIME_CLASS"]


class RuntimeClassStrategy(Strategy):
    """The handler never changes."""

    def validate(self, obj: Object, ctx: StrategyContext) -> list[FieldError]:
        handler = obj.get("handler") or ""
        errors = [invalid(Path("handler"), handler, message) for message in dns1123_label_errors(handler)]
        overhead = obj.get("overhead")
        if overhead is not None:
            limits = {"limits": overhead.get("podFixed") or {}}
            errors += container_resources_errors(Path("overhead"), limits, ())
        scheduling, path = obj.get("scheduling") or {}, Path("scheduling")
        errors += validate_labels(scheduling.get("nodeSelector"), path.child("nodeSelector"))
        return errors + tolerations_errors(path.child("tolerations"), scheduling.get("tolerations") or ())

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        return immutable(obj.get("handler") or "", old.get("handler") or "", Path("handler"))


def _cells(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], obj.get("handler") or "", age(obj, now)]


RUNTIME_CLASS = ResourceType(
    gvr=GVR("node.k8s.io", "v1", "runtimeclasses"),
    kind="RuntimeClass",
    type_name="io.k8s.api.node.v1.RuntimeClass",
    namespaced=False,
    singular="runtimeclass",
    strategy=RuntimeClassStrategy(),
    columns=(NAME_COLUMN, Column("Handler", "string"), AGE_COLUMN),
    cells=_cells,
)

RESOURCE_TYPES: tuple[ResourceType, ...] = (RUNTIME_CLASS,)
