"""A triggerer takes a task over that has a pod, and something is in its way; or somebody ends the task meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.triggers.base import TaskFailedEvent
from triggers_alone import SECONDS, Supervisor, alive, event_of, pods, running, trigger_of

from podbay.airflow import driving, trouble, work
from podbay.airflow.carried import Carried
from podbay.airflow.driving import TaskRun
from podbay.airflow.ownership import owner_of
from podbay.airflow.triggers import PodTrigger
from podbay.errors import CredentialError, UnreachableError
from podbay.testing.requests import Requests

TASK = "passed-on"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trouble, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(work, "PAUSES", (0.1,) * 100)


@pytest.fixture
def run_id(kube: Requests) -> Iterator[str]:
    name = uuid.uuid4().hex
    yield name
    for pod in pods(kube, name):
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
        kube.call("DELETE", path, {"gracePeriodSeconds": 0})


async def left_behind(kube: Requests, run_id: str) -> None:
    """A pod that runs, and whose triggerer is gone."""
    async with running(kube, trigger_of(TASK, run_id, runs=600), run_id):
        pass
    assert len(alive(kube, run_id)) == 1


def next_life(run_id: str, **given: Any) -> PodTrigger:
    return trigger_of(TASK, run_id, runs=600, handed_over=False, **given)


@contextlib.asynccontextmanager
async def taken_over(kube: Requests, trigger: PodTrigger, run_id: str) -> AsyncIterator[None]:
    """While that trigger has the pod; afterwards cancelled."""
    (before,) = map(owner_of, pods(kube, run_id))
    task = asyncio.create_task(event_of(trigger))
    async with asyncio.timeout(SECONDS):
        while [owner_of(pod) for pod in pods(kube, run_id)] == [before]:
            assert not task.done(), task
            await asyncio.sleep(0.1)
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("kind", ["GetXCom", "GetConnection"])
async def test_a_supervisor_that_does_not_answer_costs_no_pod(
    supervisor: Supervisor, kube: Requests, run_id: str, kind: str
) -> None:
    await left_behind(kube, run_id)
    before = alive(kube, run_id)
    work._process = None
    supervisor.unanswered[kind] = 4
    async with taken_over(kube, next_life(run_id), run_id):
        assert supervisor.unanswered[kind] == 0
    assert alive(kube, run_id) == before


async def test_a_cloud_that_does_not_answer_costs_no_pod(
    supervisor: Supervisor, kube: Requests, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await left_behind(kube, run_id)
    before = alive(kube, run_id)
    read = driving.read_cluster
    failures = 2

    async def read_cluster(*args: Any) -> Any:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise CredentialError("the cloud is away")
        return await read(*args)

    monkeypatch.setattr(driving, "read_cluster", read_cluster)
    async with taken_over(kube, next_life(run_id), run_id):
        assert failures < 0
    assert alive(kube, run_id) == before


REFUSING = """\
version: 1
name: team-a
namespace: scripted
pods:
  default: {cpu: 250m, memory: 64Mi}
  maximum: {cpu: 500m, memory: 128Mi}
"""


@pytest.mark.parametrize("text", [REFUSING, "version: nonsense"], ids=["refuses", "is-broken"])
async def test_a_deployment_that_would_refuse_the_pod_now_does_not_end_it(
    supervisor: Supervisor,
    kube: Requests,
    run_id: str,
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    large = {"limits": {"cpu": "2", "memory": "1Gi"}}
    async with running(kube, trigger_of(TASK, run_id, runs=600, container_resources=large), run_id):
        pass
    before, trigger = alive(kube, run_id), next_life(run_id, container_resources=large)
    (tmp_path / "podbay.yaml").write_text(text)
    monkeypatch.setenv("PODBAY_FILE", str(tmp_path / "podbay.yaml"))
    async with taken_over(kube, trigger, run_id):
        # Nobody may make another one against the rules.
        for pod in pods(kube, run_id):
            path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
            assert alive(kube, run_id) == before
            kube.call("DELETE", path, {"gracePeriodSeconds": 0})
        await asyncio.sleep(1)
        assert alive(kube, run_id) == []
    assert "could not be made any more" in capsys.readouterr().out


async def test_a_task_that_fails_before_its_pod_is_found_leaves_none(
    supervisor: Supervisor, kube: Requests, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await left_behind(kube, run_id)

    async def run(*args: Any, **kwargs: Any) -> None:
        raise LookupError("a mistake")

    monkeypatch.setattr(TaskRun, "run", run)
    async with asyncio.timeout(SECONDS):
        assert isinstance(await event_of(next_life(run_id)), TaskFailedEvent)
    assert alive(kube, run_id) == []


async def gone(kube: Requests, run_id: str) -> None:
    async with asyncio.timeout(SECONDS):
        while alive(kube, run_id):
            await asyncio.sleep(0.1)


def away(monkeypatch: pytest.MonkeyPatch, times: int) -> Callable[[], int]:
    """The cluster, for who would delete; tells how often it is still away."""
    lease = work.lease

    def leased(config: Any) -> Any:
        nonlocal times
        times -= 1
        if times >= 0:
            raise UnreachableError("refused", "the cluster is away")
        return lease(config)

    monkeypatch.setattr(work, "lease", leased)
    return lambda: times


async def test_a_pod_is_ended_as_soon_as_its_cluster_is_back(
    supervisor: Supervisor, kube: Requests, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger = trigger_of(TASK, run_id, runs=600)
    async with running(kube, trigger, run_id):
        supervisor.state = "failed"
    left = away(monkeypatch, 3)
    await trigger.on_kill()
    assert alive(kube, run_id)
    await gone(kube, run_id)
    assert left() < 0


async def test_airflow_waits_half_a_minute_and_the_end_of_the_pod_goes_on(
    supervisor: Supervisor, kube: Requests, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger = trigger_of(TASK, run_id, runs=600)
    async with running(kube, trigger, run_id):
        supervisor.state = "failed"
    delete = work.delete_own_pods
    begun = asyncio.Event()

    async def slowly(*args: Any, **kwargs: Any) -> list[str]:
        begun.set()
        await asyncio.sleep(1)
        return await delete(*args, **kwargs)

    monkeypatch.setattr(work, "delete_own_pods", slowly)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(trigger.on_kill(), 0.5)
    assert begun.is_set()
    await gone(kube, run_id)


async def test_a_task_that_is_killed_in_its_first_moment_leaves_no_pod_of_its_life_before(
    supervisor: Supervisor, kube: Requests, run_id: str
) -> None:
    await left_behind(kube, run_id)
    supervisor.state = "failed"
    await next_life(run_id).on_kill()
    assert alive(kube, run_id) == []


async def test_the_pod_of_the_life_before_is_found_whatever_is_not_rendered(
    supervisor: Supervisor, kube: Requests, run_id: str
) -> None:
    await left_behind(kube, run_id)
    supervisor.state = "failed"
    trigger = next_life(run_id)
    carried = Carried.from_text(trigger._arguments["spec"])
    reference = {"$podbay": "xcom", "task": "t", "key": "return_value", "index": "none", "optional": False}
    parameters = {
        **carried.parameters,
        "image": reference,
        "overflow_kubernetes_conn_id": "kubernetes_default",
    }
    spec = Carried(parameters=parameters, since=None).to_text()
    unrendered = PodTrigger(spec=spec)
    unrendered.task_instance = trigger.task_instance
    await unrendered.on_kill()
    assert alive(kube, run_id) == []
