"""Admission plugin RuntimeClass: a pod takes overhead, node selector and tolerations from its RuntimeClass.

Source: plugin/pkg/admission/runtimeclass/admission.go and pkg/util/tolerations/tolerations.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from podbay.apiserver.admission.base import Attributes, ClusterReader
from podbay.apiserver.admission.pods import new_pod_spec
from podbay.apiserver.admission.refusal import forbidden
from podbay.apiserver.field import go_quote
from podbay.apiserver.quota.lists import parse_list
from podbay.objects.meta import Object

__all__ = ["RuntimeClass", "merge_tolerations"]

_CLASSES = "runtimeclasses.node.k8s.io"


class RuntimeClass:
    """Refuses classes that are missing and overhead that does not come from the class."""

    name = "RuntimeClass"

    def admit(self, attributes: Attributes, reader: ClusterReader) -> None:
        spec = new_pod_spec(attributes)
        runtime_class = None if spec is None else _find(attributes, reader, spec)
        if spec is None or runtime_class is None:
            return
        overhead = runtime_class.get("overhead")
        if overhead is not None:
            _check_overhead(attributes, spec, overhead)
            if overhead.get("podFixed"):
                spec["overhead"] = dict(overhead["podFixed"])
        scheduling = runtime_class.get("scheduling")
        if scheduling is not None:
            _set_scheduling(attributes, spec, scheduling)

    def validate(self, attributes: Attributes, reader: ClusterReader) -> None:
        spec = new_pod_spec(attributes)
        if spec is None:
            return
        runtime_class = _find(attributes, reader, spec)
        if not spec.get("overhead"):
            return
        overhead = None if runtime_class is None else runtime_class.get("overhead")
        if overhead is None:
            message = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
            raise forbidden(attributes, message)
        _check_overhead(attributes, spec, overhead)


def _find(attributes: Attributes, reader: ClusterReader, spec: dict[str, Any]) -> Object | None:
    name = spec.get("runtimeClassName")
    if name is None:
        return None
    found = reader.get(_CLASSES, "", name)
    if found is None:
        raise forbidden(attributes, f"pod rejected: RuntimeClass {go_quote(name)} not found")
    return found


def _check_overhead(attributes: Attributes, spec: dict[str, Any], overhead: dict[str, Any]) -> None:
    given = spec.get("overhead")
    if given and parse_list(given) != parse_list(overhead.get("podFixed")):
        message = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
        raise forbidden(attributes, message)


def _set_scheduling(attributes: Attributes, spec: dict[str, Any], scheduling: dict[str, Any]) -> None:
    selector = dict(spec.get("nodeSelector") or {})
    for key, value in (scheduling.get("nodeSelector") or {}).items():
        if selector.get(key, value) != value:
            message = (
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                f"pod.spec.nodeSelector[{key}] = {selector[key]}"
            )
            raise forbidden(attributes, message)
        selector[key] = value
    if selector:
        spec["nodeSelector"] = selector
    tolerations = merge_tolerations(spec.get("tolerations") or (), scheduling.get("tolerations") or ())
    if tolerations:
        spec["tolerations"] = tolerations


def merge_tolerations(
    first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Both lists without the tolerations that another one covers; of equal ones the first stays."""
    every = [*first, *second]
    merged: list[dict[str, Any]] = []
    for index, toleration in enumerate(every):
        later = (other for other in every[index + 1 :] if other != toleration)
        if not any(_covers(other, toleration) for other in [*merged, *later]):
            merged.append(dict(toleration))
    return merged


def _covers(wide: dict[str, Any], narrow: dict[str, Any]) -> bool:
    if wide == narrow:
        return True
    operator = wide.get("operator") or "Equal"
    if (narrow.get("key") or "") != (wide.get("key") or "") and (wide.get("key") or operator != "Exists"):
        return False
    if wide.get("effect") and (narrow.get("effect") or "") != wide["effect"]:
        return False
    if wide.get("effect") == "NoExecute" and wide.get("tolerationSeconds") is not None:
        seconds = narrow.get("tolerationSeconds")
        if seconds is None or seconds > wide["tolerationSeconds"]:
            return False
    if operator == "Exists":
        return True
    return (
        operator == "Equal"
        and narrow.get("operator") == "Equal"
        and (narrow.get("value") or "") == (wide.get("value") or "")
    )
