"""What must outlive the process that runs a pod: small, plain JSON, versioned (P4, P9).

Without it a run that begins again finds its pod by name all the same; with it, it also knows that a pod which is not
there any more has been there, which log lines have been told, and whether the outcome was decided already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from podbay.errors import InvalidInputError
from podbay.kube.log_lines import Position
from podbay.lifecycle.outcome import Outcome
from podbay.objects.meta import Object

__all__ = ["CHECKPOINT_VERSION", "Checkpoint"]

CHECKPOINT_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Of one run."""

    incarnation: int = 0
    pod: str = ""
    """Name of the pod that was created."""
    uid: str = ""
    positions: Mapping[str, Position] = field(default_factory=dict)
    """By container: log lines that the driver has taken over."""
    elapsed: float = 0.0
    """Seconds since the run began."""
    spent: Mapping[str, float] = field(default_factory=dict)
    """Seconds by clock (queue, schedule, start)."""
    last: Object | None = None
    """The pod's last state, if it had ended or was about to go (`memory.remembered`)."""
    killed_by: str = ""
    """Who has asked for the run's end; the next life brings it about."""
    deletion_seen: bool = False
    """Its end was asked for, by whomever, before it had ended."""
    withdrawing: bool = False
    """The pod was about to be given up for want of room: one that is gone may never have had a node."""
    moved: bool = False
    """The run is the one in the other cluster, where the task went for want of room."""
    outcome: Outcome | None = None
    """Decided; only the pod may be left to clean up."""

    def to_json(self) -> dict[str, Any]:
        return {
            "version": CHECKPOINT_VERSION,
            "incarnation": self.incarnation,
            "pod": self.pod,
            "uid": self.uid,
            "positions": {name: str(position) for name, position in self.positions.items()},
            "elapsed": round(self.elapsed, 3),
            "spent": {clock: round(seconds, 3) for clock, seconds in self.spent.items()},
            "last": self.last,
            "killed_by": self.killed_by,
            "deletion_seen": self.deletion_seen,
            "withdrawing": self.withdrawing,
            "moved": self.moved,
            "outcome": None if self.outcome is None else self.outcome.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Checkpoint:
        """Read what `to_json` wrote. Raises InvalidInputError for another version, and for what is none."""
        if data.get("version") != CHECKPOINT_VERSION:
            raise InvalidInputError(
                f"checkpoint: version {data.get('version')!r} is not known here (known: {CHECKPOINT_VERSION})"
            )
        try:
            return cls(
                incarnation=int(data["incarnation"]),
                pod=str(data["pod"]),
                uid=str(data["uid"]),
                positions={name: Position.parse(each) for name, each in data["positions"].items()},
                elapsed=float(data["elapsed"]),
                spent={clock: float(seconds) for clock, seconds in data["spent"].items()},
                last=dict(data["last"]) if data.get("last") else None,
                killed_by=str(data.get("killed_by") or ""),
                deletion_seen=bool(data.get("deletion_seen")),
                withdrawing=bool(data.get("withdrawing")),
                moved=bool(data.get("moved")),
                outcome=Outcome.from_json(data["outcome"]) if data.get("outcome") else None,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as err:
            raise InvalidInputError(f"checkpoint: not one of ours: {err}") from None
