"""Airflow's KubernetesExecutor: its worker pods are containers on the embedded cluster."""

from __future__ import annotations

from typing import Any

import pytest
from airflow_api import AirflowApi, Run
from airflow_home import AirflowHome
from pods_of_tasks import lines_of, pods_of, wait_for_pod

from podbay.testing.requests import Requests

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("containers")]
NAMESPACE = "workers"
STARTER_MAY = [
    {
        "apiGroups": [""],
        "resources": ["pods"],
        "verbs": ["create", "get", "list", "watch", "patch", "delete"],
    },
    {"apiGroups": [""], "resources": ["pods/log", "pods/exec"], "verbs": ["get", "create"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list", "watch"]},
]


@pytest.fixture(scope="module")
def starter(kube: Requests) -> None:
    """A service account with what the documentation of upstream's operator asks for, and nothing else."""
    name = {"name": "starter", "namespace": NAMESPACE}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "starter"}
    subject = {"kind": "ServiceAccount", **name}
    create(kube, "/api/v1", "serviceaccounts", {"kind": "ServiceAccount", "metadata": name})
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    create(kube, rbac, "roles", {"kind": "Role", "metadata": name, "rules": STARTER_MAY})
    binding = {"kind": "RoleBinding", "metadata": name, "roleRef": reference, "subjects": [subject]}
    create(kube, rbac, "rolebindings", binding)


def create(kube: Requests, group: str, resource: str, body: dict[str, Any]) -> None:
    api_version = group.removeprefix("/apis/").removeprefix("/api/")
    path = f"{group}/namespaces/{NAMESPACE}/{resource}"
    status, answer = kube.call("POST", path, {"apiVersion": api_version, **body})
    assert status == 201, answer


@pytest.fixture(scope="module")
def run(airflow: AirflowApi) -> Run:
    """All tasks at once; each test looks at one."""
    return airflow.trigger("worker_pods")


@pytest.fixture(scope="module")
def changed_run(airflow: AirflowApi, starter: None) -> Run:
    """The same for workers whose pods their tasks change."""
    return airflow.trigger("changed_worker_pods")


def test_tasks_succeed_one_after_the_other_and_their_pods_go(run: Run, kube: Requests) -> None:
    first, second = run.task("first"), run.task("second")
    assert first.state == "success", first.log
    assert second.state == "success", second.log
    assert second.result == 42
    for task in ("first", "second"):
        wait_for_pod(kube, NAMESPACE, run, task, phase=None)


def test_an_exception_fails_the_task(run: Run, kube: Requests) -> None:
    task = run.task("fails")
    assert task.state == "failed", task.log
    assert "on purpose" in task.log
    wait_for_pod(kube, NAMESPACE, run, "fails", phase=None)


def test_a_killed_worker_pod_is_noticed(run: Run, kube: Requests) -> None:
    run.wait_for("waits", {"running"})
    (pod,) = pods_of(kube, NAMESPACE, run, "waits")
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}"
    status, answer = kube.call("DELETE", path, {"gracePeriodSeconds": 0})
    assert status == 200, answer
    task = run.task("waits")
    assert task.state == "failed", task.log


@pytest.mark.parametrize(
    ("task_id", "told"),
    [
        ("too_big", "container_reason: OOMKilled"),
        ("no_image", "container base with fatal reason ErrImagePull"),
    ],
)
def test_workers_that_never_begin_are_noticed(
    changed_run: Run, airflow_home: AirflowHome, kube: Requests, task_id: str, told: str
) -> None:
    task = changed_run.task(task_id)
    assert task.state == "failed", task.log
    about = [line for line in airflow_home.log("scheduler").read_text().splitlines() if task_id in line]
    assert any(told in line for line in about), "\n".join(about)
    wait_for_pod(kube, NAMESPACE, changed_run, task_id, phase=None)


def test_workers_and_their_pods_reach_the_cluster_by_their_service_account(changed_run: Run) -> None:
    task = changed_run.task("pod_from_within")
    assert task.state == "success", task.log
    # The worker's pod carries the label as well.
    assert "sees ['Running', 'Running']" in lines_of(task, "base")
