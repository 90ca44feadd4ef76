"""Pairs of files: a request, and the pod that comes out. `pytest tests/pods --update-golden` writes the second."""

from __future__ import annotations

import copy
from dataclasses import asdict

import pytest
import yaml
from pod_requests import golden_cases, golden_file, read_case

from podbay.pods.build import build, build_pod
from podbay.pods.render import render


@pytest.mark.parametrize("case", golden_cases())
def test_the_pod_is_the_expected_one(case: str, request: pytest.FixtureRequest) -> None:
    built = build(*read_case(case))
    notes = "".join(f"# note: {note}\n" for note in built.notes)
    text = notes + render(built.pod, reveal=True)
    file = golden_file(case, ".output.yaml")
    if request.config.getoption("--update-golden"):
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize("case", golden_cases())
def test_what_is_rendered_is_read_back_as_the_same_pod(case: str) -> None:
    pod = build_pod(*read_case(case))
    assert yaml.safe_load(render(pod, reveal=True)) == pod


@pytest.mark.parametrize("case", golden_cases())
def test_building_changes_nothing_and_gives_the_same_again(case: str) -> None:
    request, defaults = read_case(case)
    before = copy.deepcopy((asdict(request), asdict(defaults)))
    assert build_pod(request, defaults) == build_pod(request, defaults)
    assert (asdict(request), asdict(defaults)) == before


@pytest.mark.parametrize("case", golden_cases())
def test_a_built_pod_is_a_template_for_itself(case: str) -> None:
    """Every rule gives the same when its outcome is laid under it: nothing is added twice."""
    request, defaults = read_case(case)
    pod = build_pod(request, defaults)
    again = build_pod(request, copy.copy(defaults).__class__(**{**vars(defaults), "template": pod}))
    assert {**again["metadata"], "name": ""} == {**pod["metadata"], "name": ""}
    if request.template is None:
        assert again["spec"] == pod["spec"]


def test_every_output_has_an_input() -> None:
    assert golden_cases(".output.yaml") == golden_cases()
