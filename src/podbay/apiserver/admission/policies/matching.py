"""Whether a request is one that a policy, or a binding, is about.

Source: k8s.io/apiserver/pkg/admission/plugin/policy/matching, plugin/webhook/predicates/{rules,namespace,object}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from podbay.apiserver.admission.base import Attributes, ClusterReader
from podbay.objects.meta import Object, labels_of
from podbay.objects.selectors import LabelSelector

__all__ = ["kind_of", "matches", "namespace_of"]


def namespace_of(attributes: Attributes) -> str:
    """The namespace of the request; requests for a namespace itself are within it."""
    if attributes.resource.key == "namespaces":
        return attributes.name
    return attributes.namespace


def kind_of(attributes: Attributes) -> tuple[str, str, str]:
    """Group, version and kind of what is written: a subresource may have its own (Binding, Eviction)."""
    gvr, sub = attributes.resource.gvr, attributes.resource.subresource(attributes.subresource)
    if sub is None:
        return gvr.group, gvr.version, attributes.resource.kind
    if sub.version:
        return sub.group, sub.version, sub.kind
    return gvr.group, gvr.version, sub.kind


def matches(match: Mapping[str, Any], attributes: Attributes, reader: ClusterReader) -> bool:
    """match is a MatchResources with its defaults. Raises ApiError 404 when the namespace is needed and gone."""
    if not _namespace_selected(match.get("namespaceSelector") or {}, attributes, reader):
        return False
    if not _object_selected(match.get("objectSelector") or {}, attributes):
        return False
    if _any_rule(match.get("excludeResourceRules") or (), attributes):
        return False
    rules = match.get("resourceRules") or ()
    return not rules or _any_rule(rules, attributes)


def _namespace_selected(selector: Mapping[str, Any], attributes: Attributes, reader: ClusterReader) -> bool:
    namespace = namespace_of(attributes)
    is_namespace = attributes.resource.key == "namespaces"
    parsed = LabelSelector.from_object(selector)
    if parsed.empty or (not namespace and not is_namespace):
        # What is in no namespace is exempted by no selector.
        return True
    if is_namespace and not attributes.subresource and attributes.operation in ("CREATE", "UPDATE"):
        return parsed.matches(labels_of(attributes.obj or {}))
    found = reader.get("namespaces", "", namespace)
    return found is not None and parsed.matches(labels_of(found))


def _object_selected(selector: Mapping[str, Any], attributes: Attributes) -> bool:
    parsed = LabelSelector.from_object(selector)
    if parsed.empty:
        return True
    objects: Iterable[Object] = (o for o in (attributes.obj, attributes.old) if o is not None)
    return any(parsed.matches(labels_of(o)) for o in objects)


def _any_rule(rules: Sequence[Mapping[str, Any]], attributes: Attributes) -> bool:
    for rule in rules:
        if _rule_matches(rule, attributes):
            names = rule.get("resourceNames") or ()
            if not names or attributes.name in names:
                return True
    return False


def _rule_matches(rule: Mapping[str, Any], attributes: Attributes) -> bool:
    gvr = attributes.resource.gvr
    return (
        _in_scope(rule.get("scope") or "*", attributes)
        and _listed(rule.get("operations"), attributes.operation)
        and _listed(rule.get("apiGroups"), gvr.group)
        and _listed(rule.get("apiVersions"), gvr.version)
        and any(_resource_matches(r, attributes) for r in rule.get("resources") or ())
    )


def _listed(words: Sequence[str] | None, wanted: str) -> bool:
    return words is not None and ("*" in words or wanted in words)


def _in_scope(scope: str, attributes: Attributes) -> bool:
    if scope == "*":
        return True
    namespaced = attributes.resource.key != "namespaces" and bool(attributes.namespace)
    return namespaced if scope == "Namespaced" else not namespaced


def _resource_matches(pattern: str, attributes: Attributes) -> bool:
    name, _, sub = pattern.partition("/")
    return name in ("*", attributes.resource.gvr.resource) and sub in ("*", attributes.subresource)
