"""How an ended (or vanished) pod has ended, from its own status and what we did to it. Pure (design D12, D13).

A container that ends 0 because somebody asked it to stop has not done its work: a success is one that nobody asked to
end. Whether the pod may be replaced depends on proof that nothing of the task has run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from podbay.lifecycle.outcome import Kind
from podbay.lifecycle.view import ContainerView, PodView, parse_time

__all__ = ["Began", "Verdict", "judge_end", "judge_gone"]

Began: TypeAlias = Literal["no", "yes", "unknown"]
"""Whether anything of the task has run. "no" is a proof, not a guess."""

_REJECTED = (
    "OutOfcpu",
    "OutOfmemory",
    "OutOfpods",
    "OutOfephemeral-storage",
    "NodeAffinity",
    "NodePorts",
    "NodeShutdown",
    "UnexpectedAdmissionError",
    "Preempting",
    "PodOSNotSupported",
    "AppArmor",
    "Terminated",
)
"""Reasons with which a kubelet ends a pod that it does not run (kubelet/lifecycle, nodeshutdown, preemption)."""
_DISRUPTIONS: dict[str, Kind] = {
    "PreemptionByScheduler": "preempted",
    "DeletionByTaintManager": "node_lost",
    "DeletionByPodGC": "node_lost",
    "EvictionByEvictionAPI": "evicted",
    "TerminationByKubelet": "evicted",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """How it ended, before results and diagnosis are looked at."""

    kind: Kind
    exit_code: int | None = None
    infrastructure: bool = False
    began: Began = "yes"
    stopped: bool = True
    """It is proven that nothing of this pod runs any more, so another may take its place."""


def judge_end(view: PodView, *, deletion_seen_before: bool) -> Verdict:
    """For a pod whose stage is "ended". deletion_seen_before: an earlier state, still running, told of its deletion."""
    main = view.main
    lost = _lost(view)
    if main is not None and main.state == "terminated" and main.reason != "ContainerStatusUnknown":
        if lost is not None and _ended_before(main, view, deletion_seen_before=deletion_seen_before):
            lost = None
        if main.exit_code == 0:
            return lost or Verdict("succeeded", 0)
        if main.reason == "OOMKilled":
            return Verdict("oom_killed", main.exit_code)
        if not main.began:
            return Verdict("not_started", main.exit_code, began="yes" if view.began else "no")
        if lost is not None and _may_have_caused(main, lost):
            return Verdict(lost.kind, main.exit_code, lost.infrastructure, "yes", lost.stopped)
        return Verdict("failed", main.exit_code)
    if lost is not None:
        return lost
    if main is None or not main.began:
        return Verdict("not_started", began=_began(view))
    return Verdict("node_lost", None, True, "unknown", stopped=view.phase in ("Succeeded", "Failed"))


def judge_gone(view: PodView | None, *, deletion_seen_before: bool) -> Verdict:
    """For a pod that is not there any more; view is its last state known."""
    if view is None:
        return Verdict("deleted", began="unknown")
    if view.stage == "ended":
        return judge_end(view, deletion_seen_before=deletion_seen_before)
    # Never bound: no node can have started it. Bound: it may have run between its last report and its end.
    began: Began = "no" if not view.node else "yes" if view.began else "unknown"
    kind = _DISRUPTIONS.get(view.disruption)
    if kind is not None:
        return Verdict(kind, None, True, began)
    return Verdict("deleted", began=began)


def _lost(view: PodView) -> Verdict | None:
    """What ended the pod from outside, if something did; None when it ended by itself."""
    began, stopped = _began(view), view.phase in ("Succeeded", "Failed")
    if view.reason == "DeadlineExceeded":
        return Verdict("deadline", None, False, began)
    if view.reason == "NodeLost":
        return Verdict("node_lost", None, True, "unknown", stopped=False)
    kind = _DISRUPTIONS.get(view.disruption)
    if kind is not None:
        # The control plane writes the status of pods on lost nodes; the node itself wrote nothing.
        began = began if kind != "node_lost" or not view.node else _at_least_unknown(began)
        return Verdict(kind, None, True, began, stopped)
    if view.reason == "Evicted":
        return Verdict("evicted", None, True, began, stopped)
    if view.phase == "Failed" and view.reason in _REJECTED:
        return Verdict("evicted" if view.began else "not_started", None, True, began, stopped)
    if view.deleted_at is not None:
        return Verdict("deleted", None, False, began, stopped)
    return None


def _began(view: PodView) -> Began:
    if view.began:
        return "yes"
    if not view.node or view.phase == "Failed":
        # A node writes the final status after its last container has ended, and it tells of all that ran.
        return "no"
    return "unknown"


def _at_least_unknown(began: Began) -> Began:
    return "unknown" if began == "no" else began


def _ended_before(main: ContainerView, view: PodView, *, deletion_seen_before: bool) -> bool:
    """The main container ended before anybody asked the pod to end."""
    if deletion_seen_before:
        return False
    if view.reason:
        # The node ended the pod and says why, not when; that somebody deleted it afterwards changes nothing.
        return False
    finished = parse_time(main.finished_at)
    asked = min((at for at in (view.deleted_at, view.disrupted_at) if at is not None), default=None)
    if finished is None or asked is None:
        # Nothing to compare; a pod that somebody deletes after its end looks like this, too, without stamps.
        return asked is None
    # Stamps have whole seconds; within the same one it is open, and a false success is worse than another try.
    return finished < asked


def _may_have_caused(main: ContainerView, lost: Verdict) -> bool:
    """The exit looks like an answer to a signal: 128 + SIGTERM, SIGKILL or SIGINT."""
    return lost.kind == "deadline" or main.exit_code in (130, 137, 143)
