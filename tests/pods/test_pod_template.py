"""Templates: text with its positions, mappings, and objects of the official client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client as k8s
from pod_requests import golden_cases, read_case

from podbay.errors import InvalidInputError
from podbay.pods.build import build_pod
from podbay.pods.request import PodRequest
from podbay.pods.template import load_template, template_of

GOOD = """\
kind: Pod
metadata:
  name: a
spec:
  containers:
    - name: base
      env:
        - {name: A, value: "1"}
"""


def test_good_text_is_read() -> None:
    assert load_template(GOOD, "pod.yaml")["spec"]["containers"][0]["env"] == [{"name": "A", "value": "1"}]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('value: "1"', "value: yes", "pod.yaml: line 8: spec.containers[0].env[0].value: must be a string, not true or"),
        ('value: "1"', "value: 8080", "value: must be a string, not an integer; put it in quotes"),
        ("- name: base", "- image_pull_polcy: x", "line 6: spec.containers[0].image_pull_polcy: unknown field; did you"),
        ("- name: base", "- frobnicate: x", "line 6: spec.containers[0].frobnicate: unknown field of Container"),
        ("  containers:", "  hostNetwork: 3\n  containers:", "line 5: spec.hostNetwork: must be true or false"),
        ("      env:", "      env: {}\n      args:", "line 7: spec.containers[0].env: must be a list, not a mapping"),
        ("  name: a", "  name: a\n  name: b", "line 4: metadata.name: stands here twice"),
        ("kind: Pod", "kind: Deployment", "line 1: kind: must be Pod, not Deployment"),
        ("kind: Pod", "apiVersion: apps/v1", "line 1: apiVersion: must be v1, not apps/v1"),
        ("  name: a", "  labels: {1: a}", "line 3: metadata.labels: every key must be a string, not an integer"),
        ("  name: a", "  name: [a", "pod.yaml:4: not valid YAML"),
        ("kind: Pod", "---\nkind: Pod\n---", "pod.yaml: expected one Pod, found 2 documents"),
        ("kind: Pod\nmetadata:\n  name: a", "a", "not valid YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_file_line_and_field(old: str, new: str, says: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        load_template(GOOD.replace(old, new, 1), "pod.yaml")
    assert says in str(caught.value)
    assert "8080" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "found nothing"),
        ("# only words\n", "found nothing"),
        ("- a\n", "must be a mapping with the fields of Pod, not a list"),
        ("just text\n", "must be a mapping with the fields of Pod, not a string"),
        ("a: \x00\n", "not valid YAML"),
        (b"a: \xff\n", "not valid YAML"),
        ("a: !!python/object:os.system {}\n", "not valid YAML"),
        ("a: *unknown\n", "not valid YAML"),
    ],
)
def test_text_that_is_no_pod_is_refused(text: str | bytes, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        load_template(text, "pod.yaml")


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(InvalidInputError) as caught:
        template_of(
            {"spec": {"hostNetwork": "x", "volumes": {}, "nodeSelector": {"a": 1}}}, "pod_template_dict"
        )
    assert str(caught.value).splitlines() == [
        "pod_template_dict: 3 problems",
        "  spec.hostNetwork: must be true or false, not a string",
        "  spec.volumes: must be a list, not a mapping",
        "  spec.nodeSelector[a]: must be a string, not an integer; put it in quotes",
    ]


@pytest.mark.parametrize("case", golden_cases())
def test_objects_of_the_official_client_give_the_same_pod(case: str) -> None:
    """A V1Pod, and what its to_dict() gives, stand for the manifest itself: the official client is the judge."""
    pod = build_pod(*read_case(case))
    api = k8s.ApiClient()
    model: Any = api._ApiClient__deserialize(pod, "V1Pod")
    assert template_of(model) == pod
    assert template_of(model.to_dict()) == pod
    assert load_template(yaml.safe_dump(pod), "pod.yaml") == pod


class OnlyToDict:
    """A pod of some other client."""

    def to_dict(self) -> dict[str, Any]:
        return {"metadata": {"name": "x"}, "spec": {"hostPID": True}}


class OldVolume:
    """Airflow's classes of before the official models."""

    def to_k8s_client_obj(self) -> k8s.V1Volume:
        return k8s.V1Volume(name="old", empty_dir=k8s.V1EmptyDirVolumeSource())


def test_other_clients_are_read_by_what_they_can() -> None:
    assert template_of(OnlyToDict()) == {"metadata": {"name": "x"}, "spec": {"hostPID": True}}
    assert build_pod(PodRequest(image="a", volumes=[OldVolume()]))["spec"]["volumes"] == [
        {"name": "old", "emptyDir": {}}
    ]
    with pytest.raises(InvalidInputError, match=r"not a Python object \(pathlib"):
        template_of(Path("pod.yaml"))
