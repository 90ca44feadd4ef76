"""What Airflow lends to a pod: one Secret of that pod's own, there before the container, gone with the pod."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from patience import eventually

from podbay.airflow.checking import check_parameters
from podbay.airflow.lending import Lender
from podbay.airflow.loans import GATE, Loan, is_gated, loans_of, with_loans
from podbay.errors import ApiError, InvalidInputError
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.kube.lease import LeasedCluster, lease
from podbay.lifecycle.checkpoint import Checkpoint
from podbay.lifecycle.engine import Driver, PodRun
from podbay.lifecycle.outcome import Outcome
from podbay.lifecycle.plan import PodPlan
from podbay.objects.meta import Object
from podbay.pods.build import build_pod
from podbay.pods.identity import TaskIdentity
from podbay.pods.request import PodRequest
from podbay.testing import Environment
from podbay.testing.requests import Requests

GIVEN = {"lend_connections": ["my_db"], "lend_variables": ["key"]}
VALUES = {"AIRFLOW_CONN_MY_DB": '{"password": "p4ss"}', "AIRFLOW_VAR_KEY": "v4lue"}


def read(loan: Loan) -> str | None:
    return VALUES.get(loan.variable)


@pytest.fixture
def namespace(kube: Requests) -> Iterator[str]:
    name = f"lend-{uuid.uuid4().hex[:8]}"
    kube.create_namespace(name)
    yield name
    kube.delete_namespace(name)


def plan_of(namespace: str, *, seconds: str = "0", **plan: Any) -> PodPlan:
    identity = TaskIdentity(deployment="tests", dag_id="d", run_id="r", task_id=uuid.uuid4().hex[:8])

    def build(incarnation: int) -> Object:
        own = replace(identity, incarnation=incarnation)
        marks = {"scripted.podbay.dev/run-seconds": seconds}
        pod = build_pod(PodRequest(identity=own, namespace=namespace, image="busybox", annotations=marks))
        return with_loans(pod, loans_of(GIVEN), "base", own)

    return PodPlan(build=build, **plan)


class Lends(Driver):
    """Lends, and remembers; `dies` before it does."""

    def __init__(self, cluster: LeasedCluster, *, dies: bool = False) -> None:
        self.lender = Lender(GIVEN, None, read=read)
        self.died = asyncio.Event()
        self.saved: list[Checkpoint] = []
        self._cluster = cluster
        self._dies = dies

    async def made(self, pod: Object) -> None:
        if self._dies:
            self.died.set()
            return
        await self.lender.hand_over(self._cluster.client, pod)

    async def save(self, checkpoint: Checkpoint) -> None:
        self.saved.append(checkpoint)


def objects(kube: Requests, namespace: str, kind: str) -> list[Object]:
    items: list[Object] = kube.call("GET", f"/api/v1/namespaces/{namespace}/{kind}")[1]["items"]
    return items


async def test_the_secret_is_the_pods_own_and_goes_with_it(
    scripted: Environment, kube: Requests, namespace: str
) -> None:
    async with lease(load_kubeconfig(scripted.kubeconfig)) as cluster:
        run = PodRun(cluster, plan_of(namespace, seconds="600"), Lends(cluster))
        running = asyncio.create_task(run.run())
        await eventually(lambda: run.state.phase == "running", tell=lambda: run.state.text)
        (pod,), (secret,) = objects(kube, namespace, "pods"), objects(kube, namespace, "secrets")
        (owner,) = secret["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("Pod", pod["metadata"]["uid"])
        assert {key: base64.b64decode(value).decode() for key, value in secret["data"].items()} == VALUES
        started = pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
        assert secret["metadata"]["creationTimestamp"] <= started
        assert not any(value in json.dumps(pod) for value in ("p4ss", "v4lue"))
        run.kill("the test")
        assert (await running).kind == "killed"
    await eventually(lambda: not objects(kube, namespace, "secrets"))


async def test_a_life_that_died_in_between_is_finished_by_the_next(
    scripted: Environment, kube: Requests, namespace: str
) -> None:
    plan = plan_of(namespace)
    async with lease(load_kubeconfig(scripted.kubeconfig)) as cluster:
        first = Lends(cluster, dies=True)
        running = asyncio.create_task(PodRun(cluster, plan, first).run())
        await first.died.wait()
        running.cancel()
        (pod,) = objects(kube, namespace, "pods")
        assert is_gated(pod)
        assert objects(kube, namespace, "secrets") == [], "a Secret without a pod cannot be"
        second = Lends(cluster)
        outcome: Outcome = await PodRun(cluster, plan, second).run()
        assert outcome.ok, outcome.message
        assert outcome.uid == pod["metadata"]["uid"]
    await eventually(lambda: not objects(kube, namespace, "secrets"))


async def test_a_pod_that_nobody_goes_on_with_leaves_nothing(
    scripted: Environment, kube: Requests, namespace: str
) -> None:
    """What the healer does with a pod whose owner has ended: it deletes the pod."""
    async with lease(load_kubeconfig(scripted.kubeconfig)) as cluster:
        pod = kube.call("POST", f"/api/v1/namespaces/{namespace}/pods", plan_of(namespace).build(0))[1]
        name = pod["metadata"]["name"]
        kube.call("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}")
        await eventually(lambda: not objects(kube, namespace, "pods"))
        # The life that had made it lends to a pod that is gone.
        await Lender(GIVEN, None, read=read).hand_over(cluster.client, pod)
    await eventually(lambda: not objects(kube, namespace, "secrets"))


async def test_lending_twice_is_lending_once(scripted: Environment, kube: Requests, namespace: str) -> None:
    async with lease(load_kubeconfig(scripted.kubeconfig)) as cluster:
        pod = kube.call(
            "POST", f"/api/v1/namespaces/{namespace}/pods", plan_of(namespace, seconds="600").build(0)
        )[1]
        for _ in range(2):
            await Lender(GIVEN, None, read=read).hand_over(cluster.client, pod)
    assert len(objects(kube, namespace, "secrets")) == 1
    (there,) = objects(kube, namespace, "pods")
    assert not is_gated(there)


async def test_other_gates_are_left_alone(scripted: Environment, kube: Requests, namespace: str) -> None:
    pod = plan_of(namespace).build(0)
    pod["spec"]["schedulingGates"].append({"name": "example.com/queue"})
    made = kube.call("POST", f"/api/v1/namespaces/{namespace}/pods", pod)[1]
    async with lease(load_kubeconfig(scripted.kubeconfig)) as cluster:
        await Lender(GIVEN, None, read=read).hand_over(cluster.client, made)
    (there,) = objects(kube, namespace, "pods")
    assert there["spec"]["schedulingGates"] == [{"name": "example.com/queue"}]


async def test_a_refusal_is_the_end_of_the_task_in_one_sentence(
    scripted: Environment, kube: Requests, namespace: str
) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"secrets": "0"}},
    }
    kube.call("POST", f"/api/v1/namespaces/{namespace}/resourcequotas", quota)
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/none"
    await eventually(lambda: bool(kube.call("GET", path)[1].get("status", {}).get("hard")))
    pod = kube.call("POST", f"/api/v1/namespaces/{namespace}/pods", plan_of(namespace).build(0))[1]
    lender = Lender(GIVEN, None, read=read)
    async with lease(load_kubeconfig(scripted.kubeconfig)) as cluster:
        with pytest.raises(ApiError) as refused:
            await lender.hand_over(cluster.client, pod)
    said = lender.say(refused.value)
    assert "connection my_db, variable key could not be lent to it" in said
    assert "exceeded quota" in said
    assert "p4ss" not in said
    ended = lender.judge(Outcome(kind="killed", message="killed by podbay"))
    assert (ended.kind, ended.message) == ("not_started", said)
    assert lender.judge(Outcome(kind="failed", message="by itself")).message == "by itself"


async def test_what_does_not_exist_is_said_before_there_is_a_pod() -> None:
    with pytest.raises(
        InvalidInputError, match="variable absent is to be lent to the pod and does not exist"
    ):
        await Lender({"lend_variables": ["absent"]}, None, read=read).prepare()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"lend_connections": "my_db"}, "lend_connections: must be a list of names"),
        ({"lend_variables": ["a b"]}, r"lend_variables\[0\]: must be a name of letters"),
        ({"lend_connections": [1]}, r"lend_connections\[0\]: must be a name"),
    ],
)
def test_what_cannot_be_lent_is_refused_where_the_dag_is_read(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        check_parameters("task", {"image": "busybox", **given})


def test_nothing_lent_leaves_the_pod_as_it_is() -> None:
    pod = {"spec": {"containers": [{"name": "base"}]}}
    identity = TaskIdentity(deployment="tests", dag_id="d", run_id="r", task_id="t")
    assert with_loans(pod, [], "base", identity) is pod
    gated = with_loans(pod, loans_of(GIVEN), "base", identity)
    assert gated["spec"]["schedulingGates"] == [{"name": GATE}]
