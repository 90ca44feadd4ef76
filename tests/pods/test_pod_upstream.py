"""The pod is the one that upstream's operator builds from the same parameters (recorded; tests/outside refreshes them)."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import yaml
from pod_requests import golden_cases, golden_file, read_case
from upstream_parameters import POD, RUN

from podbay.pods.build import build_pod
from podbay.pods.request import PodRequest


def comparable(pod: dict[str, Any]) -> dict[str, Any]:
    """Without what only we write, without fields that say nothing, and lists without an order in one order."""
    metadata, spec = dict(pod["metadata"]), said(pod["spec"])
    for part in ("labels", "annotations"):
        own = {"podbay.dev/", "airflow_version", "airflow_kpo_in_cluster"}
        metadata[part] = {k: v for k, v in metadata[part].items() if not k.startswith(tuple(own))}
    spec["containers"] = [said(each) for each in spec["containers"]]
    spec["initContainers"] = [said(each) for each in spec.get("initContainers", ())]
    names = [each["name"] for each in spec.get("volumes", ()) if each["name"].startswith("secretvol")]
    for named in [*spec.get("volumes", ()), *spec["containers"][0].get("volumeMounts", ())]:
        if named["name"] in names:
            named["name"] = "secretvol"
    # Upstream always says these, which are what Kubernetes does anyway.
    if spec.get("hostNetwork") is False:
        del spec["hostNetwork"]
    for container in spec["containers"]:
        if container.get("terminationMessagePolicy") == "File":
            del container["terminationMessagePolicy"]
    return {"metadata": said(metadata), "spec": spec}


def said(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, [], {})}


@pytest.mark.parametrize("case", golden_cases(".upstream.yaml"))
def test_the_same_parameters_give_the_same_pod(case: str) -> None:
    upstream = comparable(yaml.safe_load(golden_file(case, ".upstream.yaml").read_text()))
    ours = comparable(build_pod(*read_case(case)))
    name, upstream_name = ours["metadata"].pop("name"), upstream["metadata"].pop("name")
    assert name.startswith(f"{upstream_name}-")
    if upstream["metadata"]["namespace"] == "given":
        del upstream["metadata"]["namespace"]
    assert ours == upstream


def test_every_upstream_parameter_that_shapes_a_pod_has_a_field() -> None:
    fields = {each.name for each in dataclasses.fields(PodRequest)}
    assert set(POD.values()) <= fields
    assert not set(POD) & RUN
