"""What a check of the pod security standards finds, and the words that checks share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = [
    "CheckFunction",
    "Finding",
    "Revision",
    "SecurityCheck",
    "containers_of",
    "join_quoted",
    "named",
    "plural",
    "security_context",
    "setters",
]


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a pod is not within a level: the reason in short, the detail with names and values."""

    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


CheckFunction: TypeAlias = Callable[[Mapping[str, str], Mapping[str, Any]], Finding | None]
"""(annotations, spec) of a pod -> what is wrong, or None."""


@dataclass(frozen=True, slots=True)
class Revision:
    """How a check works since a minor version; overrides names baseline checks that it replaces."""

    since_minor: int
    check: CheckFunction
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SecurityCheck:
    """A check with its revisions, oldest first. Findings are listed in the order of the ids."""

    id: str
    revisions: tuple[Revision, ...]

    def revision(self, minor: int) -> Revision | None:
        """The one in force in a minor version, None before the check existed."""
        return next((r for r in reversed(self.revisions) if r.since_minor <= minor), None)


def containers_of(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every container, init containers first."""
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field) or ()


def security_context(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    """`securityContext` of a pod spec or a container, empty when absent."""
    return holder.get("securityContext") or {}


def plural(singular: str, count: int) -> str:
    return singular if count == 1 else f"{singular}s"


def join_quoted(items: Iterable[str]) -> str:
    return ", ".join(f'"{item}"' for item in items)


def named(word: str, names: list[str]) -> str:
    """A counted noun with the quoted names it stands for: container "a", or containers "a", "b"."""
    return f"{plural(word, len(names))} {join_quoted(names)}"


def setters(pod: bool, containers: list[str]) -> str:
    """Who set a bad value: the pod, some containers, or both; empty when nobody did."""
    parts = ["pod"] if pod else []
    if containers:
        parts.append(named("container", containers))
    return " and ".join(parts)
