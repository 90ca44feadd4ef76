"""A run that gives its pod up for want of room, and the one in the other cluster that follows: never two pods that run."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from machine_world import World, ends

from podbay.lifecycle import state as s
from podbay.lifecycle.plan import Deadlines, Rules

OVERFLOW = 30.0
MISFORTUNES = ("crash", "shutdown", "crash while it is withdrawn", "delete", "bind", "quota", "lost after", "ask", "skip")  # fmt: skip


def full(**rules: object) -> World:
    """In a cluster that has no room."""
    found = World(Rules(overflow=OVERFLOW, **rules), exit_codes=[0])  # type: ignore[arg-type]
    found.begin(with_checkpoint=True)
    return found


def waits(world: World, *, until: type) -> s.Action:
    """Answers everything and lets time pass, and no node comes; the first action of that kind."""
    for _ in range(100):
        for index, action in enumerate(world.todo):
            if isinstance(action, until):
                return world.todo.pop(index)
        if world.todo:
            world.answer(0)
        elif world.watched:
            world.tell()
        else:
            world.pass_time(min(at for at in world.wakes if at > world.now))
    raise AssertionError(f"no {until.__name__}: {world.state}")


def test_a_pod_without_a_node_is_given_up_when_its_time_has_come() -> None:
    world = full()
    action = waits(world, until=s.Withdraw)
    assert OVERFLOW <= world.now < OVERFLOW + 6
    assert isinstance(action, s.Withdraw) and action.uid == "uid-0"
    world.todo.append(action)
    assert ends(world) == "moved"
    assert not world.pods
    assert world.outcome is not None and world.outcome.message.startswith("there was no room for the pod")


def test_a_pod_that_gets_its_node_at_the_last_moment_goes_on() -> None:
    world = full()
    action = waits(world, until=s.Withdraw)
    pod = next(iter(world.pods.values()))
    world.go_on(pod)
    world.todo.append(action)
    assert ends(world) == "succeeded"
    assert world.saved["withdrawing"] is False


def test_a_pod_that_has_changed_otherwise_is_given_up_at_its_next_version() -> None:
    world = full()
    action = waits(world, until=s.Withdraw)
    world.changed(next(iter(world.pods.values())))
    world.todo.append(action)
    world.answer(world.todo.index(action))
    assert not any(isinstance(each, s.Withdraw) for each in world.todo), (
        "the same version is not asked for again"
    )
    world.tell()
    assert ends(world) == "moved"


def test_quota_is_no_room() -> None:
    world = full()
    for _ in range(50):
        if world.outcome is not None:
            break
        if world.todo:
            world.answer(0, "quota" if isinstance(world.todo[0], s.Create) else "")
        else:
            world.pass_time(min(at for at in world.wakes if at > world.now))
    assert world.outcome is not None and world.outcome.kind == "moved"
    assert OVERFLOW <= world.now < OVERFLOW + 40
    assert not world.all_pods
    assert "quota" in world.outcome.message.lower()


def test_a_pod_that_may_have_been_made_is_looked_for_first() -> None:
    world = full()
    for _ in range(50):
        if world.state.uid:
            break
        if world.todo:
            world.answer(
                0, "lost after" if isinstance(world.todo[0], s.Create) and not world.all_pods else ""
            )
        else:
            world.pass_time(min(at for at in world.wakes if at > world.now))
    assert len(world.all_pods) == 1
    assert ends(world) == "succeeded"


def test_a_pod_that_fills_the_quota_itself_is_found_before_the_task_moves() -> None:
    world = full()
    world.full = True
    for _ in range(50):
        if world.state.uid or world.outcome is not None:
            break
        if world.todo:
            world.answer(0, "lost after" if isinstance(world.todo[0], s.Create) else "")
        else:
            world.pass_time(min(at for at in world.wakes if at > world.now))
    assert len(world.all_pods) == 1
    assert ends(world) == "succeeded"


def test_without_the_parameter_nothing_is_given_up() -> None:
    world = World(Rules(deadlines=Deadlines(schedule=100.0)), exit_codes=[0])
    world.begin(with_checkpoint=True)
    assert isinstance(waits(world, until=s.Kill), s.Kill)
    assert world.now >= 100


@pytest.mark.parametrize("bound", [False, True])
def test_a_life_that_was_lost_while_it_withdrew_leaves_enough(bound: bool) -> None:
    """The pod is gone, and only events tell whether it ever had a node."""
    world = full()
    world.todo.append(waits(world, until=s.Withdraw))
    pod = next(iter(world.pods.values()))
    if bound:
        for _ in range(5):
            world.go_on(pod)
        world.remove(pod)
    else:
        world.answer(len(world.todo) - 1, "life")
    world.begin(with_checkpoint=True)
    assert ends(world) == ("deleted" if bound else "moved")


@pytest.mark.parametrize("bound", [False, True])
def test_events_that_cannot_be_read_prove_nothing(bound: bool) -> None:
    world = full()
    world.secretive = True
    world.todo.append(waits(world, until=s.Withdraw))
    pod = next(iter(world.pods.values()))
    if bound:
        for _ in range(5):
            world.go_on(pod)
        world.remove(pod)
    else:
        world.answer(len(world.todo) - 1, "life")
    world.begin(with_checkpoint=True)
    assert ends(world) == "deleted"


def test_a_user_who_ends_the_task_while_it_moves_wins() -> None:
    world = full()
    world.todo.append(waits(world, until=s.Withdraw))
    world.ask()
    assert ends(world) == "killed"
    assert not world.pods


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(st.data())
def test_one_pod_runs_at_most_in_both_clusters(data: st.DataObject) -> None:
    idempotent = data.draw(st.booleans())
    keep = data.draw(st.sampled_from(["never", "on_failure", "always"]))
    first = World(Rules(overflow=OVERFLOW, idempotent=idempotent, keep=keep), exit_codes=[0, 1])
    _lives(first, data, room=data.draw(st.booleans()))
    assert first.outcome is not None
    worlds = [first]
    if first.outcome.kind == "moved":
        # Proven gone before anything is made elsewhere, and what is written down says so.
        assert first.saved["outcome"] is not None and first.saved["outcome"].kind == "moved"
        # One that a lost answer hid, and that somebody deleted before anybody looked, is unknown to everybody.
        assert not any(pod.ever_ran for pod in first.all_pods if pod.uid in first.known and not idempotent)
        assert not any(pod.running for pod in first.pods.values())
        assert all(pod.deleted_at is not None for pod in first.pods.values())
        second = World(Rules(idempotent=idempotent, keep=keep), exit_codes=[0, 1])
        _lives(second, data, room=True)
        worlds.append(second)
    for world in worlds:
        assert world.most_running <= 1
        assert world.outcome is not None
    began = [pod for world in worlds for pod in world.all_pods if pod.ever_ran and pod.uid in world.known]
    assert len(began) <= 1 or idempotent


def _lives(world: World, data: st.DataObject, *, room: bool) -> None:
    world.full = data.draw(st.booleans())
    world.begin(with_checkpoint=True)
    troubles = data.draw(st.lists(st.tuples(st.integers(0, 6), st.sampled_from(MISFORTUNES)), max_size=5))
    for pause, what in troubles:
        for _ in range(pause):
            _something(world, data, room=room)
        if world.outcome is None:
            note(what)
            _misfortune(world, what, data)
    for number in range(500):
        if world.outcome is not None:
            return
        # Some room comes at last, or a user would wait for ever.
        _something(world, data, room=room or number > 250)
    raise AssertionError(f"hangs in {world.state.phase}: {world.todo}, {world.state}")


def _something(world: World, data: st.DataObject, *, room: bool) -> None:
    if world.outcome is not None:
        return
    unbound = {f"go on {pod.uid}" for pod in world.pods.values() if pod.step == 0}
    choices = [each for each in world.choices() if room or each[0] not in unbound]
    quiet = [each for each in choices if each[0] != "time"] or choices
    assert quiet, f"nothing can happen any more in {world.state.phase}: {world.state}"
    index = data.draw(st.integers(0, len(quiet) - 1))
    note(quiet[index][0])
    quiet[index][1]()


def _misfortune(world: World, what: str, data: st.DataObject) -> None:
    creates = [i for i, action in enumerate(world.todo) if isinstance(action, s.Create)]
    withdrawals = [i for i, action in enumerate(world.todo) if isinstance(action, s.Withdraw)]
    pods = list(world.pods.values())
    if what in ("quota", "lost after"):
        if creates:
            world.answer(creates[0], what)
    elif what in ("crash", "shutdown"):
        world.begin(with_checkpoint=True, told=what == "shutdown")
    elif what == "crash while it is withdrawn":
        if withdrawals:
            world.answer(withdrawals[0], "life")
            world.begin(with_checkpoint=True)
    elif what == "ask":
        world.ask()
    elif what == "skip":
        if len(world.watched) > 1:
            world.tell(skip=data.draw(st.integers(0, 3)))
    elif pods:
        pod = data.draw(st.sampled_from(pods))
        if what == "delete":
            world.delete(pod)
        elif pod.step == 0:
            world.go_on(pod)
