"""Every order of events, every misfortune, every crash point: no wrong outcome, no second pod, clean-up always reached."""

from __future__ import annotations

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from machine_world import Pod, World

from podbay.lifecycle import state as s
from podbay.lifecycle.plan import Deadlines, Rules
from podbay.lifecycle.view import view_of

MISFORTUNES = ("lost before", "lost after", "quota", "crash", "shutdown", "crash without checkpoint", "delete", "evict", "preempt", "ask", "skip", "again")  # fmt: skip


def _rules(draw: st.DataObject) -> Rules:
    return Rules(
        result=draw.draw(st.sampled_from(["none", "sidecar"])),
        deadlines=Deadlines(
            queue=None, schedule=600.0, start=120.0, run=draw.draw(st.sampled_from([None, 50.0]))
        ),
        keep=draw.draw(st.sampled_from(["never", "on_failure", "always"])),
        idempotent=draw.draw(st.booleans()),
        keep_on_kill=False,
    )


def _misfortune(world: World, what: str, draw: st.DataObject) -> None:
    creates = [i for i, action in enumerate(world.todo) if isinstance(action, s.Create)]
    pods = list(world.pods.values())
    if what in ("lost before", "lost after", "quota"):
        if creates:
            world.answer(creates[0], what)
    elif what == "crash":
        world.begin(with_checkpoint=True, behind=draw.draw(st.booleans()))
    elif what == "shutdown":
        world.begin(with_checkpoint=True, told=True)
    elif what == "crash without checkpoint":
        # Without its checkpoint a life knows only what is there; it may run a task again whose pod is gone.
        # Nobody marks a pod before its checkpoint is written down, and a marked one means nothing without.
        if world.pods and not any(pod.checked and not pod.former for pod in pods):
            world.begin(with_checkpoint=False)
    elif what == "ask":
        world.ask()
    elif what == "skip":
        if len(world.watched) > 1:
            world.tell(skip=draw.draw(st.integers(0, 3)))
    elif what == "again":
        if world.state.pod is not None:
            world.event(s.Seen(world.now, world.state.pod))
    elif pods:
        pod = draw.draw(st.sampled_from(pods))
        {"delete": world.delete, "evict": world.evict, "preempt": world.preempt}[what](pod)


@settings(
    max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(st.data())
def test_no_order_of_events_gives_a_wrong_outcome(data: st.DataObject) -> None:
    world = World(
        _rules(data), exit_codes=data.draw(st.lists(st.sampled_from([0, 1, 137]), min_size=1, max_size=3))
    )
    world.graceful = data.draw(st.booleans())
    world.busy = data.draw(st.booleans())
    world.full = data.draw(st.booleans())
    for number in data.draw(st.sets(st.integers(0, 2), max_size=2)):
        world.left(number, data.draw(st.sampled_from([0, 1])))
    world.begin(with_checkpoint=True, behind=data.draw(st.booleans()))
    troubles = data.draw(st.lists(st.tuples(st.integers(0, 6), st.sampled_from(MISFORTUNES)), max_size=6))
    for pause, what in troubles:
        for _ in range(pause):
            _something(world, data)
        if world.outcome is None:
            note(what)
            _misfortune(world, what, data)
    for _ in range(400):
        if world.outcome is not None:
            break
        _something(world, data)
    assert world.outcome is not None, f"hangs in {world.state.phase}: {world.todo}, {world.state}"
    _check(world)


def _something(world: World, data: st.DataObject) -> None:
    if world.outcome is not None:
        return
    choices = world.choices()
    assert choices, f"nothing can happen any more in {world.state.phase}: {world.state}"
    # Time passes only when nothing else does, or deadlines would end every run.
    quiet = [choice for choice in choices if choice[0] != "time"] or choices
    index = data.draw(st.integers(0, len(quiet) - 1))
    note(quiet[index][0])
    quiet[index][1]()


def _check(world: World) -> None:
    outcome = world.outcome
    assert outcome is not None
    # P1: never two at once, whatever was lost, repeated or forgotten.
    assert world.most_running <= 1
    last = next((pod for pod in world.all_pods if pod.uid == outcome.uid), None)
    # What was kept before the run says nothing about it.
    assert not outcome.uid.startswith("former")
    # P2: green only for a container that ended 0 by itself.
    if outcome.kind == "succeeded":
        assert last is not None and last.exit_code == 0 and not last.killed and not last.reason
        assert last.deleted_at is None or last.deleted_at >= 4
    if last is not None and _ended_by_itself(world, last):
        assert (outcome.kind, outcome.exit_code) == (
            "failed" if last.exit_code else "succeeded",
            last.exit_code,
        )
    # D13: what has run is not run again, unless it may be. A pod that a lost answer hid, and that somebody deleted
    # before anybody looked, is unknown to everybody.
    began = [pod for pod in world.all_pods if pod.ever_ran and pod.uid in world.known]
    assert len(began) <= 1 or world.rules.idempotent
    # P5: nothing is left that runs or may yet run.
    for pod in (each for each in world.pods.values() if not each.former):
        assert pod.deleted_at is not None or pod.step >= 4, f"{pod} is left behind after {outcome.kind}"
        if world.rules.keep == "never":
            assert pod.deleted_at is not None, f"{pod} was not removed"


def _ended_by_itself(world: World, pod: Pod) -> bool:
    """Nobody interfered before its main container's end, and the run has heard of that end."""
    told = world.state.pod is not None and view_of(world.state.pod, "base").stage == "ended"
    undisturbed = not pod.killed and not pod.reason and pod.deleted_at in (None, 4, 5)
    ours = world.asked or world.rules.deadlines.run is not None
    return told and undisturbed and pod.ever_ran and pod.step >= 4 and not ours
