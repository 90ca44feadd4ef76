"""What tasks should ask for, by what they were seen to use. Pure.

A proposal rests on runs, never on a guess: a run counts when its memory was measured while it ran, or when it was killed
for its memory, which says that it needed at least its limit. What is proposed is the most that was seen with head-room on
top, in round figures, and never more than podbay.yaml lets a pod have.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

import yaml

from podbay.deployment.check import ceilings
from podbay.deployment.model import Deployment
from podbay.objects.quantity import Quantity

__all__ = ["HEADROOM", "LEAST_RUNS", "Proposal", "Run", "Silence", "Size", "proposal_json", "propose"]

LEAST_RUNS: Final = 5
HEADROOM: Final = 1.25
"""Times the most that was seen."""
WORTH: Final = 0.8
"""Less is proposed only where it is at most this part of what is asked for now: figures that change with every run help nobody."""
_LEAST_MEMORY: Final = 32 << 20
_LEAST_CPU: Final = 10
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Size:
    """Thousandths of cores and bytes; None says nothing."""

    cpu: int | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Of one task's pod, as far as its main container is concerned."""

    dag: str
    task: str
    when: str
    """Of its end; later ones sort later."""
    requests: Size
    limits: Size
    written: int | None = None
    """Bytes of memory that the task's author wrote, where a retry had more."""
    others: Size = Size(0, 0)
    """What the pod's other containers requested together."""
    seen: Size | None = None
    """The most at a moment that was looked at; None where nobody looked."""
    killed: bool = False
    """For its memory."""

    @property
    def too_little(self) -> int:
        """Bytes of memory that were not enough, for this run or for the try that made it get more; 0 for none known."""
        return (self.limits.memory or 0) if self.killed else (self.written or 0)

    @property
    def counts(self) -> bool:
        return self.seen is not None or self.too_little > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """For one task: what its main container asks for now, and what it should."""

    dag: str
    task: str
    runs: int
    now: Mapping[str, Mapping[str, str]]
    proposed: Mapping[str, Mapping[str, str]]
    """`container_resources`, in the words of the Kubernetes API."""
    seen: Size
    """The most; of memory at least a limit at which a run was killed."""
    reasons: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.dag}.{self.task}"

    def diff(self) -> list[str]:
        """As kubectl diff shows objects."""
        old, new = (_yaml(each) for each in (self.now, self.proposed))
        lines = difflib.unified_diff(
            old, new, f"{self.name} (now)", f"{self.name} (proposed)", lineterm="", n=9
        )
        return [*(f"# {each}" for each in self.reasons), *lines]


@dataclass(frozen=True, slots=True)
class Silence:
    """Why nothing is proposed for a task."""

    dag: str
    task: str
    reason: str

    @property
    def name(self) -> str:
        return f"{self.dag}.{self.task}"


@dataclass(frozen=True, slots=True)
class _Verdict:
    """On one resource; `amount` None: as it is."""

    amount: int | None
    reason: str = ""


def propose(
    runs: Iterable[Run], deployment: Deployment | None, *, least: int = LEAST_RUNS
) -> list[Proposal | Silence]:
    """One answer for each task, by name. `deployment` bounds what is proposed, where one is known."""
    tasks: dict[tuple[str, str], list[Run]] = {}
    for each in runs:
        tasks.setdefault((each.dag, each.task), []).append(each)
    return [_of_task(tasks[key], deployment, least) for key in sorted(tasks)]


def _of_task(runs: Sequence[Run], deployment: Deployment | None, least: int) -> Proposal | Silence:
    last = max(runs, key=lambda each: each.when)
    counted = [each for each in runs if each.counts]
    if len(counted) < least:
        return Silence(last.dag, last.task, f"{len(counted)} of {least} runs that tell what it needs")
    verdicts = {"cpu": _cpu(counted, last, deployment), "memory": _memory(counted, last, deployment)}
    reasons = tuple(each.reason for each in verdicts.values() if each.reason)
    now = _now(last)
    proposed = now
    for name, verdict in verdicts.items():
        if verdict.amount is not None:
            proposed = _with(proposed, name, verdict.amount)
    if proposed == now:
        return Silence(last.dag, last.task, "; ".join(reasons) or "it asks for what it needs")
    return Proposal(
        dag=last.dag,
        task=last.task,
        runs=len(counted),
        now=now,
        proposed=proposed,
        seen=Size(_peak(counted, "cpu"), max(_peak(counted, "memory") or 0, _killed(counted)) or None),
        reasons=reasons,
    )


def _now(last: Run) -> dict[str, dict[str, str]]:
    """What its author wrote: a retry may have had more memory."""
    requests, limits = last.requests, last.limits
    if last.written:
        follows = requests.memory == limits.memory
        requests = Size(requests.cpu, last.written if follows else requests.memory)
        limits = Size(limits.cpu, last.written)
    return _resources(requests, limits)


def _peak(runs: Iterable[Run], resource: str) -> int | None:
    found = [getattr(each.seen, resource) for each in runs if each.seen is not None]
    return max((each for each in found if each is not None), default=None)


def _killed(runs: Iterable[Run]) -> int:
    """The largest limit that was too little."""
    return max((each.too_little for each in runs), default=0)


def _memory(runs: Sequence[Run], last: Run, deployment: Deployment | None) -> _Verdict:
    measured = _peak(runs, "memory")
    killed = _killed(runs)
    peak = max(measured or 0, killed)
    now = last.written or last.limits.memory or last.requests.memory
    if not peak:
        return _Verdict(None)
    if killed >= (measured or 0):
        times = sum(each.too_little > 0 for each in runs)
        said = f"memory: {times} of {len(runs)} runs killed for it, at up to {_bytes(killed)}"
    else:
        said = f"memory: at most {_bytes(peak)} in {len(runs)} runs"
    wanted = max(_LEAST_MEMORY, _rounded(ceil(peak * HEADROOM), _MIB * (16 if peak < 1 << 30 else 64)))
    return _bounded("memory", wanted, now, said, _most("memory", last, deployment))


def _cpu(runs: Sequence[Run], last: Run, deployment: Deployment | None) -> _Verdict:
    peak = _peak(runs, "cpu")
    now = last.limits.cpu or last.requests.cpu
    if peak is None:
        return _Verdict(None)
    wanted = max(_LEAST_CPU, _rounded(ceil(peak * HEADROOM), 10 if peak < 1000 else 100))
    said = f"cpu: at most {_cores(peak)} in {sum(each.seen is not None for each in runs)} runs"
    return _bounded("cpu", wanted, now, said, _most("cpu", last, deployment))


def _bounded(
    resource: str, wanted: int, now: int | None, said: str, most: tuple[int, str] | None
) -> _Verdict:
    show = _bytes if resource == "memory" else _cores
    if most is not None and wanted > most[0]:
        said = f"{said}; {show(wanted)} would be right, {most[1]} allows {show(most[0])}"
        wanted = most[0]
    allowed = most is None or now is None or now <= most[0]
    if wanted <= 0 or wanted == now or (now is not None and allowed and now * WORTH < wanted < now):
        return _Verdict(None, said if most is not None and wanted == most[0] else "")
    return _Verdict(wanted, said)


def _most(resource: str, last: Run, deployment: Deployment | None) -> tuple[int, str] | None:
    """What podbay.yaml leaves the main container beside the pod's others, and the field that says so."""
    if deployment is None:
        return None
    others = getattr(last.others, resource) or 0
    bounds = [(_count(resource, bound) - others, field) for bound, field in ceilings(deployment, resource)]
    return min(bounds, default=None)


def _count(resource: str, quantity: Quantity) -> int:
    return quantity.nanos // (10**9 if resource == "memory" else 10**6)


def _rounded(count: int, step: int) -> int:
    return ceil(count / step) * step


def _resources(requests: Size, limits: Size) -> dict[str, dict[str, str]]:
    parts = {"requests": requests, "limits": limits}
    return {part: said for part, size in parts.items() if (said := _listed(size))}


def _listed(size: Size) -> dict[str, str]:
    said = {"cpu": None if size.cpu is None else _cores(size.cpu)}
    said["memory"] = None if size.memory is None else _bytes(size.memory)
    return {name: each for name, each in said.items() if each is not None}


def _with(resources: Mapping[str, Mapping[str, str]], name: str, amount: int) -> dict[str, dict[str, str]]:
    """The limit, where there is one. A request that equals it follows it; a smaller one stays, as far as it is smaller."""
    text = _bytes(amount) if name == "memory" else _cores(amount)
    made = {part: dict(each) for part, each in resources.items()}
    request, limit = (resources.get(part, {}).get(name) for part in ("requests", "limits"))
    if limit is not None:
        made["limits"][name] = text
    if limit is None or request == limit or (request is not None and _is_more(request, text)):
        made.setdefault("requests", {})[name] = text
    return made


def _is_more(text: str, other: str) -> bool:
    return Quantity.parse(text) > Quantity.parse(other)


def _yaml(resources: Mapping[str, Mapping[str, str]]) -> list[str]:
    body = {"container_resources": {part: dict(each) for part, each in resources.items()}}
    return yaml.safe_dump(body, sort_keys=True).splitlines()


def _bytes(count: int) -> str:
    return str(Quantity.from_value(count, "BinarySI"))


def _cores(count: int) -> str:
    return str(Quantity.from_milli(count))


def proposal_json(answer: Proposal | Silence) -> Mapping[str, Any]:
    """As scripts see it; `proposed` is null where nothing is proposed, and `reasons` say why."""
    if isinstance(answer, Silence):
        return {"dag": answer.dag, "task": answer.task, "runs": None, "now": None, "proposed": None} | {
            "peakCpu": None,
            "peakMemoryBytes": None,
            "reasons": [answer.reason],
            "diff": None,
        }
    return {
        "dag": answer.dag,
        "task": answer.task,
        "runs": answer.runs,
        "now": answer.now,
        "proposed": answer.proposed,
        "peakCpu": None if answer.seen.cpu is None else answer.seen.cpu / 1000,
        "peakMemoryBytes": answer.seen.memory,
        "reasons": list(answer.reasons),
        "diff": "\n".join(answer.diff()),
    }
