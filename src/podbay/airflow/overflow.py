"""The clusters that a task may run in, one after the other: where it is meant to, and where it goes for want of room. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from podbay.airflow.connection import DEFAULT_CONNECTION
from podbay.airflow.parameters import OVERFLOW_SECONDS
from podbay.lifecycle.checkpoint import Checkpoint

__all__ = ["Place", "moved_from", "places_of"]

_OF_THE_FIRST: Final = ("in_cluster", "config_file", "cluster_context")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One of them."""

    given: Mapping[str, Any]
    """The task's parameters, as they mean this cluster."""
    patience: float | None = None
    """Seconds that it waits for room here; None: as long as it may."""
    other: str = ""
    """Connection of the cluster that follows."""
    moved: bool = False
    """Another one came before."""

    @property
    def connection(self) -> str:
        return str(self.given.get("kubernetes_conn_id", DEFAULT_CONNECTION) or "(none)")

    def leaving(self, message: str) -> str:
        """For the log."""
        return (
            f"No room for {self.patience:g} s in the cluster of connection {self.connection}: {message}. Nothing of the task "
            f"is there any more; it goes on in the cluster of connection {self.other}."
        )


def places_of(given: Mapping[str, Any]) -> Sequence[Place]:
    """At least one. `given` holds rendered parameters."""
    other = given.get("overflow_kubernetes_conn_id")
    if not other:
        return (Place(given=given),)
    there = {name: value for name, value in given.items() if name not in _OF_THE_FIRST}
    return (
        Place(
            given=given, patience=float(given.get("overflow_after_seconds", OVERFLOW_SECONDS)), other=other
        ),
        Place(given={**there, "kubernetes_conn_id": other}, moved=True),
    )


def moved_from(checkpoint: Checkpoint | None) -> Checkpoint | None:
    """What an earlier life leaves to the one in the other cluster; None if it had not gone there."""
    if checkpoint is None:
        return None
    if checkpoint.moved:
        return checkpoint
    if checkpoint.outcome is not None and checkpoint.outcome.kind == "moved":
        return Checkpoint(elapsed=checkpoint.elapsed, moved=True)
    return None
