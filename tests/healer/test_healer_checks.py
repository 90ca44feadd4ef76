"""Each check's golden cases: what is found of a pod, what is done at once, and what is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from healer_worlds import MOMENT, NOW, RULES, answer, identity, pod, stamp, task, upstream, world

from podbay.healer.decide import Decision, decide, questions
from podbay.healer.facts import KEEP
from podbay.healer.matching import labels_key
from podbay.healer.memory import Memory
from podbay.healer.rules import Rules
from podbay.healer.world import TaskKey, Vanished, World, key_of
from podbay.lifecycle.hold import HELD_SINCE, HELD_UNTIL
from podbay.pods.identity import safe_label_value
from podbay.pods.shell import copy_of

KEY = key_of(identity())
SOLE = replace(RULES, only_airflow=True)


def told(found: Decision) -> list[tuple[str, str]]:
    return [(each.deed, each.check) for each in found.actions]


def deeds(seen: World, rules: Rules = RULES) -> list[tuple[str, str]]:
    return told(decide(seen, rules))


@pytest.mark.parametrize("state", ["success", "failed", "skipped", "upstream_failed"])
def test_a_finished_task_has_no_pod(state: str) -> None:
    [action] = decide(world(pod(uid="u"), airflow=answer(task(state, ended=400))), RULES).actions
    assert (action.deed, action.check, action.uid, action.version) == ("delete", "OwnerFinished", "u", "7")
    assert state in action.message
    assert action.expected[0][0] == KEY


def test_what_it_still_does_itself_is_left_to_it() -> None:
    seen = world(pod(), airflow=answer(task("success", ended=100)))
    found = decide(seen, RULES)
    assert not found.actions
    [(action, left)] = found.waiting
    assert (action.check, left) == ("OwnerFinished", 200)


@pytest.mark.parametrize(
    "state",
    [
        "running",
        "deferred",
        "queued",
        "scheduled",
        "restarting",
        "up_for_retry",
        "up_for_reschedule",
        "dreaming",
    ],
)
def test_an_active_task_keeps_its_pod(state: str) -> None:
    assert deeds(world(pod(), airflow=answer(task(state, ended=99999)))) == []


def test_a_task_without_an_end_is_believed_after_a_while() -> None:
    seen = world(pod(), airflow=answer(task("removed")))
    assert deeds(seen) == []
    noticed = {(f"uid-{pod()['metadata']['name']}", "OwnerFinished"): MOMENT - 301}
    assert deeds(replace(seen, noticed=noticed)) == [("delete", "OwnerFinished")]


def test_a_cleared_task_may_take_its_pod_over_for_a_while() -> None:
    seen = world(pod(uid="u"), airflow=answer(task(None, ended=99999)))
    assert deeds(seen) == []
    assert deeds(replace(seen, noticed={("u", "OwnerCleared"): MOMENT - 800})) == []
    assert deeds(replace(seen, noticed={("u", "OwnerCleared"): MOMENT - 901})) == [("delete", "OwnerCleared")]


def test_an_ended_pod_may_be_looked_at_longer() -> None:
    assert deeds(world(pod(phase="Failed"), airflow=answer(task("failed", ended=3000)))) == []
    assert deeds(world(pod(phase="Failed"), airflow=answer(task("failed", ended=3700)))) == [
        ("delete", "OwnerFinished")
    ]


def test_a_task_of_an_earlier_try_than_the_pod_is_old_news() -> None:
    assert deeds(world(pod(identity(try_number=2)), airflow=answer(task("failed", ended=9999)))) == []


def test_a_later_try_takes_over_the_pod_of_an_earlier_one() -> None:
    assert deeds(world(pod(), airflow=answer(task("running", number=2)))) == []


def test_the_pod_of_an_older_try_goes_when_it_was_replaced() -> None:
    older, newer = pod(uid="old"), pod(identity(try_number=2), uid="new", age=600)
    found = decide(world(older, newer, airflow=answer(task("running", number=2))), RULES)
    assert [(each.check, each.uid) for each in found.actions] == [("OlderTry", "old")]


def test_a_young_replacement_proves_nothing_yet() -> None:
    older, newer = pod(), pod(identity(try_number=2), age=150)
    assert deeds(world(older, newer, airflow=answer(task("running", number=2)))) == []


def test_an_earlier_incarnation_that_came_back_goes() -> None:
    earlier, later = pod(uid="0"), pod(identity(incarnation=1), uid="1", age=600)
    found = decide(world(earlier, later, airflow=answer(task("running"))), RULES)
    assert [(each.check, each.uid) for each in found.actions] == [("DuplicatePod", "0")]


def test_two_pods_of_upstream_for_one_try_are_told() -> None:
    pair = upstream(name="a"), upstream(name="b")
    assert deeds(world(*pair, airflow=answer(task("running"))), SOLE) == [("report", "DuplicatePod")] * 2


def test_a_task_that_airflow_does_not_have() -> None:
    assert deeds(world(pod(), airflow=answer(absent=(KEY,)))) == [("delete", "NoOwner")]
    assert deeds(world(pod(age=500), airflow=answer(absent=(KEY,)))) == []


def test_an_airflow_that_knows_none_of_several_pods_is_the_wrong_one() -> None:
    pods = [pod(identity(task_id=each)) for each in ("a", "b")]
    keys = tuple(key_of(identity(task_id=each)) for each in ("a", "b"))
    found = decide(world(*pods, airflow=answer(absent=keys)), RULES)
    assert not found.actions
    assert "is it the right one?" in found.stopped
    known = pod(identity(task_id="c"))
    assert (
        deeds(world(*pods, known, airflow=answer(task("running", task_id="c"), absent=keys)))
        == [("delete", "NoOwner")] * 2
    )


def test_an_airflow_that_knows_none_of_upstream_s_pods_is_the_wrong_one() -> None:
    names = ("a", "b")
    pods = [upstream(identity(task_id=each), name=each) for each in names]
    noticed = {(f"uid-{each}", "NoOwner"): MOMENT - 9999 for each in (*names, pod()["metadata"]["name"])}
    stopped = decide(world(*pods, airflow=answer(), noticed=noticed), SOLE)
    assert not stopped.actions
    assert "is it the right one?" in stopped.stopped
    known = upstream(identity(task_id="c"), name="c")
    owner = answer(task("running", task_id="c"))
    assert deeds(world(*pods, known, airflow=owner, noticed=noticed), SOLE) == [("delete", "NoOwner")] * 2
    # Several pods of one task instance are one thing that Airflow does not know.
    pair = [upstream(name=each) for each in names]
    assert ("delete", "NoOwner") in deeds(world(*pair, airflow=answer(), noticed=noticed), SOLE)
    # One of each kind.
    mixed = world(pod(), pods[0], airflow=answer(absent=(KEY,)), noticed=noticed)
    assert "is it the right one?" in decide(mixed, SOLE).stopped
    # Without a word that there is no other Airflow, upstream's pods say nothing of this one.
    assert ("delete", "NoOwner") in deeds(mixed)


def test_what_labels_say_of_others_is_no_proof_for_exact_identities() -> None:
    """Two Airflows with the same DAGs: an upstream pod's labels fit both of them."""
    pods = [pod(identity(task_id=each)) for each in ("a", "b")]
    keys = tuple(key_of(identity(task_id=each)) for each in ("a", "b"))
    known = upstream(identity(task_id="c"))
    found = decide(world(*pods, known, airflow=answer(task("running", task_id="c"), absent=keys)), SOLE)
    assert "is it the right one?" in found.stopped


def test_before_the_end_of_an_upstream_pod_airflow_is_asked_what_is_new() -> None:
    seen = world(upstream(uid="u"), airflow=answer(), noticed={("u", "NoOwner"): MOMENT - 601})
    [action] = decide(seen, SOLE).actions
    assert action.unowned is not None
    assert action.unowned.labels == labels_key(upstream()["metadata"]["labels"])
    assert action.unowned.since < NOW - timedelta(seconds=MOMENT - seen.airflow.began_at)
    [known] = decide(world(pod(), airflow=answer(absent=(KEY,))), RULES).actions
    assert known.unowned is None, "that one is asked for by its ids"


def test_a_task_that_was_not_asked_for_is_not_gone() -> None:
    seen = world(pod(), airflow=answer())
    assert deeds(seen) == []
    assert questions(seen, RULES).tasks == {KEY}


def test_upstream_pods_are_matched_forward() -> None:
    """The run's id is hashed in the label, and so is the task's."""
    odd = {"run_id": "manual__2025-03-20T16:21:27+00:00", "task_id": "größe/" + "x" * 70}
    mine = upstream(identity(**odd))
    assert deeds(world(mine, airflow=answer(task("success", ended=400, **odd))), SOLE) == [
        ("delete", "OwnerFinished")
    ]
    assert deeds(world(mine, airflow=answer(task("running", **odd))), SOLE) == []


def test_mapped_task_instances_are_told_apart() -> None:
    ended, running = task("success", ended=9999, map_index=-1), task("running", map_index=3)
    mapped = upstream(identity(map_index=3))
    assert deeds(world(mapped, airflow=answer(ended, running)), SOLE) == []
    assert deeds(world(upstream(), airflow=answer(ended, running)), SOLE) == [("delete", "OwnerFinished")]


def test_every_task_that_may_own_it_protects_it() -> None:
    """One task's id is literally what another's becomes as a label."""
    ids = ["a:b", safe_label_value("a:b")]
    shared = upstream(identity(task_id=ids[0]))
    ended, running = task("success", ended=9999, task_id=ids[0]), task("running", task_id=ids[1])
    assert deeds(world(shared, airflow=answer(ended, running)), SOLE) == []
    both = answer(ended, replace(task("failed", ended=400, task_id=ids[1])))
    [action] = decide(world(shared, airflow=both), SOLE).actions
    assert [key.task_id for key, _ in action.expected] == ids, "each is asked for again"


def test_upstream_pods_may_be_of_another_airflow() -> None:
    [action] = decide(world(upstream(), airflow=answer(task("success", ended=400))), RULES).actions
    assert action.deed == "report"
    assert "--only-airflow" in action.message


def test_that_nobody_has_an_upstream_pod_must_be_seen_for_a_while() -> None:
    seen = world(upstream(uid="u"), airflow=answer())
    assert deeds(seen, SOLE) == []
    assert questions(seen, SOLE).oldest_age == 7200
    noticed = {("u", "NoOwner"): MOMENT - 601}
    assert deeds(replace(seen, noticed=noticed), SOLE) == [("delete", "NoOwner")]


@pytest.mark.parametrize("rules", [RULES, SOLE])
@pytest.mark.parametrize(
    ("left_alone", "oldest"),
    [
        ({"labels": {"already_checked": "True"}}, 0),
        ({"annotations": {KEEP: "true"}}, 0),
        ({"annotations": {HELD_UNTIL: stamp(-60)}}, 0),
        ({"labels": {"dag_id": None}}, 0),
        ({"age": 100}, 0),
        ({"phase": "Failed"}, 7200),
        ({"annotations": {HELD_UNTIL: stamp(60)}}, 7200),
    ],
)
def test_airflow_is_not_asked_for_the_time_of_pods_that_nobody_judges(
    rules: Rules, left_alone: dict[str, Any], oldest: float
) -> None:
    seen = world(upstream(uid="u", **left_alone), airflow=answer(), noticed={("u", "NoOwner"): MOMENT - 9999})
    assert questions(seen, rules).oldest_age == oldest


def test_where_not_all_that_is_over_is_told_upstream_pods_stay() -> None:
    """One that was not listed may have the same labels; pods with exact identities are judged as ever."""
    names = ("a", "b", "c")
    ages = (90001, 90002, 90000)
    pods = [upstream(identity(task_id=n), name=n, age=age) for n, age in zip(names, ages, strict=True)]
    noticed = {(f"uid-{each}", "NoOwner"): MOMENT - 9999 for each in names}
    tasks = (
        task("success", ended=9999, task_id="a"),
        task("running", task_id="b"),
        task("failed", ended=9999),
    )
    airflow = answer(*tasks, left_open="too many of them")
    found = decide(world(*pods, pod(uid="u"), airflow=airflow, noticed=noticed), SOLE)
    assert [(each.check, each.uid) for each in found.actions] == [("OwnerFinished", "u")]
    assert not found.stopped
    assert "2 upstream pods are not judged: too many of them" in found.left_open
    assert f"team/a, made {stamp(90001)}" in found.left_open
    assert not decide(world(pod(uid="u"), airflow=airflow), SOLE).left_open


def test_the_default_name_proves_nothing() -> None:
    rules = Rules(deployment="airflow")
    own = pod(identity(deployment="airflow"))
    seen = world(own, airflow=answer(task("success", ended=400)))
    assert deeds(seen, rules) == [("report", "OwnerFinished")]
    assert deeds(seen, replace(rules, only_airflow=True)) == [("delete", "OwnerFinished")]


@pytest.mark.parametrize(
    "labels",
    [
        {"dag_id": None},
        {"dag_id": "other"},
        {"task_id": ""},
        {"run_id": "x"},
        {"try_number": "9"},
        {"map_index": "1"},
    ],
)
def test_changed_labels_are_told_and_nothing_ends(labels: dict[str, str | None]) -> None:
    found = decide(world(pod(labels=labels), airflow=answer(task("success", ended=9999))), SOLE)
    assert {each.deed for each in found.actions} == {"report"}
    assert "LabelsChanged" in {each.check for each in found.actions}
    assert next(iter(labels)) in "".join(each.message for each in found.actions)


def test_a_copy_for_debugging_is_left_alone() -> None:
    copy = pod()
    copy["metadata"]["name"] = "load-debug"
    found = decide(world(copy, airflow=answer(task("success", ended=9999))), SOLE)
    assert {each.deed for each in found.actions} == {"report"}


@pytest.mark.parametrize(
    "foreign",
    [
        pod(identity(deployment="other")),
        pod(labels={"podbay.dev/deployment": "other"}),
        upstream(labels={"podbay.dev/deployment": "other"}),
        upstream(labels={"airflow-worker": "3"}),
        upstream(labels={"kubernetes_pod_operator": None, "try_number": None, "dag_id": None}),
    ],
)
def test_pods_of_others_are_not_even_told_of(foreign: dict[str, Any]) -> None:
    assert deeds(world(foreign, airflow=answer(absent=(KEY,))), SOLE) == []


def controlled(by: str) -> list[dict[str, Any]]:
    return [{"apiVersion": "v1", "kind": by, "name": "x", "uid": "c", "controller": True}]


@pytest.mark.parametrize("labels", [{}, {"kubernetes_pod_operator": None}, {"dag_id": None}])
@pytest.mark.parametrize("owner", [task("success", ended=99999), task("running"), None])
def test_the_pods_of_a_job_are_its_controller_s(labels: dict[str, str | None], owner: Any) -> None:
    """Upstream's Job operators label them as pods of the pod operator, and do not wait for the Job's end if told so."""
    names = ("job-a", "job-b")
    pods = [upstream(name=each, labels=labels, ownerReferences=controlled("Job")) for each in names]
    noticed = {(f"uid-{each}", "NoOwner"): MOMENT - 9999 for each in names}
    seen = world(*pods, airflow=answer(*([owner] if owner else [])), noticed=noticed)
    for rules in (RULES, SOLE):
        found = decide(seen, rules)
        assert not found.actions
        assert not found.waiting
        assert questions(seen, rules) == questions(world(airflow=answer()), rules)


def test_an_owner_that_is_no_controller_protects_nobody() -> None:
    owned = upstream(ownerReferences=[{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "c"}])
    assert deeds(world(owned, airflow=answer(task("success", ended=400))), SOLE) == [
        ("delete", "OwnerFinished")
    ]


@pytest.mark.parametrize(
    "kept",
    [
        pod(labels={"already_checked": "True"}),
        pod(annotations={KEEP: "true"}),
        pod(annotations={HELD_UNTIL: stamp(-60)}),
        pod(annotations={HELD_UNTIL: "tomorrow"}),
        pod(annotations={HELD_UNTIL: "2026-03-01T11:00:00"}),
    ],
)
def test_kept_and_held_pods_stay(kept: dict[str, Any]) -> None:
    assert deeds(world(kept, airflow=answer(task("success", ended=9999)))) == []


def test_a_hold_ends_by_itself() -> None:
    was_held = pod(annotations={HELD_UNTIL: stamp(1)})
    assert deeds(world(was_held, airflow=answer(task("success", ended=9999)))) == [
        ("delete", "OwnerFinished")
    ]


def left(until: str | None, *, phase: str = "Failed") -> dict[str, Any]:
    """As the engine leaves the pod of a failed task."""
    marks = {HELD_SINCE: stamp(1800)} | ({HELD_UNTIL: until} if until else {})
    return pod(phase=phase, labels={"already_checked": "True"}, annotations=marks)


@pytest.mark.parametrize("state", ["failed", "up_for_retry", "running", "deferred", None])
def test_a_failed_pod_is_held_for_its_time_and_no_longer(state: str | None) -> None:
    owner = task(state, number=2, ended=9999)
    assert deeds(world(left(stamp(-1)), airflow=answer(owner))) == []
    [action] = decide(world(left(stamp(1)), airflow=answer(owner)), RULES).actions
    assert (action.deed, action.check) == ("delete", "HoldEnded")
    assert stamp(1) in action.message


def test_a_released_pod_goes_at_once() -> None:
    assert deeds(world(left(None), airflow=answer(task("failed", ended=10)))) == [("delete", "HoldEnded")]


def test_what_is_held_by_others_words_is_not_ended_by_them() -> None:
    assert deeds(world(left("tomorrow"), airflow=answer(task("failed", ended=9999)))) == []
    runs = world(left(stamp(1), phase="Running"), airflow=answer(task("failed", ended=9999)))
    assert deeds(runs) == [], "a pod that runs is not one whose run is over"


def dying(**more: Any) -> dict[str, Any]:
    return pod(deletionTimestamp=stamp(370), deletionGracePeriodSeconds=30, **more)


@pytest.mark.parametrize(
    ("nodes", "more", "expected"),
    [
        (frozenset({"node-2"}), {}, "force_delete"),
        (frozenset({"node-1"}), {}, "report"),
        (None, {}, "report"),
        (frozenset({"node-2"}), {"finalizers": ["x/y"]}, "report"),
        (frozenset({"node-2"}), {"phase": "Pending"}, "report"),
    ],
)
def test_a_pod_that_does_not_end_goes_only_when_its_node_has(
    nodes: frozenset[str] | None, more: dict[str, Any], expected: str
) -> None:
    seen = world(dying(**more), airflow=answer(task("running")), nodes=nodes)
    assert deeds(seen) == [(expected, "StuckTerminating")]


def test_ending_takes_its_time() -> None:
    slow = pod(deletionTimestamp=stamp(100), deletionGracePeriodSeconds=30)
    assert deeds(world(slow, airflow=answer(task("success", ended=999)), nodes=frozenset())) == []


def test_why_a_pod_does_not_start() -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes: too small"}
    waiting = pod(phase="Pending", status={"conditions": [condition]})
    [action] = decide(world(waiting, airflow=answer(task("running"))), RULES).actions
    assert (action.deed, action.check) == ("report", "StuckPending")
    assert "0/3 nodes: too small" in action.message


def test_a_sidecar_that_goes_on() -> None:
    ended = {"terminated": {"exitCode": 0, "finishedAt": stamp(1000), "startedAt": stamp(2000)}}
    statuses = [{"name": "base", "state": ended}, {"name": "proxy", "state": {"running": {}}}]
    hung = pod(status={"containerStatuses": statuses})
    assert deeds(world(hung, airflow=answer(task("running")))) == [("report", "HungSidecar")]
    assert deeds(world(hung, airflow=answer(task("success", ended=900)))) == [
        ("report", "HungSidecar"),
        ("delete", "OwnerFinished"),
    ]


def test_an_unknown_phase_is_told_once_it_lasts() -> None:
    lost = pod(phase="Unknown", uid="u")
    seen = world(lost, airflow=answer(task("running")), noticed={("u", "UnknownPhase"): MOMENT - 400})
    assert deeds(seen) == [("report", "UnknownPhase")]


def test_a_deferred_task_without_a_trigger() -> None:
    stuck = replace(task("deferred"), has_trigger=False)
    seen = world(pod(uid="u"), airflow=answer(stuck), noticed={("u", "TriggerGone"): MOMENT - 400})
    assert deeds(seen) == [("report", "TriggerGone")]
    assert deeds(replace(seen, airflow=answer(task("deferred")))) == []


def gone(since: float = MOMENT - 700, number: int = 1) -> Vanished:
    own = identity(try_number=number)
    return Vanished(identity=own, namespace="team", name="load-x", uid="u", since=since)


@pytest.mark.parametrize(
    ("state", "number", "is_told"),
    [
        ("deferred", 1, True),
        ("running", 1, True),
        ("running", 2, False),
        ("success", 1, False),
        ("up_for_retry", 1, False),
    ],
)
def test_a_task_whose_pod_has_vanished(state: str, number: int, is_told: bool) -> None:
    seen = world(airflow=answer(task(state, number=number)), vanished=(gone(),))
    assert deeds(seen) == ([("report", "PodVanished")] if is_told else [])
    failing = replace(RULES, fail_lost=True)
    assert deeds(seen, failing) == ([("fail_task", "PodVanished")] if is_told else [])


@pytest.mark.parametrize(
    ("number", "max_tries", "retries", "deed"),
    [
        (1, 2, 2, "retry_task"),
        (2, 2, 2, "retry_task"),
        # Cleared twice by the healer: each time Airflow has raised max_tries.
        (3, 4, 2, "fail_task"),
        (1, 1, 0, "fail_task"),
        (1, 0, 1, "fail_task"),
        (1, 2, None, "fail_task"),
    ],
)
def test_a_task_that_lost_its_pod_gets_another_try_while_it_has_one(
    number: int, max_tries: int, retries: int | None, deed: str
) -> None:
    rules = replace(RULES, fail_lost=True, retry_lost=True)
    lost = replace(task("deferred", number=number), max_tries=max_tries)
    airflow = answer(lost, retries={} if retries is None else {("etl", "load"): retries})
    seen = world(airflow=airflow, vanished=(gone(number=number),))
    assert deeds(seen, rules) == [(deed, "PodVanished")]
    assert questions(seen, rules).retries_of == {("etl", "load")}
    assert not questions(seen, RULES).retries_of


def test_a_task_that_has_another_pod_has_lost_nothing() -> None:
    seen = world(pod(identity(incarnation=1)), airflow=answer(task("running")), vanished=(gone(),))
    assert deeds(seen, replace(RULES, fail_lost=True)) == []


def test_nothing_without_a_whole_answer() -> None:
    orphan = pod()
    for airflow in (
        answer(complete=False, trouble="500"),
        answer(task("success", ended=9999), complete=False),
    ):
        found = decide(world(orphan, airflow=airflow), RULES)
        assert not found.actions
        assert "Airflow has not answered" in found.stopped
    found = decide(world(orphan, airflow=answer(task("success", ended=9999)), trouble="410"), RULES)
    assert not found.actions


def test_nothing_for_a_pod_that_is_newer_than_the_answer() -> None:
    seen = world(pod(), airflow=answer(task("success", ended=9999)), seen=MOMENT - 0.5)
    assert deeds(seen) == []


def test_nothing_for_young_pods_whatever_their_stamps_say() -> None:
    for age in (0, 119, -4000):
        assert deeds(world(pod(age=age), airflow=answer(task("success", ended=9999)))) == []
    unstamped = pod(creationTimestamp="soon")
    assert deeds(world(unstamped, airflow=answer(task("success", ended=9999)))) == []


def many(count: int, **fields: Any) -> World:
    phase = fields.get("phase", "Running")
    pods = [pod(identity(task_id=f"t{n}"), phase=phase) for n in range(count)]
    tasks = [
        task("success" if n < fields["orphans"] else "running", ended=999, task_id=f"t{n}")
        for n in range(count)
    ]
    return world(*pods, airflow=answer(*tasks), acted=fields.get("acted", ()))


@pytest.mark.parametrize("phase", ["Running", "Pending", "Unknown"])
def test_full_stop_where_too_many_would_go(phase: str) -> None:
    def ends(orphans: int) -> list[tuple[str, str]]:
        return [each for each in deeds(many(20, orphans=orphans, phase=phase)) if each[0] == "delete"]

    assert len(ends(6)) == 6
    assert ends(7) == []
    assert "full stop: 7 of 20" in decide(many(20, orphans=7, phase=phase), RULES).stopped


def test_a_few_may_always_go() -> None:
    assert len(deeds(many(3, orphans=3))) == 3


def test_a_budget_for_each_minute() -> None:
    spent = (*[MOMENT - 10] * 28, *[MOMENT - 61] * 100)
    found = decide(many(20, orphans=6, acted=spent), RULES)
    assert len(found.actions) == 2
    assert "wait for the next minute" in found.stopped


def test_what_has_failed_rests_and_comes_last() -> None:
    seen = many(20, orphans=6)
    uids = [each.uid for each in decide(seen, RULES).actions]
    resting, tried_again = uids[0], uids[1]
    failed = {(resting, "OwnerFinished"): MOMENT + 40, (tried_again, "OwnerFinished"): MOMENT - 1}
    found = decide(replace(seen, failed=failed), RULES)
    assert [each.uid for each in found.actions] == [*uids[2:], tried_again]
    assert [(each.uid, left) for each, left in found.waiting] == [(resting, 40)]
    # What one check could not do says nothing of another's.
    assert len(decide(replace(seen, failed={(resting, "NoOwner"): MOMENT + 40}), RULES).actions) == 6
    # And what rests counts where too much would go.
    assert "full stop: 7 of 20" in decide(replace(many(20, orphans=7), failed=failed), RULES).stopped


def test_clusters_take_turns() -> None:
    seen = many(20, orphans=6)
    first, second = (replace(seen.clusters[0], name=each) for each in ("first", "second"))
    pods = tuple(replace(at, cluster=second if n == 5 else first) for n, at in enumerate(seen.pods))
    seen = replace(seen, pods=pods, clusters=(first, second), acted=(MOMENT - 1,) * 28)
    assert [each.cluster for each in decide(seen, RULES).actions] == ["first", "second"]


def test_each_failure_is_left_for_longer_until_it_is_forgotten() -> None:
    memory = Memory()

    def rest(at: float) -> float:
        memory.fail("u", "NoOwner", at)
        return memory.failed["u", "NoOwner"] - at

    assert [rest(at) for at in (0, 60, 180, 420, 900, 1860, 3660)] == [60, 120, 240, 480, 960, 1800, 1800]
    memory.fail("v", "NoOwner", 9100)
    assert set(memory.failed) == {("v", "NoOwner")}
    memory.succeed("v", "NoOwner")
    assert memory.failed == {}
    assert rest(9200) == 60


def test_the_clock_of_airflow_is_its_own() -> None:
    """Airflow's clock is an hour ahead: its stamps are compared with its own time."""
    late = replace(task("success"), ended_at=NOW + timedelta(seconds=3500))
    assert deeds(world(pod(), airflow=answer(late, now=NOW + timedelta(hours=1)))) == []


def test_a_key_in_words() -> None:
    assert str(TaskKey("d", "r", "t", 2)) == "d.t[2] of r"


def shell_copy(*, phase: str, until: float, deployment: str = RULES.deployment) -> dict[str, Any]:
    """A copy as `podbay shell` makes it; `until` seconds from now its time is over."""
    original = pod(identity(deployment=deployment), phase="Failed")
    marks = {HELD_SINCE: stamp(9000), HELD_UNTIL: stamp(-until)}
    made = copy_of(original, "base", suffix="x", command=["sh"], tty=True, seconds=60, annotations=marks)
    like = pod(identity(deployment=deployment), phase=phase)
    metadata = like["metadata"] | made["metadata"] | {"uid": "copy"}
    return {**like, "metadata": metadata}


def test_a_copy_for_a_shell_goes_when_it_has_ended_and_its_time_is_over() -> None:
    found = decide(world(shell_copy(phase="Failed", until=-10), airflow=answer()), RULES)
    assert [(each.deed, each.check, each.uid) for each in found.actions] == [("delete", "HoldEnded", "copy")]


@pytest.mark.parametrize(
    "seen",
    [
        shell_copy(phase="Running", until=-10),
        shell_copy(phase="Failed", until=10),
        shell_copy(phase="Failed", until=-10, deployment="another"),
    ],
    ids=["somebody types in it", "its time is not over", "another deployment's"],
)
def test_a_copy_for_a_shell_is_left_alone(seen: dict[str, Any]) -> None:
    found = decide(world(seen, airflow=answer(absent=[KEY])), RULES)
    assert not found.actions
    assert not found.waiting
