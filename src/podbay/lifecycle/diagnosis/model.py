"""What a diagnosis is made from, and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from podbay.errors import PodbayError
from podbay.objects.meta import Object

__all__ = ["Blame", "Diagnosis", "Facts", "Heals", "diagnosis_from_json", "diagnosis_to_json"]

Blame: TypeAlias = Literal["user", "platform", "infrastructure"]
"""Who can mend it: who wrote the task; who runs cluster, registry and quota; nobody (a node died, try again)."""

Heals: TypeAlias = Literal["never", "maybe", "itself"]
"""Whether waiting helps. never: the same pod cannot start until somebody changes something, so fail at once.
maybe: it may (a registry that is down, a Secret being made); wait as long as the deadlines allow.
itself: it is a queue (quota, scheduling gate, nodes being added); its own, longer clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that is known of a pod. Everything is optional; more facts make a better sentence."""

    pod: Object | None = None
    """The last state known."""
    events: Sequence[Object] = ()
    """core/v1 Events about the pod, in any order."""
    nodes: Sequence[Object] = ()
    """The pod's node, or those that could have taken it."""
    container: str = "base"
    """The container that runs the task."""
    error: PodbayError | None = None
    """What the API server or the way to it said to a request for this pod (create, get, log)."""
    context: Mapping[str, Any] = field(default_factory=dict)
    """What only the caller knows, by agreed key: "killed_by" ("us" or a name), "deadline" ("queue", "schedule", "start",
    "run"), "deadline_seconds", "gone" (True: somebody else deleted the pod), "vanished" (True: it is not there any more, and who
    deleted it is not known), "result" (a ResultReading that is no value), "last_lines" (the last lines of the main container's log, as a list: they name a missing program or a wrong architecture)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One cause. `category` is a stable, documented word (docs/diagnosis.md); tests and users may compare it."""

    category: str
    cause: str
    """One sentence without its full stop: what is wrong with which object, in words a newcomer understands."""
    fix: str
    """What to do, as an imperative sentence; names the field, command or person."""
    blame: Blame
    heals: Heals
    evidence: tuple[str, ...] = ()
    """What it follows from: status fields, messages, events; short lines; never a value of an environment variable."""
    container: str | None = None
    """The container concerned, if one is."""

    def sentence(self) -> str:
        """Cause and fix, for an exception's message or a log line."""
        return f"{self.cause}. {self.fix}"


def diagnosis_to_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """As in `--output json` and in a serialised outcome."""
    return {
        "category": diagnosis.category,
        "cause": diagnosis.cause,
        "fix": diagnosis.fix,
        "blame": diagnosis.blame,
        "heals": diagnosis.heals,
        "evidence": list(diagnosis.evidence),
        "container": diagnosis.container,
    }


def diagnosis_from_json(data: Mapping[str, Any]) -> Diagnosis:
    """The inverse of `diagnosis_to_json`."""
    return Diagnosis(
        category=str(data["category"]),
        cause=str(data["cause"]),
        fix=str(data["fix"]),
        blame=data["blame"],
        heals=data["heals"],
        evidence=tuple(data.get("evidence") or ()),
        container=data.get("container"),
    )
