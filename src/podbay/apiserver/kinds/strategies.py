"""What several kinds' strategies share: name rules, and the views that change one half of an object.

Not for the kinds themselves. Source: k8s.io/apimachinery/pkg/api/validation/generic.go and the strategy.go files of
pkg/registry.
"""

from __future__ import annotations

from collections.abc import Sequence

from podbay.apiserver.registry import Strategy, StrategyContext, Subresource
from podbay.objects.meta import Object
from podbay.objects.names import dns1035_label_errors, dns1123_label_errors, masked_prefix

__all__ = [
    "GENERATION",
    "Dns1035LabelNamed",
    "DnsLabelNamed",
    "StatusStrategy",
    "carry_over",
    "grow_generation",
    "status_view",
]

GENERATION = "generation"


class DnsLabelNamed(Strategy):
    """Names are RFC 1123 labels."""

    def validate_name(self, name: str, *, prefix: bool) -> Sequence[str]:
        return dns1123_label_errors(masked_prefix(name) if prefix else name)


class Dns1035LabelNamed(Strategy):
    """Names are RFC 1035 labels: they start with a letter."""

    def validate_name(self, name: str, *, prefix: bool) -> Sequence[str]:
        return dns1035_label_errors(masked_prefix(name) if prefix else name)


class StatusStrategy(Strategy):
    """The `status` view: metadata and status change, spec stays."""

    metadata_repeats = (0, 1)

    def prepare_for_update(self, obj: Object, old: Object, ctx: StrategyContext) -> None:
        carry_over(obj, old, "spec")


def carry_over(obj: Object, old: Object, *keys: str) -> None:
    """Put top-level fields back to what they were."""
    for key in keys:
        if key in old:
            obj[key] = old[key]
        else:
            obj.pop(key, None)


def grow_generation(obj: Object, old: Object, *keys: str) -> None:
    """Count a change of any of these top-level fields in metadata.generation."""
    if any(obj.get(key) != old.get(key) for key in keys):
        obj["metadata"][GENERATION] = (old["metadata"].get(GENERATION) or 0) + 1


def status_view(kind: str, type_name: str, strategy: Strategy) -> Subresource:
    """The declaration of a `status` subresource."""
    return Subresource(
        name="status",
        verbs=("get", "patch", "update"),
        kind=kind,
        type_name=type_name,
        strategy=strategy,
    )
