"""Admission plugin Priority: a pod's priority is the number of its PriorityClass, never one of its own.

Source: plugin/pkg/admission/priority/admission.go.
"""

from __future__ import annotations

from typing import Any

from podbay.apiserver.admission.base import Attributes, ClusterReader
from podbay.apiserver.admission.pods import spec_of
from podbay.apiserver.admission.refusal import forbidden
from podbay.objects.meta import Object, name_of

__all__ = ["Priority"]

_CLASSES = "priorityclasses.scheduling.k8s.io"
_DEFAULT_POLICY = "PreemptLowerPriority"


class Priority:
    """Resolves priority and preemptionPolicy of pods; keeps the default PriorityClass the only one."""

    name = "Priority"

    def admit(self, attributes: Attributes, reader: ClusterReader) -> None:
        if attributes.resource.key != "pods" or attributes.subresource or attributes.obj is None:
            return
        spec = spec_of(attributes.obj)
        if attributes.operation == "CREATE":
            _resolve(attributes, reader, spec)
        elif attributes.operation == "UPDATE" and attributes.old is not None:
            _carry_over(spec, attributes.old.get("spec") or {})

    def validate(self, attributes: Attributes, reader: ClusterReader) -> None:
        new = attributes.obj
        if attributes.resource.key != _CLASSES or attributes.subresource or new is None:
            return
        if attributes.operation not in ("CREATE", "UPDATE") or not new.get("globalDefault"):
            return
        default = _default_class(reader)
        if default is None:
            return
        if attributes.operation == "CREATE" or name_of(default) != name_of(new):
            message = (
                f"PriorityClass {name_of(default)} is already marked as default. Only one default can exist"
            )
            raise forbidden(attributes, message)


def _resolve(attributes: Attributes, reader: ClusterReader, spec: dict[str, Any]) -> None:
    class_name = spec.get("priorityClassName")
    if class_name:
        found = reader.get(_CLASSES, "", class_name)
        if found is None:
            raise forbidden(attributes, f"no PriorityClass with name {class_name} was found")
    else:
        found = _default_class(reader)
        if found is not None:
            spec["priorityClassName"] = name_of(found)
    found = found or {"preemptionPolicy": _DEFAULT_POLICY}
    priority, policy = int(found.get("value") or 0), found.get("preemptionPolicy")
    given = spec.get("priority")
    if given is not None and given != priority:
        raise forbidden(attributes, _mismatch("integer value of priority", given, priority))
    spec["priority"] = priority
    if policy is not None:
        given = spec.get("preemptionPolicy")
        if given is not None and given != policy:
            raise forbidden(attributes, _mismatch("string value of PreemptionPolicy", given, policy))
        spec["preemptionPolicy"] = policy


def _carry_over(spec: dict[str, Any], old_spec: dict[str, Any]) -> None:
    """A client that sends a pod without the resolved fields does not mean to unset them."""
    for field in ("priority", "preemptionPolicy"):
        if spec.get(field) is None and old_spec.get(field) is not None:
            spec[field] = old_spec[field]


def _mismatch(what: str, given: object, computed: object) -> str:
    return (
        f"the {what} ({given}) must not be provided in pod spec; "
        f"priority admission controller computed {computed} from the given PriorityClass name"
    )


def _default_class(reader: ClusterReader) -> Object | None:
    """The class marked globalDefault; the lowest one, should there be several."""
    defaults = [c for c in reader.list(_CLASSES) if c.get("globalDefault")]
    return min(defaults, key=lambda c: int(c.get("value") or 0), default=None)
