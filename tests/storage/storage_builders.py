"""Objects and short forms for the storage tests."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from podbay.apiserver.storage import Change, Predicate

KEY = "pods"


def make_pod(name: str, namespace: str = "default", *, value: object = None, **labels: str) -> dict[str, Any]:
    """A pod as the verb layer hands it over; value makes versions differ."""
    metadata: dict[str, Any] = {"name": name, "namespace": namespace}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"value": value}}


def labelled(name: str, value: str) -> Predicate:
    def selects(labels: Mapping[str, str], fields: Mapping[str, str]) -> bool:
        return labels.get(name) == value

    return selects


def shown(changes: list[Change]) -> list[tuple[str, str, int]]:
    return [(change.type, change.entry.name, change.entry.version) for change in changes]


class FixedClock:
    """A wall clock that moves when told to."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
