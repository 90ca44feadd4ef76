"""Connections, log records, limits and ownership: the operator's parts that touch the world, without Airflow."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from podbay.airflow.connection import choose_cluster
from podbay.airflow.function import pod_command
from podbay.airflow.limits import Limit, Limiter
from podbay.airflow.ownership import (
    OWNER_ANNOTATION,
    claim,
    delete_left,
    delete_own_pods,
    delete_tries,
    earlier_try,
    pods_of_task,
)
from podbay.airflow.pages import pod_link
from podbay.airflow.tasklog import RecordBudget, TaskLog
from podbay.embedded.cluster import ClusterOptions
from podbay.errors import InvalidInputError
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.kube.lease import lease
from podbay.kube.log_reader import LogLine
from podbay.kube.logs import LogBatch
from podbay.pods.build import build_pod
from podbay.pods.identity import TaskIdentity
from podbay.pods.request import PodRequest
from podbay.testing import Environment
from podbay.testing.requests import Requests

KUBECONFIG = {
    "current-context": "one",
    "contexts": [
        {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "of-context"}},
        {"name": "two", "context": {"cluster": "c", "user": "u"}},
    ],
    "clusters": [{"name": "c", "cluster": {"server": "https://c:6443"}}],
    "users": [{"name": "u", "user": {"token": "t"}}],
}


# -- connections


@pytest.fixture
def path(tmp_path: Path) -> str:
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(KUBECONFIG))
    return str(file)


def test_a_connection_says_which_cluster(path: str) -> None:
    for extras in (
        {"kube_config_path": path},
        {"kube_config": json.dumps(KUBECONFIG)},
        {"kube_config": KUBECONFIG},
        {"extra__kubernetes__kube_config_path": path},
    ):
        found = choose_cluster({}, extras, connection="k")
        assert (found.config.server, found.namespace, found.in_cluster) == (
            "https://c:6443",
            "of-context",
            False,
        )


def test_parameters_win_over_the_connection(path: str) -> None:
    extras = {"kube_config_path": "/absent", "cluster_context": "one", "namespace": "of-connection"}
    found = choose_cluster({"config_file": path, "cluster_context": "two"}, extras, connection="k")
    assert (found.config.context, found.namespace) == ("two", "of-connection")
    assert choose_cluster({"in_cluster": False, "config_file": path}, {"in_cluster": True}, connection="k")


def test_in_a_private_airflow_in_cluster_is_the_cluster_of_the_run(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = {"in_cluster": True}
    for extras in ({}, {"kube_config_path": path}):
        with pytest.raises(InvalidInputError, match=r"does not run in a pod|only one of them"):
            choose_cluster(inside, extras, connection="k")
    monkeypatch.setenv("PODBAY_RUN_KUBECONFIG", path)
    for given, extras in (
        (inside, {}),
        (inside, {"kube_config_path": path}),
        (inside, {"cluster_context": "absent"}),
        ({}, inside),
    ):
        found = choose_cluster(given, extras, connection="k")
        assert (found.config.server, found.namespace, found.in_cluster) == (
            "https://c:6443",
            "of-context",
            True,
        )
    assert not choose_cluster({"in_cluster": False}, {"kube_config_path": path}, connection="k").in_cluster
    other = tmp_path / "other"
    other.write_text(yaml.safe_dump(KUBECONFIG))
    for extras in ({"kube_config_path": str(other)}, {"kube_config": KUBECONFIG}):
        with pytest.raises(InvalidInputError, match="only one of them"):
            choose_cluster(inside, extras, connection="k")


def test_in_a_private_airflow_no_pod_around_it_counts(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that names nothing; the kubeconfig is that of the run."""
    monkeypatch.setenv("PODBAY_RUN_KUBECONFIG", path)
    monkeypatch.setenv("KUBECONFIG", path)
    monkeypatch.setattr("podbay.airflow.connection.in_cluster", lambda: pytest.fail("asked for the pod's"))
    found = choose_cluster({}, {}, connection="k")
    assert (found.config.server, found.in_cluster) == ("https://c:6443", False)


def test_wishes_of_the_connection_for_the_sidecar(path: str) -> None:
    extras = {
        "kube_config_path": path,
        "disable_verify_ssl": "true",
        "xcom_sidecar_container_image": "own:1",
        "xcom_sidecar_container_resources": '{"limits": {"cpu": "1"}}',
    }
    found = choose_cluster({}, extras, connection="k")
    assert (found.sidecar.image, found.sidecar.resources) == ("own:1", {"limits": {"cpu": "1"}})
    assert found.config.insecure


@pytest.mark.parametrize(
    ("given", "extras", "said"),
    [
        ({"in_cluster": True}, {"kube_config": "{}"}, "in_cluster and kube_config"),
        ({}, {"kube_config_path": "a", "kube_config": "{}"}, "only one of them"),
        ({}, {"kube_config_path": "/absent"}, "does not exist"),
        ({}, {"in_cluster": "maybe"}, "in_cluster: must be true or false"),
        ({}, {"kube_config": "{}", "xcom_sidecar_container_resources": "[1]"}, "context"),
    ],
)
def test_a_wrong_connection_is_told(given: dict[str, Any], extras: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        choose_cluster(given, extras, connection="k")


def test_the_link_to_a_pod_is_the_dashboards() -> None:
    assert pod_link("https://d/#/pod/{namespace}/{name}?x={y}", "n s", "p") == "https://d/#/pod/n%20s/p?x={y}"


# -- the log


def batch(*texts: str) -> LogBatch:
    return LogBatch("base", [LogLine("base", 0, text) for text in texts], None)


async def test_lines_are_records_while_the_budget_lasts() -> None:
    written: list[tuple[int, str]] = []
    log = TaskLog(lambda level, text: written.append((level, text)), budget=RecordBudget(rate=0, burst=3))
    await log.lines(batch("plain", "ERROR bad"))
    assert written == [(logging.INFO, "[base] plain"), (logging.ERROR, "[base] ERROR bad")]
    written.clear()
    await log.lines(batch("a", "b", "WARNING c", "d"))
    assert written == [
        (logging.INFO, "[base] a\n[base] b"),
        (logging.WARNING, "[base] WARNING c"),
        (logging.INFO, "[base] d"),
    ]
    written.clear()
    await log.lines(batch(*(f"{'ERROR' if n % 2 else 'INFO'} {n}" for n in range(40))))
    assert [level for level, _ in written] == [logging.INFO]
    assert written[0][1].count("\n") == 39


async def test_prefix_and_groups() -> None:
    written: list[str] = []
    log = TaskLog(lambda _, text: written.append(text), prefix=False)
    await log.lines(batch("a", "::group::mine"))
    log.group("Title", ["x", "y"])
    assert written == ["a", "::group::mine", "::group::Title", "x\ny", "::endgroup::"]


def test_the_manifest_shows_no_values() -> None:
    """Of variables, whatever their names, and of a function's arguments, which Airflow's masker cannot read."""
    env = {"PGPASS": "hunter2", "EMPTY": ""}
    command, args = pod_command(
        {"name": "load", "source": "def load(p): ..."}, (), {"p": "hunter2"}, result=""
    )
    pod = build_pod(PodRequest(image="python:3.12", env=env, command=command, args=args))
    written: list[str] = []
    TaskLog(lambda _, text: written.append(text)).manifest(pod, encoded="base")
    text = "\n".join(written)
    assert f"- ({len(args[0])} characters)" in text
    for secret in ("hunter2", args[0]):
        assert secret not in text
    assert "name: PGPASS\n          value: (left out)\n" in text
    assert "name: EMPTY\n" in text
    # What is said on a command line is the DAG's own text, or known to Airflow's masker.
    written.clear()
    TaskLog(lambda _, text: written.append(text)).manifest(build_pod(PodRequest(image="i", args=["a", "b"])))
    assert "args:\n        - a\n        - b\n" in "\n".join(written)


def test_the_budget_refills() -> None:
    budget = RecordBudget(rate=10, burst=5)
    assert budget.take(5, 100.0)
    assert not budget.take(1, 100.0)
    assert budget.take(3, 100.4)


# -- limits


async def test_the_limiter_lets_go_by_rank_and_room() -> None:
    limiter, order, inside = Limiter(), [], 0
    most = 0
    limit = Limit("max_active_tasks", ("dag run", "d", "r"), 2)

    async def task(name: str, priority: int) -> None:
        nonlocal inside, most
        async with limiter.slot([limit], priority=priority, others=lambda _: 0, waits=lambda _: None):
            order.append(name)
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.01)
            inside -= 1

    await asyncio.gather(*(task(f"{n}", n) for n in range(5)))
    assert most == 2
    assert order == ["0", "1", "4", "3", "2"]


async def test_pods_of_others_take_room_and_a_cancelled_wait_leaves_none() -> None:
    limiter, told = Limiter(), []
    limit = Limit("max_active_tis_per_dag", ("task", "d", "t"), 1)
    others = 1

    async def task() -> None:
        async with limiter.slot([limit], priority=1, others=lambda _: others, waits=told.append):
            pass

    first, second = asyncio.create_task(task()), asyncio.create_task(task())
    await asyncio.sleep(0)
    first.cancel()
    others = 0
    await asyncio.wait_for(second, 20)
    assert [each.name for each in told] == ["max_active_tis_per_dag"] * 2


async def test_limits_do_not_hold_up_each_other() -> None:
    limiter = Limiter()
    full, free = Limit("a", ("a",), 1), Limit("b", ("b",), 1)
    limiter.adopt([full])
    waiting = asyncio.create_task(_pass(limiter, full))
    await asyncio.wait_for(_pass(limiter, free), 5)
    assert not waiting.done()
    limiter.leave([full])
    await asyncio.wait_for(waiting, 5)


async def _pass(limiter: Limiter, limit: Limit) -> None:
    async with limiter.slot([limit], priority=1, others=lambda _: 0, waits=lambda _: None):
        pass


# -- whose pod it is (airflow.md T6)


@pytest.fixture(scope="module")
def cluster() -> Any:
    with Environment.start(ClusterOptions()) as environment:
        yield environment


def pod_of(number: int, owner: str, task_id: str = "t") -> dict[str, Any]:
    identity = TaskIdentity(deployment="d", dag_id="dag", run_id="r", task_id=task_id, try_number=number)
    pod = build_pod(PodRequest(identity=identity, image="i", namespace="default"))
    pod["metadata"]["annotations"][OWNER_ANNOTATION] = owner
    return pod


async def test_an_earlier_life_deletes_nothing_that_a_later_one_has_claimed(cluster: Environment) -> None:
    with Requests(cluster.kubeconfig) as kube:
        status, _ = kube.call("POST", "/api/v1/namespaces/default/pods", pod_of(1, "old"))
        assert status == 201
    identity = TaskIdentity(deployment="d", dag_id="dag", run_id="r", task_id="t", try_number=2)
    async with lease(load_kubeconfig(cluster.kubeconfig)) as leased:
        (pod,) = await pods_of_task(leased, "default", identity)
        name = pod["metadata"]["name"]
        taken = earlier_try([pod], identity)
        assert taken is not None
        assert taken.try_number == 1
        await claim(leased, [pod], "new")
        assert await delete_own_pods(leased, "default", [name, "absent"], "old", None) == []
        assert await delete_own_pods(leased, "default", [name], "new", 0) == [name]


async def test_the_pod_of_a_try_that_was_cleared_is_deleted_and_not_taken_over(cluster: Environment) -> None:
    with Requests(cluster.kubeconfig) as kube:
        for number in (1, 2, 3):
            status, _ = kube.call(
                "POST", "/api/v1/namespaces/default/pods", pod_of(number, "other", "cleared")
            )
            assert status == 201
    identity = TaskIdentity(deployment="d", dag_id="dag", run_id="r", task_id="cleared", try_number=3)
    async with lease(load_kubeconfig(cluster.kubeconfig)) as leased:
        pods = await pods_of_task(leased, "default", identity)
        names = {
            int(pod["metadata"]["annotations"]["podbay.dev/try-number"]): pod["metadata"]["name"]
            for pod in pods
        }
        newest = earlier_try(pods, identity, after=1)
        assert newest is not None
        assert newest.try_number == 2
        assert earlier_try(pods, identity, after=2) is None
        assert await delete_tries(leased, pods, upto=1, grace=0) == [names[1]]
        assert await delete_tries(leased, pods, upto=2, grace=0) == [names[2]]
    with Requests(cluster.kubeconfig) as kube:
        status, _ = kube.call("GET", f"/api/v1/namespaces/default/pods/{names[3]}")
        assert status == 200


async def test_ended_pods_that_a_lost_try_has_left_are_deleted(cluster: Environment) -> None:
    """And neither what is kept nor what the present try has made."""
    kept: dict[int, dict[str, Any]] = {
        2: {"labels": {"already_checked": "True"}},
        3: {"annotations": {"podbay.dev/held-until": "2030-01-01T00:00:00Z"}},
        4: {"annotations": {"podbay.dev/keep": "true"}},
    }
    names = {}
    with Requests(cluster.kubeconfig) as kube:
        for number in range(1, 6):
            pod = pod_of(number, "other", "left")
            for part, marks in kept.get(number, {}).items():
                pod["metadata"].setdefault(part, {}).update(marks)
            status, made = kube.call("POST", "/api/v1/namespaces/default/pods", pod)
            assert status == 201, made
            names[number] = made["metadata"]["name"]
            path = f"/api/v1/namespaces/default/pods/{names[number]}/status"
            headers = {"Content-Type": "application/merge-patch+json"}
            status, _ = kube.call("PATCH", path, {"status": {"phase": "Succeeded"}}, headers=headers)
            assert status == 200
    identity = TaskIdentity(deployment="d", dag_id="dag", run_id="r", task_id="left", try_number=5)
    async with lease(load_kubeconfig(cluster.kubeconfig)) as leased:
        pods = await pods_of_task(leased, "default", identity)
        assert len(pods) == 5
        assert await delete_left(leased, pods, before=5) == [names[1]]
        assert await delete_left(leased, pods, before=5) == []
