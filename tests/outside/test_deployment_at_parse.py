"""podbay.yaml where a DAG file is read: what is certain is refused there by name, what is not is left to the pod's making."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.policies import hookimpl
from airflow.sdk import DAG

from airflow import settings
from podbay import KubernetesPodOperator
from podbay.airflow.mapping import start_mapped
from podbay.deployment.handover import airflow_environment
from podbay.deployment.reading import load_deployment
from podbay.errors import InvalidInputError

FILE = """\
version: 1
name: team-a
namespace: team-a-1234
pods:
  default: {cpu: 250m, memory: 1Gi}
  maximum: {cpu: "2", memory: 4Gi}
secrets: [TOKEN]
"""


@pytest.fixture(autouse=True)
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "podbay.yaml"
    file.write_text(FILE)
    for name, value in airflow_environment(load_deployment(file), str(file), in_cluster=True).items():
        monkeypatch.setenv(name, value)
    return file


def size(memory: str) -> dict[str, Any]:
    return {"limits": {"memory": memory}}


def task(**given: Any) -> KubernetesPodOperator:
    return KubernetesPodOperator(task_id="load", **{"image": "busybox", **given})


def refused(**given: Any) -> str:
    with pytest.raises(InvalidInputError) as caught:
        task(**given)
    return str(caught.value)


def test_the_refusal_names_task_file_field_value_and_maximum(deployment: Path) -> None:
    assert refused(container_resources=size("8Gi")) == (
        f"KubernetesPodOperator(task_id='load') against {deployment}: container_resources: "
        "memory of all containers together is 8Gi, more than 4Gi (pods.maximum.memory)"
    )


def test_everything_is_said_at_once(deployment: Path) -> None:
    said = refused(
        container_resources={"limits": {"memory": "8Gi", "cpu": "3"}},
        service_account_name="admin",
        env_secrets=["TOKEN", "OTHER"],
    )
    assert "4 problems" in said
    assert "service_account_name: admin is not allowed" in said
    assert "OTHER is not a secret variable of this deployment (secrets)" in said


@pytest.mark.parametrize(
    "given",
    [
        {"container_resources": size("4Gi")},
        {"container_resources": size("4Gi"), "namespace": "team-a-1234"},
        {"container_resources": {"limits": {"cpu": "1950m"}}, "do_xcom_push": True},
        {"container_resources": size("{{ params.memory }}")},
        {"container_resources": size("8Gi"), "namespace": "elsewhere"},
        {"container_resources": size("8Gi"), "namespace": "{{ params.namespace }}"},
        {"container_resources": size("8Gi"), "kubernetes_conn_id": "another"},
        {"container_resources": size("8Gi"), "pod_template_file": "/not/here.yaml"},
    ],
)
def test_what_may_be_right_is_left_alone(given: dict[str, Any]) -> None:
    task(**given)


def test_defaults_of_others_are_not_guessed() -> None:
    """A template that is not read here may give the second container less than the default."""
    both = {"spec": {"containers": [{"name": "base"}, {"name": "second", "image": "busybox"}]}}
    given: dict[str, Any] = {"full_pod_spec": both, "namespace": "team-a-1234"}
    assert "together is 4608Mi" in refused(container_resources=size("3584Mi"), **given)
    given["pod_template_file"] = "/not/here.yaml"
    task(container_resources=size("3584Mi"), **given)
    assert "together is 5Gi" in refused(container_resources=size("5Gi"), **given)


def test_mapped_tasks_are_judged_by_what_they_share() -> None:
    with DAG("mapped"):
        mapped = KubernetesPodOperator.partial(
            task_id="load", namespace="team-a-1234", image="busybox", container_resources=size("8Gi")
        ).expand(arguments=[["1"], ["2"]])
    with pytest.raises(InvalidInputError, match="container_resources: memory of all containers"):
        start_mapped(mapped)


def test_a_changed_file_is_followed(deployment: Path) -> None:
    task(container_resources=size("4Gi"))
    deployment.write_text(FILE.replace("memory: 4Gi", "memory: 2Gi"))
    os.utime(deployment, (1, 1))
    assert "more than 2Gi" in refused(container_resources=size("4Gi"))


def test_a_broken_file_breaks_no_dag(deployment: Path, caplog: pytest.LogCaptureFixture) -> None:
    deployment.write_text("name: [")
    with caplog.at_level(logging.WARNING, logger="podbay"):
        task(container_resources=size("8Gi"))
    assert "Pods are not judged before they are made" in caplog.text


class OfPods:
    @staticmethod
    @hookimpl
    def pod_mutation_hook(pod: Any) -> None:
        """May make the pod smaller."""


class OfTasks:
    @staticmethod
    @hookimpl
    def task_policy(task: Any) -> None:
        """May make the task's resources smaller."""


@pytest.fixture(params=[OfPods, OfTasks])
def hook(request: pytest.FixtureRequest) -> Iterator[None]:
    manager = settings.get_policy_plugin_manager()
    manager.register(request.param)
    yield
    manager.unregister(request.param)


@pytest.mark.usefixtures("hook")
def test_where_others_change_pods_nothing_is_certain() -> None:
    task(container_resources=size("8Gi"))


def test_without_a_deployment_nothing_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PODBAY_FILE")
    task(container_resources=size("8000Gi"))
