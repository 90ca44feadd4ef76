"""LimitRange: defaults and bounds for the resources of a namespace's containers, pods and claims.

Source: pkg/registry/core/limitrange/strategy.go, pkg/apis/core/v1/defaults.go (SetDefaults_LimitRangeItem) and
ValidateLimitRange in pkg/apis/core/validation/validation.go. Enforced by admission/limit_ranger.py.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from podbay.apiserver.field import FieldError, Path, duplicate, forbidden, invalid, required
from podbay.apiserver.kinds.resource_lists import (
    container_resource_name_errors,
    resource_name_errors,
    round_quantities,
)
from podbay.apiserver.quota.lists import ResourceList, parse_list
from podbay.apiserver.registry import ResourceType, Strategy, StrategyContext
from podbay.apiserver.tables import CREATED_AT_COLUMNS, created_at_cells
from podbay.objects.meta import Object, metadata_of
from podbay.objects.names import qualified_name_errors
from podbay.objects.quantity import Quantity
from podbay.objects.resource import GVR
from podbay.objects.resource_names import is_overcommit_allowed

__all__ = ["LIMIT_RANGE", "RESOURCE_TYPES", "LimitRangeStrategy"]

_STANDARD_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
_LISTS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
_MAX_MILLI = ((1 << 63) - 1) // 1000


class LimitRangeStrategy(Strategy):
    allow_create_on_update = True

    def __init__(self, new_name: Callable[[], str] = lambda: str(uuid.uuid4())) -> None:
        """new_name names a LimitRange that comes without a name."""
        self._new_name = new_name

    def set_defaults(self, obj: Object) -> None:
        for item in (obj.get("spec") or {}).get("limits") or ():
            for field in _LISTS:
                round_quantities(item.get(field))
            if item.get("type") == "Container":
                _default_container_item(item)

    def prepare_for_create(self, obj: Object, ctx: StrategyContext) -> None:
        metadata = metadata_of(obj)
        if not metadata.get("name"):
            metadata["name"] = self._new_name()

    def validate(self, obj: Object, ctx: StrategyContext) -> list[FieldError]:
        errors: list[FieldError] = []
        seen: set[str] = set()
        for index, item in enumerate((obj.get("spec") or {}).get("limits") or ()):
            path = Path("spec").child("limits").index(index)
            type_name = item.get("type") or ""
            errors += _type_errors(type_name, path.child("type"))
            if type_name in seen:
                errors.append(duplicate(path.child("type"), type_name))
            seen.add(type_name)
            errors += _item_errors(item, path)
        return errors

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        return self.validate(obj, ctx)


def _default_container_item(item: dict[str, Any]) -> None:
    """A maximum is the default limit, the default limit or else the minimum is the default request."""
    limits = {**(item.get("max") or {}), **(item.get("default") or {})}
    requests = {**(item.get("min") or {}), **limits, **(item.get("defaultRequest") or {})}
    for field, values in (("default", limits), ("defaultRequest", requests)):
        if values:
            item[field] = values


def _type_errors(type_name: str, path: Path) -> list[FieldError]:
    errors = [invalid(path, type_name, message) for message in qualified_name_errors(type_name)]
    if not errors and "/" not in type_name and type_name not in _STANDARD_TYPES:
        errors.append(invalid(path, type_name, "must be a standard limit type or fully qualified"))
    return errors


def _item_errors(item: dict[str, Any], path: Path) -> list[FieldError]:
    type_name = item.get("type")
    lists = {field: parse_list(item.get(field)) for field in _LISTS}
    errors: list[FieldError] = []
    if type_name == "Pod":
        for field in ("default", "defaultRequest"):
            if lists[field]:
                errors.append(forbidden(path.child(field), "may not be specified when `type` is 'Pod'"))
                lists[field] = {}
    name_errors = (
        container_resource_name_errors if type_name in ("Pod", "Container") else resource_name_errors
    )
    for field, values in lists.items():
        for name in values:
            errors += name_errors(name, path.child(field).key(name))
    if type_name == "PersistentVolumeClaim" and not ("storage" in lists["min"] or "storage" in lists["max"]):
        detail = "either minimum or maximum storage value is required, but neither was provided"
        errors.append(required(path.child("limits"), detail))
    for name in sorted(set().union(*lists.values())):
        errors += _Bounds.of(name, lists, path).errors()
    return errors


@dataclass(frozen=True, slots=True)
class _Bounds:
    """All that an item says about one resource."""

    name: str
    path: Path
    minimum: Quantity | None
    maximum: Quantity | None
    limit: Quantity | None
    request: Quantity | None
    ratio: Quantity | None

    @classmethod
    def of(cls, name: str, lists: dict[str, ResourceList], path: Path) -> _Bounds:
        return cls(
            name,
            path,
            minimum=lists["min"].get(name),
            maximum=lists["max"].get(name),
            limit=lists["default"].get(name),
            request=lists["defaultRequest"].get(name),
            ratio=lists["maxLimitRequestRatio"].get(name),
        )

    def errors(self) -> Iterator[FieldError]:
        low, high, limit, request = self.minimum, self.maximum, self.limit, self.request
        yield from self._order("min", low, low=(low, "min"), high=(high, "max"))
        asked = (request, "default request")
        yield from self._order("defaultRequest", request, low=(low, "min"), high=asked)
        yield from self._order("defaultRequest", request, low=asked, high=(high, "max"))
        yield from self._order("defaultRequest", request, low=asked, high=(limit, "default limit"))
        yield from self._order("default", low, low=(low, "min"), high=(limit, "default"))
        yield from self._order("default", high, low=(limit, "default"), high=(high, "max"))
        yield from self._ratio_errors()
        if limit is not None and request is not None and limit != request and self._is_exact():
            detail = f"default value {limit} must equal to defaultRequest value {request} in {self.name}"
            yield invalid(self._at("defaultRequest"), str(request), detail)

    def _is_exact(self) -> bool:
        """Limits and requests of such a resource are always the same (GPUs, huge pages)."""
        return not is_overcommit_allowed(self.name)

    def _at(self, field: str) -> Path:
        return self.path.child(field).key(self.name)

    def _order(
        self,
        field: str,
        shown: Quantity | None,
        *,
        low: tuple[Quantity | None, str],
        high: tuple[Quantity | None, str],
    ) -> Iterator[FieldError]:
        """An error at `field`, showing `shown`, when both values are there and the low one is greater."""
        (small, small_name), (great, great_name) = low, high
        if small is not None and great is not None and small > great:
            detail = f"{small_name} value {small} is greater than {great_name} value {great}"
            yield invalid(self._at(field), str(shown), detail)

    def _ratio_errors(self) -> Iterator[FieldError]:
        ratio, low, high = self.ratio, self.minimum, self.maximum
        if ratio is None:
            return
        at = self._at("maxLimitRequestRatio")
        if ratio < Quantity.from_value(1):
            yield invalid(at, str(ratio), f"ratio {ratio} is less than 1")
        if low is None or high is None:
            return
        if all(quantity.value() < _MAX_MILLI for quantity in (ratio, low, high)):
            value, bottom, top = ratio.milli_value() / 1000, low.milli_value(), high.milli_value()
        else:
            value, bottom, top = float(ratio.value()), low.value(), high.value()
        if bottom == 0:
            # Go divides floats: x/0 is infinite and allows every ratio, 0/0 is NaN and does too.
            return
        if value > top / bottom:
            yield invalid(at, str(ratio), f"ratio {ratio} is greater than max/min = {top / bottom:f}")


LIMIT_RANGE = ResourceType(
    gvr=GVR("", "v1", "limitranges"),
    kind="LimitRange",
    type_name="io.k8s.api.core.v1.LimitRange",
    namespaced=True,
    singular="limitrange",
    short_names=("limits",),
    strategy=LimitRangeStrategy(),
    columns=CREATED_AT_COLUMNS,
    cells=created_at_cells,
)

RESOURCE_TYPES = (LIMIT_RANGE,)
