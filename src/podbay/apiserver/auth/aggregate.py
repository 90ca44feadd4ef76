"""Aggregated ClusterRoles: their rules are the union of the roles that their selectors find.

A pure function for the controller that writes the results back.
Source: kubernetes pkg/controller/clusterroleaggregation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from podbay.objects.meta import Object, labels_of, name_of
from podbay.objects.selectors import LabelSelector

__all__ = ["aggregate"]


def aggregate(cluster_roles: Iterable[Object]) -> list[Object]:
    """The ClusterRoles whose rules have to change, as changed copies, in order of their names.

    Roles that aggregate aggregated roles (admin takes edit, which takes view) settle in one call.
    """
    roles = {name_of(role): role for role in sorted(cluster_roles, key=name_of)}
    selectors = {name: found for name, role in roles.items() if (found := _selectors(role)) is not None}
    changed: dict[str, Object] = {}
    # A chain of n roles settles in n rounds; roles that aggregate each other stop growing by then too.
    for _ in range(len(selectors) + 1):
        settled = True
        for name, wanted in selectors.items():
            rules = _union(name, wanted, roles.values())
            if rules != (roles[name].get("rules") or []):
                roles[name] = changed[name] = {**roles[name], "rules": rules}
                settled = False
        if settled:
            break
    return [changed[name] for name in sorted(changed)]


def _selectors(role: Object) -> list[LabelSelector] | None:
    rule = role.get("aggregationRule")
    if rule is None:
        return None
    try:
        return [LabelSelector.from_object(selector) for selector in rule.get("clusterRoleSelectors") or ()]
    except ValueError:
        return None  # validation refuses such a selector; one from an older store is left alone


def _union(name: str, selectors: Iterable[LabelSelector], roles: Iterable[Object]) -> list[Any]:
    rules: list[Any] = []
    sources = [role for role in roles if name_of(role) != name]
    for selector in selectors:
        for role in sources:
            if selector.matches(labels_of(role)):
                rules += [rule for rule in role.get("rules") or () if rule not in rules]
    return rules
