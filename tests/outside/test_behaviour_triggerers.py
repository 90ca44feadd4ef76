"""Triggerers that die, stall or stop, one of which has changed DAGs: others go on with the same pods, nothing is destroyed.

Our operator, and upstream's adopted, side by side.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from airflow_api import Run
from behaviour import KINDS, Behaviour, until
from pods_of_tasks import lines_of, pods_of, wait_for_pod

from podbay.airflow.ownership import owner_of
from podbay.objects.meta import uid_of
from podbay.testing.requests import Requests

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("containers")]
NAMESPACE = "containers"
ANSWERED = "left to the trigger that has the task now"
HELD = ("triggerer_killed", "triggerer_stalled", "triggerer_stopped")


@pytest.fixture(scope="module", autouse=True)
def all_at_once(behaviour: Behaviour) -> None:
    for kind in KINDS:
        for name in (*HELD, "changed"):
            behaviour.run(f"{name}_{kind}")


class Held:
    """Tasks of both operators whose pods write lines until they are let go."""

    def __init__(self, behaviour: Behaviour, kube: Requests, name: str, *task_ids: str) -> None:
        self.behaviour = behaviour
        self.tasks = [(kind, behaviour.run(f"{name}_{kind}"), task) for kind in KINDS for task in task_ids]
        self._kube = kube
        self._pods = [self._running(run, task) for _, run, task in self.tasks]
        for _, run, task in self.tasks:
            until(lambda run=run, task=task: "[base] line 5\n" in run.log(task, 1), "lines in the log")

    def _running(self, run: Run, task_id: str) -> dict[str, Any]:
        return wait_for_pod(self._kube, NAMESPACE, run, task_id, phase="Running")

    def owners(self) -> set[int]:
        """The triggerers that have them; there is always another one besides."""
        found = until(self._owners, "their triggerers")
        if not set(self.behaviour.triggerers) - found:
            self.behaviour.add_triggerer()
        return found

    def _owners(self) -> set[int]:
        found = {self.behaviour.triggerer_of(run, task) for _, run, task in self.tasks}
        return set() if None in found else {number for number in found if number is not None}

    def answers(self) -> list[int]:
        """How often a life has left its task to another: said in the task's log, or in the triggerer's own if Airflow has
        closed that already."""
        lines = self.behaviour.home.log("triggerer").read_text(errors="replace").splitlines()
        elsewhere = [line for line in lines if ANSWERED in line]
        return [
            run.log(task, 1).count(ANSWERED) + sum(f"dag_id={run.dag_id} " in line for line in elsewhere)
            for _, run, task in self.tasks
        ]

    def wait_for_answers(self, before: list[int], sleepers: set[int]) -> None:
        """Until each sleeper was told to kill what is not its any more, and has left it alone; or has it again, on a machine
        that is so busy that the others lose it meanwhile."""

        def told(now: int, former: int, owner: int | None) -> bool:
            return now > former or owner in sleepers

        def all_told() -> bool:
            owners = [self.behaviour.triggerer_of(run, task) for _, run, task in self.tasks]
            return all(map(told, self.answers(), before, owners))

        until(all_told, lambda: f"{ANSWERED!r} once more than {before}; {self.answers()}")

    def lives(self) -> list[str]:
        """Which life of its trigger each pod belongs to; a log may be written over by a triggerer that gets its task back."""
        pods = (pods_of(self._kube, NAMESPACE, run, task) for _, run, task in self.tasks)
        return [owner_of(pod) for found in pods for pod in found]

    def wait_for_others(self, former: set[int], lives: list[str]) -> None:
        """Until other triggerers have all of them, and other lives the pods."""
        until(
            lambda: (owners := self._owners()) and not owners & former,
            lambda: f"other triggerers than {former}; {self._owners()}",
        )
        until(lambda: not set(lives) & set(self.lives()), lambda: f"other lives than {lives}; {self.lives()}")

    def intact(self) -> None:
        for pod, (_, run, task) in zip(self._pods, self.tasks, strict=True):
            (now,) = pods_of(self._kube, NAMESPACE, run, task)
            assert uid_of(now) == uid_of(pod)
            assert "deletionTimestamp" not in now["metadata"]
            assert now["status"]["phase"] == "Running"
            assert run.states()[task] == "deferred"

    def end_well(self, *words: str) -> None:
        """Each line is there, the last one last; a life may tell lines of another again. `words`: what tasks return."""
        for kind in KINDS:
            for word in words:
                self.behaviour.let_go(f"{word}-{kind}")
        wanted = [f"{word}-{kind}" for kind in KINDS for word in words]
        for result, pod, (_, run, task_id) in zip(wanted, self._pods, self.tasks, strict=True):
            task = run.task(task_id)
            assert (task.state, task.tries, task.result) == ("success", 1, result), task.log
            *lines, last = lines_of(task, "base")
            written = int(re.fullmatch(r"lines (\d+)", last)[1])  # type: ignore[index]
            missing = {f"line {number}" for number in range(written)} - set(lines)
            assert not missing, f"{len(missing)} of {written} lines are in no log of {task_id}"
            assert run.xcom(task_id, "pod_name") == pod["metadata"]["name"]
            assert pods_of(self._kube, NAMESPACE, run, task_id) == []


def test_killed_triggerers_are_replaced_by_another(behaviour: Behaviour, kube: Requests) -> None:
    held = Held(behaviour, kube, "triggerer_killed", "held")
    victims, lives = held.owners(), held.lives()
    for number in victims:
        behaviour.kill(number)
    held.wait_for_others(victims, lives)
    held.intact()
    held.end_well("killed")


def test_triggerers_that_wake_up_destroy_nothing(behaviour: Behaviour, kube: Requests) -> None:
    held = Held(behaviour, kube, "triggerer_stalled", "held")
    sleepers, lives = held.owners(), held.lives()
    answered = held.answers()
    for number in sleepers:
        behaviour.stall(number)
    held.wait_for_others(sleepers, lives)
    for number in sleepers:
        behaviour.wake(number)
    # Airflow has the sleepers kill what is not theirs any more.
    held.wait_for_answers(answered, sleepers)
    held.intact()
    held.end_well("stalled")


def test_stopped_triggerers_give_their_tasks_away_and_those_of_changed_dags(
    behaviour: Behaviour, kube: Requests
) -> None:
    """As when DAGs and triggerers are deployed together. Airflow gives a trigger its DAG as it is then."""
    plain = Held(behaviour, kube, "triggerer_stopped", "held")
    held = Held(behaviour, kube, "changed", "moved", "reworded")
    runs = [behaviour.run(f"changed_{kind}") for kind in KINDS]
    for run in runs:
        wait_for_pod(kube, NAMESPACE, run, "removed", phase="Running")
        (behaviour.home.directory / run.dag_id).touch()
    behaviour.read_again(*(run.dag_id for run in runs))
    for run in runs:
        run.wait_for("removed", {"removed"})
        wait_for_pod(kube, NAMESPACE, run, "removed", phase=None)
    held.intact()
    owners, lives = plain.owners() | held.owners(), plain.lives()
    if owners >= set(behaviour.triggerers):
        behaviour.add_triggerer()
    for number in owners:
        behaviour.stop(number)
    plain.wait_for_others(owners, lives)
    plain.intact()
    for run in runs:
        for task in ("moved", "reworded"):
            until(
                lambda run=run, task=task: "Starts on a worker and goes on" in run.log(task, 1),
                lambda run=run, task=task: f"a worker to take it over; {run.log(task, 1)}",
            )
            run.wait_for(task, {"deferred"})
    held.intact()
    plain.end_well("stopped")
    held.end_well("moved", "reworded")
    for run in runs:
        assert set(lines_of(run.task("after"), "base")) == {"version 2"}
