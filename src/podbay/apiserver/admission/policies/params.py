"""The parameters that a binding gives its policy.

Source: k8s.io/apiserver/pkg/admission/plugin/policy/generic/{policy_dispatcher.go (CollectParams),policy_source.go}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from podbay.apiserver.admission.base import ClusterReader
from podbay.apiserver.registry import ResourceType
from podbay.errors import ApiError
from podbay.objects.meta import Object, labels_of
from podbay.objects.selectors import LabelSelector

__all__ = ["Kinds", "collect_params", "param_type"]


class Kinds(Protocol):
    """The kinds that are served (registry.Registry)."""

    def find_kind(self, group: str, version: str, kind: str) -> ResourceType | None: ...


def _misconfigured(words: str) -> ApiError:
    """A policy or binding that cannot be evaluated as it stands; failurePolicy decides what that means."""
    return ApiError(500, "InternalError", words)


def param_type(kind: Mapping[str, Any] | None, kinds: Kinds) -> ResourceType | None:
    """The resource of a paramKind. Raises ApiError when nobody serves it."""
    if kind is None:
        return None
    group, _, version = (kind.get("apiVersion") or "").rpartition("/")
    found = kinds.find_kind(group, version, kind.get("kind") or "")
    if found is None or found.handler is not None or found.measured:
        shown = f"{group}/{version}, Kind={kind.get('kind') or ''}"
        raise _misconfigured(f"failed to find resource referenced by paramKind: '{shown}'")
    return found


def collect_params(
    resource: ResourceType | None,
    reference: Mapping[str, Any] | None,
    namespace: str,
    reader: ClusterReader,
) -> Sequence[Object | None]:
    """The objects to evaluate with, one after the other; [None] is once without. Raises ApiError."""
    if resource is None or reference is None:
        return [None]
    found = _find(resource, reference, namespace, reader)
    if not found and reference.get("parameterNotFoundAction") == "Deny":
        raise _misconfigured("no params found for policy binding with `Deny` parameterNotFoundAction")
    return found


def _find(
    resource: ResourceType, reference: Mapping[str, Any], namespace: str, reader: ClusterReader
) -> list[Object]:
    given = reference.get("namespace") or ""
    if resource.namespaced:
        namespace = given or namespace
        if not namespace:
            words = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
            raise _misconfigured(words)
    elif given:
        raise _misconfigured("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
    else:
        namespace = ""
    if reference.get("name"):
        one = reader.get(resource.key, namespace, reference["name"])
        return [] if one is None else [one]
    selector = LabelSelector.from_object(reference.get("selector"))
    found = reader.list(resource.key, namespace if resource.namespaced else None)
    return [obj for obj in found if selector.matches(labels_of(obj))]
