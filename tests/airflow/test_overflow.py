"""A task that may go to a second cluster: when it does, what is left behind, who finds its pod again. Two real clusters."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
import yaml
from patience import PATIENCE, eventually

from podbay.airflow.building import Job
from podbay.airflow.calls import TaskKey
from podbay.airflow.carried import Carried
from podbay.airflow.checking import check_parameters
from podbay.airflow.driving import TaskRun, checkpoint_key, checkpoint_of, incarnation_of
from podbay.airflow.ending import TaskEnd
from podbay.airflow.settings import Settings
from podbay.airflow.tasklog import TaskLog
from podbay.aws.place import AwsLogin
from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.nodes import one_scripted_node
from podbay.errors import InvalidInputError
from podbay.kube.lease import desk
from podbay.lifecycle.checkpoint import Checkpoint
from podbay.testing import Environment
from podbay.testing.requests import Requests

NAMESPACE = "tasks"
FULL_NAMESPACE = "full-tasks"
"""In the first cluster a quota holds here, and another pod has all of it."""
UNKNOWN_UID = "unknown"


@dataclass
class Airflow:
    """What tasks ask of Airflow, answered from memory; pushes count as stored when they return."""

    connections: dict[str, Mapping[str, Any]]
    xcoms: dict[tuple[TaskKey, str], Any] = field(default_factory=dict)

    async def extras(self, connection: str | None) -> Mapping[str, Any]:
        if connection not in self.connections:
            raise InvalidInputError(f"connection {connection} does not exist")
        return self.connections[connection]

    async def aws_login(self, connection: str) -> AwsLogin:
        raise InvalidInputError(f"connection {connection} does not exist")

    async def push(self, key: TaskKey, name: str, value: Any) -> None:
        self.xcoms[key, name] = json.loads(json.dumps(value))

    async def pull(self, key: TaskKey, task_id: str, name: str, map_index: int | None = None) -> Any:
        return self.xcoms.get((key, name))

    async def delete(self, key: TaskKey, name: str) -> None:
        self.xcoms.pop((key, name), None)

    async def count(self, dag_id: str, **conditions: Sequence[str]) -> int:
        return 0


@dataclass
class Life:
    """One process's run of a task."""

    run: TaskRun
    task: asyncio.Task[TaskEnd]
    said: list[str]

    async def end(self) -> TaskEnd:
        return await asyncio.wait_for(self.task, PATIENCE)

    async def crash(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


@dataclass
class Clusters:
    """`full` has no node, `other` has one."""

    full: Environment
    other: Environment
    airflow: Airflow

    def life(self, task_id: str, *, try_number: int = 1, **given: Any) -> Life:
        key = TaskKey(dag_id="dag", run_id="run", task_id=task_id, map_index=-1, try_number=try_number)
        parameters = {
            "namespace": NAMESPACE,
            "image": "busybox",
            "kubernetes_conn_id": "full",
            "overflow_kubernetes_conn_id": "other",
            "overflow_after_seconds": 0.3,
            **given,
        }
        marks = {f"scripted.podbay.dev/{name}": value for name, value in parameters.pop("script", {}).items()}
        parameters["annotations"] = marks
        said: list[str] = []
        job = Job(
            key=key,
            carried=Carried(parameters={}),
            given=parameters,
            owner=uuid.uuid4().hex,
            settings=Settings(deployment="tests"),
            airflow_version="3",
        )
        log = TaskLog(lambda level, text: said.append(f"{logging.getLevelName(level)} {text}"))
        run = TaskRun(job, self.airflow, log)
        return Life(run, asyncio.create_task(run.run(checkpoint=self._earlier_life(job))), said)

    def _earlier_life(self, job: Job) -> Checkpoint | None:
        """As a triggerer asks for it (work.py)."""
        name = self.airflow.xcoms.get((job.key, "pod_name"))
        incarnation = incarnation_of(job, name)
        if incarnation is None:
            return None
        number = job.key.try_number
        saved = checkpoint_of(self.airflow.xcoms.get((job.key, checkpoint_key(number))), number)
        return saved or Checkpoint(incarnation=incarnation, pod=name, uid=UNKNOWN_UID)

    def pods(self, environment: Environment, task_id: str) -> list[dict[str, Any]]:
        with Requests(environment.kubeconfig) as api:
            path = f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=task_id%3D{task_id}"
            items: list[dict[str, Any]] = api.call("GET", path)[1]["items"]
            return items

    def nodes_found(self, environment: Environment, task_id: str) -> int:
        """How many pods of the task a node was ever found for."""
        with Requests(environment.kubeconfig) as api:
            events = api.call("GET", "/api/v1/events")[1]["items"]
        about = [each for each in events if each["reason"] == "Scheduled"]
        return sum(each["involvedObject"]["name"].startswith(task_id) for each in about)


def _full() -> Iterator[tuple[str, dict[str, Any]]]:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "one"}}
    yield "resourcequotas", {**quota, "spec": {"hard": {"pods": "1"}}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "other"}}
    yield "pods", {**pod, "spec": {"containers": [{"name": "c", "image": "busybox"}]}}


def connection(environment: Environment) -> dict[str, Any]:
    return {"kube_config": json.dumps(yaml.safe_load(environment.kubeconfig.read_text()))}


@pytest.fixture(scope="module")
def clusters() -> Iterator[Clusters]:
    with (
        Environment.start(ClusterOptions(name="full", nodes=())) as full,
        Environment.start(ClusterOptions(name="other", nodes=one_scripted_node())) as other,
    ):
        for each in (full, other):
            with Requests(each.kubeconfig) as api:
                api.create_namespace(NAMESPACE)
                api.create_namespace(FULL_NAMESPACE)
        with Requests(full.kubeconfig) as api:
            for path, body in _full():
                status, answer = api.call("POST", f"/api/v1/namespaces/{FULL_NAMESPACE}/{path}", body)
                assert status == 201, answer
        yield Clusters(full, other, Airflow({"full": connection(full), "other": connection(other)}))


@pytest_asyncio.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    """Connections are kept for the next task; here there is none."""
    yield
    await desk().aclose()


async def test_a_task_without_room_goes_to_the_other_cluster(clusters: Clusters) -> None:
    life = clusters.life("goes", script={"log": "here"})
    end = await life.end()
    assert end.state == "success", life.said
    said = "\n".join(life.said)
    assert "No room for 0.3 s in the cluster of connection full" in said
    assert "it goes on in the cluster of connection other" in said
    assert "here" in said
    assert clusters.pods(clusters.full, "goes") == []
    assert clusters.nodes_found(clusters.full, "goes") == 0
    assert clusters.nodes_found(clusters.other, "goes") == 1
    kept = clusters.airflow.xcoms[life.run.job.key, checkpoint_key(1)]
    assert kept["state"]["moved"] and kept["state"]["outcome"]["kind"] == "succeeded"


async def test_a_task_with_room_stays(clusters: Clusters) -> None:
    life = clusters.life("stays", kubernetes_conn_id="other", overflow_kubernetes_conn_id="full")
    assert (await life.end()).state == "success", life.said
    assert clusters.nodes_found(clusters.other, "stays") == 1
    assert not any("No room" in line for line in life.said)


async def test_what_names_the_first_cluster_means_nothing_in_the_second(
    clusters: Clusters, tmp_path_factory: pytest.TempPathFactory
) -> None:
    life = clusters.life(
        "named", cluster_context=yaml.safe_load(clusters.full.kubeconfig.read_text())["current-context"]
    )
    assert (await life.end()).state == "success", life.said


@pytest.mark.parametrize("when", ["unschedulable", "running"])
async def test_the_next_life_knows_where_the_pod_is(clusters: Clusters, when: str) -> None:
    task_id = f"restarted-{when}"
    script = {"run-seconds": "2", "log": "once"}
    life = clusters.life(task_id, script=script)
    await eventually(lambda: any(f": {when}" in line for line in life.said), tell=lambda: life.said)
    await life.crash()
    following = clusters.life(task_id, script=script)
    assert (await following.end()).state == "success", following.said
    assert clusters.nodes_found(clusters.full, task_id) == 0
    assert clusters.nodes_found(clusters.other, task_id) == 1
    if when == "running":
        # It does not look for room in the first one again.
        assert not any("No room" in line for line in following.said)


@pytest.mark.parametrize("namespace", [NAMESPACE, FULL_NAMESPACE])
async def test_every_moment_at_which_a_life_may_be_lost(clusters: Clusters, namespace: str) -> None:
    """Cut after each thing that Airflow was told, and just before: one pod at most, and a green end."""
    for cut in range(1, 9):
        for before in (True, False):
            task_id = f"cut{cut}{'b' if before else 'a'}-{namespace}"
            told = asyncio.Event()
            count = 0
            real = clusters.airflow.push

            async def push(
                key: TaskKey,
                name: str,
                value: Any,
                *,
                wanted: int = cut,
                first: bool = before,
                own: str = task_id,
            ) -> None:
                nonlocal count
                count += key.task_id == own
                if count == wanted and key.task_id == own and not told.is_set():  # noqa: B023
                    if not first:
                        await real(key, name, value)  # noqa: B023
                    told.set()  # noqa: B023
                    await asyncio.Event().wait()
                await real(key, name, value)  # noqa: B023

            clusters.airflow.push = push  # type: ignore[method-assign]
            try:
                life = clusters.life(task_id, namespace=namespace, script={"run-seconds": "0.2"})
                waiting = asyncio.create_task(told.wait())
                await asyncio.wait(
                    {life.task, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE
                )
                waiting.cancel()
                if not life.task.done():
                    await life.crash()
                    life = clusters.life(task_id, namespace=namespace, script={"run-seconds": "0.2"})
                end = await life.end()
            finally:
                clusters.airflow.push = real  # type: ignore[method-assign]
            assert end.state == "success", (task_id, end, life.said)
            assert clusters.nodes_found(clusters.full, task_id) == 0
            assert clusters.nodes_found(clusters.other, task_id) == 1, (task_id, life.said)


async def test_a_new_try_takes_over_the_pod_in_the_other_cluster(clusters: Clusters) -> None:
    script = {"run-seconds": "3"}
    life = clusters.life("tried", script=script)
    await eventually(lambda: any(": running" in line for line in life.said), tell=lambda: life.said)
    await life.crash()
    second = clusters.life("tried", try_number=2, script=script)
    assert (await second.end()).state == "success", second.said
    assert any("Takes over the pod of try 1" in line for line in second.said)
    assert clusters.nodes_found(clusters.other, "tried") == 1


async def test_a_user_who_ends_the_task_while_it_waits_ends_it(clusters: Clusters) -> None:
    life = clusters.life("ended", overflow_after_seconds=600)
    await eventually(lambda: any(": unschedulable" in line for line in life.said), tell=lambda: life.said)
    life.run.kill("a user")
    assert (await life.end()).state == "failed"
    assert clusters.pods(clusters.full, "ended") == []
    assert clusters.nodes_found(clusters.other, "ended") == 0


async def test_a_connection_that_does_not_exist_is_known_at_once(clusters: Clusters) -> None:
    life = clusters.life("nowhere", overflow_kubernetes_conn_id="none")
    with pytest.raises(InvalidInputError, match="connection none does not exist"):
        await life.end()


async def test_a_cluster_that_is_silent_delays_its_own_tasks_alone(clusters: Clusters) -> None:
    """One watch for each cluster, and nothing that they share waits."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(65536):
                pass
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    document = yaml.safe_load(clusters.full.kubeconfig.read_text())
    document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    clusters.airflow.connections["silent"] = {"kube_config": json.dumps(document)}
    try:
        waiting = [
            clusters.life(f"silent{number}", kubernetes_conn_id="silent", overflow_kubernetes_conn_id=None)
            for number in range(5)
        ]
        # Also a task that would go there if it had to.
        others = [
            clusters.life(
                f"lively{number}",
                kubernetes_conn_id="other",
                overflow_kubernetes_conn_id="silent" if number else None,
            )
            for number in range(5)
        ]
        ends = await asyncio.gather(*(each.end() for each in others))
        assert [end.state for end in ends] == ["success"] * 5
        assert not any(each.task.done() for each in waiting)
        for each in waiting:
            await each.crash()
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"overflow_kubernetes_conn_id": ""},
            "overflow_kubernetes_conn_id: must be the name of a connection",
        ),
        ({"overflow_kubernetes_conn_id": "a", "kubernetes_conn_id": "a"}, "is the same cluster"),
        ({"overflow_after_seconds": -1}, "overflow_after_seconds: must be a number of seconds"),
        ({"overflow_after_seconds": "60"}, "overflow_after_seconds: must be a number of seconds"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_parse(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        check_parameters("task", {"image": "busybox", **given})
