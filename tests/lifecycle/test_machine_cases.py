"""Single courses of a run that chance seldom finds, each with what would go wrong otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from machine_world import World

from podbay.errors import UnreachableError
from podbay.lifecycle import state as s
from podbay.lifecycle.judge import judge_end
from podbay.lifecycle.plan import Deadlines, Rules
from podbay.lifecycle.view import view_of
from podbay.objects.meta import Object


def started(**rules: Any) -> World:
    world = World(Rules(**rules), exit_codes=[0])
    world.begin(with_checkpoint=True)
    return world


def only(world: World, kind: type) -> int:
    found = [i for i, action in enumerate(world.todo) if isinstance(action, kind)]
    assert len(found) == 1, world.todo
    return found[0]


def settle(world: World, *, until: int = 5) -> None:
    """Answers everything and lets the pods go on, at most to that step."""
    for _ in range(100):
        if world.outcome is not None:
            return
        if world.todo:
            world.answer(0)
        elif world.watched:
            world.tell()
        elif any(pod.step < until or pod.deleted_at is not None for pod in world.pods.values()):
            world.go_on(next(p for p in world.pods.values() if p.step < until or p.deleted_at is not None))
        else:
            return


def test_a_pod_whose_create_was_never_answered_is_removed_when_the_run_is_killed() -> None:
    world = started()
    world.answer(only(world, s.Create), "lost after")
    world.ask()
    settle(world)
    assert world.outcome is not None and world.outcome.kind == "killed"
    assert not world.pods


def test_the_run_does_not_end_before_its_kill_was_accepted() -> None:
    world = started()
    world.answer(only(world, s.Create))
    settle(world, until=1)
    world.ask()
    kill = world.todo.pop(only(world, s.Kill))
    world.evict(next(iter(world.pods.values())))
    settle(world)
    assert world.outcome is None
    world.todo.append(kill)
    settle(world)
    assert world.outcome is not None and world.outcome.kind == "killed"


def test_a_pod_that_a_kill_leaves_alone_is_marked() -> None:
    world = started(keep_on_kill=True)
    settle(world, until=3)
    world.ask()
    assert any(isinstance(action, s.Mark) for action in world.todo)
    assert not any(isinstance(action, s.Kill) for action in world.todo)
    settle(world, until=3)
    assert world.outcome is not None and world.outcome.kind == "killed"
    assert [pod.deleted_at for pod in world.all_pods] == [None]


def test_a_container_that_exits_0_on_a_signal_is_no_success() -> None:
    world = started()
    world.graceful = True
    settle(world, until=3)
    world.delete(next(iter(world.pods.values())))
    settle(world)
    assert world.outcome is not None and world.outcome.kind == "deleted"


def test_a_pod_deleted_after_its_end_is_a_success_whoever_deleted_it() -> None:
    world = started()
    settle(world, until=3)
    pod = next(iter(world.pods.values()))
    pod.step = 4
    world.delete(pod)
    settle(world)
    assert world.outcome is not None and world.outcome.kind == "succeeded"


def test_quota_is_waited_for_on_its_own_clock() -> None:
    world = started(deadlines=Deadlines(queue=None, schedule=10.0, start=10.0))
    for _ in range(20):
        world.answer(only(world, s.Create), "quota")
        assert world.state.phase == "queued" and "Quota" in world.state.text
        looks = [index for index, action in enumerate(world.todo) if isinstance(action, s.Find)]
        if looks:
            # Once: the watch may not have shown the pod of an earlier life.
            assert world.now == 0
            world.answer(looks[0])
        world.pass_time(min(at for at in world.wakes if at > world.now))
    settle(world)
    assert world.outcome is not None and world.outcome.kind == "succeeded"
    assert world.now > 60


def test_quota_is_not_waited_for_longer_than_wished() -> None:
    world = started(deadlines=Deadlines(queue=60.0))
    for _ in range(30):
        if not world.todo or world.outcome is not None:
            break
        world.answer(0, "quota" if isinstance(world.todo[0], s.Create) else "")
        due = [at for at in world.wakes if at > world.now]
        if due and world.outcome is None:
            world.pass_time(min(due))
    assert world.outcome is not None and world.outcome.kind == "refused"
    assert 60 <= world.now < 100
    assert world.outcome.diagnosis is not None and world.outcome.diagnosis.heals == "itself"


@pytest.mark.parametrize("clock", ["schedule", "start"])
def test_a_pod_that_does_not_start_in_time_is_removed_and_explained(clock: str) -> None:
    world = started(deadlines=Deadlines(**{clock: 30.0}))
    settle(world, until=0 if clock == "schedule" else 1)
    while world.outcome is None and world.now < 200:
        world.pass_time(min(at for at in world.wakes if at > world.now))
        settle(world, until=0 if clock == "schedule" else 1)
    assert world.outcome is not None and world.outcome.kind == "not_started"
    assert world.outcome.diagnosis is not None
    assert 30 <= world.now < 60
    assert all(pod.deleted_at is not None for pod in world.pods.values())


def test_the_run_deadline_ends_a_running_pod() -> None:
    world = started(deadlines=Deadlines(run=100.0))
    settle(world, until=3)
    world.pass_time(100.0)
    settle(world)
    assert world.outcome is not None and world.outcome.kind == "timed_out"
    assert all(pod.deleted_at == 3 for pod in world.all_pods)


def test_the_run_deadline_does_not_undo_a_success() -> None:
    world = started(deadlines=Deadlines(run=100.0))
    settle(world, until=3)
    world.go_on(next(iter(world.pods.values())))
    world.tell()
    world.pass_time(200.0)
    settle(world)
    assert world.outcome is not None and world.outcome.kind == "succeeded"


def test_a_pod_nobody_ends_on_a_lost_node_is_not_waited_for_for_ever() -> None:
    world = started()
    settle(world, until=3)
    pod = next(iter(world.pods.values()))
    pod.disruption = "DeletionByTaintManager"
    world.delete(pod)
    while world.watched:
        world.tell()
    assert world.outcome is None
    world.pass_time(world.now + 95.0)
    while world.todo:
        world.answer(0)
    assert world.outcome is not None and world.outcome.kind == "node_lost"
    assert world.outcome.infrastructure


def test_a_preempted_pod_that_never_ran_is_replaced_and_one_that_ran_is_not() -> None:
    for step, kind, pods in ((1, "succeeded", 2), (3, "preempted", 1)):
        world = started()
        settle(world, until=step)
        pod = next(iter(world.pods.values()))
        if step == 1:
            world.evict(pod)
        else:
            world.preempt(pod)
        for _ in range(10):
            settle(world)
            if world.outcome is not None:
                break
            world.pass_time(min(at for at in world.wakes if at > world.now))
        assert world.outcome is not None and world.outcome.kind == kind
        assert len(world.all_pods) == pods
        assert world.outcome.incarnations == pods


def test_the_budget_for_replacements_ends() -> None:
    world = started(infrastructure_retries=2)
    for _ in range(60):
        if world.outcome is not None:
            break
        settle(world, until=1)
        for pod in list(world.pods.values()):
            world.evict(pod)
        due = [at for at in world.wakes if at > world.now]
        if not world.todo and not world.watched and due:
            world.pass_time(min(due))
    assert world.outcome is not None and world.outcome.kind == "evicted"
    assert world.outcome.incarnations == 3 and world.outcome.infrastructure


def test_a_replaced_pod_that_goes_late_does_not_take_its_follower_along() -> None:
    world = started()
    settle(world, until=1)
    first = next(iter(world.pods.values()))
    world.evict(first)
    while world.state.phase != "creating":
        world.tell() if world.watched else world.answer(0)
    world.pass_time(min(at for at in world.wakes if at > world.now))
    settle(world, until=3)
    assert world.state.phase == "running"
    world.event(s.Gone(world.now, first.manifest()))
    assert world.state.phase == "running"
    settle(world)
    assert world.outcome is not None and world.outcome.kind == "succeeded"
    assert len(world.all_pods) == 2


def test_a_disrupted_pod_that_is_starting_is_not_given_up_but_replaced() -> None:
    world = started()
    settle(world, until=1)
    pod = next(iter(world.pods.values()))
    world.preempt(pod)
    world.tell()
    while any(isinstance(action, s.ReadEvents) for action in world.todo):
        world.answer(only(world, s.ReadEvents))
    assert not any(isinstance(action, s.Kill) for action in world.todo)
    for _ in range(10):
        settle(world)
        if world.outcome is not None:
            break
        world.pass_time(min(at for at in world.wakes if at > world.now))
    assert world.outcome is not None and world.outcome.kind == "succeeded"
    assert len(world.all_pods) == 2


def test_a_kill_between_two_pods_is_heard() -> None:
    world = started()
    settle(world, until=1)
    world.evict(next(iter(world.pods.values())))
    while world.state.phase != "replacing":
        if world.watched:
            world.tell()
        else:
            world.answer(0)
    world.ask()
    settle(world)
    assert world.outcome is not None and world.outcome.kind == "killed"
    assert len(world.all_pods) == 1


@pytest.mark.parametrize(
    ("asked_at", "seen_before", "kind"),
    [
        ("2026-01-01T00:00:30Z", False, "succeeded"),
        ("2026-01-01T00:00:20Z", False, "deleted"),
        ("2026-01-01T00:00:10Z", False, "deleted"),
        ("2026-01-01T00:00:30Z", True, "deleted"),
    ],
)
def test_a_success_ended_before_anybody_asked_for_it(asked_at: str, seen_before: bool, kind: str) -> None:
    pod: Object = {
        "metadata": {"name": "p", "uid": "u", "deletionTimestamp": asked_at, "deletionGracePeriodSeconds": 0},
        "spec": {"restartPolicy": "Never", "nodeName": "n"},
        "status": {
            "phase": "Running",
            "containerStatuses": [
                {
                    "name": "base",
                    "state": {
                        "terminated": {
                            "exitCode": 0,
                            "startedAt": "2026-01-01T00:00:01Z",
                            "finishedAt": "2026-01-01T00:00:20Z",
                        }
                    },
                }
            ],
        },
    }
    assert judge_end(view_of(pod, "base"), deletion_seen_before=seen_before).kind == kind


def test_events_that_nobody_needed_are_asked_for_again_when_the_pod_has_failed() -> None:
    world = World(Rules(), exit_codes=[3], busy=True)
    world.begin(with_checkpoint=True)
    settle(world, until=1)
    world.pass_time(min(at for at in world.wakes if at > world.now))
    look = world.todo[only(world, s.ReadEvents)]
    assert look == s.ReadEvents(needed=False)
    # The pod ends while the answer is on its way.
    pod = next(iter(world.pods.values()))
    while pod.step < 5:
        world.go_on(pod)
    while world.watched:
        world.tell()
    assert world.state.verdict is not None and world.todo.count(look) == 1
    world.answer(world.todo.index(look))
    assert s.ReadEvents(needed=True) in world.todo
    settle(world)
    assert world.outcome is not None and world.outcome.exit_code == 3


@pytest.mark.parametrize("checkpoint", [True, False])
def test_a_pod_that_the_watch_does_not_have_yet_is_not_left_behind(checkpoint: bool) -> None:
    world = started()
    world.ask()
    world.answer(only(world, s.Create), "lost after")
    world.begin(with_checkpoint=checkpoint, behind=True)
    if not checkpoint:
        world.ask()
    settle(world)
    assert world.outcome is not None and world.outcome.kind == "killed"
    assert not world.pods


def test_a_log_that_is_slow_after_the_end_wakes_nobody_for_what_is_due() -> None:
    """Whoever waits for a log of minutes is not kept awake by the time that a result would have had."""
    world = started()
    settle(world, until=3)
    pod = next(iter(world.pods.values()))
    while pod.step < 5:
        world.go_on(pod)
    while world.watched:
        world.tell()
    only(world, s.WaitForLogs)
    for _ in range(5):
        world.pass_time(world.now + 20)
    due = [at for at in world.wakes if at > world.now]
    assert not due
    settle(world)
    assert world.outcome is not None and world.outcome.kind == "succeeded"


def test_a_deadline_that_waits_for_an_answer_does_not_hide_a_later_one() -> None:
    world = started(deadlines=Deadlines(schedule=30.0, run=100.0))
    settle(world, until=0)
    while not any(isinstance(action, s.ReadEvents) and action.needed for action in world.todo):
        world.todo = [action for action in world.todo if not isinstance(action, s.ReadEvents)]
        world.event(s.Explained(world.now, (), ()))
        world.pass_time(min(at for at in world.wakes if at > world.now))
    assert world.now == 30.0
    # The events are still being read.
    world.pass_time(min(at for at in world.wakes if at > world.now))
    assert world.now == 100.0
    assert any(isinstance(action, s.Kill) for action in world.todo)


@pytest.mark.parametrize("again", [False, True])
def test_a_pod_that_fills_the_quota_itself_is_not_left_behind(again: bool) -> None:
    """Its create is refused when it is repeated, for want of the room that it takes itself."""
    world = started()
    world.full = True
    world.answer(only(world, s.Create), "lost before" if again else "lost after")
    if again:
        world.pass_time(min(at for at in world.wakes if at > world.now))
        world.answer(only(world, s.Create), "lost after")
    only(world, s.Find)
    world.ask()
    settle(world)
    assert world.outcome is not None and world.outcome.kind == "killed"
    assert world.all_pods and not world.pods


def test_a_refusal_without_doubt_does_not_end_an_earlier_doubt() -> None:
    world = started()
    pending = UnreachableError("broken", "reset", maybe_sent=True)
    world.todo.clear()
    world.event(s.Refused(0.0, pending, None, doubt=True))
    world.event(s.Tick(10.0))
    world.todo.clear()
    world.event(s.Refused(10.0, UnreachableError("refused", "connect", maybe_sent=False), None))
    assert world.state.doubtful
    world.ask()
    only(world, s.Find)


def test_a_cluster_that_is_away_does_not_keep_a_run_that_has_asked_for_nothing() -> None:
    world = started()
    world.todo.clear()
    world.event(s.Refused(0.0, UnreachableError("refused", "connect", maybe_sent=False), None))
    world.ask()
    assert world.state.verdict is not None and world.state.verdict.kind == "killed"


@pytest.mark.parametrize("known", [True, False])
def test_a_replaced_pod_that_lingers_is_not_taken_for_its_follower(known: bool) -> None:
    """The first one hangs on its way out; the second has ended, and is removed before the next life looks."""
    world = started()
    settle(world, until=1)
    first = next(iter(world.pods.values()))
    world.evict(first)
    while world.state.phase != "creating":
        world.tell() if world.watched else world.answer(0)
    world.pass_time(min(at for at in world.wakes if at > world.now))
    world.answer(only(world, s.Create))
    second = world.all_pods[1]
    while second.step < 5:
        world.go_on(second)
    while world.watched:
        world.tell()
    assert world.state.verdict is not None and world.state.verdict.kind == "succeeded"
    world.remove(second)
    world.begin(with_checkpoint=True, told=known)
    assert list(world.pods.values()) == [first]
    assert not any(isinstance(action, s.Create) for action in world.todo)
    while world.outcome is None:
        world.tell() if world.watched else world.answer(0)
    assert world.outcome.kind == ("succeeded" if known else "deleted")
    assert len(world.all_pods) == 2
