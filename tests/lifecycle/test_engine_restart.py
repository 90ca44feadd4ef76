"""The engine's process is lost, or the API server is: the next one goes on with the same pod, and no line is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from engine_parts import Cluster, Life, Notes, engine, frame, sidecar, task
from patience import eventually

from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.home import cluster_home
from podbay.embedded.nodes import NodeFactory
from podbay.embedded.scripted import Script, ScriptedNode, ScriptedNodes
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.lifecycle import ending, first_answer, requests
from podbay.lifecycle import engine as engine_module
from podbay.lifecycle.checkpoint import Checkpoint
from podbay.lifecycle.plan import Deadlines, PodPlan
from podbay.testing import Environment
from podbay.testing.requests import Requests

LINES = [f"line {number}" for number in range(40)]


def ticking(name: str = "ticking") -> tuple[NodeFactory, ...]:
    """A node whose labelled pods write a line every twentieth of a second."""
    log = [{"after": 0.05 * number, "text": text} for number, text in enumerate(LINES)]
    rule = {
        "match": {"annotations": {"ticking": "yes"}},
        "containers": {"base": {"run": 0.05 * len(LINES) + 0.1, "log": log}},
    }
    script = Script.from_data([rule])
    return (lambda: ScriptedNodes([ScriptedNode(name=name)], script),)


@pytest.fixture(scope="module")
def scripted() -> Iterator[Environment]:
    with Environment.start(ClusterOptions(nodes=ticking())) as environment:
        yield environment


def ticks(namespace: str) -> PodPlan:
    plan = task(namespace)

    def build(incarnation: int) -> dict[str, object]:
        pod = plan.build(incarnation)
        pod["metadata"]["annotations"] = {
            **{k: v for k, v in pod["metadata"]["annotations"].items() if "scripted" not in k},
            "ticking": "yes",
        }
        return pod

    return PodPlan(build=build)


async def said(life: Life, count: int) -> None:
    await eventually(lambda: len(life.notes.log) >= count, tell=lambda: life.notes.log)


# -- the engine's process


async def test_with_its_checkpoint_no_line_is_lost_or_doubled(
    scripted: Environment, cluster: Cluster
) -> None:
    plan = ticks(cluster.namespace)
    lines: list[str] = []
    checkpoint: Checkpoint | None = None
    uids = set()
    for wanted in (3, 8, 5):
        async with engine(scripted.kubeconfig) as process:
            life = process.start(plan, checkpoint=checkpoint)
            await said(life, wanted)
            checkpoint = await life.crash()
            lines += life.notes.log
            uids.add(checkpoint.uid)
    async with engine(scripted.kubeconfig) as process:
        outcome, notes = await process.run(plan, checkpoint=checkpoint)
        assert process.requests(outcome).get("create", 0) == 0
    assert outcome.kind == "succeeded"
    assert lines + notes.log == LINES
    assert notes.notices == []
    assert uids == {outcome.uid}
    await cluster.gone(outcome.pod)


async def test_without_a_checkpoint_the_pod_is_found_and_its_log_told_again(
    scripted: Environment, cluster: Cluster
) -> None:
    plan = ticks(cluster.namespace)
    async with engine(scripted.kubeconfig) as process:
        life = process.start(plan)
        await said(life, 2)
        checkpoint = await life.crash()
    outcome, notes = await engine_run(scripted, plan)
    assert (outcome.kind, outcome.uid) == ("succeeded", checkpoint.uid)
    assert notes.log == LINES


async def engine_run(scripted: Environment, plan: PodPlan, checkpoint: Checkpoint | None = None):  # type: ignore[no-untyped-def]
    async with engine(scripted.kubeconfig) as process:
        outcome, notes = await process.run(plan, checkpoint=checkpoint)
        assert process.requests(outcome).get("create", 0) == 0
        return outcome, notes


async def test_lost_between_create_and_its_answer(scripted: Environment, cluster: Cluster) -> None:
    plan = task(cluster.namespace, run=0.5, log="x")
    async with engine(scripted.kubeconfig) as process:
        await cluster.fault(do="delay", seconds=0.2, match={"verb": "create"})
        life = process.start(plan)
        while not await cluster.pods():
            await asyncio.sleep(0.005)
        await life.crash()
    outcome, notes = await engine_run(scripted, plan)
    assert (outcome.kind, notes.log) == ("succeeded", ["x"])


async def test_ended_while_nobody_listened(scripted: Environment, cluster: Cluster) -> None:
    text = frame(b'{"rows": 12}')
    plan = task(cluster.namespace, run=0.3, log="x", result="sidecar", script=sidecar(log=text))
    async with engine(scripted.kubeconfig) as process:
        life = process.start(plan)
        await life.until("running")
        checkpoint = await life.crash()
    while (pod := await cluster.pod(checkpoint.pod)) and pod["status"]["phase"] != "Succeeded":
        await asyncio.sleep(0.02)
    outcome, notes = await engine_run(scripted, plan, checkpoint)
    assert (outcome.kind, outcome.json_result()) == ("succeeded", {"rows": 12})
    assert life.notes.log + notes.log == ["x"]


async def test_deleted_while_nobody_listened(scripted: Environment, cluster: Cluster) -> None:
    """With the checkpoint the next life knows that there was a pod, and makes no second one."""
    plan = task(cluster.namespace, run="forever")
    async with engine(scripted.kubeconfig) as process:
        life = process.start(plan)
        await life.until("running")
        checkpoint = await life.crash()
    await cluster.delete(checkpoint.pod, gracePeriodSeconds=0)
    outcome, _ = await engine_run(scripted, plan, checkpoint)
    assert outcome.kind == "deleted"
    assert await cluster.pods() == []


async def test_decided_but_not_cleaned_up(scripted: Environment, cluster: Cluster) -> None:
    class Held(Notes):
        async def save(self, checkpoint: Checkpoint) -> None:
            await super().save(checkpoint)
            if checkpoint.outcome is not None:
                await asyncio.Event().wait()

    plan = task(cluster.namespace, code=3, log="x")
    async with engine(scripted.kubeconfig) as process:
        life = process.start(plan, notes=Held())
        await eventually(lambda: life.notes.saved and life.notes.saved[-1].outcome)
        checkpoint = await life.crash()
    assert checkpoint.outcome is not None
    assert len(await cluster.pods()) == 1
    outcome, notes = await engine_run(scripted, plan, checkpoint)
    assert (outcome.kind, outcome.exit_code) == ("failed", 3)
    assert notes.outcomes == []
    assert notes.log == []
    await cluster.gone(checkpoint.pod)


async def test_decided_and_cleaned_up(scripted: Environment, cluster: Cluster) -> None:
    plan = task(cluster.namespace, log="x")
    async with engine(scripted.kubeconfig) as process:
        outcome, notes = await process.run(plan)
    await cluster.gone(outcome.pod)
    again, _ = await engine_run(scripted, plan, notes.saved[-1])
    assert again.kind == "succeeded"
    assert await cluster.pods() == []


async def test_lost_while_it_killed(scripted: Environment, cluster: Cluster) -> None:
    """The kill was accepted and not told: the next life brings it to its end, and says whose it was."""
    plan = task(cluster.namespace, run="forever", script={"stop-seconds": "3"})
    async with engine(scripted.kubeconfig) as process:
        life = process.start(plan)
        await life.until("running")
        life.run.kill("Ada")
        while not ((await cluster.pod(life.pod)) or {"metadata": {"deletionTimestamp": 1}})["metadata"].get(
            "deletionTimestamp"
        ):
            await asyncio.sleep(0.01)
        checkpoint = await life.crash()
    outcome, _ = await engine_run(scripted, plan, checkpoint)
    assert outcome.kind == "killed"
    assert await cluster.pods() == []


async def test_clocks_go_on_after_a_restart(scripted: Environment, cluster: Cluster) -> None:
    from podbay.lifecycle.plan import Deadlines

    plan = task(cluster.namespace, run="forever", deadlines=Deadlines(run=600.0))
    async with engine(scripted.kubeconfig) as process:
        life = process.start(plan)
        await life.until("running")
        checkpoint = await life.crash()
    late = Checkpoint.from_json({**checkpoint.to_json(), "elapsed": 601.0})
    outcome, _ = await engine_run(scripted, plan, late)
    assert outcome.kind == "timed_out"


# -- the cluster, when the next life begins


async def left_running(scripted: Environment, plan: PodPlan) -> Checkpoint:
    """By a process that is lost."""
    async with engine(scripted.kubeconfig) as found:
        life = found.start(plan)
        await life.until("running")
        return await life.crash()


async def test_an_api_server_that_does_not_know_us_yet_does_not_end_a_run(
    scripted: Environment, cluster: Cluster
) -> None:
    plan = task(cluster.namespace, run=2)
    checkpoint = await left_running(scripted, plan)
    await cluster.fault(do="refuse", status=401)
    async with engine(scripted.kubeconfig) as found:
        life = found.start(plan, checkpoint=checkpoint)
        await eventually(lambda: life.notes.has_phase("new"), tell=lambda: life.notes.phases)
        await cluster.lift_faults()
        outcome = await life.outcome()
    assert (outcome.kind, outcome.uid) == ("succeeded", checkpoint.uid)
    await cluster.gone(outcome.pod)


async def test_a_run_that_must_not_watch_any_more_asks_for_its_pod(
    scripted: Environment, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "REFUSED_SECONDS", 1.0)
    plan = task(cluster.namespace, run="forever")
    checkpoint = await left_running(scripted, plan)
    for verb in ("list", "watch"):
        await cluster.fault(do="refuse", status=403, match={"verb": verb})
    async with engine(scripted.kubeconfig) as found:
        life = found.start(plan, checkpoint=checkpoint)
        await life.until("running")
        await cluster.lift_faults()
        life.run.kill("Ada")
        outcome = await life.outcome()
    assert (outcome.kind, outcome.uid) == ("killed", checkpoint.uid)
    await cluster.gone(outcome.pod)


@pytest.mark.parametrize("by", ["Ada", ""])
async def test_a_cluster_that_is_away_at_the_beginning_hides_neither_kill_nor_deadline(
    scripted: Environment, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setattr(first_answer, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(ending, "KILL_PATIENCE", 0.2)
    monkeypatch.setattr(requests, "CLEANUP_SECONDS", 0.5)
    plan = replace(task(cluster.namespace, run="forever"), kill_grace=0.0)
    checkpoint = await left_running(scripted, plan)
    away = replace(load_kubeconfig(scripted.kubeconfig), server="https://127.0.0.1:1")
    deadlines = Deadlines() if by else Deadlines(run=checkpoint.elapsed + 1.0)
    async with engine(away, patience=0.5) as found:
        life = found.start(replace(plan, deadlines=deadlines), checkpoint=checkpoint)
        await asyncio.sleep(0.5)
        assert life.run.state.phase == "new"
        if by:
            life.run.kill(by)
            await eventually(lambda: life.notes.saved and life.notes.saved[0].killed_by == by)
        outcome = await life.outcome()
    assert (outcome.kind, outcome.uid) == ("killed" if by else "timed_out", checkpoint.uid)
    assert "may still be there" in outcome.message
    await cluster.delete(checkpoint.pod)


# -- the API server


class Server:
    """A cluster that can be closed and opened again: same home, port, state and certificates."""

    def __init__(self, directory: Path) -> None:
        self._home = cluster_home("again", directory)
        self._stack = ExitStack()
        self._port = 0
        self.environment = self._open()

    @property
    def kubeconfig(self) -> Path:
        return self._home.kubeconfig

    def _open(self) -> Environment:
        options = ClusterOptions(home=self._home, port=self._port, nodes=ticking())
        found = self._stack.enter_context(Environment.start(options))
        assert found.embedded is not None
        self._port = found.embedded.server.port
        return found

    async def restart(self, away: float = 0.5) -> None:
        await asyncio.to_thread(self._stack.close)
        await asyncio.sleep(away)
        self.environment = await asyncio.to_thread(self._open)

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    found = Server(tmp_path)
    yield found
    found.close()


async def test_the_api_server_restarts_in_the_middle(server: Server) -> None:
    with Requests(server.kubeconfig) as api:
        api.create_namespace("n")
    async with engine(server.kubeconfig, patience=60) as process:
        lives = [process.start(ticks("n")) for _ in range(3)]
        for life in lives:
            await said(life, 5)
        await server.restart()
        outcomes = [await life.outcome() for life in lives]
        assert {outcome.kind for outcome in outcomes} == {"succeeded"}
        for life, outcome in zip(lives, outcomes, strict=True):
            assert life.notes.log == LINES
            assert life.notes.notices == []
            assert process.requests(outcome)["create"] == 1


async def test_the_api_server_is_away_when_a_pod_is_created_and_removed(server: Server) -> None:
    with Requests(server.kubeconfig) as api:
        api.create_namespace("n")
    async with engine(server.kubeconfig, patience=60) as process:
        first = process.start(ticks("n"))
        await said(first, 30)
        restarting = asyncio.create_task(server.restart(away=3.0))
        await asyncio.sleep(0.3)
        second = process.start(task("n", run=0.2, log="x"))
        await restarting
        assert (await first.outcome()).kind == "succeeded"
        assert (await second.outcome()).kind == "succeeded"
        assert (first.notes.log, second.notes.log) == (LINES, ["x"])
    with Requests(server.kubeconfig) as api:
        cluster = Cluster(api, "n")
        for life in (first, second):
            await cluster.gone(life.pod)
