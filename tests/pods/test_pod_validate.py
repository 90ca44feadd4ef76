"""What is refused early is what a real API server refuses: recorded answers, and one path for each rule."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podbay.errors import InvalidInputError
from podbay.pods.build import build_pod
from podbay.pods.identity import TaskIdentity
from podbay.pods.request import PodRequest, SidecarOptions
from podbay.pods.template import template_of
from podbay.pods.validate import check_pod, pod_problems

RECORDED = Path(__file__).parent.parent / "fidelity/kubernetes-1.36.json"
NOT_ABOUT_THE_POD = {
    "create-ns-mismatch": "about the request's path",
    "create-int-as-string": "digits in a string are taken as the number they are: templates render to strings",
    "dryrun-bad": "about the request's query",
}
UNKNOWN_FIELDS = ("fieldvalidation-Warn", "fieldvalidation-Ignore")


def recorded_creates() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Case, pod and answer of every recorded attempt to create a pod."""
    for case in json.loads(RECORDED.read_text()):
        if len(case["steps"]) != 1 or case["id"] in NOT_ABOUT_THE_POD:
            continue
        step, answer = case["steps"][0], case["answers"][0]
        path = str(step.get("path")).partition("?")[0]
        if step.get("method") == "POST" and path.endswith("/pods") and isinstance(step.get("body"), dict):
            yield case["id"], step["body"], answer


def found_problems(given: dict[str, Any]) -> list[str]:
    """Field paths; a template that cannot be read is wrong at an unknown path."""
    try:
        pod = template_of(given)
    except InvalidInputError as err:
        return [str(err)]
    metadata = pod.setdefault("metadata", {})
    metadata.setdefault("name", "made-up" if metadata.get("generateName") else "")
    return [problem.path for problem in pod_problems(pod)]


@pytest.mark.parametrize(
    ("case", "pod", "answer"), [pytest.param(*each, id=each[0]) for each in recorded_creates()]
)
def test_a_real_server_says_the_same(case: str, pod: dict[str, Any], answer: dict[str, Any]) -> None:
    found = found_problems(pod)
    if case in UNKNOWN_FIELDS:
        assert "unknown field" in found[0]
    elif answer["status"] == 201:
        assert found == []
    elif answer["status"] in (400, 422):
        assert found
        fields = [cause["field"] for cause in answer["body"].get("details", {}).get("causes", [])]
        assert not fields or any(close(path, field) for path in found for field in fields), (found, fields)


def close(path: str, field: str) -> bool:
    """The same place, give or take the last step and indexes, in which the server itself is not of one mind."""
    path, field = re.sub(r"\[.*?\]", "", path), re.sub(r"\[.*?\]", "", field)
    return path.startswith(field) or field.startswith(path)


BASE: dict[str, Any] = {"image": "busybox:1.36"}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"image": " busybox"}, "spec.containers[0].image"),
        ({"env": {"": "x"}}, "spec.containers[0].env[0].name"),
        ({"env": {"A": "x" * 131_072}}, "spec.containers[0].env[0].value"),
        ({"args": ["x" * 131_072]}, "spec.containers[0].args[0]"),
        ({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.node"}}}]}, "valueFrom.fieldRef.fieldPath"),
        ({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}]}, "env[0].valueFrom.secretKeyRef.key"),
        ({"env_from": [{"prefix": "A"}]}, "spec.containers[0].envFrom[0]"),
        ({"config_maps": ["No_Name"]}, "spec.containers[0].envFrom[0].configMapRef.name"),
        ({"volume_mounts": [{"name": "gone", "mountPath": "/x"}]}, "spec.containers[0].volumeMounts[0].name"),
        ({"volumes": [{"name": "A_b", "emptyDir": {}}]}, "spec.volumes[0].name"),
        ({"volumes": [{"name": "a", "secret": {}}]}, "spec.volumes[0].secret.secretName"),
        ({"volumes": [{"name": "a", "emptyDir": {}, "nfs": {}}]}, "spec.volumes[0]"),
        ({"ports": [{"containerPort": 70000}]}, "spec.containers[0].ports[0].containerPort"),
        ({"resources": {"limits": {"cpu": "x"}}}, "spec.containers[0].resources.limits[cpu]"),
        ({"resources": {"requests": {"cpu": 2}, "limits": {"cpu": "1"}}}, "spec.containers[0].resources.requests[cpu]"),
        ({"resources": {"requests": {"nvidia.com/gpu": 1}}}, "spec.containers[0].resources.requests[nvidia.com/gpu]"),
        ({"image_pull_policy": "always"}, "spec.containers[0].imagePullPolicy"),
        ({"labels": {"bad key": "x"}}, "metadata.labels[bad key]"),
        ({"labels": {"key": "bad value"}}, "metadata.labels[key]"),
        ({"annotations": {"a": "x" * 300_000}}, "metadata.annotations"),
        ({"namespace": "Not.A.Namespace"}, "metadata.namespace"),
        ({"name": "Not a name", "exact_name": True}, "metadata.name"),
        ({"node_selector": {"pool": "a b"}}, "spec.nodeSelector[pool]"),
        ({"tolerations": [{"operator": "Equal"}]}, "spec.tolerations[0].operator"),
        ({"service_account_name": "Nope_"}, "spec.serviceAccountName"),
        ({"image_pull_secrets": "good,Bad_"}, "spec.imagePullSecrets[1].name"),
        ({"active_deadline_seconds": 0}, "spec.activeDeadlineSeconds"),
        ({"dns_policy": "None"}, "spec.dnsConfig.nameservers"),
        ({"host_aliases": [{"ip": "10.0.0"}]}, "spec.hostAliases[0].ip"),
        ({"init_containers": [{"name": "base", "image": "a"}]}, "spec.containers[0].name"),
        ({"init_containers": [{"name": "a"}]}, "spec.initContainers[0].image"),
        ({"template": {"metadata": {"finalizers": ["x"]}}}, "metadata.finalizers[0]"),
    ],
)  # fmt: skip
def test_the_field_is_named(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        build_pod(PodRequest(**{**BASE, **changes}))
    assert f"{path}:" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image": 3}, "pod request: image: must be a string, not an integer"),
        ({"env": {"A": 3}}, "pod request: env[0].value: must be a string, not an integer; put it in quotes"),
        ({"volumes": {"name": "a"}}, "pod request: volumes: must be a list, not a mapping"),
        ({"tolerations": ["x"]}, "tolerations[0]: must be a mapping with the fields of Toleration, not a string"),
        ({"affinity": {"nodeAfinity": {}}}, "affinity.nodeAfinity: unknown field; did you mean nodeAffinity?"),
        ({"secrets": ["s"]}, "secrets[0]: must be a Secret reference, not a string"),
        ({"secrets": [{"deploy_type": "file", "secret": "s"}]}, "secrets[0].deploy_type: must be env or volume"),
        ({"secrets": [{"deploy_type": "env", "secret": "s", "key": "k"}]}, "secrets[0].deploy_target: must name the var"),
        ({"secrets": [{"deploy_type": "volume", "secret": "s"}]}, "secrets[0].deploy_target: must name the directory"),
        ({"secrets": [{"deploy_type": "env"}]}, "secrets[0].secret: must name a Secret"),
        ({"secrets": [{"deploy_type": "env", "secret": 7}]}, "secrets[0].secret: must be a string, not an integer"),
        ({"full_spec": {"spec": 3}}, "full pod spec: spec: must be a mapping with the fields of PodSpec"),
        ({"result": "log"}, "result: must be one of none, sidecar, termination_message"),
        ({"result": "sidecar", "sidecar": SidecarOptions(max_result_bytes=0)}, "max_result_bytes: must be at least 1"),
        (
            {"result": "sidecar", "template": {"spec": {"containers": [{}, {"name": "airflow-xcom-sidecar"}]}}},
            "spec.containers[1].name: airflow-xcom-sidecar is the name of the result sidecar",
        ),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        build_pod(PodRequest(**{**BASE, **changes}))
    assert says in str(caught.value)


def test_an_image_is_required() -> None:
    who = TaskIdentity(deployment="p", dag_id="d", run_id="r", task_id="t")
    with pytest.raises(
        InvalidInputError, match=r"pod t-\w+ cannot be created: spec\.containers\[0\]\.image: is required"
    ):
        build_pod(PodRequest(identity=who))


def test_a_manifest_of_megabytes_is_refused() -> None:
    pod = build_pod(PodRequest(**BASE))
    pod["spec"]["containers"] += [{"name": f"c{n}", "image": "a", "args": ["x" * 130_000]} for n in range(12)]
    with pytest.raises(InvalidInputError, match="a cluster stores at most 1500000"):
        check_pod(pod)


@pytest.mark.parametrize("secret", ["hunter2-value"])
def test_no_message_shows_a_value_that_may_be_secret(secret: str) -> None:
    wrong: list[dict[str, Any]] = [
        {"env": {"": secret}},
        {"env": {"A": secret * 20_000}},
        {"env": [{"name": "A", "value": secret, "valueFrom": {}}]},
        {"env": [{"name": "A", "value": [secret]}]},
        {"args": [secret * 20_000]},
        {"args": secret},
    ]
    for changes in wrong:
        with pytest.raises(InvalidInputError) as caught:
            build_pod(PodRequest(**{**BASE, **changes}))
        assert secret not in str(caught.value)
