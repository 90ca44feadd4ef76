"""Pods that upstream's own operator builds, recorded beside our golden files (tests/golden/pods/*.upstream.yaml).

Here the recordings are compared with the provider that is installed; `--update-golden` writes them. What Podbay builds
from the same parameters is compared with them in tests/pods/test_pod_upstream.py, which needs no Airflow.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

TESTS = Path(__file__).parent.parent
sys.path.insert(0, str(TESTS / "pods"))

from pod_requests import golden_cases, golden_file  # noqa: E402
from upstream_parameters import POD, RUN  # noqa: E402

# Said by the operator itself, or twice in the table.
_OTHERWISE = {"exact_name", "identity", "in_cluster", "airflow_version", "name"}


def build_upstream(values: dict[str, Any]) -> dict[str, Any]:
    """The pod of upstream's operator for the values of a PodRequest."""
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
    from airflow.providers.cncf.kubernetes.secret import Secret
    from kubernetes.client import ApiClient

    identity = values["identity"]
    parameters = {}
    for upstream, ours in POD.items():
        if (
            ours in values
            and ours not in _OTHERWISE
            and upstream not in ("pod_runtime_info_envs", "pod_template_file")
        ):
            parameters[upstream] = typed(upstream, values[ours])
    parameters["secrets"] = [Secret(**{"deploy_target": None, **each}) for each in values.get("secrets", ())]
    operator = KubernetesPodOperator(
        task_id=identity["task_id"], name=values.get("name"), random_name_suffix=False, **parameters
    )
    instance = SimpleNamespace(
        dag_id=identity["dag_id"],
        task_id=identity["task_id"],
        map_index=identity.get("map_index", -1),
        try_number=identity.get("try_number", 1),
    )
    context: Any = {"ti": instance, "run_id": identity["run_id"], "dag": SimpleNamespace()}
    if not (values.get("namespace") or "namespace" in str(values.get("template"))):
        operator.namespace = "given"
    pod: dict[str, Any] = ApiClient().sanitize_for_serialization(
        operator.build_pod_request_obj(context, dry_run=True)
    )
    return pod


NAMED: dict[str, Any] = {"metadata": {"name": "of.the-layer"}}
"""A layer below the parameters."""


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({}, "my-group-my-task"),
        ({"name": "My_Report.v2"}, "my-report-v2"),
        ({"name": "x" * 100}, "x" * 100),
        ({"pod_template_dict": NAMED}, "of.the-layer"),
        ({"full_pod_spec": NAMED}, "of.the-layer"),
        ({"pod_template_dict": NAMED, "name": "My_Report"}, "my-report"),
    ],
)
@pytest.mark.parametrize("adopted", [False, True], ids=["ours", "adopted"])
def test_a_name_without_suffix_is_upstreams(parameters: dict[str, Any], found: str, adopted: bool) -> None:
    """What upstream's `execute` does before it builds the pod is done here."""
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator as Upstream

    from podbay import KubernetesPodOperator as Ours
    from podbay.airflow.adoption import adopted_class
    from podbay.airflow.naming import build_named
    from podbay.airflow.portable import plain, revive
    from podbay.airflow.request import Surroundings
    from podbay.pods.identity import TaskIdentity

    given = {"image": "i", "namespace": "n", "random_name_suffix": False, **parameters}
    typed_too = {
        name: typed(name, value) if name == "full_pod_spec" else value for name, value in given.items()
    }
    upstream: Any = Upstream(task_id="My_group.my_-Task", **typed_too)
    instance = SimpleNamespace(dag_id="d", task_id=upstream.task_id, map_index=-1, try_number=1)
    context: Any = {"ti": instance, "run_id": "r", "dag": SimpleNamespace()}
    upstream.name = upstream._set_name(upstream.name)
    assert upstream.build_pod_request_obj(context, dry_run=True).metadata.name == found

    task: Any = (Upstream if adopted else Ours)(task_id=upstream.task_id, **typed_too)
    if adopted:
        task.__class__ = adopted_class(Upstream)
    description = task.podbay_description()
    carried = description.rendered(description.placement(), deadline=None)
    rendered = {name: plain(revive(value)) for name, value in carried.parameters.items()}
    identity = TaskIdentity(deployment="a", dag_id="d", run_id="r", task_id=task.task_id)
    assert build_named(rendered, Surroundings(identity=identity)).pod["metadata"]["name"] == found


def typed(parameter: str, value: Any) -> Any:
    """The client's model for a plain value, as a DAG author would write it."""
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
    from kubernetes.client import ApiClient, Configuration

    hint = KubernetesPodOperator.__init__.__annotations__[parameter]
    for model in re.findall(r"k8s\.(V1\w+)", str(hint)):
        client = ApiClient(configuration=Configuration())
        read = client._ApiClient__deserialize
        if isinstance(value, list):
            return read(value, f"list[{model}]")
        if isinstance(value, dict) and parameter != "env_vars":
            return read(value, model)
    return value


@pytest.mark.parametrize("case", golden_cases(".upstream.yaml"))
def test_the_recording_is_what_upstream_builds(case: str, request: pytest.FixtureRequest) -> None:
    values = yaml.safe_load(golden_file(case, ".input.yaml").read_text())["request"]
    pod = build_upstream(values)
    # Chance and the version of the day are nobody's expectation.
    pod["metadata"]["labels"].pop("airflow_version")
    for volume in pod["spec"].get("volumes", ()):
        if volume["name"].startswith("secretvol"):
            anonymous(pod, volume["name"])
    text = yaml.safe_dump(pod, sort_keys=False, allow_unicode=True)
    file = golden_file(case, ".upstream.yaml")
    if request.config.getoption("--update-golden"):
        file.write_text(text)
    assert text == file.read_text()


def anonymous(pod: dict[str, Any], name: str) -> None:
    container = pod["spec"]["containers"][0]
    for named in [*pod["spec"]["volumes"], *container["volumeMounts"]]:
        if named["name"] == name:
            named["name"] = "secretvol"


def test_every_parameter_of_the_operator_is_in_the_table() -> None:
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

    names = set(inspect.signature(KubernetesPodOperator.__init__).parameters)
    assert names - {"self", "kwargs"} == set(POD) | RUN
