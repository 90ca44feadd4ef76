"""Our run on a worker, without the rest of Airflow: what a task's own code that raises does to its pod."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.cncf.kubernetes.callbacks import ExecutionMode, KubernetesPodOperatorCallback
from airflow.sdk import DAG
from kubernetes.client import models as k8s

from podbay import KubernetesPodOperator
from podbay.airflow import worker
from podbay.airflow.callbacks import Callbacks
from podbay.airflow.calls import TaskKey
from podbay.airflow.task import settings
from podbay.testing import Environment
from podbay.testing.requests import Requests

NAMESPACE = "scripted"


class Calls:
    """Stores nothing and knows one connection."""

    kubeconfig = ""

    async def extras(self, connection: str | None) -> Mapping[str, Any]:
        return {"kube_config_path": self.kubeconfig}

    async def push(self, key: TaskKey, name: str, value: Any) -> None:
        pass

    async def count(self, dag_id: str, **conditions: Sequence[str]) -> int:
        return 0


def broken(line: str) -> None:
    raise ZeroDivisionError(line)


def test_a_callback_that_raises_fails_the_task_as_itself_and_leaves_no_pod(
    cluster: Environment, kube: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Calls, "kubeconfig", str(cluster.kubeconfig))
    monkeypatch.setattr(worker, "WorkerCalls", Calls)
    with DAG("alone"):
        task = KubernetesPodOperator(
            task_id="breaks",
            namespace=NAMESPACE,
            image="example.com/task:1",
            node_selector={"podbay.dev/scripted": "true"},
            tolerations=[k8s.V1Toleration(key="podbay.dev/scripted", operator="Exists")],
            annotations={"scripted.podbay.dev/run-seconds": "600", "scripted.podbay.dev/log": "its line"},
            progress_callback=broken,
        )
    description = task.podbay_description()
    placement = description.placement()
    assert placement.where == "worker"
    ti = SimpleNamespace(
        dag_id="alone", run_id="worker", task_id="breaks", map_index=-1, try_number=1, max_tries=0
    )
    run = worker.WorkerRun(task, {"ti": ti}, description.rendered(placement, deadline=None), settings())
    with pytest.raises(ZeroDivisionError, match="its line"):
        run.run()
    path = f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=dag_id%3Dalone,task_id%3Dbreaks"
    status, found = kube.call("GET", path)
    assert status == 200, found
    assert all("deletionTimestamp" in pod["metadata"] for pod in found["items"])


def test_callbacks_are_told_upstreams_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upstream's classes may compare it by identity."""
    told: list[Any] = []

    class Told(KubernetesPodOperatorCallback):
        @staticmethod
        def on_pod_cleanup(*, mode: Any, **_: Any) -> None:
            told.append(mode)

    monkeypatch.setattr(Callbacks, "_core", lambda self: None)
    Callbacks(SimpleNamespace(callbacks=Told), {}, {}).cleaned(None)
    assert [each is ExecutionMode.SYNC for each in told] == [True]
