"""Giving a pod up for want of room, so that the task may run in another cluster: when, and what proves it. Pure.

Exactly one pod of a task may ever run, so the pod must be gone, and it must be certain that no node ever had it:

    the API server deletes it on condition that it is as it was seen (uid and version), which is without a node
    a life that was lost before it heard of that: the pod is gone, and its events, which could be read, tell of no node

Whatever else makes the pod go is judged as ever; a pod that gets its node at the last moment simply goes on.
"""

from __future__ import annotations

from dataclasses import replace

from podbay.lifecycle import state as s
from podbay.lifecycle.judge import Verdict
from podbay.lifecycle.pending import room_spent
from podbay.lifecycle.plan import Rules
from podbay.lifecycle.state import Action, State
from podbay.objects.meta import metadata_of

__all__ = [
    "absorb_withdrawn",
    "before_deletion",
    "has_node",
    "judge_moved",
    "look_for_node",
    "move_on",
    "moves_at",
    "without_intent",
]

_MOVED = Verdict("moved", began="no")


def has_node(state: State) -> bool:
    pod = state.pod or state.remembered or {}
    return bool((pod.get("spec") or {}).get("nodeName"))


def moves_at(rules: Rules, state: State) -> float | None:
    """When it is given up if nothing changes; None: not from here."""
    if (
        rules.overflow is None
        or state.wanted_dead
        or state.verdict is not None
        or state.deletion_at is not None
    ):
        return None
    if (
        state.clock not in ("queue", "schedule")
        or state.withdrawing
        or state.gone
        or state.doubtful
        or state.behind
    ):
        return None
    if state.uid:
        if state.pod is None or has_node(state) or state.withdrawn_at == _version(state):
            return None
    elif state.creating or state.refusal is None or state.refusal.heals != "itself":
        return None
    return state.clock_since + rules.overflow - room_spent(state)


def move_on(rules: Rules, state: State, now: float) -> tuple[State, list[Action]]:
    """Give the pod up, if its time has come."""
    at = moves_at(rules, state)
    if at is None or now < at:
        return state, []
    if not state.uid:
        # None was ever made.
        return replace(state, withdrawal="done", hopeless=True, create_at=None), []
    version = _version(state)
    asked = replace(state, withdrawing=True, withdrawn_at=version, withdrawal="meant", explain_at=None)
    return asked, [s.Save(), s.Withdraw(state.uid, version)]


def absorb_withdrawn(state: State, event: s.Withdrawn) -> tuple[State, list[Action]]:
    """What the API server says."""
    if not state.withdrawing:
        return state, []
    if event.done:
        return replace(state, withdrawing=False, withdrawal="done"), []
    if state.gone:
        return replace(state, withdrawing=False), []
    return without_intent(replace(state, withdrawing=False))


def without_intent(state: State) -> tuple[State, list[Action]]:
    """It goes on here. A later life must know, or it would take a pod that ran for one that never did."""
    if state.withdrawal == "no":
        return state, []
    return replace(state, withdrawal="no"), [s.Save()]


def look_for_node(state: State) -> tuple[State, list[Action]] | None:
    """What a life must ask first that finds a pod gone which an earlier one meant to give up; None when nothing."""
    if not state.gone or state.withdrawal != "meant" or state.looked or has_node(state):
        return None
    if state.withdrawing or state.explaining:
        return state, []
    return replace(state, explaining=True, explain_at=None), [s.ReadEvents()]


def judge_moved(state: State) -> Verdict | None:
    """For a pod that is gone, or was never made; None when something else has become of it."""
    if state.killed_by or state.gave_up is not None or has_node(state):
        return None
    if state.withdrawal == "done" and (state.gone or not state.uid):
        return _MOVED
    told = state.unread or any(event.get("reason") == "Scheduled" for event in state.events)
    return _MOVED if state.withdrawal == "meant" and state.gone and state.looked and not told else None


def before_deletion(state: State) -> State:
    """As it was when it was given up: our own deletion says nothing of why."""
    if state.pod is None:
        return state
    ours = ("deletionTimestamp", "deletionGracePeriodSeconds")
    metadata = {name: value for name, value in metadata_of(state.pod).items() if name not in ours}
    return replace(state, pod={**state.pod, "metadata": metadata})


def _version(state: State) -> str:
    return str(metadata_of(state.pod or {}).get("resourceVersion") or "")
