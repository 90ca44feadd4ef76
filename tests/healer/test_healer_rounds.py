"""Rounds against the embedded cluster with scripted nodes and a scripted Airflow: what is done, recorded, and not done."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio
from healer_scene import LONG_AGO, RULES, Scene, opened_scene
from patience import PATIENCE, eventually

from podbay.aio.clock import SystemClock
from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.nodes import one_scripted_node
from podbay.errors import ApiError, PodbayError
from podbay.healer import holding
from podbay.healer.acting import Actor
from podbay.healer.endpoint import serve
from podbay.healer.events import history
from podbay.healer.leader import Leader
from podbay.healer.manifests import healer_objects
from podbay.healer.reconciler import NODES, Reconciler
from podbay.healer.service import Service
from podbay.kube.client import PODS
from podbay.kube.config import Impersonation
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.kube.lease import DeskOptions, LeaseDesk, pods_of
from podbay.lifecycle.engine import PodRun
from podbay.lifecycle.hold import held_until
from podbay.lifecycle.plan import PodPlan
from podbay.objects.meta import name_of
from podbay.objects.resource import GVR
from podbay.pods.build import build_pod
from podbay.pods.identity import TaskIdentity, task_labels
from podbay.pods.request import PodRequest
from podbay.testing import Environment
from podbay.testing.requests import Requests


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    with Environment.start(ClusterOptions(nodes=one_scripted_node())) as found:
        yield found


@pytest_asyncio.fixture
async def scene(environment: Environment) -> AsyncIterator[Scene]:
    async with opened_scene(environment) as opened:
        yield opened


async def test_a_namespace_without_task_pods_asks_airflow_nothing(scene: Scene) -> None:
    assert (await scene.heal()).pods == 0
    assert scene.airflow.requests == []


async def test_an_orphan_goes_and_everything_says_why(scene: Scene) -> None:
    orphan, busy = await scene.pod("orphan"), await scene.pod("busy")
    scene.airflow.put("d", "r:1+", "orphan", "failed", end_date=LONG_AGO)
    scene.airflow.put("d", "r:1+", "busy", "running")
    shown = await scene.heal(dry_run=True)
    assert [each.name for each in shown.decision.actions] == [name_of(orphan)]
    assert not await history(scene.client, scene.namespace, "prod"), "a dry run writes nothing"
    done = (await scene.heal()).done
    assert [(each.action.name, each.result) for each in done] == [(name_of(orphan), "done")]
    await eventually(lambda: scene.is_ending(orphan))
    assert not scene.is_ending(busy)
    [event] = await history(scene.client, scene.namespace, "prod")
    assert (event["involvedObject"]["uid"], event["reason"]) == (orphan["metadata"]["uid"], "OwnerFinished")
    assert event["action"] == "Delete"
    assert "failed" in event["message"]


async def test_it_is_safe_to_run_twice_at_once(scene: Scene) -> None:
    orphan = await scene.pod("orphan")
    done = await asyncio.gather(scene.heal(), scene.heal())
    results = sorted(each.result for one in done for each in one.done)
    assert set(results) <= {"done", "dropped"}, done
    assert "done" in results
    await eventually(lambda: scene.is_ending(orphan))


async def test_a_held_pod_stays_until_it_is_released(scene: Scene) -> None:
    orphan = await scene.pod("orphan")
    await holding.hold(scene.client, orphan, SystemClock().now(), 600)
    held = "podbay.dev/held-until"
    key = (scene.namespace, name_of(orphan))
    await eventually(lambda: held in scene.store.get(*key)["metadata"]["annotations"])
    assert (await scene.heal()).done == ()
    await holding.release(scene.client, orphan)
    await eventually(lambda: held not in scene.store.get(*key)["metadata"]["annotations"])
    assert [each.result for each in (await scene.heal()).done] == ["done"]


async def test_the_pod_of_a_failed_task_is_held_and_then_removed(
    scene: Scene, environment: Environment
) -> None:
    own = TaskIdentity(deployment="prod", dag_id="d", run_id="r:1+", task_id="fails")
    marks = {"scripted.podbay.dev/exit-code": "3"}
    request = PodRequest(identity=own, namespace=scene.namespace, image="busybox", annotations=marks)
    plan = PodPlan(build=lambda _: build_pod(request), keep="on_failure", hold=600.0)
    desk = LeaseDesk(DeskOptions(linger_seconds=0))
    async with desk.lease(load_kubeconfig(environment.kubeconfig)) as cluster:
        outcome = await PodRun(cluster, plan).run()
    await desk.aclose()
    assert outcome.kind == "failed"

    def until() -> str:
        return held_until(scene.store.get(scene.namespace, outcome.pod) or {"metadata": {}})

    await eventually(until)
    # The next try runs already.
    scene.airflow.put("d", "r:1+", "fails", "running", try_number=2)
    held = until()
    assert (await scene.heal()).done == ()
    pod = scene.store.get(scene.namespace, outcome.pod)
    assert pod is not None
    await holding.hold(scene.client, pod, SystemClock().now(), -1)
    await eventually(lambda: until() != held)
    done = (await scene.heal()).done
    assert [(each.action.check, each.result) for each in done] == [("HoldEnded", "done")]
    await eventually(lambda: scene.is_ending(pod))


async def test_a_task_that_comes_back_in_the_last_moment_keeps_its_pod(scene: Scene) -> None:
    orphan = await scene.pod("orphan")
    scene.airflow.put("d", "r:1+", "orphan", "failed", end_date=LONG_AGO)

    def clear() -> bool:
        scene.airflow.put("d", "r:1+", "orphan", "queued")
        return True

    [done] = (await scene.heal(may_act=clear)).done
    assert done.result == "dropped"
    assert not scene.is_ending(orphan)


@pytest.mark.parametrize("comes", [True, False])
async def test_an_upstream_pod_that_gets_a_task_in_the_last_moment_stays(scene: Scene, comes: bool) -> None:
    own = TaskIdentity(deployment="any", dag_id="d", run_id="r:1+", task_id="orphan")
    orphan = await scene.client.create(PODS, upstream_pod(own), namespace=scene.namespace)
    await eventually(lambda: scene.runs(name_of(orphan)))

    def create() -> bool:
        if comes:
            scene.airflow.put("d", "r:1+", "orphan", "queued", updated_at="9999")
        return True

    [done] = (await scene.heal(replace(RULES, only_airflow=True), may_act=create)).done
    assert (done.action.check, done.result) == ("NoOwner", "dropped" if comes else "done"), done
    assert scene.airflow.requests[-1].count("updated_at_gte=") == 1


def upstream_pod(own: TaskIdentity) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "orphan",
            "labels": task_labels(own),
            "annotations": {"scripted.podbay.dev/run-seconds": "3600"},
        },
        "spec": {"containers": [{"name": "base", "image": "busybox"}], "restartPolicy": "Never"},
    }


async def test_a_pod_that_changes_in_the_last_moment_stays(scene: Scene) -> None:
    """Such as one that another try has just claimed."""
    orphan = await scene.pod("orphan")
    [action] = (await scene.heal(dry_run=True)).decision.actions
    patch = {"metadata": {"annotations": {"podbay.dev/owner": "somebody"}}}
    await scene.client.patch(PODS, name_of(orphan), patch, namespace=scene.namespace)
    actor = Actor(scene.client, await scene.api(), "prod")
    done = await actor.take(action, SystemClock().now())
    assert done.result == "dropped"
    assert not scene.is_ending(orphan)
    [event] = await history(scene.client, scene.namespace, "prod")
    assert "Not done" in event["message"]


async def test_what_has_failed_leaves_its_turn_to_the_rest(scene: Scene, environment: Environment) -> None:
    pods = [await scene.pod(f"t{number}") for number in range(3)]
    for number in range(3):
        scene.airflow.put("d", "r:1+", f"t{number}", "failed", end_date=LONG_AGO)
    healer = await scene.healer()
    match = {"agent": "podbay*", "verb": "delete"}
    turns = iter([True, True])
    with Requests(environment.kubeconfig) as api:
        fault = {"do": "refuse", "status": 403, "match": match}
        code, answer = api.call("POST", "/podbay.dev/v1/faults", fault)
        assert code < 300, answer
        first = (await healer.round(may_act=lambda: next(turns, False))).done
        api.call("DELETE", "/podbay.dev/v1/faults")
    assert [each.result for each in first] == ["failed", "failed"]
    last = await healer.round()
    [done] = last.done
    assert done.result == "done"
    failed = {each.action.uid for each in first}
    assert done.action.uid not in failed
    assert {action.uid for action, left in last.decision.waiting if 0 < left <= 60} == failed
    await eventually(lambda: sum(scene.is_ending(each) for each in pods) == 1)


@pytest.mark.parametrize("part", ["version", "taskInstances", "auth/token"])
async def test_nothing_happens_while_airflow_is_ill(scene: Scene, part: str) -> None:
    orphan = await scene.pod("orphan")
    scene.airflow.broken[part] = 500
    last = await scene.heal()
    assert last.decision.stopped
    assert last.done == ()
    assert not scene.is_ending(orphan)


async def test_an_ill_cluster_costs_time_and_no_pod(scene: Scene, environment: Environment) -> None:
    """Kubernetes refuses, drops answers, forgets the watch: rounds fail or wait, and afterwards only orphans are gone."""
    busy = [await scene.pod(f"busy-{number}") for number in range(3)]
    orphans = [await scene.pod(f"orphan-{number}") for number in range(3)]
    for number in range(3):
        scene.airflow.put("d", "r:1+", f"busy-{number}", "running")
        scene.airflow.put("d", "r:1+", f"orphan-{number}", "failed", end_date=LONG_AGO)
    match = {"agent": "podbay*"}
    faults: list[dict[str, Any]] = [
        {"do": "refuse", "status": 429, "retry_after": 1, "count": 3},
        {"do": "refuse", "status": 500, "count": 3},
        {"do": "refuse", "status": 503, "after": True, "count": 2, "match": {"verb": "delete"}},
        {"do": "drop", "after": True, "count": 3},
        {"do": "refuse", "status": 410, "count": 2, "match": {"verb": "watch"}},
        {"do": "cut", "bytes": 0, "count": 2, "match": {"verb": "watch"}},
    ]
    healer = await scene.healer()
    with Requests(environment.kubeconfig) as api:
        for fault in faults:
            fault = {**fault, "match": {**match, **fault.get("match", {})}}
            code, answer = api.call("POST", "/podbay.dev/v1/faults", fault)
            assert code < 300, answer
            with suppress(PodbayError):
                await healer.round()
        api.call("DELETE", "/podbay.dev/v1/faults")
    async with asyncio.timeout(PATIENCE):
        while not all(scene.is_ending(each) for each in orphans):
            await healer.round()
            await asyncio.sleep(0.1)
    assert not any(scene.is_ending(each) for each in busy)
    told = {event["involvedObject"]["name"] for event in await history(scene.client, scene.namespace, "prod")}
    assert told == {name_of(each) for each in orphans}


async def test_a_vanished_pod_fails_its_task_if_that_is_wanted(scene: Scene) -> None:
    scene.airflow.put("d", "r:1+", "lost", "running")
    pod = await scene.pod("lost")
    healer = await scene.healer(replace(RULES, lost=0, fail_lost=True))
    assert (await healer.round()).done == ()
    options = {"gracePeriodSeconds": 0}
    await scene.client.delete(PODS, name_of(pod), namespace=scene.namespace, options=options)
    await eventually(lambda: scene.store.get(scene.namespace, name_of(pod)) is None)
    assert [each.action.check for each in (await healer.round()).done] == ["PodVanished"]
    [(task, body)] = scene.airflow.patched
    assert (task, body["new_state"]) == ("lost", "failed")
    assert name_of(pod) in body["note"]


async def test_a_vanished_pod_gives_its_task_another_try_if_that_is_wanted(scene: Scene) -> None:
    scene.airflow.put("d", "r:1+", "lost", "deferred", max_tries=2, map_index=4)
    scene.airflow.retries["d", "lost"] = 2
    own = TaskIdentity(deployment="prod", dag_id="d", run_id="r:1+", task_id="lost", map_index=4)
    pod = await scene.pod("lost", own=own)
    healer = await scene.healer(replace(RULES, lost=0, retry_lost=True))
    assert (await healer.round()).done == ()
    await scene.client.delete(
        PODS, name_of(pod), namespace=scene.namespace, options={"gracePeriodSeconds": 0}
    )
    await eventually(lambda: scene.store.get(scene.namespace, name_of(pod)) is None)
    [done] = (await healer.round()).done
    assert (done.action.deed, done.result) == ("retry_task", "done")
    [(dag, body)] = scene.airflow.cleared
    assert (dag, body["dag_run_id"], body["task_ids"], body["dry_run"]) == ("d", "r:1+", [["lost", 4]], False)
    [(_, note)] = scene.airflow.patched
    assert "was given another try" in note["note"]
    [event] = await history(scene.client, scene.namespace, "prod")
    assert event["action"] == "RetryTask"


async def test_a_task_that_always_loses_its_pod_gets_no_more_tries_than_its_own(scene: Scene) -> None:
    """Airflow raises max_tries with each clearing."""
    scene.airflow.put("d", "r:1+", "lost", "deferred", max_tries=2)
    scene.airflow.retries["d", "lost"] = 2
    healer = await scene.healer(replace(RULES, lost=0, retry_lost=True, fail_lost=True))
    deeds = []
    for number in (1, 2, 3):
        scene.airflow.tasks["d", "r:1+", "lost", -1] |= {"state": "deferred", "try_number": number}
        own = TaskIdentity(deployment="prod", dag_id="d", run_id="r:1+", task_id="lost", try_number=number)
        pod = await scene.pod("lost", own=own)
        assert (await healer.round()).done == ()
        options = {"gracePeriodSeconds": 0}
        await scene.client.delete(PODS, name_of(pod), namespace=scene.namespace, options=options)
        await eventually(lambda: not scene.store.objects())
        deeds += [each.action.deed for each in (await healer.round()).done]
    assert deeds == ["retry_task", "retry_task", "fail_task"]


async def test_reports_are_told_once(scene: Scene) -> None:
    await scene.pod("t", labels={})
    scene.airflow.put("d", "r:1+", "t", "deferred")
    healer = await scene.healer(replace(RULES, trigger=0))
    assert [each.action.check for each in (await healer.round()).done] == ["TriggerGone"]
    assert (await healer.round()).done == ()


async def test_one_leads_and_the_next_takes_over(scene: Scene) -> None:
    async def leader(holder: str) -> Leader:
        return Leader(
            scene.client, SystemClock(), namespace=scene.namespace, name="healer", holder=holder, duration=2
        )

    first, second = await leader("first"), await leader("second")
    assert await first.compete()
    assert not await second.compete()
    await first.release()
    assert await second.compete()
    assert not await first.compete()
    # `second` dies without a word: it stops leading before anybody else may begin.
    async with asyncio.timeout(PATIENCE):
        while not await first.compete():
            await asyncio.sleep(0.05)
    assert not second.leads


async def test_the_service_heals_tells_its_metrics_and_its_health(scene: Scene) -> None:
    orphan = await scene.pod("orphan")
    leader = Leader(
        scene.client, SystemClock(), namespace=scene.namespace, name="healer", holder="me", duration=60
    )
    service = Service(await scene.healer(), leader, SystemClock(), interval=0.1)
    async with serve(0, service.metrics.text, service.ailment) as port, aiohttp.ClientSession() as http:
        running = asyncio.create_task(service.run())
        await eventually(lambda: scene.is_ending(orphan))
        done = 'podbay_healer_actions_total{check="NoOwner",deed="delete",result="done"} 1'
        await eventually(lambda: done in service.metrics.text())
        async with http.get(f"http://127.0.0.1:{port}/metrics") as answer:
            assert done in await answer.text()
        async with http.get(f"http://127.0.0.1:{port}/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert not leader.leads


async def test_the_manifests_give_every_right_that_a_round_needs(
    scene: Scene, environment: Environment
) -> None:
    orphan = await scene.pod("orphan")
    objects = healer_objects(
        deployment="prod", namespace=scene.namespace, image="x", airflow_url=scene.airflow.url, login="login"
    )
    for each in objects[:5]:
        group, _, version = each["apiVersion"].rpartition("/")
        resource = GVR(group, version or each["apiVersion"], f"{each['kind'].lower()}s")
        await scene.client.create(resource, each, namespace=each["metadata"].get("namespace"))
    user = f"system:serviceaccount:{scene.namespace}:podbay-healer"
    config = replace(load_kubeconfig(environment.kubeconfig), impersonation=Impersonation(user=user))
    desk = LeaseDesk(DeskOptions(linger_seconds=0))
    async with desk.lease(config) as cluster, cluster.watch(pods_of(scene.namespace)) as store:
        await store.wait_synced()
        healer = Reconciler(cluster.client, store, await scene.api(), RULES, SystemClock())
        leader = Leader(
            cluster.client, SystemClock(), namespace=scene.namespace, name="healer", holder="me", duration=60
        )
        assert await leader.compete()
        assert await leader.compete()
        assert [each.result for each in (await healer.round()).done] == ["done"]
        await cluster.client.list(NODES)
        with pytest.raises(ApiError, match="cannot list resource"):
            await cluster.client.list(GVR("", "v1", "secrets"), namespace=scene.namespace)
    await desk.aclose()
    await eventually(lambda: scene.is_ending(orphan))


async def test_the_command_does_one_round_and_shows_it(scene: Scene, environment: Environment) -> None:
    orphan = await scene.pod("orphan")

    async def podbay(*words: str, code: int = 0) -> str:
        where = ["--cluster", str(environment.kubeconfig), "--namespace", scene.namespace]
        name = ["--deployment", "prod"] if words[0] == "heal" else []
        process = await asyncio.create_subprocess_exec(
            *(Path(sys.executable).with_name("podbay"), *words, *where, *name),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PODBAY_AIRFLOW_URL": scene.airflow.url},
        )
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
        assert process.returncode == code, err.decode()
        return (out + err).decode()

    assert "nothing to do" in await podbay("heal", "--once", "--dry-run"), "the pod is young"
    assert "is held until" in await podbay("hold", name_of(orphan), "--for", "5m")
    assert "no longer held" in await podbay("release", name_of(orphan))
    assert "say a time such as" in await podbay("hold", name_of(orphan), "--for", "soon", code=1)
    scene.airflow.broken["version"] = 500
    found = orjson.loads((await podbay("heal", "--once", "-o", "json", code=1)).strip())
    assert "does not answer" in found["stopped"]
    assert found["done"] == []
    del scene.airflow.broken["version"]
    await scene.heal()
    assert "NoOwner" in await podbay("heal", "history")
