"""Namespace: its finalizer, its two extra views, its way of being deleted in two phases.

Emptying a namespace is the namespace controller's work. Source: pkg/registry/core/namespace, ValidateNamespace*.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from podbay.apiserver.field import FieldError, Path, invalid
from podbay.apiserver.kinds.strategies import DnsLabelNamed, StatusStrategy, carry_over, status_view
from podbay.apiserver.registry import Column, ResourceType, StrategyContext, Subresource
from podbay.apiserver.tables import AGE_COLUMN, NAME_COLUMN, age
from podbay.objects.meta import Object
from podbay.objects.names import qualified_name_errors
from podbay.objects.resource import GVR

__all__ = ["FINALIZER", "NAMESPACE", "NAME_LABEL", "RESOURCE_TYPES"]

FINALIZER = "kubernetes"
NAME_LABEL = "kubernetes.io/metadata.name"
_TYPE = "io.k8s.api.core.v1.Namespace"
_STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
_FINALIZERS_PATH = Path("spec").child("finalizers")


class NamespaceStrategy(DnsLabelNamed):
    """The namespace itself."""

    metadata_repeats = (1, 1)

    def set_defaults(self, obj: Object) -> None:
        metadata = obj.setdefault("metadata", {})
        if metadata.get("name"):
            metadata["labels"] = {**(metadata.get("labels") or {}), NAME_LABEL: metadata["name"]}

    def prepare_for_create(self, obj: Object, ctx: StrategyContext) -> None:
        obj["status"] = {"phase": "Active"}
        spec = obj["spec"] = dict(obj.get("spec") or {})
        finalizers = list(spec.get("finalizers") or ())
        if FINALIZER not in finalizers:
            finalizers.append(FINALIZER)
        spec["finalizers"] = finalizers

    def validate(self, obj: Object, ctx: StrategyContext) -> list[FieldError]:
        finalizers = (obj.get("spec") or {}).get("finalizers") or ()
        return [error for name in finalizers for error in _finalizer_errors(name, _FINALIZERS_PATH)]

    def prepare_for_update(self, obj: Object, old: Object, ctx: StrategyContext) -> None:
        carry_over(obj, old, "status", "spec")

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        return self.validate(obj, ctx)

    def canonicalize(self, obj: Object) -> None:
        # A generated name was not known when defaults were set.
        labels = obj["metadata"].get("labels") or {}
        obj["metadata"]["labels"] = {**labels, NAME_LABEL: obj["metadata"]["name"]}

    def has_finalizers(self, obj: Object) -> bool:
        return bool((obj.get("spec") or {}).get("finalizers") or obj["metadata"].get("finalizers"))

    def start_termination(self, obj: Object, now: str) -> bool:
        metadata = obj["metadata"]
        if not metadata.get("deletionTimestamp"):
            metadata["deletionTimestamp"] = now
            obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
            return True
        return bool((obj.get("spec") or {}).get("finalizers"))


class NamespaceStatusStrategy(StatusStrategy):
    """The `status` view: the phase follows the deletion timestamp."""

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        phase = (obj.get("status") or {}).get("phase") or ""
        deleted = bool(obj["metadata"].get("deletionTimestamp"))
        expected = "Terminating" if deleted else "Active"
        if phase == expected:
            return []
        words = f"may only be '{expected}' if `deletionTimestamp` is {'not ' if deleted else ''}empty"
        return [invalid(Path("status").child("Phase"), phase, words)]


class NamespaceFinalizeStrategy(StatusStrategy):
    """The `finalize` view: spec.finalizers alone."""

    def prepare_for_update(self, obj: Object, old: Object, ctx: StrategyContext) -> None:
        carry_over(obj, old, "status")

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        errors: list[FieldError] = []
        for i, name in enumerate((obj.get("spec") or {}).get("finalizers") or ()):
            errors += _finalizer_errors(name, _FINALIZERS_PATH.index(i))
        return errors

    def has_finalizers(self, obj: Object) -> bool:
        return bool((obj.get("spec") or {}).get("finalizers") or obj["metadata"].get("finalizers"))


def _finalizer_errors(name: str, path: Path) -> list[FieldError]:
    errors = [invalid(path, name, message) for message in qualified_name_errors(name)]
    if "/" not in name and name not in _STANDARD_FINALIZERS:
        message = "name is neither a standard finalizer name nor is it fully qualified"
        errors.append(invalid(path, name, message))
    return errors


def _phase(obj: Object) -> str:
    return (obj.get("status") or {}).get("phase") or ""


def _cells(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], _phase(obj), age(obj, now)]


NAMESPACE = ResourceType(
    gvr=GVR("", "v1", "namespaces"),
    kind="Namespace",
    type_name=_TYPE,
    namespaced=False,
    singular="namespace",
    short_names=("ns",),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    strategy=NamespaceStrategy(),
    fields={"status.phase": _phase},
    subresources=(
        Subresource(
            name="finalize",
            verbs=("update",),
            kind="Namespace",
            type_name=_TYPE,
            strategy=NamespaceFinalizeStrategy(),
        ),
        status_view("Namespace", _TYPE, NamespaceStatusStrategy()),
    ),
    columns=(NAME_COLUMN, Column("Status", "string", "The status of the namespace"), AGE_COLUMN),
    cells=_cells,
)

RESOURCE_TYPES: tuple[ResourceType, ...] = (NAMESPACE,)
