"""What `EksNodegroup` makes of a DAG file where it is read: tasks, edges, nodes for the pods; and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator as Upstream
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task, task_group
from airflow.serialization.serialized_objects import DagSerialization
from kubernetes.client import models as k8s

import podbay.airflow.nodegroup_tasks as nodegroup_tasks
from podbay import KubernetesPodOperator
from podbay.airflow.nodegroup_tasks import seconds_of_callback
from podbay.aws import EksNodegroup
from podbay.errors import InvalidInputError

GROUP: dict[str, Any] = {
    "kubernetes_conn_id": "k8s",
    "node_role": "arn:aws:iam::111122223333:role/nodes",
}
SELECTOR = {"podbay.dev/nodegroup": "{{ ti.xcom_pull(task_ids='gpu.create_nodegroup') }}"}
TOLERATION = {"key": "podbay.dev/nodegroup", "operator": "Exists", "effect": "NoSchedule"}


def dag(**more: Any) -> DAG:
    return DAG("nodes", **more)


def test_the_tasks_stand_between_setup_and_teardown() -> None:
    with dag() as made:
        before = EmptyOperator(task_id="before")
        with EksNodegroup("gpu", **GROUP) as group:
            first = KubernetesPodOperator(task_id="first", image="x")
            aside = EmptyOperator(task_id="aside")
            last = KubernetesPodOperator(task_id="last", image="x")
            first >> last
        after = EmptyOperator(task_id="after")
        before >> group >> after
    setup, teardown = made.get_task("gpu.create_nodegroup"), made.get_task("gpu.delete_nodegroup")
    assert setup.is_setup
    assert teardown.is_teardown
    assert setup.upstream_task_ids == {"before"}
    assert first.upstream_task_ids == aside.upstream_task_ids == {"gpu.create_nodegroup"}
    assert last.upstream_task_ids == {"gpu.first"}
    assert teardown.upstream_task_ids == {"gpu.create_nodegroup", "gpu.aside", "gpu.last"}
    # Neither the run's state nor what follows waits for the teardown.
    assert after.upstream_task_ids == {"gpu.aside", "gpu.last"}
    assert not teardown.on_failure_fail_dagrun
    assert setup.start_from_trigger
    back = DagSerialization.from_dict(DagSerialization.to_dict(made))
    assert back.task_dict["gpu.delete_nodegroup"].is_teardown
    assert back.has_on_failure_callback


def test_pods_of_every_kind_are_tied_to_the_nodes() -> None:
    with dag() as made, EksNodegroup("gpu", **GROUP):
        KubernetesPodOperator(
            task_id="ours", image="x", node_selector={"zone": "a"}, tolerations=[{"key": "b"}]
        )
        Upstream(task_id="theirs", image="x")
        KubernetesPodOperator.partial(task_id="mapped", image="x").expand(arguments=[["1"], ["2"]])

        @task.pod(image="python:3.12")
        def function() -> None:
            pass

        function()
    ours = made.get_task("gpu.ours")
    assert ours.node_selector == {"zone": "a", **SELECTOR}
    assert ours.tolerations == [{"key": "b"}, TOLERATION]
    theirs = made.get_task("gpu.theirs")
    assert (theirs.node_selector, theirs.kubernetes_conn_id) == (SELECTOR, "k8s")
    assert theirs.tolerations == [k8s.V1Toleration(**TOLERATION)]
    mapped = made.get_task("gpu.mapped")
    assert mapped.partial_kwargs["node_selector"] == SELECTOR
    assert mapped.partial_kwargs["tolerations"] == [TOLERATION]
    assert mapped.partial_kwargs["kubernetes_conn_id"] == "k8s"
    assert made.get_task("gpu.function").node_selector == SELECTOR


def test_gpus_are_asked_for_beside_what_a_task_asks_for() -> None:
    with dag() as made, EksNodegroup("gpu", gpus=2, **GROUP):
        KubernetesPodOperator(task_id="plain", image="x")
        KubernetesPodOperator(
            task_id="own", image="x", container_resources={"limits": {"nvidia.com/gpu": "1"}}
        )
        Upstream(
            task_id="theirs", image="x", container_resources=k8s.V1ResourceRequirements(limits={"cpu": "1"})
        )
    assert made.get_task("gpu.plain").container_resources == {"limits": {"nvidia.com/gpu": "2"}}
    assert made.get_task("gpu.own").container_resources == {"limits": {"nvidia.com/gpu": "1"}}
    assert made.get_task("gpu.theirs").container_resources.limits == {"nvidia.com/gpu": "2", "cpu": "1"}
    assert made.get_task("gpu.plain").tolerations[0]["key"] == "nvidia.com/gpu"


def test_what_the_dag_tells_of_failures_is_told_as_before() -> None:
    heard = []
    with dag(on_failure_callback=heard.append) as made, EksNodegroup("gpu", **GROUP):
        KubernetesPodOperator(task_id="a", image="x")
    first, ours = made.on_failure_callback
    first("context")
    assert heard == ["context"]
    # Of a run that has failed otherwise the teardown takes care.
    ours({"reason": "task_failure"})


def test_the_callback_names_what_is_left_whatever_airflow_says(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("API_SERVER_ERROR")

    monkeypatch.setattr(nodegroup_tasks, "_delete_soon", broken)
    with dag() as made, EksNodegroup("gpu", **GROUP):
        KubernetesPodOperator(task_id="a", image="x")
    with caplog.at_level("INFO"):
        made.on_failure_callback[-1]({"reason": "timed_out", "run_id": "r", "dag": made})
    assert "may still stand: API_SERVER_ERROR. podbay aws nodegroups --remove" in caplog.text


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "airflow"),
        ({"AIRFLOW__API__BASE_URL": "https://staging.example/team"}, "airflow@staging.example/team"),
        ({"AIRFLOW__API__BASE_URL": "https://a.example", "AIRFLOW__PODBAY__DEPLOYMENT": "prod"}, "prod"),
    ],
)
def test_setup_teardown_and_callback_agree_on_whose_it_is(
    options: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for option in ("AIRFLOW__API__BASE_URL", "AIRFLOW__PODBAY__DEPLOYMENT"):
        monkeypatch.delenv(option, raising=False)
    for option, value in options.items():
        monkeypatch.setenv(option, value)
    with dag() as made, EksNodegroup("gpu", **GROUP):
        KubernetesPodOperator(task_id="a", image="x")
    for option in options:
        # Another machine of the same Airflow need not be told.
        monkeypatch.delenv(option)
    asked = []

    async def noted(_: Any, owner: Any, *__: Any) -> None:
        asked.append(owner.deployment)

    monkeypatch.setattr(nodegroup_tasks, "_delete_soon", noted)
    made.on_failure_callback[-1]({"reason": "timed_out", "run_id": "r", "dag": made})
    tasks = [made.get_task(f"gpu.{each}_nodegroup") for each in ("create", "delete")]
    assert [each.plan["deployment"] for each in tasks] + asked == [name] * 3


@pytest.mark.parametrize(
    ("limit", "age", "seconds"),
    [(50, 3, 37), (50, 45, 0), (300, 3, 287), (50, 7200, 50)],
)
def test_the_callback_ends_before_airflow_kills_it(limit: float, age: float, seconds: float) -> None:
    assert seconds_of_callback(limit, age) == seconds


def test_a_group_in_a_group_has_its_whole_name() -> None:
    with dag() as made:

        @task_group
        def outer() -> None:
            with EksNodegroup("gpu", **GROUP):
                KubernetesPodOperator(task_id="a", image="x")

        outer()
    assert made.get_task("outer.gpu.create_nodegroup").plan["group_id"] == "outer.gpu"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"kubernetes_conn_id": "other"}, "task gpu.a: kubernetes_conn_id: is 'other'"),
        ({"in_cluster": True}, "task gpu.a: in_cluster: means another cluster"),
        ({"config_file": "/kube"}, "task gpu.a: config_file: means another cluster"),
        ({"overflow_kubernetes_conn_id": "other"}, "task gpu.a: overflow_kubernetes_conn_id: means another"),
    ],
)
def test_a_task_that_wants_another_place_is_refused(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said), dag(), EksNodegroup("gpu", **GROUP):
        KubernetesPodOperator(task_id="a", image="x", **parameters)


def test_what_a_group_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="EksNodegroup\\('gpu'\\): node_role: must be a role"), dag():
        EksNodegroup("gpu", **{**GROUP, "node_role": "nodes"})
    with (
        pytest.raises(InvalidInputError, match="has no task that runs in a pod"),
        dag(),
        EksNodegroup("gpu", **GROUP),
    ):
        EmptyOperator(task_id="a")
    with pytest.raises(InvalidInputError, match="node_selector: is set by its EksNodegroup"):  # noqa: SIM117
        with dag(), EksNodegroup("gpu", **GROUP):
            KubernetesPodOperator.partial(task_id="a", image="x").expand(node_selector=[{"a": "b"}])
    with pytest.raises(InvalidInputError, match="cannot be in a mapped task group"), dag():

        @task_group
        def mapped(number: int) -> None:
            with EksNodegroup("gpu", **GROUP):
                KubernetesPodOperator(task_id="a", image="x")

        mapped.expand(number=[1, 2])


def test_an_error_in_the_block_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), dag(), EksNodegroup("gpu", **GROUP):
        raise ZeroDivisionError


def test_reading_a_dag_file_loads_no_aws_library() -> None:
    text = "import sys; from podbay.aws import EksNodegroup; sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", text], check=False).returncode == 0
