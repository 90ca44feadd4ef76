"""Our trigger on an event loop of the test: what Airflow's supervisor would answer it, and the pods it makes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from airflow.sdk import DAG
from airflow.sdk.execution_time import comms, task_runner
from airflow.triggers.base import TriggerEvent
from kubernetes.client import models as k8s

from podbay import KubernetesPodOperator
from podbay.airflow.triggers import PodTrigger
from podbay.objects.meta import uid_of
from podbay.testing import Environment
from podbay.testing.requests import Requests

__all__ = ["SECONDS", "Supervisor", "alive", "event_of", "pods", "running", "trigger_of"]

NAMESPACE = "scripted"
SECONDS = 60


class Supervisor:
    """The other end of a triggerer's channel, for one run."""

    def __init__(self, environment: Environment) -> None:
        self.state: str | None = "deferred"
        """Of every task; None: Airflow does not answer."""
        self.asked: Counter[str] = Counter()
        self.unanswered: Counter[str] = Counter()
        """How many questions of a kind get no answer from now on."""
        self._kubeconfig = environment.kubeconfig
        self.xcoms: dict[tuple[str, str], Any] = {}

    async def asend(self, message: Any) -> Any:
        if isinstance(message, comms.MaskSecret):
            return None
        kind = type(message).__name__
        self.asked[kind] += 1
        if self.unanswered[kind] > 0:
            self.unanswered[kind] -= 1
            raise OSError("no answer")
        match message:
            case comms.GetConnection():
                extra = json.dumps({"kube_config_path": str(self._kubeconfig)})
                others = dict.fromkeys(("host", "schema", "login", "password", "port"))
                return comms.ConnectionResult(
                    conn_id=message.conn_id, conn_type="kubernetes", extra=extra, **others
                )
            case comms.SetXCom():
                self.xcoms[message.task_id, message.key] = message.value
                return comms.OKResponse(ok=True)
            case comms.DeleteXCom():
                self.xcoms.pop((message.task_id, message.key), None)
                return None
            case comms.GetXCom():
                return comms.XComResult(key=message.key, value=self.xcoms.get((message.task_id, message.key)))
            case comms.GetTaskStates() if self.state is not None:
                states = dict.fromkeys(message.task_ids or (), self.state)
                return comms.TaskStatesResult(task_states={message.run_ids[0]: states})
        raise OSError("no answer")


def trigger_of(
    task_id: str,
    run_id: str,
    *,
    runs: float,
    log: str = "",
    handed_over: bool = True,
    **parameters: Any,
) -> PodTrigger:
    """Of a task that a worker has handed over just now (or nobody knows when), its pod running for so long."""
    with DAG("alone"):
        task = KubernetesPodOperator(
            task_id=task_id,
            namespace=NAMESPACE,
            image="example.com/task:1",
            node_selector={"podbay.dev/scripted": "true"},
            tolerations=[k8s.V1Toleration(key="podbay.dev/scripted", operator="Exists")],
            annotations={"scripted.podbay.dev/run-seconds": str(runs), "scripted.podbay.dev/log": log},
            **parameters,
        )
    description = task.podbay_description()
    # Whatever plugins of this machine listen to.
    carried = replace(
        description.rendered(description.placement(), deadline=None),
        finish="never",
        since=time.time() if handed_over else None,
    )
    trigger = PodTrigger(spec=carried.to_text())
    trigger.task_instance = SimpleNamespace(
        dag_id="alone", run_id=run_id, task_id=task_id, map_index=-1, try_number=1
    )
    return trigger


async def event_of(trigger: PodTrigger) -> TriggerEvent:
    return await anext(aiter(trigger.run()))


def pods(kube: Requests, run_id: str) -> list[dict[str, Any]]:
    path = f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=dag_id%3Dalone,run_id%3D{run_id}"
    status, found = kube.call("GET", path)
    assert status == 200, found
    return list(found["items"])


@contextlib.asynccontextmanager
async def running(kube: Requests, trigger: PodTrigger, run_id: str) -> AsyncIterator[None]:
    """While its pod runs and Airflow knows of it; then cancelled, as Airflow does before `on_kill`."""
    task = asyncio.create_task(event_of(trigger))
    supervisor = task_runner.SUPERVISOR_COMMS
    assert isinstance(supervisor, Supervisor)

    def runs() -> bool:
        found = [pod["status"]["phase"] for pod in pods(kube, run_id)]
        return found == ["Running"] and bool(supervisor.xcoms)

    async with asyncio.timeout(SECONDS):
        while trigger._work is None or not runs():
            assert not task.done(), task
            await asyncio.sleep(0.1)
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def alive(kube: Requests, run_id: str) -> list[str]:
    return [uid_of(pod) for pod in pods(kube, run_id) if "deletionTimestamp" not in pod["metadata"]]
