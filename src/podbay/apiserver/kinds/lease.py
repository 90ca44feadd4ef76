"""Lease: who holds a lock and until when; nodes renew one as their heartbeat.

Source: pkg/registry/coordination/lease, pkg/apis/coordination/validation.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from podbay.apiserver.field import FieldError, Path, forbidden, invalid, not_supported
from podbay.apiserver.registry import Column, ResourceType, Strategy, StrategyContext
from podbay.apiserver.tables import AGE_COLUMN, NAME_COLUMN, age
from podbay.objects.meta import Object
from podbay.objects.names import qualified_name_errors
from podbay.objects.resource import GVR

__all__ = ["LEASE", "RESOURCE_TYPES"]

_SPEC = Path("spec")
_STRATEGIES = ("OldestEmulationVersion",)


class LeaseStrategy(Strategy):
    """A PUT may create a lease, and must say which version it replaces."""

    allow_create_on_update = True
    allow_unconditional_update = False

    def validate(self, obj: Object, ctx: StrategyContext) -> list[FieldError]:
        return _spec_errors(obj.get("spec") or {})

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        return _spec_errors(obj.get("spec") or {})


def _spec_errors(spec: dict[str, Any]) -> list[FieldError]:
    errors: list[FieldError] = []
    duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if duration is not None and duration <= 0:
        errors.append(invalid(_SPEC.child("leaseDurationSeconds"), duration, "must be greater than 0"))
    if transitions is not None and transitions < 0:
        words = "must be greater than or equal to 0"
        errors.append(invalid(_SPEC.child("leaseTransitions"), transitions, words))
    strategy = spec.get("strategy")
    if strategy is not None:
        errors += _strategy_errors(strategy, _SPEC.child("strategy", "strategy"))
    if spec.get("preferredHolder") and not strategy:
        words = "may only be specified if `strategy` is defined"
        errors.append(forbidden(_SPEC.child("preferredHolder"), words))
    return errors


def _strategy_errors(strategy: str, path: Path) -> list[FieldError]:
    if "/" not in strategy:
        return [] if strategy in _STRATEGIES else [not_supported(path, strategy, _STRATEGIES)]
    return [invalid(path, strategy, message) for message in qualified_name_errors(strategy)]


def _cells(obj: Object, now: datetime) -> list[Any]:
    holder = (obj.get("spec") or {}).get("holderIdentity") or ""
    return [obj["metadata"]["name"], holder, age(obj, now)]


LEASE = ResourceType(
    gvr=GVR("coordination.k8s.io", "v1", "leases"),
    kind="Lease",
    type_name="io.k8s.api.coordination.v1.Lease",
    namespaced=True,
    singular="lease",
    strategy=LeaseStrategy(),
    columns=(
        NAME_COLUMN,
        Column(
            "Holder",
            "string",
            "holderIdentity contains the identity of the holder of a current lease. If Coordinated Leader Election "
            "is used, the holder identity must be equal to the elected LeaseCandidate.metadata.name field.",
        ),
        AGE_COLUMN,
    ),
    cells=_cells,
)

RESOURCE_TYPES: tuple[ResourceType, ...] = (LEASE,)
