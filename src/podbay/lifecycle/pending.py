"""Until the main container runs: which clock runs, what is told, when to give up and when to ask for more facts. Pure.

Three clocks, each running only in its own stages, so that a pod which queued for an hour still has its two minutes to
start: queue (quota, scheduling gates, an API server that takes nothing), schedule (no node), start (pulling, volumes).
Init containers are the user's own work; no clock runs meanwhile.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Final

from podbay.errors import ApiError, PodbayError
from podbay.lifecycle import state as s
from podbay.lifecycle.diagnosis.diagnose import diagnose
from podbay.lifecycle.diagnosis.model import Diagnosis, Facts
from podbay.lifecycle.hold import is_checked
from podbay.lifecycle.plan import Deadlines, Rules
from podbay.lifecycle.state import Action, Clock, Phase, State
from podbay.lifecycle.view import PodView, Stage, view_of
from podbay.objects.meta import name_of, namespace_of, uid_of
from podbay.pods.identity import identity_of

__all__ = [
    "absorb_refusal",
    "facts_of",
    "go_on",
    "is_answer",
    "next_deadline",
    "passed",
    "room_spent",
    "run_clock",
]

_CLOCKS: Final[dict[Stage, Clock]] = {
    "queued": "queue",
    "scheduling": "schedule",
    "unschedulable": "schedule",
    "pulling": "start",
    "starting": "start",
}
_PHASES: Final[dict[Stage, Phase]] = {
    "queued": "queued",
    "scheduling": "scheduling",
    "unschedulable": "unschedulable",
    "pulling": "pulling",
    "initializing": "initializing",
    "starting": "starting",
    "running": "running",
    "ended": "result",
}
FIRST_LOOK = 5.0
"""Seconds in a stage after which the pod's events are read: they tell of volumes, sandboxes and pulls, the status does not."""
_MOST_LOOKS = 300.0
_RETRIES: Final = (2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds between creates that are refused for now."""


def facts_of(rules: Rules, state: State, **context: object) -> Facts:
    """For a diagnosis."""
    return Facts(
        pod=state.pod,
        events=state.events,
        nodes=state.nodes,
        container=rules.container,
        error=state.create_error,
        context=context,
    )


def absorb_refusal(rules: Rules, state: State, event: s.Refused | s.Taken) -> State:
    """The pod was not created; whether to ask again depends on what the refusal says."""
    refused = replace(state, creating=False, create_failures=state.create_failures + 1)
    if isinstance(event, s.Refused):
        answered = is_answer(event.error)
        refused = replace(
            refused, doubtful=state.doubtful or event.doubt, behind=state.behind and (answered or event.doubt)
        )
    if isinstance(event, s.Taken):
        return replace(refused, hopeless=True, refusal=_name_taken(event))
    found = event.diagnosis
    refused = replace(refused, create_error=event.error, refusal=found)
    if event.final or (found is not None and found.heals == "never" and not event.doubt):
        return replace(refused, hopeless=True, phase="creating")
    refused = run_clock(
        refused, "queue" if found is not None and found.heals == "itself" else "schedule", event.now
    )
    if passed(rules.deadlines, refused, event.now) is not None and not event.doubt:
        return replace(refused, hopeless=True)
    text = found.cause if found is not None else str(event.error)
    return replace(refused, create_at=event.now + _retry_delay(refused), phase="queued", text=text)


def is_answer(error: PodbayError | None) -> bool:
    """The API server has looked at the request. One that is away or busy is not asked for more, or no run could end."""
    return isinstance(error, ApiError) and 400 <= error.code < 500 and error.code not in (408, 429)


def _name_taken(event: s.Taken) -> Diagnosis:
    owner = identity_of(event.pod)
    name = f"{namespace_of(event.pod)}/{name_of(event.pod)}"
    whose = (
        f"try {owner.try_number} of task {owner.dag_id}.{owner.task_id}"
        if owner is not None
        else "somebody else"
    )
    left = ", and was kept" if is_checked(event.pod) else ""
    return Diagnosis(
        category="NameTaken",
        cause=f"pod {name} exists already and belongs to {whose}{left}",
        fix="Give the task a name of its own, or delete that pod.",
        blame="user",
        heals="never",
        evidence=(f"uid of the pod that is there: {uid_of(event.pod)}",),
    )


def _retry_delay(state: State) -> float:
    """Spread by the pod's name, so that a thousand refused tasks do not come back in the same instant."""
    base = _RETRIES[min(state.create_failures, len(_RETRIES)) - 1]
    spread = zlib.crc32(f"{state.name}{state.begun_at}".encode()) % 1000 / 1000
    return base * (0.75 + 0.5 * spread)


def go_on(rules: Rules, state: State, now: float) -> tuple[State, list[Action]]:
    """The pod exists and has not ended."""
    if state.pod is None:
        return state, []
    view = view_of(state.pod, rules.container)
    if state.deletion_at is not None:
        # Others end it: whatever is wrong with its start besides, their reason is the one that counts.
        waiting = replace(run_clock(state, None, now), phase=_PHASES[view.stage], explain_at=None)
        return replace(waiting, text="somebody ends the pod"), []
    clock = _CLOCKS.get(view.stage)
    state = run_clock(state, clock, now)
    state = replace(state, phase=_PHASES[view.stage], text=_text(view, state))
    if view.stage in ("running", "initializing"):
        return replace(state, explain_at=None), []
    late = passed(rules.deadlines, state, now)
    found = diagnose(facts_of(rules, state, **_deadline_context(rules, late)))
    hopeless = found is not None and found.heals == "never"
    if late is None and not hopeless:
        return _look_later(state, now)
    # The events may name a better cause than the status does.
    if state.explaining:
        return state, []
    if state.explained_for == view.stage:
        return replace(state, gave_up=found or _plain(rules, late)), []
    return replace(state, explaining=True, explain_at=None, explained_for=view.stage), [s.ReadEvents()]


def _deadline_context(rules: Rules, late: Clock | None) -> dict[str, object]:
    return {} if late is None else {"deadline": late, "deadline_seconds": getattr(rules.deadlines, late)}


def _look_later(state: State, now: float) -> tuple[State, list[Action]]:
    if state.explaining:
        return state, []
    if state.explain_at is None:
        wait = min(_MOST_LOOKS, FIRST_LOOK * 2.0 ** min(state.explanations, 10))
        return replace(state, explain_at=now + wait), []
    if now < state.explain_at:
        return state, []
    return replace(state, explaining=True, explain_at=None), [s.ReadEvents(needed=False)]


def run_clock(state: State, clock: Clock | None, now: float) -> State:
    """Let this clock run and the others stand."""
    if state.clock == clock:
        return state
    spent = dict(state.spent)
    if state.clock is not None:
        spent[state.clock] = spent.get(state.clock, 0.0) + now - state.clock_since
    return replace(state, clock=clock, clock_since=now, spent=spent)


def _limit(deadlines: Deadlines, clock: Clock | None) -> float | None:
    by_clock = {"queue": deadlines.queue, "schedule": deadlines.schedule, "start": deadlines.start}
    return None if clock is None else by_clock[clock]


def passed(deadlines: Deadlines, state: State, now: float) -> Clock | None:
    """The running clock, if its time is up."""
    at = _clock_end(deadlines, state)
    return state.clock if at is not None and now >= at else None


def _clock_end(deadlines: Deadlines, state: State) -> float | None:
    limit = _limit(deadlines, state.clock)
    if limit is None or state.clock is None:
        return None
    return state.clock_since + limit - state.spent.get(state.clock, 0.0)


def room_spent(state: State) -> float:
    """Seconds for which there was no room, without what the running clock has counted since it began."""
    return state.spent.get("queue", 0.0) + state.spent.get("schedule", 0.0)


def next_deadline(rules: Rules, state: State) -> list[float]:
    """Times at which something is due."""
    if state.verdict is not None:
        return []
    at = _clock_end(rules.deadlines, state) if state.deleting_at is None else None
    times = [at] if at is not None else []
    if state.explain_at is not None and not state.explaining:
        times.append(state.explain_at)
    return times


def _plain(rules: Rules, late: Clock | None) -> Diagnosis:
    seconds = getattr(rules.deadlines, late) if late is not None else 0
    return Diagnosis(
        category="StartDeadline",
        cause=f"the pod did not start within {seconds:g} s and nothing says why",
        fix="Look at the pod's node and events, or allow more time.",
        blame="platform",
        heals="never",
    )


def _text(view: PodView, state: State) -> str:
    if view.waiting_for:
        return view.waiting_for
    if view.stage == "starting" and _is_pulling(state):
        return "the image is being pulled"
    return ""


def _is_pulling(state: State) -> bool:
    reasons = [e.get("reason") for e in state.events]
    return reasons.count("Pulling") > reasons.count("Pulled")
