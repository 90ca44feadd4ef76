"""The life of one pod's run as a pure function: (state, event) -> (state, actions) (design D4).

Level-triggered: an event only adds to what is known (`_absorb`), and what to do follows from all that is known
(`_decide`), so the order in which news arrives, repeated news and a new beginning after a crash change no outcome.

    nothing known -> creating -> pending.py (queued … starting, its deadlines) -> running
        -> ending.py (log, result, evidence) -> outcome decided -> cleaned -> finished
                 └-> replaced by the next incarnation when the infrastructure lost it (design D13)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from podbay.lifecycle import state as s
from podbay.lifecycle.ending import conclude, gather, judge, may_replace, next_ending
from podbay.lifecycle.former import incarnation_number, is_of_former_run, of_this_run
from podbay.lifecycle.moving import absorb_withdrawn, look_for_node, move_on, moves_at, without_intent
from podbay.lifecycle.outcome import Outcome
from podbay.lifecycle.pending import absorb_refusal, go_on, is_answer, next_deadline, passed
from podbay.lifecycle.plan import Rules
from podbay.lifecycle.state import Action, Event, State
from podbay.lifecycle.view import view_of
from podbay.objects.meta import Object, name_of, namespace_of, uid_of

__all__ = ["Step", "step"]

SAVE_SECONDS = 5.0
"""An end that takes longer to be told is written down first: the next life may find no pod to look at."""

Step: TypeAlias = tuple[State, tuple[Action, ...]]


def step(rules: Rules, state: State, event: Event) -> Step:
    """What the event makes of the state, and what is to be done now, in this order."""
    if state.phase == "done":
        return state, ()
    known, first = _absorb(rules, state, event)
    known, then = _decide(rules, known, event.now)
    actions = [*first, *then]
    if (known.phase, known.text) != (state.phase, state.text):
        actions.append(s.Tell(known.phase, known.text))
    wake = next_wake(rules, known, event.now)
    if wake is not None:
        actions.append(s.Wake(wake))
    return known, tuple(actions)


# -- what is known


def _absorb(rules: Rules, state: State, event: Event) -> tuple[State, list[Action]]:
    match event:
        case s.Found():
            return _begin(rules, state, event)
        case s.Created(pod=pod):
            if state.finding and is_of_former_run(pod, uid=state.uid):
                return _after_former(rules, state, event.now), []
            return _adopt(replace(state, creating=False), pod, event.now, rules)
        case s.Taken(pod=pod, ours=ours):
            former = is_of_former_run(pod, uid=state.uid)
            if ours and not former:
                return _adopt(replace(state, creating=False), pod, event.now, rules)
            if ours and rules.replaceable:
                return _after_former(rules, state, event.now), []
            return absorb_refusal(rules, state, event), []
        case s.Refused():
            return absorb_refusal(rules, state, event), []
        case s.Seen(pod=pod):
            return _heard(rules, state, pod, event.now) if uid_of(pod) == state.uid else (state, [])
        case s.Gone():
            if event.last is not None and uid_of(event.last) != state.uid:
                # A pod that this one has replaced, and that took its time to go.
                return state, []
            if not state.uid:
                return replace(state, doubtful=False, behind=False, finding=False), []
            last = event.last or state.pod or state.remembered
            return replace(state, gone=True, pod=last), []
        case s.Explained():
            return _explained(state, event), []
        case s.LogsRead(last_lines=lines):
            return replace(state, logs="read", last_lines=lines), []
        case s.ResultRead(reading=reading):
            return replace(state, result=state.result or reading, reading_result=False), []
        case s.Asked(by=by):
            # The end of a pod that another one follows is not the end of the run.
            too_late = state.verdict is not None and state.phase != "replacing"
            if state.killed_by or too_late or state.outcome is not None:
                return state, []
            return replace(state, killed_by=by or "somebody"), [s.Save()]
        case s.Decided():
            return replace(state, decided=True), []
        case s.Cleaned():
            return _cleaned(state, event), []
        case s.Withdrawn():
            return absorb_withdrawn(state, event)
        case s.Tick():
            return state, []


def _begin(rules: Rules, state: State, event: s.Found) -> tuple[State, list[Action]]:
    begun = replace(state, phase="creating", spent=event.spent)
    if event.killed_by and not begun.killed_by:
        begun = replace(begun, killed_by=event.killed_by)
    own, first = of_this_run(event.pods, uid=event.known_uid, name=event.known_name)
    first = first if rules.replaceable else 0
    begun = _counted(begun, event.incarnation if event.known_uid else max(event.incarnation, first), first)
    if event.outcome is not None:
        # Whatever is left of the pod is only to be removed.
        left = next((pod for pod in event.pods if uid_of(pod) == event.known_uid), None)
        begun = replace(
            begun, outcome=event.outcome, decided=True, name=event.known_name, uid=event.known_uid
        )
        return replace(begun, pod=left), []
    if event.deletion_seen:
        begun = replace(begun, deletion_at=event.now)
    if event.withdrawing:
        begun = replace(begun, withdrawal="meant")
    newest = max(own, key=incarnation_number, default=None)
    if newest is not None and not (event.known_uid and incarnation_number(newest) < event.incarnation):
        begun = _counted(begun, incarnation_number(newest), first)
        if uid_of(newest) != event.known_uid:
            begun = replace(begun, deletion_at=None, withdrawal="no")
        return _adopt(begun, newest, event.now, rules)
    if event.known_uid:
        # At most one is there that this one has replaced, and that takes its time to go.
        found = replace(begun, uid=event.known_uid, name=event.known_name, remembered=event.last)
        return found, [s.Find(event.known_name, event.known_uid)]
    # A watch may be behind, and an earlier life's create not in it yet: a create of ours would meet that pod, but who ends
    # the run before one must look for it.
    return replace(begun, create_at=event.now, behind=True), []


def _counted(state: State, incarnation: int, first: int) -> State:
    """first: of this run's pods."""
    return replace(state, incarnation=incarnation, incarnations=incarnation - min(first, incarnation) + 1)


def _after_former(rules: Rules, state: State, now: float) -> State:
    """The name belongs to a pod that a former run has left, so a create in doubt has made none. A pod of an earlier life, of
    which the watch may not know yet, comes after it as well."""
    passed_by = replace(state, creating=False, finding=False, doubtful=False)
    if not rules.replaceable:
        return replace(passed_by, behind=False)
    create_at = now if state.creating else state.create_at
    return replace(passed_by, incarnation=state.incarnation + 1, create_at=create_at)


def _named(state: State, pod: Object) -> State:
    return replace(state, name=name_of(pod), namespace=namespace_of(pod), uid=uid_of(pod))


def _adopt(state: State, pod: Object, now: float, rules: Rules) -> tuple[State, list[Action]]:
    named = replace(_named(state, pod), create_at=None, create_error=None)
    named = replace(named, doubtful=False, behind=False, finding=False)
    return _seen(rules, named, pod, now), [s.Adopt(pod), s.Save()]


def _heard(rules: Rules, state: State, pod: Object, now: float) -> tuple[State, list[Action]]:
    seen = _seen(rules, state, pod, now)
    actions: list[Action] = [s.Save()] if seen.deletion_at != state.deletion_at else []
    if seen.bound_at is not None and not seen.withdrawing:
        seen, more = without_intent(seen)
        actions += more
    return seen, actions


def _seen(rules: Rules, state: State, pod: Object, now: float) -> State:
    view = view_of(pod, rules.container)
    seen = replace(state, pod=pod)
    if view.node and seen.bound_at is None:
        seen = replace(seen, bound_at=now)
    if view.main is not None and view.main.began and seen.running_at is None:
        seen = replace(seen, running_at=now)
    if view.stage == "ended" and seen.ended_at is None:
        seen = replace(seen, ended_at=now)
    if view.stage != "ended" and (view.deleted_at is not None or view.disruption):
        seen = replace(seen, deletion_at=seen.deletion_at or now)
    return seen


def _explained(state: State, event: s.Explained) -> State:
    if not state.explaining:
        # Asked for a pod that has been replaced.
        return state
    known = replace(state, explaining=False, explanations=state.explanations + 1)
    if event.events or not known.events:
        known = replace(known, events=event.events)
    if event.nodes:
        known = replace(known, nodes=event.nodes)
    if known.gone and not event.skipped:
        known = replace(known, looked=True, unread=event.unread)
    # The end may have come while nobody needed them yet; then they are asked for again.
    return replace(known, explained=known.verdict is not None and not event.skipped, explain_at=None)


def _cleaned(state: State, event: s.Cleaned) -> State:
    if state.phase == "replacing":
        return State(
            phase="creating",
            begun_at=state.begun_at,
            incarnation=state.incarnation + 1,
            incarnations=state.incarnations + 1,
            create_at=event.now + replacement_delay(state.incarnations),
            killed_by=state.killed_by,
            kill_is_deadline=state.kill_is_deadline,
            spent=state.spent,
            text="another pod takes the place of the one that was lost",
        )
    return replace(state, cleaned=state.cleaning, kill_answered=True, held_until=event.held_until)


def replacement_delay(incarnations: int) -> float:
    """Seconds before the next pod: what took the last one away may still be at it."""
    return min(60.0, 2.0 ** (incarnations - 1))


# -- what follows


def _decide(rules: Rules, state: State, now: float) -> tuple[State, list[Action]]:
    if state.outcome is not None:
        return _clean_up(rules, state)
    if state.phase in ("new", "replacing"):
        # Nothing must be created before it is known what is there, or while the last pod is being removed.
        return state, []
    state = _passed_run_deadline(rules, state, now)
    state = _gave_up_creating(rules, state, now)
    if _must_look(state):
        return (state, []) if state.finding else (replace(state, finding=True), [s.Find("", "")])
    waiting = look_for_node(state)
    if waiting is not None:
        return waiting
    if state.verdict is None:
        state = judge(rules, state, now)
    if state.verdict is not None:
        return _end(rules, state, now)
    if state.wanted_dead and state.uid and state.deleting_at is None:
        return _kill(rules, state, now)
    if state.wanted_dead:
        return state, []
    if not state.uid:
        state, _ = move_on(rules, state, now)
        return _end(rules, judge(rules, state, now), now) if state.hopeless else _create(state, now)
    state, actions = go_on(rules, state, now)
    if state.gave_up is not None:
        return _kill(rules, state, now)
    state, more = move_on(rules, state, now)
    return state, [*actions, *more]


def _must_look(state: State) -> bool:
    """A pod may be there that nobody has heard of: the run must not end before that is known, and another create only tells
    it unless it is refused for other reasons than the name."""
    if not (state.doubtful or state.behind) or state.creating or state.uid:
        return False
    return state.wanted_dead or state.hopeless or is_answer(state.create_error)


def _passed_run_deadline(rules: Rules, state: State, now: float) -> State:
    limit = rules.deadlines.run
    if limit is None or state.wanted_dead or state.verdict is not None or now < state.begun_at + limit:
        return state
    return replace(state, killed_by="the run's deadline", kill_is_deadline=True)


def _gave_up_creating(rules: Rules, state: State, now: float) -> State:
    if (
        state.uid
        or state.creating
        or not state.create_failures
        or passed(rules.deadlines, state, now) is None
    ):
        return state
    return replace(state, hopeless=True, create_at=None)


def _create(state: State, now: float) -> tuple[State, list[Action]]:
    if state.wanted_dead or state.creating or state.create_at is None or now < state.create_at:
        return state, []
    return replace(state, creating=True, create_at=None), [s.Create(state.incarnation)]


def _kill(rules: Rules, state: State, now: float) -> tuple[State, list[Action]]:
    dying = replace(
        state, deleting_at=now, clock=None, explain_at=None, phase="cleaning", text=_kill_text(state)
    )
    if rules.keep_on_kill and state.killed_by and not state.kill_is_deadline:
        # Its task is over though it may run on; the mark tells the healer and the next try that this is wanted.
        left = replace(dying, kill_answered=not rules.checked_label)
        ended, actions = _end(rules, judge(rules, left, now), now)
        return ended, [*([s.Mark(state.uid)] if rules.checked_label else []), *actions]
    return dying, [s.Kill(state.uid, rules.kill_grace)]


def _kill_text(state: State) -> str:
    if state.gave_up is not None:
        return "the pod cannot start and is removed"
    return (
        "the run's time is up; its pod is being ended" if state.kill_is_deadline else "the pod is being ended"
    )


def _end(rules: Rules, state: State, now: float) -> tuple[State, list[Action]]:
    if may_replace(rules, state):
        moving = replace(
            state,
            phase="replacing",
            text=f"the pod was lost ({state.verdict.kind if state.verdict else ''}); another one follows",
        )
        return moving, [s.Delete("" if state.gone else state.uid)]
    state, actions, ready = gather(rules, state, now)
    if ready:
        state, more = conclude(rules, state, now)
        actions += more
    elif not state.end_saved and state.ended_at is not None and now >= state.ended_at + SAVE_SECONDS:
        state = replace(state, end_saved=True)
        actions.append(s.Save())
    return state, actions


def _clean_up(rules: Rules, state: State) -> tuple[State, list[Action]]:
    assert state.outcome is not None
    if not state.decided or (state.cleaning and not state.cleaned):
        return state, []
    if state.deleting_at is not None and not state.kill_answered and not state.gone:
        return state, []
    if state.cleaned or not state.uid or state.gone or state.deleting_at is not None:
        return replace(state, phase="done", text=""), [s.Finish(state.outcome)]
    tidying = replace(state, phase="cleaning", text="", cleaning=True)
    if not _is_kept(rules, state.outcome):
        return tidying, [s.Delete(state.uid)]
    if rules.checked_label or rules.hold is not None:
        return tidying, [s.Mark(state.uid, rules.hold)]
    return replace(state, phase="done", text=""), [s.Finish(state.outcome)]


def _is_kept(rules: Rules, outcome: Outcome) -> bool:
    if rules.keep != "on_failure":
        return rules.keep == "always"
    # Who keeps failed pods for good gets, as upstream, also those whose exit code means: skipped.
    is_fine = rules.hold is not None and outcome.exit_code in rules.unheld_codes
    return not outcome.ok and not is_fine


def next_wake(rules: Rules, state: State, now: float) -> float | None:
    """The earliest time to come at which something follows without any news.

    What is due already has just been decided, or waits for an answer that is news itself: to be woken for it would be to be
    woken again at once, for as long as the answer takes.
    """
    if state.outcome is not None or state.phase in ("new", "done", "replacing"):
        return None
    times: list[float] = []
    if rules.deadlines.run is not None and not state.wanted_dead and state.verdict is None:
        times.append(state.begun_at + rules.deadlines.run)
    if state.create_at is not None and not state.finding:
        times.append(state.create_at)
    if state.verdict is not None and state.ended_at is not None and not state.end_saved:
        times.append(state.ended_at + SAVE_SECONDS)
    moves = moves_at(rules, state)
    if moves is not None:
        times.append(moves)
    times += next_deadline(rules, state) + next_ending(rules, state)
    return min((at for at in times if at > now), default=None)
