"""Our trigger on an event loop of the test, with what Airflow's supervisor would answer it: how it is killed, what it asks."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.triggers.base import TaskSuccessEvent
from triggers_alone import SECONDS, Supervisor, alive, event_of, pods, running, trigger_of

from podbay import KubernetesPodOperator
from podbay.airflow import rendering, saving, work
from podbay.airflow.calls import TaskKey
from podbay.airflow.carried import Carried
from podbay.airflow.ownership import owner_of
from podbay.errors import InvalidInputError
from podbay.testing.requests import Requests


@pytest.mark.parametrize(
    ("state", "left"),
    [
        pytest.param("deferred", True, id="another-trigger-has-it"),
        pytest.param("queued", False, id="a-worker-has-it"),
        pytest.param("failed", False, id="marked"),
    ],
)
async def test_a_killed_trigger_leaves_the_pod_only_to_another_one(
    supervisor: Supervisor, kube: Requests, state: str, left: bool
) -> None:
    """What Airflow says decides while the pod still bears this trigger's own token."""
    run_id = f"killed-{state}"
    trigger = trigger_of("killed", run_id, runs=600)
    async with running(kube, trigger, run_id):
        supervisor.state = state
    await trigger.on_kill()
    assert supervisor.asked["GetTaskStates"] == 1
    assert bool(alive(kube, run_id)) is left
    # Airflow runs it once; a second call must not come to another end.
    supervisor.state = "failed"
    await trigger.on_kill()
    assert bool(alive(kube, run_id)) is left
    if left:
        await end(supervisor, kube, run_id)


async def end(supervisor: Supervisor, kube: Requests, run_id: str) -> None:
    """As a user who marks the task while another triggerer has only begun to take it over."""
    trigger = trigger_of("killed", run_id, runs=600)
    async with running(kube, trigger, run_id):
        supervisor.state = "failed"
    await trigger.on_kill()
    assert alive(kube, run_id) == []


async def test_the_pod_stays_until_airflow_says_what_became_of_the_task(
    supervisor: Supervisor, kube: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supervisor that is busy for a minute must not cost the pod that another triggerer has taken over meanwhile."""
    monkeypatch.setattr(work, "PAUSES", (0.1,) * 100)
    trigger = trigger_of("killed", "silent", runs=600)
    async with running(kube, trigger, "silent"):
        supervisor.state = None
    await trigger.on_kill()
    async with asyncio.timeout(SECONDS):
        while supervisor.asked["GetTaskStates"] < 3:
            await asyncio.sleep(0.1)
        assert alive(kube, "silent")
        supervisor.state = "failed"
        while alive(kube, "silent"):
            await asyncio.sleep(0.1)


async def until_owned_by_another(kube: Requests, run_id: str, owner: str) -> None:
    async with asyncio.timeout(SECONDS):
        while [owner_of(pod) for pod in pods(kube, run_id)] == [owner]:
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("wakes", ["after-the-other", "after-the-end"])
async def test_a_life_that_came_later_and_went_takes_nothing_along(
    supervisor: Supervisor, kube: Requests, wakes: str
) -> None:
    """Two triggerers take the same task on; the one that Airflow then takes it from has marked the pod as its own."""
    first, second = (trigger_of("killed", wakes, runs=600) for _ in range(2))
    async with running(kube, first, wakes):
        (before,) = map(owner_of, pods(kube, wakes))
        async with running(kube, second, wakes):
            await until_owned_by_another(kube, wakes, before)
        if wakes == "after-the-other":
            await second.on_kill()
            assert alive(kube, wakes)
        supervisor.state = "failed"
    await first.on_kill()
    assert alive(kube, wakes) == []
    await second.on_kill()


async def test_a_pod_that_is_to_be_kept_is_left_without_asking(
    supervisor: Supervisor, kube: Requests
) -> None:
    trigger = trigger_of("kept", "kept", runs=2, on_kill_action="keep_pod")
    async with running(kube, trigger, "kept"):
        supervisor.state = "failed"
    await trigger.on_kill()
    assert supervisor.asked["GetTaskStates"] == 0
    (pod,) = pods(kube, "kept")
    assert "deletionTimestamp" not in pod["metadata"]


async def test_a_triggerer_that_gets_a_task_back_tells_all_lines_again(
    supervisor: Supervisor,
    kube: Requests,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Airflow has it write over the log of the first time (`wb`), which no other triggerer has told."""
    monkeypatch.setattr(saving, "SAVE_SECONDS", 0.05)
    said = ""

    async def until_told(times: int) -> None:
        nonlocal said
        while (said := said + capsys.readouterr().out).count("[base] first line") < times:
            await asyncio.sleep(0.1)

    for times in (1, 2):
        trigger = trigger_of("again", "again", runs=600, log="first line", handed_over=False)
        supervisor.state = "deferred"
        async with running(kube, trigger, "again"), asyncio.timeout(SECONDS):
            await until_told(times)
            while ("again", "podbay_checkpoint") not in supervisor.xcoms:
                await asyncio.sleep(0.1)
        assert len(supervisor.xcoms["again", "podbay_checkpoint"]["writers"]) == 1
        await trigger.on_kill()
    assert "This triggerer has had the task before" in said
    supervisor.state = "failed"
    trigger = trigger_of("again", "again", runs=600)
    async with running(kube, trigger, "again"):
        pass
    await trigger.on_kill()
    assert alive(kube, "again") == []


async def test_tasks_ask_airflow_little(supervisor: Supervisor, kube: Requests) -> None:
    """Each question takes the one supervisor 20 ms, for all tasks together (airflow.md T10)."""
    triggers = [trigger_of(f"task-{number}", "many", runs=0.2) for number in range(10)]
    async with asyncio.timeout(SECONDS):
        events = await asyncio.gather(*map(event_of, triggers))
    assert [type(event) for event in events] == [TaskSuccessEvent] * len(triggers)
    assert supervisor.asked["GetConnection"] == 1
    # Name and namespace of the pod, the checkpoint that knows its end, the image.
    assert supervisor.asked.total() <= 1 + 4 * len(triggers), supervisor.asked


async def test_a_new_run_of_a_task_leaves_no_result_of_the_one_before(
    supervisor: Supervisor, kube: Requests
) -> None:
    """As the scheduler starts it: no worker has begun it, so Airflow has not cleared its XComs."""
    supervisor.xcoms["cleared", "return_value"] = "of the former run"
    trigger = trigger_of("cleared", "cleared", runs=0.2)
    trigger.task_instance.try_number = 2
    carried = replace(Carried.from_text(trigger._arguments["spec"]), rendered=False)
    trigger._arguments["spec"] = carried.to_text()
    trigger.task_instance.task = SimpleNamespace(dag=DAG("alone"))
    trigger.task_instance.get_template_context = dict
    async with asyncio.timeout(SECONDS):
        event = await event_of(trigger)
    assert event.payload["state"] == "success"
    assert ("cleared", "return_value") not in supervisor.xcoms
    assert supervisor.asked["DeleteXCom"] == 1


async def test_a_template_that_is_never_answered_fails_its_task_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A question that the supervisor does not know gets no answer (airflow.md T1)."""
    monkeypatch.setattr(rendering, "RENDER_SECONDS", 0.3)

    class Silent:
        def __getattr__(self, name: str) -> Any:
            rendering.greenback.await_(asyncio.Event().wait())

    context = {"var": Silent()}
    with DAG("alone") as dag:
        task = KubernetesPodOperator(task_id="asks", image="i")
    ti = SimpleNamespace(
        task=SimpleNamespace(dag=dag), get_template_context=lambda: context, task_id=task.task_id
    )
    key = TaskKey(dag_id="alone", run_id="asks", task_id="asks", map_index=-1, try_number=1)
    with pytest.raises(InvalidInputError, match=r"not rendered within 0 s: .* use deferrable=False"):
        async with asyncio.timeout(SECONDS):
            await rendering.render_parameters(
                {"image": "{{ var.nobody }}"},
                expansion=None,
                native=False,
                ti=ti,
                key=key,
                calls=None,  # type: ignore[arg-type]
            )
