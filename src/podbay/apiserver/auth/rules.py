"""Policy rules: whether one allows a request, whether a set covers another, and how one is printed.

Pure functions over the JSON of a PolicyRule. Not for finding the rules of a user (authorize.py).
Source: kubernetes pkg/apis/rbac/v1/evaluation_helpers.go, component-helpers/auth/rbac/validation,
pkg/registry/rbac/validation/policy_compact.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from podbay.apiserver.field import go_quote
from podbay.apiserver.request import RequestInfo

__all__ = [
    "FULL_AUTHORITY",
    "CompiledRule",
    "PolicyRule",
    "break_down",
    "compact",
    "describe",
    "quote_list",
    "uncovered",
]

PolicyRule: TypeAlias = Mapping[str, Any]
"""A PolicyRule as JSON: verbs, apiGroups, resources, resourceNames, nonResourceURLs (each may be absent)."""

FULL_AUTHORITY: tuple[PolicyRule, ...] = (
    {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
    {"nonResourceURLs": ["*"], "verbs": ["*"]},
)
"""What cluster-admin holds."""


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A policy rule with its lists as sets, ready to be asked often."""

    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str]
    urls: tuple[str, ...]
    source: str = ""
    """The binding and role that grant it, as `status.reason` of an access review prints them."""

    @classmethod
    def of(cls, rule: PolicyRule, source: str = "") -> CompiledRule:
        return cls(
            frozenset(rule.get("verbs") or ()),
            frozenset(rule.get("apiGroups") or ()),
            frozenset(rule.get("resources") or ()),
            frozenset(rule.get("resourceNames") or ()),
            tuple(rule.get("nonResourceURLs") or ()),
            source,
        )

    def allows(self, info: RequestInfo) -> bool:
        if info.verb not in self.verbs and "*" not in self.verbs:
            return False
        if not info.is_resource:
            return any(_url_covers(url, info.path) for url in self.urls)
        if info.group not in self.groups and "*" not in self.groups:
            return False
        if not self._covers_resource(info.resource, info.subresource):
            return False
        return not self.names or info.ruled_name in self.names

    def _covers_resource(self, resource: str, subresource: str) -> bool:
        resources = self.resources
        if "*" in resources:
            return True
        if not subresource:
            return resource in resources
        return f"{resource}/{subresource}" in resources or f"*/{subresource}" in resources


def _url_covers(owned: str, url: str) -> bool:
    if owned in ("*", url):
        return True
    return owned.endswith("*") and url.startswith(owned.rstrip("*"))


def break_down(rule: PolicyRule) -> list[PolicyRule]:
    """The rule as rules of one verb and one resource, resource name or URL each."""
    verbs: Sequence[str] = rule.get("verbs") or ()
    names: Sequence[str] = rule.get("resourceNames") or ()
    small: list[PolicyRule] = []
    for group in rule.get("apiGroups") or ():
        for resource in rule.get("resources") or ():
            for verb in verbs:
                base = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
                small += [{**base, "resourceNames": [name]} for name in names] or [base]
    for url in rule.get("nonResourceURLs") or ():
        small += [{"nonResourceURLs": [url], "verbs": [verb]} for verb in verbs]
    return small


def uncovered(owned: Iterable[PolicyRule], wanted: Iterable[PolicyRule]) -> list[PolicyRule]:
    """The parts of `wanted` that no rule of `owned` grants, broken down."""
    owners = [CompiledRule.of(rule) for rule in owned]
    parts = [part for rule in wanted for part in break_down(rule)]
    return [part for part in parts if not any(_covers(owner, part) for owner in owners)]


def _covers(owner: CompiledRule, part: PolicyRule) -> bool:
    if "*" not in owner.verbs and part["verbs"][0] not in owner.verbs:
        return False
    if "nonResourceURLs" in part:
        # An owner's rule with resource names never covers a part without any (Go: ruleCovers).
        return not owner.names and any(_url_covers(url, part["nonResourceURLs"][0]) for url in owner.urls)
    if "*" not in owner.groups and part["apiGroups"][0] not in owner.groups:
        return False
    if not _resource_covered(owner.resources, part["resources"][0]):
        return False
    names: Sequence[str] = part.get("resourceNames") or ()
    return not owner.names or (bool(names) and names[0] in owner.names)


def _resource_covered(owned: frozenset[str], resource: str) -> bool:
    if "*" in owned or resource in owned:
        return True
    _, slash, subresource = resource.partition("/")
    return bool(slash) and f"*/{subresource}" in owned


def compact(rules: Iterable[PolicyRule]) -> list[PolicyRule]:
    """Rules of one group and resource that differ only by verb, as one rule each."""
    others: list[PolicyRule] = []
    simple: dict[tuple[str, str, str | None], dict[str, Any]] = {}
    for rule in rules:
        key = _simple_key(rule)
        if key is None:
            others.append(rule)
        elif key in simple:
            simple[key]["verbs"] += rule.get("verbs") or []
        else:
            simple[key] = {**rule, "verbs": list(rule.get("verbs") or ())}
    return [*others, *simple.values()]


def _simple_key(rule: PolicyRule) -> tuple[str, str, str | None] | None:
    groups: Sequence[str] = rule.get("apiGroups") or ()
    resources: Sequence[str] = rule.get("resources") or ()
    names: Sequence[str] = rule.get("resourceNames") or ()
    if len(names) > 1 or rule.get("nonResourceURLs") or len(groups) != 1 or len(resources) != 1:
        return None
    return groups[0], resources[0], names[0] if names else None


_PRINTED = (
    ("apiGroups", "APIGroups"),
    ("resources", "Resources"),
    ("nonResourceURLs", "NonResourceURLs"),
    ("resourceNames", "ResourceNames"),
    ("verbs", "Verbs"),
)


def describe(rule: PolicyRule) -> str:
    """The rule as refusals print it: {APIGroups:[""], Resources:["secrets"], Verbs:["get"]}."""
    parts = [f"{printed}:{quote_list(rule[key])}" for key, printed in _PRINTED if rule.get(key)]
    return "{" + ", ".join(parts) + "}"


def quote_list(texts: Iterable[str]) -> str:
    """Go's %q of a string slice: quoted, separated by blanks, in brackets."""
    return "[" + " ".join(go_quote(text) for text in texts) + "]"
