"""What a real Airflow shows of the healer's deeds: a line in the log of the task's try, and its note."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from airflow_api import AirflowApi
from airflow_home import AirflowHome
from patience import PATIENCE

from podbay.aio.clock import SystemClock
from podbay.healer.airflow_api import AirflowApi as HealersApi
from podbay.healer.airflow_api import AirflowLogin
from podbay.healer.decide import Questions
from podbay.healer.process import reconciler_of
from podbay.healer.reconciler import Round
from podbay.healer.rules import Rules
from podbay.healer.world import TaskKey
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.kube.lease import DeskOptions, LeaseDesk
from podbay.pods.build import build_pod
from podbay.pods.identity import TaskIdentity
from podbay.pods.request import PodRequest
from podbay.testing.requests import Requests

NAMESPACE = "healer-tells"
RULES = Rules(deployment="airflow", only_airflow=True, young=0, finished=0, ended=0)


async def heal(home: AirflowHome) -> Round:
    clock = SystemClock()
    desk = LeaseDesk(DeskOptions(clock=clock, linger_seconds=0.0))
    login = AirflowLogin(url=home.url)
    async with desk.lease(load_kubeconfig(str(home.kubeconfig))) as cluster:
        opening = reconciler_of(
            cluster, NAMESPACE, rules=RULES, login=login, clock=clock, logs=home.directory / "logs"
        )
        async with opening as reconciler:
            async with asyncio.timeout(PATIENCE):
                # The task ended a moment ago, and Airflow's clock is told in whole seconds. What has changed since it was
                # judged is dropped, and the scheduler may still be at the pod.
                while not (last := await reconciler.round()).done or last.done[0].result == "dropped":
                    await asyncio.sleep(0.2)
    await desk.aclose()
    return last


def test_the_log_and_the_note_of_a_task_say_what_became_of_its_pod(
    airflow: AirflowApi, airflow_home: AirflowHome, kube: Requests
) -> None:
    run = airflow.trigger("healer_tells")
    task = run.task("ended")
    assert task.state == "success", task.log
    kube.create_namespace(NAMESPACE)
    # Such as a pod that a lost node brings back.
    own = TaskIdentity(
        deployment="airflow", dag_id=run.dag_id, run_id=run.run_id, task_id="ended", try_number=task.tries
    )
    request = PodRequest(identity=own, namespace=NAMESPACE, image="example.com/task:1")
    pod = build_pod(request)
    code, answer = kube.call("POST", f"/api/v1/namespaces/{NAMESPACE}/pods", pod)
    assert code == 201, answer
    last = asyncio.run(heal(airflow_home))
    assert [(each.action.check, each.result) for each in last.done] == [("OwnerFinished", "done")]
    told = f"Podbay's healer: pod {pod['metadata']['name']} was deleted: task healer_tells.ended of {run.run_id} is success"
    log = run.log("ended", task.tries)
    assert "the task's own line" in log
    assert told in log, log
    assert told in run.fields("ended")["note"]
    assert run.fields("ended")["state"] == "success"


async def ask(home: AirflowHome, key: TaskKey) -> None:
    task = (key.dag_id, key.task_id)
    async with HealersApi(AirflowLogin(url=home.url), SystemClock()) as api:
        wanted = Questions(frozenset(), 3600.0, frozenset({task, (key.dag_id, "nowhere"), ("nowhere", "t")}))
        found = await api.answer(lambda _: wanted)
        assert found.complete, found.trouble
        assert found.retries == {task: 3}
        assert found.tasks[key].is_finished
        assert key in [each.key for each in await api.changed_since(found.now - timedelta(hours=1))]
        assert await api.changed_since(found.now + timedelta(hours=1)) == []


def test_airflow_tells_what_is_new_and_how_many_retries_a_task_has(
    airflow: AirflowApi, airflow_home: AirflowHome
) -> None:
    run = airflow.trigger("healer_tells")
    assert run.task("ended").state == "success"
    asyncio.run(ask(airflow_home, TaskKey(run.dag_id, run.run_id, "ended")))
