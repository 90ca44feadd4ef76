"""From the main container's end to the outcome: what must still be read, whether another pod follows, what is told. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

import orjson

from podbay.lifecycle import state as s
from podbay.lifecycle.diagnosis.diagnose import diagnose
from podbay.lifecycle.diagnosis.model import Diagnosis
from podbay.lifecycle.diagnosis.room import requested
from podbay.lifecycle.hold import HEALED
from podbay.lifecycle.judge import Verdict, judge_end, judge_gone
from podbay.lifecycle.moving import before_deletion, judge_moved
from podbay.lifecycle.outcome import Kind, Outcome, Receipt
from podbay.lifecycle.pending import facts_of
from podbay.lifecycle.plan import Rules
from podbay.lifecycle.state import Action, State
from podbay.lifecycle.view import PodView, parse_time, view_of
from podbay.objects.meta import annotations_of
from podbay.pods.result import ResultReading, read_frame, read_termination_message

__all__ = ["conclude", "gather", "judge", "may_replace", "next_ending"]

RESULT_PATIENCE = 45.0
"""Seconds after the main container's end in which the result sidecar must end; it gets the pod's grace period, usually 30."""
FAILED_PATIENCE = 10.0
"""The same for a container that has failed, until its result is read as well: its end is known, and is not held up for long."""
KILL_PATIENCE = 15.0
"""Seconds beyond its grace period after which a killed pod is not waited for any more."""
LOST_PATIENCE = 60.0
"""The same for a pod that others delete: a node that is there ends it within its grace period."""
_GRACE = 30.0
_FAILED: Final[tuple[Kind, ...]] = ("failed", "oom_killed")
"""The main container has ended by itself, so that it may have written a result, as upstream's users rely on."""
_STAMP = 2.0
"""Two stamps of whole seconds say so much too much at most."""


def judge(rules: Rules, state: State, now: float) -> State:
    """Set the verdict when the end is certain."""
    verdict = _verdict(rules, state, now)
    if verdict is None:
        return state
    # Of a pod that was never made nothing is read.
    phase: s.Phase = "result" if state.uid else state.phase
    return replace(state, verdict=verdict, ended_at=state.ended_at or now, clock=None, phase=phase, text="")


def _verdict(rules: Rules, state: State, now: float) -> Verdict | None:
    if state.gone and state.withdrawing:
        # The answer says who it was.
        return None
    moved = judge_moved(state)
    if moved is not None:
        return moved
    if not state.uid:
        if state.hopeless:
            return Verdict("refused", began="no")
        if state.wanted_dead and not state.creating:
            return _ours(state, Verdict("killed", began="no"))
        return None
    view = view_of(state.pod, rules.container) if state.pod is not None else None
    if state.gone:
        found = judge_gone(view, deletion_seen_before=state.deletion_seen)
        return _ours(state, found)
    if view is not None and view.stage == "ended":
        return _ours(state, judge_end(view, deletion_seen_before=state.deletion_seen))
    if state.deleting_at is not None and now >= _kill_end(rules, state):
        return _ours(state, Verdict("killed", began="unknown", stopped=False))
    if _is_being_deleted(state) and state.deleting_at is None and now >= _lost_end(state):
        return Verdict("node_lost", None, True, "unknown", stopped=False)
    return None


def _ours(state: State, found: Verdict) -> Verdict:
    """What we did to it comes first: a pod that we ended is never a success."""
    if state.gave_up is not None:
        return replace(found, kind="not_started", infrastructure=False)
    if state.killed_by:
        return replace(found, kind="timed_out" if state.kill_is_deadline else "killed", infrastructure=False)
    return found


def _kill_end(rules: Rules, state: State) -> float:
    assert state.deleting_at is not None
    if rules.keep_on_kill and not state.kill_is_deadline and state.killed_by:
        return state.deleting_at
    return state.deleting_at + _grace(rules, state) + KILL_PATIENCE


def _is_being_deleted(state: State) -> bool:
    """By others. A disruption that is announced and never carried out lets the pod live."""
    asked = ((state.pod or {}).get("metadata") or {}).get("deletionTimestamp")
    return state.deletion_at is not None and bool(asked)


def _lost_end(state: State) -> float:
    assert state.deletion_at is not None
    grace = ((state.pod or {}).get("metadata") or {}).get("deletionGracePeriodSeconds")
    return state.deletion_at + float(_GRACE if grace is None else grace) + LOST_PATIENCE


def _grace(rules: Rules, state: State) -> float:
    if rules.kill_grace is not None:
        return rules.kill_grace
    own = ((state.pod or {}).get("spec") or {}).get("terminationGracePeriodSeconds")
    return _GRACE if own is None else float(own)


def may_replace(rules: Rules, state: State) -> bool:
    """Another pod may take its place: nobody's fault, nothing of it runs, and its task has not begun or may run twice."""
    verdict = state.verdict
    if verdict is None or not verdict.infrastructure or not verdict.stopped or state.killed_by:
        return False
    if state.incarnations > rules.infrastructure_retries or not rules.replaceable:
        return False
    return verdict.began == "no" or rules.idempotent


def gather(rules: Rules, state: State, now: float) -> tuple[State, list[Action], bool]:
    """Ask for what is missing; True when all is there."""
    verdict = state.verdict
    assert verdict is not None
    actions: list[Action] = []
    if verdict.kind == "moved":
        # Nothing of it has run, and what was wrong is known.
        return state, actions, True
    if state.logs == "none":
        # Of a pod that was gone when this life began, nobody follows a log.
        here = state.pod is not None and state.pod is not state.remembered
        ended = view_of(state.pod, rules.container).ended_containers if state.pod is not None and here else ()
        state = replace(state, logs="asked")
        actions.append(s.WaitForLogs(ended))
    missing = False
    if _may_have_result(rules, verdict):
        state, more = _gather_result(rules, state, now)
        actions += more
        missing = state.result is None
    if verdict.kind != "succeeded":
        unexplained = not state.explained and bool(state.uid) and not state.killed_by
        if unexplained and not state.explaining:
            state = replace(state, explaining=True)
            actions.append(s.ReadEvents())
        missing = missing or unexplained
    return state, actions, not missing and state.logs == "read"


def _may_have_result(rules: Rules, verdict: Verdict) -> bool:
    return rules.result != "none" and (verdict.kind == "succeeded" or verdict.kind in _FAILED)


def _gather_result(rules: Rules, state: State, now: float) -> tuple[State, list[Action]]:
    assert state.pod is not None and state.verdict is not None
    failed = state.verdict.kind in _FAILED
    if state.result is None and failed and now >= _result_end(state):
        return replace(state, result=ResultReading("missing")), []
    if state.result is not None or state.reading_result:
        return state, []
    view = view_of(state.pod, rules.container)
    if rules.result == "termination_message":
        message = view.main.message if view.main is not None else ""
        return replace(
            state, result=read_termination_message(message, container_count=_containers(state))
        ), []
    sidecar = view.sidecar
    if sidecar is not None and sidecar.state == "terminated":
        reading = read_frame(sidecar.message.encode())
        if reading.state not in ("missing", "damaged"):
            return replace(state, result=reading), []
    never = failed and (sidecar is None or (sidecar.state == "waiting" and not sidecar.began))
    if state.gone or never:
        return replace(state, result=ResultReading("missing")), []
    if sidecar is not None and sidecar.state != "terminated" and now < _result_end(state):
        return state, []
    return replace(state, reading_result=True), [s.ReadResult(patient=not failed)]


def _containers(state: State) -> int:
    spec = (state.pod or {}).get("spec") or {}
    return len(spec.get("containers") or ()) + len(spec.get("initContainers") or ())


def _result_end(state: State) -> float:
    failed = state.verdict is not None and state.verdict.kind in _FAILED
    return (state.ended_at or 0.0) + (FAILED_PATIENCE if failed else RESULT_PATIENCE)


def next_ending(rules: Rules, state: State) -> list[float]:
    """Times at which waiting ends."""
    times: list[float] = []
    if state.verdict is None:
        if state.deleting_at is not None:
            times.append(_kill_end(rules, state))
        elif _is_being_deleted(state):
            times.append(_lost_end(state))
    elif _may_have_result(rules, state.verdict) and state.result is None:
        times.append(_result_end(state))
    return times


def conclude(rules: Rules, state: State, now: float) -> tuple[State, list[Action]]:
    """The outcome."""
    verdict = state.verdict
    assert verdict is not None
    kind: Kind = verdict.kind
    value = state.result.value if state.result is not None and state.result.state == "value" else None
    diagnosis = None
    if kind == "succeeded":
        trouble = _result_trouble(rules, state)
        if trouble is not None:
            kind, value = "result", None
            diagnosis = diagnose(facts_of(rules, state, **trouble))
    else:
        if kind not in _FAILED or (rules.json_result and value is not None and not _is_json(value)):
            # Half a file, perhaps; that it failed is what counts.
            value = None
        diagnosis = _diagnosis(rules, state, kind)
    outcome = Outcome(
        kind=kind,
        message=_message(state, kind, diagnosis),
        exit_code=verdict.exit_code,
        result=value,
        diagnosis=diagnosis,
        namespace=state.namespace,
        pod=state.name,
        uid=state.uid,
        incarnations=state.incarnations,
        infrastructure=verdict.infrastructure,
        receipt=_receipt(rules, state, now),
    )
    return replace(state, outcome=outcome, phase="cleaning", text=""), [s.Decide(outcome)]


def _result_trouble(rules: Rules, state: State) -> dict[str, object] | None:
    reading = state.result
    if rules.result == "none" or reading is None or reading.state == "none":
        return None
    if reading.state != "value":
        return {"result": reading}
    return {"result": reading} if rules.json_result and not _is_json(reading.value) else None


def _is_json(content: bytes) -> bool:
    try:
        orjson.loads(content)
    except orjson.JSONDecodeError:
        return False
    return True


def _diagnosis(rules: Rules, state: State, kind: Kind) -> Diagnosis | None:
    if state.gave_up is not None:
        return state.gave_up
    if kind == "refused" or (kind == "moved" and not state.uid):
        return state.refusal
    if kind == "moved":
        return diagnose(facts_of(rules, before_deletion(state)))
    context: dict[str, object] = {}
    if state.killed_by:
        context = (
            {"deadline": "run", "deadline_seconds": rules.deadlines.run}
            if state.kill_is_deadline
            else {"killed_by": state.killed_by}
        )
    if state.gone:
        context["gone"] = True
    if state.last_lines:
        context["last_lines"] = list(state.last_lines)
    return diagnose(facts_of(rules, state, **context))


def _message(state: State, kind: Kind, diagnosis: Diagnosis | None) -> str:
    said = _sentence(state, kind, diagnosis)
    why = (
        annotations_of(state.pod).get(HEALED) if state.pod is not None and kind in _ENDED_BY_OTHERS else None
    )
    return f"{said.rstrip('.')}. It was Podbay's healer: {why}" if why else said


def _sentence(state: State, kind: Kind, diagnosis: Diagnosis | None) -> str:
    if kind == "succeeded":
        return f"pod {state.name} succeeded"
    if kind == "moved":
        why = f": {diagnosis.cause}" if diagnosis is not None else ""
        return f"there was no room for the pod{why}"
    if diagnosis is not None:
        return diagnosis.sentence()
    if kind == "refused" and state.create_error is not None:
        return str(state.create_error)
    return f"pod {state.name}: {_WORDS[kind]}"


_ENDED_BY_OTHERS: Final[tuple[Kind, ...]] = ("deleted", "node_lost", "evicted", "preempted", "not_started")
_WORDS: dict[Kind, str] = {
    "succeeded": "succeeded",
    "failed": "the main container failed",
    "oom_killed": "the main container used more memory than its limit",
    "result": "the task ended well but its result could not be read",
    "killed": "ended on request",
    "timed_out": "ended because the run's time was up",
    "deadline": "ended because its activeDeadlineSeconds had passed",
    "deleted": "somebody deleted it before it had ended",
    "evicted": "it was evicted from its node",
    "preempted": "a pod of higher priority took its place",
    "node_lost": "its node was lost",
    "not_started": "its main container was never started",
    "refused": "the API server did not accept it",
    "moved": "there was no room for it",
}


def _receipt(rules: Rules, state: State, now: float) -> Receipt:
    view: PodView | None = view_of(state.pod, rules.container) if state.pod is not None else None
    main = view.main if view is not None else None
    begun, ended = (
        (parse_time(main.started_at), parse_time(main.finished_at)) if main is not None else (None, None)
    )
    return Receipt(
        waited=None if state.bound_at is None else round(state.bound_at - state.begun_at, 3),
        started=None
        if state.bound_at is None or state.running_at is None
        else round(state.running_at - state.bound_at, 3),
        ran=(ended - begun).total_seconds() if begun and ended and begun.year > 1970 else None,
        ended=None if state.ended_at is None else round(now - state.ended_at, 3),
        node=view.node if view is not None else "",
        image_id=main.image_id if main is not None else "",
        held=_held(state, ended, now),
        cpu=requested(state.pod, "cpu").as_float() if state.pod is not None else 0.0,
        memory=requested(state.pod, "memory").value() if state.pod is not None else 0,
    )


def _held(state: State, ended: datetime | None, now: float) -> float | None:
    """By our own clock; by the cluster's stamps, which know whole seconds, where an earlier life saw the beginning."""
    if state.bound_at is None or state.pod is None:
        return None
    seen = (state.ended_at or now) - state.bound_at
    conditions = (state.pod.get("status") or {}).get("conditions") or ()
    bound = [each.get("lastTransitionTime") for each in conditions if each.get("type") == "PodScheduled"]
    since = parse_time(bound[0]) if bound else None
    stamped = (ended - since).total_seconds() if ended and since and ended.year > 1970 else 0.0
    return round(stamped if stamped > seen + _STAMP else seen, 3)
