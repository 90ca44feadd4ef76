"""`kubernetes_conn_id=None`: no connection is asked, wherever the task runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator as UpstreamOperator
from airflow.sdk import DAG

from podbay import KubernetesPodOperator
from podbay.airflow.adoption import adopted_class
from podbay.airflow.calls import TriggererCalls
from podbay.airflow.carried import Carried
from podbay.airflow.driving import read_cluster
from podbay.airflow.mapping import mapped_description
from podbay.airflow.overflow import places_of
from podbay.airflow.unrendered import cluster_parameters

SERVER = "https://of-the-file:6443"
OTHER = "https://of-the-connection:6443"


def kubeconfig(path: Path, server: str) -> str:
    named = {
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "c", "user": {"token": "t"}}],
    }
    path.write_text(json.dumps({"current-context": "c", **named}))
    return str(path)


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    return {"kubernetes_conn_id": None, "config_file": kubeconfig(tmp_path / "file", SERVER), "image": "i"}


class Connections(TriggererCalls):
    """The default one is there, and names another cluster."""

    def __init__(self, path: Path) -> None:
        self._extras = {"kube_config": Path(kubeconfig(path / "connection", OTHER)).read_text()}

    async def extras(self, connection: str | None) -> Mapping[str, Any]:
        return self._extras if connection else {}


async def server_of(carried: Carried, path: Path) -> str:
    """Of the cluster that the other end understands."""
    arrived = Carried.from_text(carried.to_text())
    return (await read_cluster(cluster_parameters(arrived), Connections(path))).config.server


def carried_by(task: Any, *, rendered: bool) -> Carried:
    description = task.podbay_description()
    placement = description.placement()
    return description.rendered(placement, deadline=None) if rendered else description.carried(placement)


@pytest.mark.parametrize("adopted", [False, True], ids=["ours", "adopted"])
@pytest.mark.parametrize("rendered", [False, True], ids=["triggerer", "worker"])
async def test_no_connection_is_asked(
    given: dict[str, Any], tmp_path: Path, adopted: bool, rendered: bool
) -> None:
    with DAG("d"):
        task: Any = (UpstreamOperator if adopted else KubernetesPodOperator)(task_id="t", **given)
    if adopted:
        task.__class__ = adopted_class(UpstreamOperator)
    assert await server_of(carried_by(task, rendered=rendered), tmp_path) == SERVER


async def test_no_connection_is_asked_for_instances_of_a_mapped_task(
    given: dict[str, Any], tmp_path: Path
) -> None:
    with DAG("d", default_args={"kubernetes_conn_id": given.pop("kubernetes_conn_id")}):
        mapped: Any = KubernetesPodOperator.partial(task_id="t", **given).expand(arguments=[["a"], ["b"]])
    description = mapped_description(mapped)
    assert await server_of(description.carried(description.placement()), tmp_path) == SERVER


def test_the_default_is_not_carried() -> None:
    with DAG("d"):
        task = KubernetesPodOperator(task_id="t", image="i")
    assert "kubernetes_conn_id" not in carried_by(task, rendered=False).parameters


def test_the_log_names_no_connection_that_was_not_asked() -> None:
    first, second = places_of({"kubernetes_conn_id": None, "overflow_kubernetes_conn_id": "cloud"})
    assert (first.connection, second.connection) == ("(none)", "cloud")
    assert places_of({})[0].connection == "kubernetes_default"
