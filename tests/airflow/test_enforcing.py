"""The deployment's rules on the pods of tasks, as Airflow's hook applies them; the rules themselves: tests/deployment."""

from __future__ import annotations

from pathlib import Path

import pytest

from podbay.airflow.enforcing import enforce_on_task, enforcement
from podbay.errors import InvalidInputError
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
    with pytest.raises(InvalidInputError, match=r"deployment team-a.*memory of all containers"):
        enforce_on_task(pod(memory="8Gi"))


def test_pods_that_are_no_tasks_and_pods_of_others_keep_their_size(deployment: Path) -> None:
    assert enforce_on_task(pod(task=False)) == pod(task=False)
    assert memory_of(enforce_on_task(pod(namespace="elsewhere", memory="8Gi"))) == "8Gi"


def test_a_changed_file_is_followed(deployment: Path) -> None:
    assert memory_of(enforce_on_task(pod())) == "512Mi"
    deployment.write_text(FILE.replace("memory: 512Mi", "memory: 1Gi"))
    assert memory_of(enforce_on_task(pod())) == "1Gi"
