"""Others meddle: pods deleted, relabelled, replaced, evicted; quotas, namespaces and a second engine in the way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from engine_parts import Cluster, Engine, Life, Notes, engine, name_of, task
from patience import eventually

from podbay.lifecycle.plan import Deadlines
from podbay.objects.meta import Object, uid_of
from podbay.testing import Environment

MERGE = {"Content-Type": "application/merge-patch+json"}
NOW = {"gracePeriodSeconds": 0}


async def running(started: Engine, cluster: Cluster, **more: Any) -> Life:
    life = started.start(task(cluster.namespace, **{"run": "forever", "log": "one\ntwo", **more}))
    await life.until("running")
    await eventually(lambda: life.notes.log)
    return life


class Held(Notes):
    """Takes its time to store the outcome."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def decided(self, outcome: Any) -> None:
        await super().decided(outcome)
        await self.go_on.wait()


# -- the pod


async def test_somebody_deletes_the_pod(started: Engine, cluster: Cluster) -> None:
    life = await running(started, cluster)
    await cluster.delete(life.pod)
    outcome = await life.outcome()
    assert (outcome.kind, outcome.infrastructure) == ("deleted", False)
    assert "deleted" in outcome.message
    assert life.notes.log == ["one", "two"]
    assert await cluster.pods() == []


async def test_somebody_deletes_the_pod_at_once(started: Engine, cluster: Cluster) -> None:
    life = await running(started, cluster)
    await cluster.delete(life.pod, **NOW)
    assert (await life.outcome()).kind == "deleted"


async def test_somebody_deletes_a_pod_that_has_ended(started: Engine, cluster: Cluster) -> None:
    notes = Held()
    life = started.start(task(cluster.namespace, run=0.2, log="one"), notes=notes)
    await eventually(lambda: notes.outcomes)
    await cluster.delete(life.pod, **NOW)
    notes.go_on.set()
    outcome = await life.outcome()
    assert (outcome.kind, notes.log) == ("succeeded", ["one"])


async def test_a_pod_that_loses_its_labels_is_still_followed(started: Engine, cluster: Cluster) -> None:
    life = await running(started, cluster)
    await cluster.patch(life.pod, {"metadata": {"labels": None}})
    await asyncio.sleep(0.5)
    await cluster.node_fault("evict", pod=f"{cluster.namespace}/{life.pod}")
    outcome = await life.outcome()
    assert outcome.kind == "evicted"
    assert life.notes.log == ["one", "two"]
    await cluster.gone(outcome.pod)


async def test_another_pod_of_the_same_name_is_left_alone(started: Engine, cluster: Cluster) -> None:
    life = await running(started, cluster)
    await cluster.delete(life.pod, **NOW)
    other = await cluster.create(foreign(life.pod, run="forever"))
    outcome = await life.outcome()
    assert outcome.kind == "deleted"
    assert outcome.uid != uid_of(other)
    there = await cluster.pod(name_of(other))
    assert there is not None
    assert uid_of(there) == uid_of(other)
    assert "deletionTimestamp" not in there["metadata"]


def foreign(name: str, *, run: str = "0") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": {"scripted.podbay.dev/run-seconds": run}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "base", "image": "busybox"}]},
    }


async def test_a_name_that_is_taken_is_refused(started: Engine, cluster: Cluster) -> None:
    plan = task(cluster.namespace)
    other = await cluster.create(foreign(name_of(plan.build(0)), run="forever"))
    outcome, _ = await started.run(plan)
    assert outcome.kind == "refused"
    assert outcome.diagnosis is not None
    assert outcome.diagnosis.category == "NameTaken"
    there = await cluster.pod(name_of(other))
    assert there is not None
    assert uid_of(there) == uid_of(other)


# -- the namespace


async def test_a_missing_namespace(started: Engine, cluster: Cluster) -> None:
    outcome, _ = await started.run(task("no-such-namespace"))
    assert outcome.kind == "refused"
    assert outcome.diagnosis is not None
    assert outcome.diagnosis.category == "NamespaceMissing"
    assert "no-such-namespace" in outcome.message


async def test_a_namespace_that_is_being_deleted(started: Engine, cluster: Cluster) -> None:
    life = await running(started, cluster)
    await cluster.call("DELETE", f"/api/v1/namespaces/{cluster.namespace}")
    outcome, _ = await started.run(task(cluster.namespace))
    assert outcome.kind == "refused"
    assert outcome.diagnosis is not None
    assert outcome.diagnosis.category == "NamespaceTerminating"
    assert (await life.outcome()).kind == "deleted"


# -- quota


async def set_quota(cluster: Cluster, pods: int) -> None:
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": str(pods)}}}
    path = f"/api/v1/namespaces/{cluster.namespace}/resourcequotas"
    await cluster.call("POST", path, {"apiVersion": "v1", "kind": "ResourceQuota", **quota}, expect=201)
    while not (await cluster.call("GET", path + "/q")).get("status", {}).get("hard"):
        await asyncio.sleep(0.02)


async def test_a_full_quota_is_waited_for(started: Engine, cluster: Cluster) -> None:
    await set_quota(cluster, 1)
    first = await running(started, cluster)
    life = started.start(task(cluster.namespace, deadlines=Deadlines(schedule=0.1, start=60)))
    await life.until("queued")
    assert "quota" in life.run.state.text.lower()
    first.run.kill("Ada")
    assert (await first.outcome()).kind == "killed"
    outcome = await life.outcome()
    assert outcome.kind == "succeeded"
    assert (outcome.receipt.waited or 0.0) > 0.0


async def test_a_full_quota_is_not_waited_for_longer_than_allowed(started: Engine, cluster: Cluster) -> None:
    await set_quota(cluster, 1)
    await running(started, cluster)
    outcome, _ = await started.run(task(cluster.namespace, deadlines=Deadlines(queue=1.0)))
    assert outcome.kind == "refused"
    assert outcome.diagnosis is not None
    assert outcome.diagnosis.category == "QuotaExceeded"
    assert len(await cluster.pods()) == 1


async def test_killed_while_it_waits_for_quota(started: Engine, cluster: Cluster) -> None:
    await set_quota(cluster, 0)
    life = started.start(task(cluster.namespace))
    await life.until("queued", "creating")
    life.run.kill("Ada")
    assert (await life.outcome()).kind in ("killed", "refused")
    assert await cluster.pods() == []


# -- a second engine


@pytest.mark.parametrize("result", [0, 5])
async def test_two_engines_make_one_pod(scripted: Environment, cluster: Cluster, result: int) -> None:
    plan = task(cluster.namespace, run=1, log="one\ntwo", code=result)
    async with engine(scripted.kubeconfig) as one, engine(scripted.kubeconfig) as other:
        lives = [one.start(plan), other.start(plan)]
        outcomes = [await life.outcome() for life in lives]
    assert {outcome.kind for outcome in outcomes} == {"failed" if result else "succeeded"}
    assert len({outcome.uid for outcome in outcomes}) == 1
    assert sum(each.requests(outcomes[0]).get("create", 0) for each in (one, other)) <= 2
    for life in lives:
        # Who is second may find the pod removed before it has read the whole log, and then says so.
        assert life.notes.log == ["one", "two"] or life.notes.notices


# -- the infrastructure


async def disturb(cluster: Cluster, how: str, pod: str) -> None:
    if how == "eviction API":
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        await cluster.call("POST", cluster._path(pod, "eviction"), body, expect=201)
    else:
        await cluster.node_fault(how, pod=f"{cluster.namespace}/{pod}")


DISTURBANCES = ["preempt", "evict", "eviction API"]


@pytest.mark.parametrize("how", DISTURBANCES)
async def test_a_pod_lost_before_it_began_is_replaced(started: Engine, cluster: Cluster, how: str) -> None:
    plan = task(cluster.namespace, run=0.2, log="one", first={"start-delay-seconds": "forever"})
    life = started.start(plan)
    await life.until("starting")
    first = life.pod
    await disturb(cluster, how, first)
    outcome = await life.outcome()
    assert (outcome.kind, outcome.incarnations) == ("succeeded", 2), outcome.message
    assert outcome.pod != first
    assert life.notes.log == ["one"]
    assert life.notes.has_phase("replacing")
    await cluster.gone(first)
    await cluster.gone(outcome.pod)


@pytest.mark.parametrize("how", DISTURBANCES)
async def test_a_pod_lost_after_it_began_is_not_replaced(started: Engine, cluster: Cluster, how: str) -> None:
    life = await running(started, cluster)
    await disturb(cluster, how, life.pod)
    outcome = await life.outcome()
    assert outcome.kind == ("preempted" if how == "preempt" else "evicted")
    assert (outcome.infrastructure, outcome.incarnations) == (True, 1)
    assert life.notes.log == ["one", "two"]
    await cluster.gone(outcome.pod)


async def test_an_idempotent_task_runs_again(started: Engine, cluster: Cluster) -> None:
    life = await running(started, cluster, run=0.2, idempotent=True, first={"run-seconds": "forever"})
    await disturb(cluster, "evict", life.pod)
    outcome = await life.outcome()
    assert (outcome.kind, outcome.incarnations) == ("succeeded", 2)
    assert life.notes.log == ["one", "two", "one", "two"]


async def test_a_pod_is_not_replaced_for_ever(started: Engine, cluster: Cluster) -> None:
    plan = task(cluster.namespace, script={"start-delay-seconds": "forever"}, infrastructure_retries=1)
    life = started.start(plan)
    for _ in range(2):
        await life.until("starting")
        await disturb(cluster, "evict", life.pod)
        await eventually(lambda: life.run.state.phase != "starting")
    outcome = await life.outcome()
    assert (outcome.kind, outcome.incarnations, outcome.infrastructure) == ("evicted", 2, True)


async def test_killed_while_it_is_replaced(started: Engine, cluster: Cluster) -> None:
    life = started.start(task(cluster.namespace, script={"start-delay-seconds": "forever"}))
    await life.until("starting")
    await disturb(cluster, "evict", life.pod)
    await life.until("replacing", "creating")
    life.run.kill("Ada")
    assert (await life.outcome()).kind == "killed"
    assert await cluster.pods() == []
