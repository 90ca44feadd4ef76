"""What a task's pod is called."""

from __future__ import annotations

from typing import Any

import pytest

from podbay.airflow.checking import check_parameters
from podbay.airflow.drying import dry_manifest
from podbay.airflow.naming import build_named
from podbay.airflow.request import Surroundings
from podbay.pods.identity import TaskIdentity

TASK = TaskIdentity(deployment="d", dag_id="dag", run_id="run", task_id="task")


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({}, "task"),
        ({"name": "My_Report."}, "my-report"),
        ({"name": "My_Report", "random_name_suffix": True}, f"my-report-{TASK.digest()}"),
        ({"full_pod_spec": {"metadata": {"name": "of.the-spec"}}}, "of.the-spec"),
    ],
)
def test_a_pod_may_be_named_without_a_suffix(parameters: dict[str, Any], name: str) -> None:
    named = {"image": "i", "random_name_suffix": False, **parameters}
    check_parameters("T", named)
    assert build_named(named, Surroundings(identity=TASK)).pod["metadata"]["name"] == name


def test_a_dry_run_shows_the_name_of_the_template() -> None:
    layer = {"image": "i", "pod_template_dict": {"metadata": {"name": "of-the-template"}}}
    assert "name: of-the-template\n" in dry_manifest(layer, "task")
    assert "name: task\n" in dry_manifest({"image": "i"}, "task")
