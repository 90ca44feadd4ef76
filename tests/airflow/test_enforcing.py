"""The deployment's rules on the pods of tasks, as Airflow's hook applies them; the rules themselves: tests/deployment."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from podbay.airflow.building import Builder, Job
from podbay.airflow.calls import TaskKey
from podbay.airflow.carried import Carried
from podbay.airflow.connection import ClusterChoice
from podbay.airflow.enforcing import current_deployment, enforce_on_task, enforcement
from podbay.airflow.request import retention
from podbay.airflow.settings import Settings
from podbay.errors import InvalidInputError
from podbay.kube.config import ClusterConfig
from podbay.objects.meta import Object

FILE = """\
version: 1
name: team-a
namespace: team-a-1234
pods:
  default: {cpu: 250m, memory: 512Mi}
  maximum: {cpu: "2", memory: 4Gi}
"""
LABELS = {
    **dict.fromkeys(("dag_id", "task_id", "run_id"), "a"),
    "try_number": "1",
    "kubernetes_pod_operator": "True",
}


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "podbay.yaml"
    file.write_text(FILE)
    monkeypatch.setenv("PODBAY_FILE", str(file))
    return file


def pod(*, memory: str | None = None, namespace: str = "team-a-1234", task: bool = True) -> Object:
    resources = {"requests": {"memory": memory}, "limits": {"memory": memory}} if memory else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "p",
            "namespace": namespace,
            "labels": LABELS if task else {},
        },
        "spec": {"containers": [{"name": "base", "image": "busybox", "resources": resources}]},
    }


def memory_of(found: Object) -> str | None:
    limit: str | None = found["spec"]["containers"][0].get("resources", {}).get("limits", {}).get("memory")
    return limit


def test_without_a_file_nothing_is_enforced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PODBAY_FILE", raising=False)
    assert enforcement() is None


def test_a_pod_without_a_size_gets_the_default(deployment: Path) -> None:
    assert memory_of(enforce_on_task(pod())) == "512Mi"


def test_a_pod_above_the_maximum_is_refused_by_name(deployment: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        enforce_on_task(pod(memory="8Gi"))
    assert str(caught.value) == (
        f"pod p of task a.a against deployment team-a ({deployment}): spec.containers: memory of all containers "
        "together is 8Gi, more than 4Gi (pods.maximum.memory)"
    )


def test_pods_that_are_no_tasks_and_pods_of_others_keep_their_size(deployment: Path) -> None:
    assert enforce_on_task(pod(task=False)) == pod(task=False)
    assert memory_of(enforce_on_task(pod(namespace="elsewhere", memory="8Gi"))) == "8Gi"


def test_a_changed_file_is_followed(deployment: Path) -> None:
    assert memory_of(enforce_on_task(pod())) == "512Mi"
    deployment.write_text(FILE.replace("memory: 512Mi", "memory: 1Gi"))
    assert memory_of(enforce_on_task(pod())) == "1Gi"


def test_the_queue_of_a_task_chooses_its_nodes(deployment: Path) -> None:
    deployment.write_text(FILE + "queues: {gpu: {node_selector: {kind: gpu}}}\n")
    enforce = enforcement("gpu")
    assert enforce is not None
    assert enforce(pod())["spec"]["nodeSelector"] == {"kind": "gpu"}
    assert "nodeSelector" not in enforce_on_task(pod())["spec"]


def test_the_alias_airflow_is_the_image_of_this_airflow(
    deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PODBAY_AIRFLOW_IMAGE", "registry.example/airflow:7")
    made = pod()
    made["spec"]["containers"][0]["image"] = "airflow"
    assert enforce_on_task(made)["spec"]["containers"][0]["image"] == "registry.example/airflow:7"


def built(namespace: str, **given: Any) -> Object:
    """A pod of our operator, in the namespace of its connection."""
    job = Job(
        key=TaskKey(dag_id="etl", run_id="r", task_id="load", map_index=-1, try_number=1),
        carried=Carried(parameters={}),
        given={"image": "busybox", **given},
        owner="me",
        settings=Settings(),
        airflow_version="3.3.2",
        mutate=enforcement(),
        deployment=current_deployment(),
    )
    choice = ClusterChoice(config=ClusterConfig(server="https://k"), in_cluster=True, namespace=namespace)
    made = Builder(job, choice).build(0)
    assert Builder(job, choice).build(0) == made, "also in another life"
    return made


def test_our_operators_pods_are_built_on_the_deployment(deployment: Path) -> None:
    made = built("team-a-1234", do_xcom_push=True)
    assert memory_of(made) == "512Mi"
    assert made["spec"]["serviceAccountName"] == "team-a-1234-kpo"
    (sidecar,) = made["spec"]["initContainers"]
    assert sidecar["resources"]["limits"]["memory"] == "32Mi", "no whole default size for the sidecar"
    assert memory_of(built("team-a-1234", container_resources={"limits": {"memory": "1Gi"}})) == "1Gi"
    with pytest.raises(InvalidInputError, match=r"of task etl\.load .* is 8Gi, more than 4Gi"):
        built("team-a-1234", container_resources={"limits": {"memory": "8Gi"}})


def test_pods_for_elsewhere_are_built_without_it(deployment: Path) -> None:
    made = built("elsewhere", do_xcom_push=True)
    assert memory_of(made) is None
    assert "serviceAccountName" not in made["spec"]


def test_ended_pods_stay_as_the_deployment_says_where_a_task_says_nothing(deployment: Path) -> None:
    deployment.write_text(FILE + "  keep: on_failure\n  keep_for: 2h\n")
    found = current_deployment()
    assert found is not None
    assert retention({}, found.pods) == ("on_failure", 7200)
    assert retention({"on_finish_action": "keep_pod"}, found.pods) == ("always", None)
    assert retention({"hold_on_failure": timedelta(minutes=1)}, found.pods) == ("on_failure", 60)
    assert retention({}) == ("never", None)
