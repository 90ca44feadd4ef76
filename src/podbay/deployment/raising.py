"""More memory for a try whose predecessor was killed for its memory: how much, and what the log says of it. Pure.

Off unless podbay.yaml says `pods.retry_memory_factor`. Bounded three times: by that factor for each try, by what the file
allows a pod at most, and by the whole quota. Whatever else a pod is stays as its author wrote it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from podbay.deployment.check import ceilings, pod_totals
from podbay.deployment.model import Deployment
from podbay.objects.meta import Object, annotations_of, metadata_of
from podbay.objects.quantity import Quantity
from podbay.pods.resources import MEMORY_RAISED_ANNOTATION, main_container

__all__ = ["FormerTry", "Raised", "former_in", "raise_memory", "tried"]

_MIB: Final = 1 << 20
_MEMORY: Final = "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerTry:
    """What a later try must know of an earlier one. Bytes are those of the main container's memory limit."""

    number: int
    limit: int
    base: int
    """What its author wrote; less than `limit` when it had been raised already."""
    killed: bool
    """For its memory."""

    def to_json(self) -> dict[str, Any]:
        return {"try": self.number, "limit": self.limit, "base": self.base, "killed": self.killed}


@dataclass(frozen=True, slots=True)
class Raised:
    """The pod, and what to tell of it; empty when there is nothing to tell."""

    pod: Object
    note: str = ""


def former_in(value: Any) -> FormerTry | None:
    """What `to_json` wrote; None for anything else, for a retry must not fail for want of a hint."""
    if not isinstance(value, Mapping):
        return None
    number, limit, base = (_positive(value.get(name)) for name in ("try", "limit", "base"))
    if not (number and limit and base):
        return None
    return FormerTry(number=number, limit=limit, base=base, killed=value.get("killed") is True)


def _positive(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def tried(pod: Object, container: str, number: int, *, killed: bool) -> FormerTry | None:
    """What is to be kept of a try that has ended; None where its main container has no limit of memory."""
    limit = _limit(main_container(pod, container))
    if not limit:
        return None
    return FormerTry(number=number, limit=limit, base=_written(pod) or limit, killed=killed)


def raise_memory(pod: Object, container: str, former: FormerTry | None, deployment: Deployment) -> Raised:
    """The pod with as much memory as what became of the try before it asks for. The pod given is not changed."""
    factor = deployment.pods.retry_memory_factor
    main = main_container(pod, container)
    now = _limit(main)
    if factor <= 1 or former is None or not now:
        return Raised(pod)
    wanted = _wanted(former, factor)
    if wanted <= now:
        # Its author has given it more meanwhile, or nothing happened.
        return Raised(pod)
    most, bound = _room(pod, container, deployment)
    given = wanted if most is None else max(now, min(wanted, most))
    why = _why(former)
    if given == now:
        return Raised(
            pod,
            f"Memory of container {container} stays at {_said(now)}, though {why}: {bound} allows no more.",
        )
    note = f"Memory of container {container} is raised from {_said(now)} to {_said(given)}, because {why}"
    short = f"; {bound} allows no more" if given < wanted else ""
    return Raised(_with(pod, container, now, given), f"{note} (pods.retry_memory_factor: {factor:g}{short}).")


def _wanted(former: FormerTry, factor: float) -> int:
    """Bytes, in whole MiB. What was raised once stays, whatever ended the try."""
    if former.killed:
        return ceil(former.limit * factor / _MIB) * _MIB
    return former.limit if former.limit > former.base else 0


def _why(former: FormerTry) -> str:
    if former.killed:
        return f"try {former.number} was killed for its memory at {_said(former.limit)}"
    return f"try {former.number} had it after one that was killed for its memory"


def _room(pod: Object, container: str, deployment: Deployment) -> tuple[int | None, str]:
    """Most bytes that the container may have beside the pod's others, and the field that says so; None for no bound."""
    others = pod_totals(pod)[_MEMORY] - _amount(main_container(pod, container), "limits", _MEMORY)
    bounds = [(bound - others, field) for bound, field in ceilings(deployment, _MEMORY)]
    if not bounds:
        return None, ""
    least, field = min(bounds)
    # Down to whole bytes: a bound must not be passed by rounding.
    return max(0, least.nanos // 10**9), field


def _limit(container: Mapping[str, Any]) -> int:
    return _amount(container, "limits", _MEMORY).value()


def _written(pod: Object) -> int:
    try:
        return Quantity.from_json(annotations_of(pod).get(MEMORY_RAISED_ANNOTATION)).value()
    except ValueError:
        return 0


def _amount(container: Mapping[str, Any], part: str, resource: str) -> Quantity:
    try:
        return Quantity.from_json(((container.get("resources") or {}).get(part) or {}).get(resource))
    except ValueError:
        return Quantity(0)


def _with(pod: Object, container: str, now: int, given: int) -> Object:
    """A request that equals the limit follows it; a smaller one stays, for it is what the pod usually needs."""
    made = copy.deepcopy(pod)
    main = main_container(made, container)
    resources = main["resources"]
    if _amount(main, "requests", _MEMORY) == _amount(main, "limits", _MEMORY):
        resources["requests"] = {**resources["requests"], _MEMORY: _said(given)}
    resources["limits"] = {**resources["limits"], _MEMORY: _said(given)}
    metadata = metadata_of(made)
    metadata["annotations"] = {**(metadata.get("annotations") or {}), MEMORY_RAISED_ANNOTATION: _said(now)}
    return made


def _said(count: int) -> str:
    return str(Quantity.from_value(count, "BinarySI"))
