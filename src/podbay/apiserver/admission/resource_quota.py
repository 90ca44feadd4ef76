"""Admission plugin ResourceQuota: a write that would exceed a quota of its namespace is refused, others are charged.

Source: k8s.io/apiserver/pkg/admission/plugin/resourcequota/controller.go (CheckRequest). What objects cost is
decided in podbay.apiserver.quota; the quota controller recounts and gives back what is deleted.
"""

from __future__ import annotations

from dataclasses import dataclass

from podbay.apiserver.admission.base import Attributes, ClusterReader
from podbay.apiserver.admission.refusal import forbidden
from podbay.apiserver.quota import (
    ResourceList,
    charges_on,
    constraint_violation,
    matches_scopes,
    matching_resources,
    parse_list,
    print_list,
    usage_of,
)
from podbay.apiserver.quota.lists import add, exceeded, mask, negative_names, subtract_to_zero, without_zeros
from podbay.objects.meta import Object, metadata_of, name_of

__all__ = ["ResourceQuota"]


class ResourceQuota:
    """Runs last of all plugins: what it charges must not be refused afterwards by another."""

    name = "ResourceQuota"

    def admit(self, attributes: Attributes, reader: ClusterReader) -> None:
        """Everything is decided in validate, on the final object."""

    def validate(self, attributes: Attributes, reader: ClusterReader) -> None:
        key, obj = attributes.resource.key, attributes.obj
        if not attributes.namespace or key == "namespaces" or obj is None:
            return
        if attributes.operation not in ("CREATE", "UPDATE"):
            return
        if not charges_on(
            key, attributes.operation, subresource=attributes.subresource, obj=obj, old=attributes.old
        ):
            return
        quotas = [_Quota.of(quota) for quota in reader.list("resourcequotas", attributes.namespace)]
        charged = _check(attributes, obj, quotas)
        if attributes.dry_run:
            return
        for quota, used in charged:
            status = {"hard": print_list(quota.hard), "used": print_list(used)}
            reader.update_status("resourcequotas", attributes.namespace, quota.name, status)


@dataclass(frozen=True, slots=True)
class _Quota:
    """A quota with its status as quantities; `status`, not `spec`, is what is enforced."""

    name: str
    obj: Object
    hard: ResourceList
    used: ResourceList

    @classmethod
    def of(cls, obj: Object) -> _Quota:
        status = obj.get("status") or {}
        return cls(name_of(obj), obj, parse_list(status.get("hard")), parse_list(status.get("used")))

    def applies_to(self, key: str, obj: Object) -> bool:
        return bool(matching_resources(key, self.hard)) and matches_scopes(self.obj, obj, key=key)


def _check(attributes: Attributes, obj: Object, quotas: list[_Quota]) -> list[tuple[_Quota, ResourceList]]:
    """The quotas to charge with their new usage; raises when one of them refuses."""
    key = attributes.resource.key
    concerned = [quota for quota in quotas if quota.applies_to(key, obj)]
    for quota in concerned:
        _check_measurable(attributes, obj, quota)
    if not concerned:
        return []
    usage = usage_of(key, obj, now=attributes.now)
    negative = negative_names(usage)
    if negative:
        names = ",".join(sorted(negative))
        raise forbidden(attributes, f"quota usage is negative for resource(s): {names}")
    charged = []
    for quota in concerned:
        delta = mask(without_zeros(_delta(attributes, quota, usage)), quota.hard)
        if delta:
            charged.append((quota, _charge(attributes, quota, delta)))
    return charged


def _check_measurable(attributes: Attributes, obj: Object, quota: _Quota) -> None:
    key = attributes.resource.key
    restricted = matching_resources(key, quota.hard)
    problem = constraint_violation(key, obj, required=restricted)
    if problem:
        raise forbidden(attributes, f"failed quota: {quota.name}: {problem}")
    if any(name not in quota.used for name in restricted):
        names = ",".join(restricted)
        raise forbidden(attributes, f"status unknown for quota: {quota.name}, resources: {names}")


def _delta(attributes: Attributes, quota: _Quota, usage: ResourceList) -> ResourceList:
    """What the write adds to the quota: all of it, unless the quota counts the old object already."""
    key, old = attributes.resource.key, attributes.old
    if attributes.operation != "UPDATE" or old is None or not metadata_of(old).get("resourceVersion"):
        return usage
    if not quota.applies_to(key, old):
        return usage
    return subtract_to_zero(usage, usage_of(key, old, now=attributes.now))


def _charge(attributes: Attributes, quota: _Quota, delta: ResourceList) -> ResourceList:
    used = add(quota.used, delta)
    over = exceeded(mask(used, delta), quota.hard)
    if over and attributes.subresource != "status":
        requested, before, limits = (_print(mask(values, over)) for values in (delta, quota.used, quota.hard))
        message = f"exceeded quota: {quota.name}, requested: {requested}, used: {before}, limited: {limits}"
        raise forbidden(attributes, message)
    return used


def _print(values: ResourceList) -> str:
    return ",".join(f"{name}={values[name]}" for name in sorted(values))
