"""What a task is told of what the healer did to its pod: on the pod, in its note, in its log; and in several clusters."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from healer_scene import LONG_AGO, RULES, Scene, opened_scene
from patience import PATIENCE, eventually

from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.nodes import one_scripted_node
from podbay.healer.events import history
from podbay.healer.sites import Site
from podbay.kube.client import PODS
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.kube.lease import DeskOptions, LeaseDesk, pods_of
from podbay.lifecycle.engine import PodRun
from podbay.lifecycle.hold import HEALED
from podbay.lifecycle.plan import PodPlan
from podbay.objects.meta import name_of
from podbay.pods.build import build_pod
from podbay.pods.identity import TaskIdentity
from podbay.pods.request import PodRequest
from podbay.testing import Environment
from podbay.testing.requests import Requests


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    with Environment.start(ClusterOptions(nodes=one_scripted_node())) as started:
        yield started


@pytest.fixture(scope="module")
def another() -> Iterator[Environment]:
    with Environment.start(ClusterOptions(nodes=one_scripted_node())) as started:
        yield started


@pytest_asyncio.fixture
async def scene(environment: Environment) -> AsyncIterator[Scene]:
    async with opened_scene(environment) as opened:
        yield opened


def notes(scene: Scene) -> list[Any]:
    return [body["note"] for _, body in scene.airflow.patched]


async def test_the_note_of_the_task_says_what_was_done_and_why(scene: Scene) -> None:
    pod = await scene.pod("orphan")
    scene.airflow.put(
        "d", "r:1+", "orphan", "failed", end_date=LONG_AGO, note="Ask Ada before you clear this."
    )
    assert [each.result for each in (await scene.heal()).done] == ["done"]
    [note] = notes(scene)
    people, ours = note.split("\n")
    assert people == "Ask Ada before you clear this."
    assert f"Podbay's healer: pod {name_of(pod)} was deleted: " in ours
    assert "is failed and its pod is still here (OwnerFinished)" in ours


async def test_people_s_words_are_never_cut_for_ours(scene: Scene) -> None:
    await scene.pod("orphan")
    scene.airflow.put("d", "r:1+", "orphan", "failed", end_date=LONG_AGO, note="n" * 990)
    assert [each.result for each in (await scene.heal()).done] == ["done"]
    assert notes(scene) == []


async def test_an_airflow_that_takes_no_notes_stops_nothing(scene: Scene) -> None:
    pod = await scene.pod("orphan")
    scene.airflow.put("d", "r:1+", "orphan", "failed", end_date=LONG_AGO)
    scene.airflow.refuses_notes = True
    assert [each.result for each in (await scene.heal()).done] == ["done"]
    await eventually(lambda: scene.is_ending(pod))


async def test_the_log_of_the_try_has_a_line_where_its_folder_is_at_hand(
    scene: Scene, tmp_path: Path
) -> None:
    pod = await scene.pod("orphan")
    scene.airflow.put("d", "r:1+", "orphan", "failed", end_date=LONG_AGO, try_number=2)
    folder = tmp_path / "dag_id=d" / "run_id=r:1+" / "task_id=orphan"
    folder.mkdir(parents=True)
    for number in (1, 2):
        (folder / f"attempt={number}.log").write_bytes(b"{}\n")
    await scene.heal(logs=tmp_path)
    [line] = (folder / "attempt=2.log.healer.log").read_bytes().splitlines()
    event = orjson.loads(line)
    assert f"pod {name_of(pod)} was deleted" in event["event"]
    assert (event["level"], event["logger"]) == ("warning", "podbay.healer")
    assert not (folder / "attempt=1.log.healer.log").exists()


@pytest.mark.parametrize("run_id", ["r:1+", "../../../../outside"])
async def test_nothing_is_written_beside_the_logs(scene: Scene, tmp_path: Path, run_id: str) -> None:
    """A try without a log, and ids that lead out of the folder."""
    logs = tmp_path / "logs"
    logs.mkdir()
    outside = logs / "dag_id=d" / f"run_id={run_id}" / "task_id=orphan"
    if run_id != "r:1+":
        (logs / "dag_id=d" / "run_id=..").mkdir(parents=True)
        outside.mkdir(parents=True)
        (outside / "attempt=1.log").touch()
    own = TaskIdentity(deployment="prod", dag_id="d", run_id=run_id, task_id="orphan")
    await scene.pod("orphan", own=own)
    scene.airflow.put("d", run_id, "orphan", "failed", end_date=LONG_AGO)
    before = sorted(tmp_path.rglob("*"))
    [done] = (await scene.heal(logs=logs)).done
    assert done.result == "done"
    assert sorted(tmp_path.rglob("*")) == before


async def test_a_task_that_waits_for_its_pod_is_told_who_ended_it(
    scene: Scene, environment: Environment
) -> None:
    """Such as the life of a try that was replaced: its log is open, and the engine writes the reason into it."""
    own = TaskIdentity(deployment="prod", dag_id="d", run_id="r:1+", task_id="waits")
    marks = {"scripted.podbay.dev/run-seconds": "3600"}
    request = PodRequest(identity=own, namespace=scene.namespace, image="busybox", annotations=marks)
    desk = LeaseDesk(DeskOptions(linger_seconds=0))
    scene.airflow.put("d", "r:1+", "waits", "running", try_number=2)
    async with desk.lease(load_kubeconfig(environment.kubeconfig)) as cluster:
        run = PodRun(cluster, PodPlan(build=lambda _: build_pod(request)))
        waiting = asyncio.ensure_future(run.run())
        newer = await scene.pod("waits", own=replace(own, try_number=2))
        await eventually(lambda: len(scene.store.objects()) == 2)
        await eventually(
            lambda: all(pod["status"].get("phase") == "Running" for pod in scene.store.objects())
        )
        done = (await scene.heal()).done
        assert [(each.action.check, each.result) for each in done] == [("OlderTry", "done")]
        outcome = await waiting
    await desk.aclose()
    assert outcome.kind == "deleted"
    assert "It was Podbay's healer: try 1 of task d.waits of r:1+ was replaced" in outcome.message
    assert name_of(newer) in outcome.message


async def test_pods_of_all_clusters_are_one_world(
    scene: Scene, environment: Environment, another: Environment
) -> None:
    """An older try in one cluster, its successor in another; and a cluster that is away stops only what is in it."""
    async with opened_scene(another) as other:
        older = await scene.pod("moves")
        own = TaskIdentity(deployment="prod", dag_id="d", run_id="r:1+", task_id="moves", try_number=2)
        newer = await other.pod("moves", own=own)
        orphan = await other.pod("orphan")
        scene.airflow.put("d", "r:1+", "moves", "running", try_number=2)
        scene.airflow.put("d", "r:1+", "orphan", "failed", end_date=LONG_AGO)
        sites = [scene.site("first"), other.site("second")]
        done = (await scene.heal(sites=sites)).done
        assert sorted(
            (each.action.cluster, each.action.name, each.action.check, each.result) for each in done
        ) == [
            ("first", name_of(older), "OlderTry", "done"),
            ("second", name_of(orphan), "OwnerFinished", "done"),
        ]
        await eventually(lambda: scene.is_ending(older))
        await eventually(lambda: other.is_ending(orphan))
        assert not other.is_ending(newer)
        [event] = await history(other.client, other.namespace, "prod")
        assert event["involvedObject"]["name"] == name_of(orphan)


async def test_a_cluster_that_is_away_stops_only_what_is_in_it(scene: Scene) -> None:
    orphan = await scene.pod("orphan")
    scene.airflow.put("d", "r:1+", "orphan", "failed", end_date=LONG_AGO)
    scene.airflow.put("d", "r:1+", "gone", "running")
    own = TaskIdentity(deployment="prod", dag_id="d", run_id="r:1+", task_id="gone")
    desk = LeaseDesk(DeskOptions(linger_seconds=0))
    with ExitStack() as life:
        short = life.enter_context(Environment.start(ClusterOptions(nodes=one_scripted_node())))
        async with (
            desk.lease(load_kubeconfig(short.kubeconfig)) as cluster,
            cluster.watch(pods_of("default")) as store,
        ):
            await store.wait_synced()
            request = PodRequest(identity=own, namespace="default", image="busybox")
            there = await cluster.client.create(PODS, build_pod(request), namespace="default")
            await eventually(store.objects)
            sites = [scene.site("first"), Site(cluster.client, store, "second", "default")]
            healer = await scene.healer(replace(RULES, lost=0), sites=sites)
            shown = (await healer.round(dry_run=True)).decision.actions
            assert [each.name for each in shown] == [name_of(orphan)]
            await asyncio.to_thread(life.close)
            await eventually(lambda: store.trouble_now is not None)
            last = await healer.round()
    await desk.aclose()
    assert [(each.action.name, each.result) for each in last.done] == [(name_of(orphan), "done")]
    assert "pods are not known of second" in last.decision.stopped
    assert name_of(there) not in str(last.decision.actions), "a pod that nobody can see has not vanished"


async def test_a_pod_that_could_not_be_ended_does_not_say_that_it_was(
    scene: Scene, environment: Environment
) -> None:
    pod = await scene.pod("orphan")
    scene.airflow.put("d", "r:1+", "orphan", "failed", end_date=LONG_AGO)
    refusal = {"do": "refuse", "status": 403, "count": 1, "match": {"agent": "podbay*", "verb": "delete"}}
    with Requests(environment.kubeconfig) as api:
        code, answer = api.call("POST", "/podbay.dev/v1/faults", refusal)
        assert code < 300, answer
        [done] = (await scene.heal()).done
        api.call("DELETE", "/podbay.dev/v1/faults")
    assert done.result == "failed"
    now = await scene.client.get(PODS, name_of(pod), namespace=scene.namespace)
    assert HEALED not in now["metadata"]["annotations"]
    assert notes(scene) == []
    [event] = await history(scene.client, scene.namespace, "prod")
    assert "Not done" in event["message"]
    version = now["metadata"]["resourceVersion"]
    await eventually(
        lambda: scene.store.get(scene.namespace, name_of(pod))["metadata"]["resourceVersion"] == version
    )
    [done] = (await scene.heal()).done
    assert done.result == "done"


async def test_the_command_takes_several_clusters(
    scene: Scene, environment: Environment, another: Environment
) -> None:
    """Kubeconfigs of their own, whose contexts are called alike."""
    orphan = await scene.pod("orphan")
    scene.airflow.put("d", "r:1+", "orphan", "failed", end_date=LONG_AGO)
    own = TaskIdentity(deployment="prod", dag_id="d", run_id="r:1+", task_id="elsewhere")
    pod = build_pod(PodRequest(identity=own, namespace=scene.namespace, image="busybox"))
    with Requests(another.kubeconfig) as api:
        api.create_namespace(scene.namespace)
        code, answer = api.call("POST", f"/api/v1/namespaces/{scene.namespace}/pods", pod)
        assert code == 201, answer

    async def podbay(*words: str) -> Any:
        where = ["--cluster", str(environment.kubeconfig), "--cluster", str(another.kubeconfig)]
        process = await asyncio.create_subprocess_exec(
            *(Path(sys.executable).with_name("podbay"), *words, *where),
            *("--deployment", "prod", "-n", scene.namespace, "-o", "json"),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PODBAY_AIRFLOW_URL": scene.airflow.url},
        )
        out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
        assert process.returncode == 0
        return orjson.loads(out)

    found = await podbay("heal", "--once")
    assert (found["pods"], found["stopped"], found["done"]) == (2, None, []), "both are young"
    await scene.heal()
    [row] = await podbay("heal", "history")
    first, name = row["pod"].split(" ")
    assert (first, name) == (scene.client.config.server, name_of(orphan))
