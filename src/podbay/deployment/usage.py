"""What task pods have requested, for how long, and what that costs: by DAG and by task. Pure.

A pod's receipt says how much it requested (as a scheduler counts it) and how long that was kept for it: from being bound to
a node to its main container's end. Requests are what a cluster must have ready, so they are what is paid for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final, Literal, TypeAlias

import orjson

from podbay.deployment.model import Prices
from podbay.deployment.rightsizing import Run, Size
from podbay.errors import InvalidInputError
from podbay.lifecycle.checkpoint import Checkpoint
from podbay.lifecycle.outcome import Outcome, Receipt
from podbay.objects.quantity import Quantity

__all__ = ["By", "Spent", "Usage", "Used", "price_of", "spent_in", "usage_by", "usage_json"]

By: TypeAlias = Literal["task", "dag"]

_HOUR: Final = 3600.0
_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Used:
    """As metrics.k8s.io told: averages of cores and bytes, and the most bytes at a moment."""

    cpu: float
    memory: int
    peak: int


@dataclass(frozen=True, slots=True)
class Spent:
    """By the pod of one try."""

    dag: str
    task: str
    uid: str
    receipt: Receipt
    used: Used | None = None
    """None where nobody has measured it."""
    run: Run | None = None
    """What of it can be learnt for the task's size; None where Airflow has not kept that."""


@dataclass(slots=True)
class Usage:
    """Of all pods of one DAG or task together."""

    dag: str
    task: str = ""
    """Empty: of the whole DAG."""
    pods: int = 0
    seconds: float = 0.0
    """For which nodes were kept for them."""
    cpu_hours: float = 0.0
    """Requested cores times hours."""
    memory_hours: float = 0.0
    """Requested GiB times hours."""
    measured: int = 0
    """Of how many pods it is known what they used."""
    used_cpu_hours: float = 0.0
    used_memory_hours: float = 0.0
    peak_memory: int = 0
    """Bytes; the most of any of the pods."""
    _uids: set[str] = field(default_factory=set, repr=False)

    @property
    def name(self) -> str:
        return f"{self.dag}.{self.task}" if self.task else self.dag

    def add(self, spent: Spent) -> None:
        """A pod that two tries had counts once."""
        if spent.uid in self._uids:
            return
        self._uids.add(spent.uid)
        hours = (spent.receipt.held or 0.0) / _HOUR
        self.pods += 1
        self.seconds += spent.receipt.held or 0.0
        self.cpu_hours += hours * spent.receipt.cpu
        self.memory_hours += hours * spent.receipt.memory / _GIB
        if spent.used is not None:
            self.measured += 1
            self.used_cpu_hours += hours * spent.used.cpu
            self.used_memory_hours += hours * spent.used.memory / _GIB
            self.peak_memory = max(self.peak_memory, spent.used.peak)


def spent_in(dag: str, task: str, value: Any, *, when: str = "") -> Spent | None:
    """What a checkpoint tells, as Airflow has it since `when`; None where no pod ran, or not to an end, or it is another
    version's."""
    try:
        data = orjson.loads(value) if isinstance(value, str) else value
        outcome = Checkpoint.from_json(data["state"]).outcome
        told = data.get("used")
        used = Used(float(told["cpu"]), int(told["memory"]), int(told["peakMemory"])) if told else None
        run = _run(dag, task, when, data, outcome) if outcome is not None and data.get("made") else None
    except (InvalidInputError, orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return None
    if outcome is None or not outcome.uid or outcome.receipt.held is None:
        return None
    return Spent(dag, task, outcome.uid, outcome.receipt, used, run)


def _run(dag: str, task: str, when: str, data: Mapping[str, Any], outcome: Outcome) -> Run:
    """Raises ValueError, TypeError and the like for what is none."""
    made, main = data["made"], (data.get("used") or {}).get("main")
    requests, limits = _size(made["requests"]), _size(made["limits"])
    # A receipt counts what all containers requested together.
    others = Size(
        max(0, round(outcome.receipt.cpu * 1000) - (requests.cpu or 0)),
        max(0, outcome.receipt.memory - (requests.memory or 0)),
    )
    seen = Size(ceil(float(main["peakCpu"]) * 1000), int(main["peakMemory"])) if main else None
    written = Quantity.from_json(made["written"]).value() if made.get("written") else None
    killed = outcome.kind == "oom_killed"
    return Run(
        dag=dag,
        task=task,
        when=when,
        requests=requests,
        limits=limits,
        written=written,
        others=others,
        seen=seen,
        killed=killed,
    )


def _size(resources: Mapping[str, Any]) -> Size:
    found = {name: Quantity.from_json(each) for name, each in resources.items()}
    return Size(
        found["cpu"].milli_value() if "cpu" in found else None,
        found["memory"].value() if "memory" in found else None,
    )


def usage_by(by: By, spent: Iterable[Spent], prices: Prices) -> list[Usage]:
    """The dearest first; where nothing has a price, the most CPU."""
    found: dict[tuple[str, str], Usage] = {}
    for each in spent:
        key = (each.dag, each.task if by == "task" else "")
        found.setdefault(key, Usage(*key)).add(each)
    return sorted(found.values(), key=lambda each: (-price_of(each, prices), -each.cpu_hours, each.name))


def price_of(usage: Usage, prices: Prices) -> float:
    """In the file's currency."""
    return usage.cpu_hours * prices.cpu_hour + usage.memory_hours * prices.memory_gib_hour


def usage_json(usages: Iterable[Usage], prices: Prices) -> list[Mapping[str, Any]]:
    """As scripts see it; price is null where podbay.yaml names none."""
    priced = bool(prices.cpu_hour or prices.memory_gib_hour)
    return [
        {
            "dag": each.dag,
            "task": each.task or None,
            "pods": each.pods,
            "seconds": round(each.seconds, 3),
            "cpuHours": round(each.cpu_hours, 6),
            "memoryGiBHours": round(each.memory_hours, 6),
            "measuredPods": each.measured,
            "usedCpuHours": round(each.used_cpu_hours, 6) if each.measured else None,
            "usedMemoryGiBHours": round(each.used_memory_hours, 6) if each.measured else None,
            "peakMemoryBytes": each.peak_memory if each.measured else None,
            "price": round(price_of(each, prices), 6) if priced else None,
            "currency": prices.currency if priced else None,
        }
        for each in usages
    ]
