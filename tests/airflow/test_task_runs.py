"""One task's run on a scripted cluster, with an Airflow from memory that may refuse what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
import yaml
from patience import PATIENCE, eventually

from podbay.airflow import driving
from podbay.airflow.building import Job
from podbay.airflow.calls import TaskKey
from podbay.airflow.carried import Carried
from podbay.airflow.driving import CHECKPOINT_KEY, TaskRun, checkpoint_key, checkpoint_of, incarnation_of
from podbay.airflow.ending import IMAGE_KEY, RETURN_VALUE, TaskEnd
from podbay.airflow.settings import Settings
from podbay.airflow.tasklog import Hearer, TaskLog
from podbay.aws.place import AwsLogin
from podbay.errors import InvalidInputError
from podbay.kube.lease import desk
from podbay.kube.logs import LogBatch
from podbay.lifecycle import first_answer
from podbay.objects.meta import Object
from podbay.testing import Environment
from podbay.testing.requests import Requests

NAMESPACE = "default"
DAG = "runs"


class AirflowRuntimeError(Exception):
    """As Airflow's: none of the errors that a value itself can raise."""


@dataclass
class Airflow:
    """What a task asks of it, from memory."""

    kubeconfig: str
    refuses: frozenset[str] = frozenset()
    """Names of XComs that it does not store."""
    xcoms: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """Pulls and deletions."""

    async def extras(self, connection: str | None) -> Mapping[str, Any]:
        return {"kube_config_path": self.kubeconfig}

    async def aws_login(self, connection: str) -> AwsLogin:
        raise InvalidInputError(f"connection {connection} does not exist")

    async def push(self, key: TaskKey, name: str, value: Any) -> None:
        if name in self.refuses:
            raise AirflowRuntimeError(f"{name}: 422")
        self.xcoms[name] = json.loads(json.dumps(value))

    async def pull(self, key: TaskKey, task_id: str, name: str, map_index: int | None = None) -> Any:
        self.asked.append(f"pull {name}")
        return self.xcoms.get(name)

    async def delete(self, key: TaskKey, name: str) -> None:
        self.asked.append(f"delete {name}")
        if name in self.refuses:
            raise AirflowRuntimeError(f"{name}: 422")
        self.xcoms.pop(name, None)

    async def count(self, dag_id: str, **conditions: Sequence[str]) -> int:
        return 0


@dataclass
class Life:
    run: TaskRun
    task: asyncio.Task[TaskEnd]
    said: list[str]

    async def end(self) -> TaskEnd:
        return await asyncio.wait_for(self.task, PATIENCE)


def life(
    airflow: Airflow,
    task_id: str,
    *,
    script: Mapping[str, str] | None = None,
    try_number: int = 1,
    hears: Hearer | None = None,
    carried: Carried | None = None,
    kept_by_worker: bool = False,
    restarted: bool = False,
    **given: Any,
) -> Life:
    """restarted: it goes on with what an earlier life has told Airflow, as a triggerer does (work.py)."""
    marks = {f"scripted.podbay.dev/{name}": value for name, value in (script or {}).items()}
    parameters = {"namespace": NAMESPACE, "image": "busybox", "annotations": marks, **given}
    said: list[str] = []
    job = Job(
        key=TaskKey(dag_id=DAG, run_id="run", task_id=task_id, map_index=-1, try_number=try_number),
        carried=carried or Carried(parameters={}),
        kept_by_worker=kept_by_worker,
        given=parameters,
        owner=uuid.uuid4().hex,
        settings=Settings(deployment="tests"),
        airflow_version="3",
    )
    log = TaskLog(lambda level, text: said.append(f"{logging.getLevelName(level)} {text}"))
    run = TaskRun(job, airflow, log, hears=hears)
    checkpoint = checkpoint_of(airflow.xcoms[checkpoint_key(try_number)], try_number) if restarted else None
    return Life(run, asyncio.create_task(run.run(checkpoint=checkpoint)), said)


@pytest_asyncio.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    yield
    await desk().aclose()


@pytest.fixture
def airflow(scripted: Environment) -> Airflow:
    return Airflow(str(scripted.kubeconfig))


def pods(kube: Requests, task_id: str) -> list[Object]:
    path = f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=dag_id%3D{DAG},task_id%3D{task_id}"
    items: list[Object] = kube.call("GET", path)[1]["items"]
    return items


# -- what Airflow does not store

RESULT: dict[str, Any] = {"result_transport": "termination_message", "do_xcom_push": True}
WRITES = {"message": '{"rows": 3}'}


@pytest.mark.parametrize("refused", ["pod_name", CHECKPOINT_KEY])
async def test_a_good_run_stays_good_when_airflow_does_not_store_what_is_known_of_it(
    airflow: Airflow, kube: Requests, refused: str
) -> None:
    airflow.refuses = frozenset([refused])
    found = life(airflow, f"good-{refused}", script=WRITES, **RESULT)
    assert (await found.end()).state == "success", found.said
    assert airflow.xcoms[RETURN_VALUE] == {"rows": 3}
    said = [line for line in found.said if "Airflow does not store" in line]
    assert len(said) == 1
    assert said[0].startswith("WARNING") and f"{refused}: 422" in said[0]


async def test_a_result_that_airflow_does_not_store_fails_its_task_with_that_reason(airflow: Airflow) -> None:
    airflow.refuses = frozenset([RETURN_VALUE])
    found = life(airflow, "lost", script=WRITES, **RESULT)
    end = await found.end()
    assert (end.state, list(end.xcoms)) == ("failed", [])
    assert "could not be stored as XCom return_value: return_value: 422" in end.message


async def test_a_failed_pod_keeps_its_reason_when_airflow_stores_nothing(airflow: Airflow) -> None:
    airflow.refuses = frozenset(["pod_name", CHECKPOINT_KEY, IMAGE_KEY])
    found = life(airflow, "bad", script={"exit-code": "3"})
    end = await found.end()
    assert end.state == "failed"
    assert "exit code 3" in end.message, end


# -- the results of a former run


async def test_a_new_try_leaves_no_result_of_the_one_before(airflow: Airflow) -> None:
    """Airflow keeps the XComs of a task that starts in the triggerer (airflow.md)."""
    first = life(airflow, "anew", script=WRITES, **RESULT)
    assert (await first.end()).state == "success", first.said
    assert airflow.xcoms[RETURN_VALUE] == {"rows": 3}
    assert airflow.asked == []
    second = life(airflow, "anew", try_number=2, script={"exit-code": "1"}, **RESULT)
    assert (await second.end()).state == "failed", second.said
    assert RETURN_VALUE not in airflow.xcoms
    assert airflow.asked == [f"delete {RETURN_VALUE}"]


async def test_neither_do_the_parts_of_several_outputs_stay(airflow: Airflow) -> None:
    carried = Carried(parameters={}, multiple_outputs=True)
    results = ({"a": 1, "b": 2}, None, {"b": 3})
    for number, result in enumerate(results, 1):
        script = {"exit-code": "1"} if result is None else {"message": json.dumps(result)}
        found = life(airflow, "parts", try_number=number, script=script, carried=carried, **RESULT)
        await found.end()
        left = {name: airflow.xcoms[name] for name in ("a", "b", RETURN_VALUE) if name in airflow.xcoms}
        assert left == ({} if result is None else {**result, RETURN_VALUE: result}), found.said


async def test_a_result_that_cannot_be_deleted_is_told_and_ends_nothing(airflow: Airflow) -> None:
    airflow.refuses = frozenset([RETURN_VALUE])
    found = life(airflow, "stuck", try_number=2)
    assert (await found.end()).state == "success", found.said
    (said,) = [line for line in found.said if "does not delete the result" in line]
    assert said.startswith("WARNING") and said.endswith("return_value: 422")


async def test_where_a_worker_begins_each_try_airflow_is_asked_nothing(airflow: Airflow) -> None:
    found = life(airflow, "kept", try_number=2, kept_by_worker=True)
    assert (await found.end()).state == "success", found.said
    assert airflow.asked == []


async def test_a_later_life_keeps_the_result_of_its_own_try(airflow: Airflow) -> None:
    first = life(airflow, "own", try_number=2, script=WRITES, **RESULT)
    assert (await first.end()).state == "success", first.said
    saved = checkpoint_of(airflow.xcoms[checkpoint_key(2)], 2)
    assert saved is not None
    airflow.asked.clear()
    await first.run.run(checkpoint=saved)
    assert airflow.asked == []
    assert airflow.xcoms[RETURN_VALUE] == {"rows": 3}


# -- a cluster that is away when a task begins


@dataclass
class Way:
    """To the scripted cluster, through a port that refuses connections until it is opened."""

    kubeconfig: str
    port: int
    to: tuple[str, int]

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)
        async with server:
            yield

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self.to)
        with contextlib.suppress(OSError):
            await asyncio.gather(self._copy(reader, back), self._copy(there, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            while data := await reader.read(65536):
                writer.write(data)


@pytest.fixture
def way(scripted: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Way:
    document = yaml.safe_load(scripted.kubeconfig.read_text())
    cluster = document["clusters"][0]["cluster"]
    to = urlsplit(cluster["server"])
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    cluster["server"] = f"https://127.0.0.1:{port}"
    path = tmp_path / "away"
    path.write_text(yaml.safe_dump(document))
    monkeypatch.setattr(first_answer, "LOOK_SECONDS", 0.2)
    assert to.hostname is not None and to.port is not None
    return Way(str(path), port, (to.hostname, to.port))


async def test_a_try_that_begins_while_the_cluster_is_away_takes_over_the_pod_of_the_one_before(
    airflow: Airflow, kube: Requests, way: Way
) -> None:
    script = {"run-seconds": "8"}
    first = life(airflow, "away", script=script)
    await eventually(lambda: any(": running" in line for line in first.said), tell=lambda: first.said)
    first.task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first.task
    second = life(Airflow(way.kubeconfig), "away", try_number=2, script=script)
    await eventually(
        lambda: any("Waiting for the cluster" in line for line in second.said), tell=lambda: second.said
    )
    await asyncio.sleep(1)
    async with way.opened():
        assert (await second.end()).state == "success", second.said
        await desk().aclose()
    assert any("Takes over the pod of try 1" in line for line in second.said)


async def test_nothing_is_made_in_a_cluster_that_was_not_looked_at(
    airflow: Airflow, kube: Requests, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driving, "NEW_CLUSTER_SECONDS", 0.3)
    found = life(Airflow(way.kubeconfig), "never")
    end = await found.end()
    assert end.state == "failed"
    assert str(way.port) in end.message, end
    async with way.opened():
        assert pods(kube, "never") == []


async def test_who_kills_a_task_that_waits_for_its_cluster_ends_it(way: Way) -> None:
    found = life(Airflow(way.kubeconfig), "killed")
    await eventually(lambda: any("Waiting for the cluster" in line for line in found.said))
    found.run.kill("a user")
    assert (await asyncio.wait_for(found.task, 20)).state == "failed"


# -- a run that is ended by what it calls


class Broken(Hearer):
    def lines(self, batch: LogBatch, pod: Object | None) -> None:
        raise ZeroDivisionError("a user's callback")


@pytest.mark.parametrize("action", ["delete_pod", "keep_pod"])
async def test_a_run_that_raises_takes_its_pod_along_when_nobody_goes_on_with_it(
    airflow: Airflow, kube: Requests, action: str
) -> None:
    task_id = f"broken-{action}"
    script = {"run-seconds": "forever", "log": "one", "stop-seconds": "0"}
    found = life(airflow, task_id, script=script, hears=Broken(), on_kill_action=action)
    with pytest.raises(ZeroDivisionError):
        await found.end()
    (pod,) = pods(kube, task_id)
    assert pod["status"]["phase"] == "Running"
    assert await found.run.abandon() == ([pod["metadata"]["name"]] if action == "delete_pod" else [])
    if action == "delete_pod":
        await eventually(lambda: not pods(kube, task_id))


@pytest.mark.parametrize(("action", "stays"), [("delete_pod", False), ("keep_pod", True)])
async def test_an_ended_pod_of_such_a_run_stays_if_it_is_to_be_kept(
    airflow: Airflow, kube: Requests, action: str, stays: bool
) -> None:
    class BrokenAtTheEnd(Hearer):
        def ended(self, pod: Object | None) -> None:
            raise ZeroDivisionError("a user's callback")

    task_id = f"ended-{action}"
    found = life(airflow, task_id, hears=BrokenAtTheEnd(), on_finish_action=action)
    with pytest.raises(ZeroDivisionError):
        await found.end()
    assert [pod["status"]["phase"] for pod in pods(kube, task_id)] == ["Succeeded"]
    await found.run.abandon()
    assert bool(pods(kube, task_id)) is stays


# -- a former run of the same name


async def test_a_kept_pod_of_a_former_run_is_not_taken_for_this_ones(
    airflow: Airflow, kube: Requests
) -> None:
    """The DAG run was deleted and made anew, or Airflow's database was: try 1 of the same run, of which nothing is known."""
    given: dict[str, Any] = {"on_finish_action": "keep_pod", "infrastructure_retries": 0}
    first = life(airflow, "former", script={"log": "first run"}, **given)
    assert (await first.end()).state == "success"
    # Of this process; it may not have heard yet that the pod has been marked.
    await desk().aclose()
    anew = Airflow(airflow.kubeconfig)
    second = life(anew, "former", script={"log": "second run", "exit-code": "1"}, **given)
    assert (await second.end()).state == "failed", second.said
    assert not any("first run" in line for line in second.said)
    assert any("is of a former run of the same name, and is left alone" in line for line in second.said)
    assert len(pods(kube, "former")) == 2
    # The next life of the second run knows its pod by its name, and what became of it.
    assert incarnation_of(second.run.job, anew.xcoms["pod_name"]) == 1
    again = life(anew, "former", restarted=True, **given)
    assert (await again.end()).state == "failed"
    assert len(pods(kube, "former")) == 2
