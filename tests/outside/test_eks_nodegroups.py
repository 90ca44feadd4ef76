"""Node groups of EKS in whole runs of Airflow: moto is AWS, and what becomes ACTIVE there are nodes of another cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import yaml
from airflow.sdk import DAG
from airflow_api import AirflowApi, Run
from eks_nodes import EksNodes, moto_server
from patience import until
from pods_of_tasks import lines_of

import podbay.airflow.nodegroup_tasks as nodegroup_tasks
from podbay.airflow.nodegroup_tasks import RunTimedOut
from podbay.aws.nodegroup import NodegroupOwner, NodegroupPlan, create_parameters
from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.scripted.script import Script
from podbay.testing import Environment
from podbay.testing.requests import Requests

REGION = "us-east-1"
CLUSTER = "gpu-cluster"
ARN = f"arn:aws:eks:{REGION}:111122223333:cluster/{CLUSTER}"
HELLO = Script.from_data(
    [{"match": {"image": "ubuntu:24.04"}, "containers": {"*": [{"log": ["+ echo hello", "hello"]}]}}]
)


@pytest.fixture(scope="module")
def remote() -> Iterator[Environment]:
    """The cluster of EKS: no node but those of node groups."""
    with Environment.start(ClusterOptions(name=CLUSTER, nodes=())) as environment:
        with Requests(environment.kubeconfig) as requests:
            for name in ("eks", "airflow-kpo-default", "scripted"):
                requests.create_namespace(name)
        yield environment


@pytest.fixture(scope="module")
def aws(remote: Environment) -> Iterator[EksNodes]:
    with moto_server() as moto, EksNodes.started(moto, remote, HELLO) as found:
        client(found).create_cluster(
            name=CLUSTER,
            roleArn="arn:aws:iam::111122223333:role/eks",
            resourcesVpcConfig={"subnetIds": ["subnet-a"]},
        )
        yield found


@pytest.fixture(scope="module", autouse=True)
def connections(airflow: AirflowApi, aws: EksNodes, remote: Environment) -> None:
    login = {"conn_type": "aws", "login": "somebody", "password": "hidden"}
    extra = json.dumps({"endpoint_url": aws.address, "region_name": REGION})
    document = yaml.safe_load(remote.kubeconfig.read_text())
    document["contexts"][0]["name"] = document["current-context"] = ARN
    kubeconfig = json.dumps({"kube_config": json.dumps(document)})
    for name in ("aws_default", "eks_aws"):
        airflow.call("POST", "/api/v2/connections", {"connection_id": name, **login, "extra": extra})
    for name in ("k8s", "eks_nodes"):
        body = {"connection_id": name, "conn_type": "kubernetes", "extra": kubeconfig}
        airflow.call("POST", "/api/v2/connections", body)


@pytest.fixture(scope="module")
def runs(airflow: AirflowApi, connections: None) -> dict[str, Run]:
    """All at once; most of their time is waiting."""
    names = (
        "eks_succeeds",
        "eks_pod_fails",
        "eks_times_out",
        "eks_is_killed",
        "eks_overflows",
        "gpu_nodes_group",
        "gpu_nodes",
    )
    for name in names:
        until(
            lambda name=name: airflow.has_dag(name),
            seconds=400,
            tell=lambda: airflow.call("GET", "/api/v2/importErrors"),
        )
    return {name: airflow.trigger(name) for name in names}


def client(aws: EksNodes) -> Any:
    return boto3.client(
        "eks",
        endpoint_url=aws.address,
        region_name=REGION,
        aws_access_key_id="somebody",
        aws_secret_access_key="hidden",
    )


def is_gone(aws: EksNodes, group_id: str) -> bool:
    """It was there, and AWS has forgotten it."""
    made = aws.named(group_id)
    return bool(made) and all(each.status == "gone" for each in made)


def ended(airflow: AirflowApi, run: Run) -> str:
    """The state of the run, once it has ended."""
    path = f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}"
    return str(
        until(
            lambda: (state := airflow.call("GET", path)["state"]) in ("success", "failed") and state,
            seconds=400,
            tell=run.states,
        )
    )


def test_pods_run_on_the_groups_nodes_and_the_group_is_deleted(
    airflow: AirflowApi, runs: dict[str, Run], aws: EksNodes
) -> None:
    run = runs["eks_succeeds"]
    assert ended(airflow, run) == "success", run.states()
    setup = run.task("gpu.create_nodegroup")
    group = aws.groups[setup.result]
    assert "Runs in the triggerer" in setup.log
    first = run.task("gpu.first")
    assert lines_of(first, "base") == ["on the gpu"]
    assert run.task("gpu.many", map_index=1).state == "success"
    assert group.asked["tags"]["podbay.dev/run"] == run.run_id
    assert group.asked["tags"]["podbay.dev/dag"] == "eks_succeeds"
    assert group.status == "gone"
    assert run.task("gpu.delete_nodegroup").state == "success"


def test_a_failed_pod_fails_the_run_and_the_group_is_deleted(
    airflow: AirflowApi, runs: dict[str, Run], aws: EksNodes
) -> None:
    run = runs["eks_pod_fails"]
    assert ended(airflow, run) == "failed"
    setup = run.task("cpu.create_nodegroup")
    assert "Starts on a worker and goes on in the triggerer; a worker finishes it" in setup.log
    # Before it and after it; Airflow calls the first one again when a worker goes on.
    assert setup.log.count("callback of cpu.create_nodegroup") >= 2
    assert run.task("cpu.work").state == "failed"
    assert run.task("cpu.delete_nodegroup").state == "success"
    assert is_gone(aws, "cpu")


def test_a_run_whose_time_is_up_leaves_no_group(
    airflow: AirflowApi, runs: dict[str, Run], aws: EksNodes
) -> None:
    run = runs["eks_times_out"]
    assert ended(airflow, run) == "failed"
    # Airflow skips the teardown as well.
    assert run.task("slow.delete_nodegroup").state == "skipped"
    # On a slow machine its time may be up before AWS was asked.
    until(lambda: is_gone(aws, "slow") or not aws.named("slow"), tell=lambda: aws.named("slow"))


def test_the_callback_for_such_runs_deletes_the_group(aws: EksNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    login = {
        "conn_type": "aws",
        "login": "somebody",
        "password": "hidden",
        "extra": {"endpoint_url": aws.address},
    }
    monkeypatch.setenv("AIRFLOW_CONN_HERE", json.dumps(login))
    plan = NodegroupPlan(
        kubernetes_conn_id="k8s",
        node_role="arn:aws:iam::111122223333:role/nodes",
        group_id="late",
        cluster_name=CLUSTER,
        region=REGION,
        aws_conn_id="here",
    )
    owner = NodegroupOwner(deployment="airflow", dag_id="d", run_id="r", group_id="late")
    client(aws).create_nodegroup(**create_parameters(plan, owner, CLUSTER, ["subnet-a"]))
    with DAG("d") as dag:
        until(lambda: aws.named("late")[0].status == "ACTIVE")
    RunTimedOut(plan.to_json())({"reason": "timed_out", "run_id": "another", "dag": dag})
    RunTimedOut(plan.to_json())({"reason": "task_failure", "run_id": "r", "dag": dag})
    assert aws.named("late")[0].status == "ACTIVE"
    # AWS is away for a moment, longer than boto3 asks by itself.
    monkeypatch.setattr(nodegroup_tasks, "_seconds_left", lambda: 60.0)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    aws.down = 2
    RunTimedOut(plan.to_json())({"reason": "timed_out", "run_id": "r", "dag": dag})
    until(lambda: is_gone(aws, "late"), tell=lambda: aws.named("late"))


def test_a_run_that_a_user_fails_leaves_no_group(
    airflow: AirflowApi, runs: dict[str, Run], aws: EksNodes
) -> None:
    run = runs["eks_is_killed"]
    run.wait_for("killed.work", {"deferred"})
    airflow.call("PATCH", f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}", {"state": "failed"})
    assert run.task("killed.delete_nodegroup").state == "success"
    assert is_gone(aws, "killed")


def test_a_setup_that_a_user_fails_leaves_no_group(
    airflow: AirflowApi, runs: dict[str, Run], aws: EksNodes
) -> None:
    aws.coming = False
    try:
        run = airflow.trigger("eks_setup_is_killed")
        until(lambda: aws.named("never"), tell=run.states)
        run.mark("never.create_nodegroup", "failed")
        until(lambda: is_gone(aws, "never"), tell=lambda: aws.named("never"))
    finally:
        aws.coming = True


def test_a_task_without_room_goes_to_the_second_cluster(runs: dict[str, Run]) -> None:
    task = runs["eks_overflows"].task("goes")
    assert task.state == "success", task.log
    assert "Runs in the triggerer" in task.log
    assert "it goes on in the cluster of connection kubernetes_default" in task.log
    assert lines_of(task, "base") == ["over there"]


def test_the_example_with_a_task_group(airflow: AirflowApi, runs: dict[str, Run]) -> None:
    run = runs["gpu_nodes_group"]
    assert ended(airflow, run) == "success", run.states()
    assert lines_of(run.task("gpu.run_on_eks"), "base") == ["+ echo hello", "hello"]


def test_the_example_with_five_tasks(airflow: AirflowApi, runs: dict[str, Run], aws: EksNodes) -> None:
    run = runs["gpu_nodes"]
    assert ended(airflow, run) == "success", {name: run.log(name, 1)[-600:] for name in run.states()}
    assert lines_of(run.task("run_on_eks"), "base") == ["+ echo hello", "hello"]
    assert "Runs in the triggerer" in run.task("run_on_eks").log
    group = aws.groups["gpu-nodes"]
    assert group.asked["instanceTypes"] == ["g4dn.xlarge"]
    assert group.status == "gone"
    assert client(aws).list_nodegroups(clusterName=CLUSTER)["nodegroups"] == []
