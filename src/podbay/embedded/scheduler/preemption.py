"""Preemption: which running pods of lower priority must end so that a more important one fits.

Pure. There are no disruption budgets in the embedded cluster, so no victim ever violates one.
Source: pkg/scheduler/framework/preemption/preemption.go, plugins/defaultpreemption/default_preemption.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from podbay.embedded.scheduler.cache import NodeInfo, PodInfo
from podbay.embedded.scheduler.cycle import Cycle, Rejection, View
from podbay.embedded.scheduler.filters import run_filters
from podbay.embedded.scheduler.messages import PREEMPTION_NOT_HELPFUL, fit_error

__all__ = ["Preemption", "preempt"]

_NEVER = "not eligible due to preemptionPolicy=Never."
_TERMINATING = "not eligible due to a terminating pod on the nominated node."
_NO_VICTIMS = "No preemption victims found for incoming pod"


@dataclass(frozen=True, slots=True)
class Preemption:
    """The outcome: a node and its victims, or the message that says why there is none."""

    node: str = ""
    victims: tuple[PodInfo, ...] = ()
    message: str = ""
    keep_nomination: bool = False
    """The pod is still waiting for the victims of an earlier preemption."""


def preempt(pod: PodInfo, view: View, rejections: Mapping[str, Rejection]) -> Preemption:
    """rejections holds every node's answer; only nodes whose rejection removal can cure are played through."""
    refusal = _not_eligible(pod, view, rejections)
    if refusal:
        return Preemption(message=refusal, keep_nomination=True)
    statuses: dict[str, tuple[str, ...]] = {}
    candidates: dict[str, list[PodInfo]] = {}
    for name, rejection in rejections.items():
        if rejection.unresolvable or name not in view.nodes:
            continue
        found = _select_victims(pod, view, view.nodes[name])
        if isinstance(found, list):
            candidates[name] = found
        else:
            statuses[name] = found
    if candidates:
        best = _pick_node(candidates)
        return Preemption(node=best, victims=tuple(candidates[best]))
    reasons = list(statuses.values())
    reasons += [(PREEMPTION_NOT_HELPFUL,)] * (len(view.nodes) - len(statuses))
    return Preemption(message=fit_error(len(view.nodes), reasons))


def _not_eligible(pod: PodInfo, view: View, rejections: Mapping[str, Rejection]) -> str | None:
    if pod.pod["spec"].get("preemptionPolicy") == "Never":
        return _NEVER
    nominated = (pod.pod.get("status") or {}).get("nominatedNodeName")
    if not nominated or nominated not in view.nodes:
        return None
    rejection = rejections.get(nominated)
    if rejection is not None and rejection.unresolvable:
        return None
    ending = (p for p in view.nodes[nominated].pods.values() if p.priority < pod.priority)
    return _TERMINATING if any(_ending_by_preemption(p) for p in ending) else None


def _ending_by_preemption(pod: PodInfo) -> bool:
    if not pod.terminating:
        return False
    for condition in (pod.pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "DisruptionTarget":
            return (condition.get("status"), condition.get("reason")) == ("True", "PreemptionByScheduler")
    return False


def _importance(pod: PodInfo) -> tuple[int, str]:
    """Sorts the most important first: higher priority, then longer running (earlier start)."""
    return (-pod.priority, pod.started_at or "9999")


def _select_victims(pod: PodInfo, view: View, node: NodeInfo) -> list[PodInfo] | tuple[str, ...]:
    """The victims, most important first, or the reasons why removing pods does not help."""
    potential = [p for p in node.pods.values() if p.priority < pod.priority]
    if not potential:
        return (_NO_VICTIMS,)
    trial = node.copy()
    for victim in potential:
        trial.remove(victim)
    rejection = _try(pod, view, trial)
    if rejection is not None:
        return rejection.reasons
    victims = []
    # Most important pods are put back first, so the least important ones end.
    for candidate in sorted(potential, key=_importance):
        trial.add(candidate)
        if _try(pod, view, trial) is not None:
            trial.remove(candidate)
            victims.append(candidate)
    return victims


def _try(pod: PodInfo, view: View, node: NodeInfo) -> Rejection | None:
    return run_filters(Cycle.of(pod, view.replace_node(node)), node)


def _pick_node(candidates: Mapping[str, Sequence[PodInfo]]) -> str:
    """The least harm: lowest highest priority, lowest sum, fewest victims, latest start of the most important."""

    def harm(name: str) -> tuple[int, int, int]:
        victims = candidates[name]
        highest = max((v.priority for v in victims), default=-(2**31))
        # Priorities may be negative; the shift keeps "fewer victims" and "lower sum" apart, as upstream does.
        return highest, sum(v.priority + 2**31 for v in victims), len(victims)

    least = min(harm(name) for name in candidates)
    tied = [name for name in candidates if harm(name) == least]
    return max(tied, key=lambda name: _earliest_start_of_highest(candidates[name]))


def _earliest_start_of_highest(victims: Sequence[PodInfo]) -> str:
    highest = max((v.priority for v in victims), default=0)
    return min((v.started_at or "9999" for v in victims if v.priority == highest), default="9999")
