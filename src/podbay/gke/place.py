"""What a connection says of a GKE cluster (`podbay_gke`). Pure."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Final

from podbay.errors import InvalidInputError

__all__ = ["FIELD", "GkePlace"]

FIELD: Final = "podbay_gke"
"""In the extra of a Kubernetes connection."""
_NAMES: Final = {
    "cluster": (re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?"), "gpu-cluster"),
    "location": (re.compile(r"[a-z]+-[a-z]+[0-9]+(-[a-z])?"), "europe-west1 or europe-west1-b"),
    "project": (re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]"), "my-project"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GkePlace:
    """Which cluster. Who asks is what google-auth finds. Equal ones share tokens."""

    cluster: str
    location: str
    project: str

    def __post_init__(self) -> None:
        for name, (pattern, example) in _NAMES.items():
            if not pattern.fullmatch(getattr(self, name)):
                raise InvalidInputError(
                    f"{FIELD}.{name}: {getattr(self, name)!r} is none; write it as {example}"
                )

    def __str__(self) -> str:
        return f"GKE cluster {self.cluster} in {self.location}, project {self.project}"

    @property
    def context(self) -> str:
        """As gcloud names contexts."""
        return f"gke_{self.project}_{self.location}_{self.cluster}"

    def to_extra(self) -> dict[str, str]:
        """The field's value."""
        return asdict(self)
