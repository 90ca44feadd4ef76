"""Options of writes and bodies of apply: what is refused, in which words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from podbay.apiserver.field import FieldError
from podbay.apiserver.patch.configuration import read_configuration
from podbay.apiserver.patch.options import (
    invalid_options,
    validate_delete_options,
    validate_patch_options,
    validate_write_options,
)
from podbay.errors import ApiError

RECORDED = Path(__file__).parent.parent / "fidelity" / "kubernetes-1.36.json"


@dataclass
class Options:
    dry_run: tuple[str, ...] = ()
    field_manager: str = ""
    field_validation: str = ""
    force: bool | None = None


def _recorded(case_id: str) -> dict[str, Any]:
    (case,) = (c for c in json.loads(RECORDED.read_text()) if c["id"] == case_id)
    body: dict[str, Any] = case["answers"][-1]["body"]
    return body


@pytest.mark.parametrize(
    ("case_id", "kind", "errors"),
    [
        ("dryrun-bad", "CreateOptions", validate_write_options(Options(dry_run=("Some",)))),
        ("apply-nomanager", "PatchOptions", validate_patch_options(Options(), apply=True)),
        ("del-prop-bad", "DeleteOptions", validate_delete_options({"propagationPolicy": "Maybe"})),
    ],
)
def test_recorded(case_id: str, kind: str, errors: list[FieldError]) -> None:
    assert invalid_options(kind, errors).status() == _recorded(case_id)


def test_good_options() -> None:
    good = Options(dry_run=("All",), field_manager="m", field_validation="Warn")
    assert validate_write_options(good) == []
    assert validate_patch_options(Options(field_manager="m", force=True), apply=True) == []
    assert validate_delete_options({"propagationPolicy": "Orphan", "dryRun": ["All"]}) == []


@pytest.mark.parametrize(
    ("errors", "texts"),
    [
        (
            validate_patch_options(Options(force=False), apply=False),
            ["force: Forbidden: may not be specified for non-apply patch"],
        ),
        (
            validate_write_options(Options(field_manager="é" * 65)),
            ["fieldManager: Too long: may not be more than 128 bytes"],
        ),
        (
            validate_write_options(Options(field_manager="é\n")),
            ['fieldManager: Invalid value: "é\\n": invalid character U+000A (at position 2)'],
        ),
        (
            validate_write_options(Options(field_validation="Maybe")),
            ['fieldValidation: Unsupported value: "Maybe": supported values: "", "Ignore", "Strict", "Warn"'],
        ),
        (
            validate_delete_options({"propagationPolicy": "Orphan", "orphanDependents": True}),
            [
                'propagationPolicy: Invalid value: "Orphan": '
                "orphanDependents and deletionPropagation cannot be both set"
            ],
        ),
        (
            validate_delete_options(
                {"ignoreStoreReadErrorWithClusterBreakingPotential": True, "gracePeriodSeconds": 0}
            ),
            [
                "ignoreStoreReadErrorWithClusterBreakingPotential: Invalid value: true: "
                "cannot be set together with .gracePeriodSeconds"
            ],
        ),
    ],
)
def test_bad_options(errors: list[FieldError], texts: list[str]) -> None:
    assert [str(e) for e in errors] == texts


def test_configurations_stay_as_written() -> None:
    body = b"apiVersion: v1\nmetadata:\n  creationTimestamp: null\n  labels: {a: '1'}\nspec: {replicas: 1}\n"
    assert read_configuration(body).obj == {
        "apiVersion": "v1",
        "metadata": {"creationTimestamp": None, "labels": {"a": "1"}},
        "spec": {"replicas": 1},
    }
    assert read_configuration(b'{"a": 1}').obj == {"a": 1}
    assert read_configuration(b"").obj == {}
    assert read_configuration({"a": None}).obj == {"a": None}


def test_keys_that_are_there_twice_are_refused_when_strict() -> None:
    config = read_configuration(b"a: 1\na: 2\n")
    assert config.obj == {"a": 2}
    refusal = config.refusal()
    assert refusal is not None
    assert refusal.code == 400
    assert refusal.message == (
        "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n"
        '  line 2: key "a" already set in map'
    )
    assert read_configuration(b"a: 1\n").refusal() is None


def test_bodies_that_are_no_object() -> None:
    with pytest.raises(ApiError) as caught:
        read_configuration(b"- a")
    assert caught.value.code == 400
    assert caught.value.message == (
        "error decoding YAML: error unmarshaling JSON: while decoding JSON: "
        "json: cannot unmarshal array into Go value of type map[string]interface {}"
    )


def test_bodies_that_are_no_yaml() -> None:
    with pytest.raises(ApiError) as caught:
        read_configuration(b"a: [")
    assert caught.value.code == 400
    assert caught.value.message.startswith("error decoding YAML: error converting YAML to JSON: yaml: ")
