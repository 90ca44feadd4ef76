"""Whether a quota is full now, or too small for the pod even when it is empty. Words: resourcequota/controller.go."""

from __future__ import annotations

from typing import Final

from podbay.lifecycle.diagnosis.category import Category
from podbay.lifecycle.diagnosis.room import quantity

__all__ = ["CATEGORIES", "QUOTA", "QUOTA_TOO_SMALL", "exceeds_alone"]

QUOTA: Final = Category(
    word="QuotaExceeded",
    meaning="The namespace's ResourceQuota is used up for now.",
    fix="Wait for other pods of the namespace to end, ask for less, or have the quota raised.",
    blame="platform",
    heals="itself",
)
QUOTA_TOO_SMALL: Final = Category(
    word="QuotaTooSmall",
    meaning="The pod alone asks for more than the namespace's ResourceQuota allows in all.",
    fix="Lower the pod's resources below the quota, or have the quota raised.",
    blame="user",
    heals="never",
)

CATEGORIES: Final = (QUOTA, QUOTA_TOO_SMALL)


def exceeds_alone(used: str, requested: str, limited: str) -> bool:
    """Whether one of the resources asked for is more than its whole quota. `used` only shows that the text was read."""
    asked, allowed = _amounts(requested), _amounts(limited)
    for name, amount in asked.items():
        request, limit = quantity(amount), quantity(allowed.get(name))
        if used and request is not None and limit is not None and request > limit:
            return True
    return False


def _amounts(text: str) -> dict[str, str]:
    """`limits.cpu=2,pods=1` as a mapping."""
    pairs = (part.partition("=") for part in text.split(","))
    return {name.strip(): value.strip() for name, mark, value in pairs if mark}
