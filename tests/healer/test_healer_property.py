"""No wrong delete, ever: generated worlds, answers with faults, and a reference that knows the truth.

The truth is which task instance of which Airflow made each pod and what that one is doing; the healer sees pods and
answers alone. The reference says of every pod whether its end would be wrong, by rules short enough to read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from healer_worlds import MOMENT, NOW, RULES, answer, identity, pod, stamp, task, upstream, world
from hypothesis import given, settings
from hypothesis import strategies as st

from podbay.healer.decide import decide, questions
from podbay.healer.rules import Rules
from podbay.healer.world import FINISHED, AirflowAnswer, ClusterAt, World, key_of
from podbay.lifecycle.hold import HELD_SINCE, HELD_UNTIL
from podbay.objects.meta import uid_of
from podbay.pods.identity import TaskIdentity

STATES = (None, "scheduled", "queued", "running", "deferred", "up_for_retry", *sorted(FINISHED), "gone")
ACTIVE = ("scheduled", "queued", "running", "deferred", "up_for_retry")
IDS = ("load", "Load", "lo:ad", "lo/ad", "ü" * 30, "x" * 80, "x" * 81, "a b")


@dataclass(frozen=True)
class Truth:
    """One pod and what is really so."""

    own: TaskIdentity
    state: str | None
    current_try: int
    ended: float
    age: float
    is_upstream: bool
    mark: str
    is_live: bool
    seen: float
    place: int
    """Which of two clusters."""
    is_of_job: bool
    """Of upstream's pods: a Job made it, and ends it."""

    def make(self, uid: str) -> dict[str, Any]:
        labels: dict[str, str | None] = {}
        annotations: dict[str, str] = {}
        if self.mark == "kept":
            labels["already_checked"] = "True"
        if self.mark == "stripped":
            labels["dag_id"] = None
        if self.mark == "held":
            annotations[HELD_UNTIL] = stamp(-100)
        if self.mark in ("left", "left, over"):
            labels["already_checked"] = "True"
            annotations[HELD_SINCE] = stamp(1000)
            annotations[HELD_UNTIL] = stamp(1 if self.mark == "left, over" else -100)
        phase = "Running" if self.is_live else "Failed"
        if self.is_upstream:
            job = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "j", "controller": True}
            more = {"ownerReferences": [job]} if self.is_of_job else {}
            made = upstream(
                self.own, name=f"p-{uid}", uid=uid, age=self.age, phase=phase, labels=labels, **more
            )
            made["metadata"]["annotations"] = annotations
            return made
        return pod(self.own, uid=uid, age=self.age, phase=phase, labels=labels, annotations=annotations)


truths = st.builds(
    Truth,
    # Mostly one task instance, so that pods of its tries and incarnations meet.
    own=st.builds(
        identity,
        deployment=st.sampled_from(["prod", "prod", "prod", "other"]),
        task_id=st.sampled_from(["load"] * 12 + list(IDS)),
        map_index=st.sampled_from([-1] * 8 + [0, 1]),
        try_number=st.integers(1, 3),
        incarnation=st.integers(0, 1),
    ),
    state=st.sampled_from(STATES),
    current_try=st.integers(1, 3),
    ended=st.sampled_from([0.0, 299.0, 301.0, 99999.0, 99999.0]),
    age=st.sampled_from([0.0, 119.0, 121.0, 601.0, *[99999.0] * 4]),
    is_upstream=st.booleans(),
    mark=st.sampled_from(["", "", "", "", "kept", "held", "stripped", "left", "left, over"]),
    is_live=st.sampled_from([True, True, False]),
    seen=st.sampled_from([MOMENT - 5000, MOMENT - 5000, MOMENT - 0.5]),
    place=st.sampled_from([0, 0, 1]),
    is_of_job=st.sampled_from([False, False, False, True]),
)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[list[Truth], World, Rules]:
    """Pods of both Airflows, whose ids are alike; one state for each task instance; one answer, whole or not."""
    found: list[Truth] = []
    tasks: dict[tuple[str, object], Truth] = {}
    # Half of all worlds have one Airflow, and somebody has said so: nothing else ends a pod of the upstream operator.
    is_sole = draw(st.booleans())
    for each in draw(st.lists(truths, min_size=1, max_size=8)):
        if is_sole:
            each = replace(each, own=replace(each.own, deployment="prod"))
        # All pods of a task instance have one owner, and one task instance has one state.
        first = tasks.setdefault((each.own.deployment, key_of(each.own)), each)
        found.append(replace(each, state=first.state, current_try=first.current_try, ended=first.ended))
    airflow = _answer(found, draw)
    noticed = {
        (f"u{n}", check): MOMENT - min(each.age, draw(st.sampled_from([0.0, 599.0, 99999.0, 99999.0])))
        for n, each in enumerate(found)
        for check in ("NoOwner", "OwnerCleared", "OwnerFinished")
    }
    pods = [each.make(f"u{n}") for n, each in enumerate(found)]
    seen = world(*pods, airflow=airflow, noticed=noticed)
    clusters = tuple(
        ClusterAt(name=name, now=NOW, trouble=draw(st.sampled_from([""] * 7 + ["410"])))
        for name in ("first", "second")
    )
    marked = tuple(
        replace(at, since=truth.seen, cluster=clusters[truth.place])
        for at, truth in zip(seen.pods, found, strict=True)
    )
    seen = replace(seen, clusters=clusters)
    # Only with one Airflow in the namespace may a person say that there is only one.
    has_others = any(each.own.deployment == "other" for each in found)
    only = is_sole or (not has_others and draw(st.booleans()))
    return found, replace(seen, pods=marked), replace(RULES, only_airflow=only, stop_share=1.0, stop_floor=99)


@settings(max_examples=200, deadline=None)
@given(scenes())
def test_an_airflow_that_knows_nobody_ends_nobody(scene: tuple[list[Truth], World, Rules]) -> None:
    """The wrong one was named: it has no task instances, and says so of each that it is asked for."""
    found, seen, rules = scene
    wrong = replace(seen, airflow=answer())
    wrong = replace(wrong, airflow=answer(absent=tuple(questions(wrong, rules).tasks)))
    judged = {
        key_of(each.own)
        for each in found
        if each.own.deployment == "prod"
        and not seen.clusters[each.place].trouble
        and not each.mark
        and each.age >= rules.young
        and (not each.is_upstream or (rules.only_airflow and not each.is_of_job))
    }
    decision = decide(wrong, rules)
    if len(judged) > 1:
        assert not decision.actions
        assert decision.stopped


def _answer(found: list[Truth], draw: st.DrawFn) -> AirflowAnswer:
    """Of the Airflow of `prod`. What pages lose is not told as absent: only a question for exactly that one tells."""
    mine = [each for each in found if each.own.deployment == "prod"]
    tasks, absent = [], []
    for each in mine:
        key = key_of(each.own)
        ids: dict[str, Any] = {"task_id": key.task_id, "map_index": key.map_index}
        if each.state == "gone":
            absent.append(key)
        else:
            ended = each.ended if each.state in FINISHED else None
            tasks.append(task(each.state, ended=ended, number=each.current_try, **ids))
    is_whole = draw(st.sampled_from([True, True, True, False]))
    # Pages that changed while they were read: those of labels alone cannot be asked for again.
    lost = draw(st.integers(0, 2)) if all(not each.is_upstream for each in mine) else 0
    left_open = draw(st.sampled_from(["", "", "", "too many"]))
    if left_open:
        ours = {key_of(each.own) for each in mine if not each.is_upstream}
        tasks = [each for each in tasks if each.is_active or each.key in ours]
    return answer(*tasks[lost:], absent=tuple(absent), complete=is_whole, left_open=left_open)


def is_wrong(truth: Truth, scene: list[Truth], seen: World, rules: Rules) -> bool:
    """Ending this pod would be wrong: the reference, which knows the truth."""
    if not seen.airflow.complete or seen.clusters[truth.place].trouble or truth.seen > seen.airflow.began_at:
        return True
    # What the engine left behind for a while may go after that, whatever its task does.
    is_left_over = truth.mark == "left, over" and not truth.is_live
    if truth.own.deployment != "prod" or truth.age < rules.young or (truth.mark and not is_left_over):
        return True
    if truth.is_upstream and seen.airflow.left_open and not is_left_over and truth.state not in ACTIVE:
        return True
    if truth.is_upstream and (truth.is_of_job or not rules.only_airflow):
        return True
    if is_left_over:
        return False
    if truth.state == "gone":
        return truth.age < rules.absent
    if truth.state is None:
        return False
    if truth.state in FINISHED:
        return truth.current_try < truth.own.try_number or (
            truth.state != "removed" and truth.ended < rules.finished
        )
    # Active: only a pod beside a later one of the task's present try may go.
    return not any(
        other is not truth
        and not seen.clusters[other.place].trouble
        and key_of(other.own) == key_of(truth.own)
        and other.own.deployment == "prod"
        and other.is_live
        and not other.is_upstream
        and (other.own.try_number, other.own.incarnation) > (truth.own.try_number, truth.own.incarnation)
        and other.own.try_number == truth.current_try
        for other in scene
    )


@settings(max_examples=600, deadline=None)
@given(scenes())
def test_no_wrong_delete(scene: tuple[list[Truth], World, Rules]) -> None:
    found, seen, rules = scene
    decision = decide(seen, rules)
    ended = {each.uid for each in decision.actions if each.deed != "report"}
    for number, truth in enumerate(found):
        if f"u{number}" in ended:
            assert not is_wrong(truth, found, seen, rules), truth
    assert len(ended) == sum(each.deed != "report" for each in decision.actions), "a pod is ended once"
    assert decide(seen, rules) == decision


@settings(max_examples=150, deadline=None)
@given(scenes())
def test_what_is_surely_orphaned_goes(scene: tuple[list[Truth], World, Rules]) -> None:
    """The other side: a healer that does nothing would pass the test above."""
    found, seen, rules = scene
    calm = tuple(replace(each, trouble="") for each in seen.clusters)
    known = tuple(replace(at, cluster=calm[truth.place]) for at, truth in zip(seen.pods, found, strict=True))
    whole = replace(seen, pods=known, clusters=calm, airflow=replace(_whole(found), complete=True))
    decision = decide(whole, rules)
    if decision.stopped:
        assert "is it the right one?" in decision.stopped
        assert all(
            truth.state == "gone"
            for truth in found
            if truth.own.deployment == "prod" and not truth.is_upstream and truth.mark != "stripped"
        )
        return
    ended = {each.uid for each in decision.actions if each.deed == "delete"}
    uids = [uid_of(at.pod) for at in whole.pods]
    for uid, truth in zip(uids, found, strict=True):
        is_plain = truth.own.deployment == "prod" and not truth.mark and not truth.is_upstream
        is_old = truth.age == 99999.0 and truth.seen < MOMENT - 1 and truth.is_live
        has_ended = truth.state in ("success", "failed") and truth.ended == 99999.0
        if (
            is_plain
            and is_old
            and (truth.state == "gone" or (has_ended and truth.current_try >= truth.own.try_number))
        ):
            assert uid in ended, truth


def _whole(found: list[Truth]) -> AirflowAnswer:
    mine = [each for each in found if each.own.deployment == "prod"]
    ids = [{"task_id": each.own.task_id, "map_index": each.own.map_index} for each in mine]
    tasks = [
        task(each.state, ended=each.ended if each.state in FINISHED else None, number=each.current_try, **key)
        for each, key in zip(mine, ids, strict=True)
        if each.state != "gone"
    ]
    return answer(*tasks, absent=tuple(key_of(each.own) for each in mine if each.state == "gone"))


@settings(max_examples=100, deadline=None)
@given(scenes())
def test_every_pod_that_the_list_leaves_open_is_asked_for(scene: tuple[list[Truth], World, Rules]) -> None:
    found, seen, rules = scene
    asked = questions(replace(seen, airflow=answer()), rules)
    known = [t for t in found if not seen.clusters[t.place].trouble]
    mine = {key_of(t.own) for t in known if t.own.deployment == "prod" and not t.is_upstream}
    assert mine == set(asked.tasks)
