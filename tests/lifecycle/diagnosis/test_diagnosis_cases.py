"""Facts in, diagnosis out: every category by the words that real parts use for it.

The category stands in the case, written by hand. Sentences, fixes and evidence are golden: tests/golden/diagnosis.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from diagnosis_cases import Case, all_cases, facts_of

from podbay.lifecycle.diagnosis.catalog import by_word
from podbay.lifecycle.diagnosis.diagnose import diagnose, diagnoses
from podbay.lifecycle.diagnosis.model import diagnosis_from_json, diagnosis_to_json

GOLDEN = Path(__file__).parents[2] / "golden" / "diagnosis"
CASES = all_cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case_gives_its_category(case: Case) -> None:
    found = diagnose(case.facts())
    assert found is not None
    assert found.category == case.category, found
    assert found.category in by_word()
    assert not found.cause.endswith(".")
    assert found.fix.endswith((".", "?", ")")), found.fix
    assert found.sentence() == f"{found.cause}. {found.fix}"
    assert diagnosis_from_json(diagnosis_to_json(found)) == found


@pytest.mark.parametrize("family", sorted({case.family for case in CASES}))
def test_sentences(family: str, request: pytest.FixtureRequest) -> None:
    told: dict[str, list[dict[str, Any]]] = {}
    for case in CASES:
        if case.family == family:
            told[case.name] = [diagnosis_to_json(each) for each in diagnoses(case.facts())]
    text = yaml.safe_dump(told, sort_keys=False, width=200, allow_unicode=True)
    path = GOLDEN / f"{family}.yaml"
    if request.config.getoption("--update-golden"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text


def test_every_category_has_a_case() -> None:
    shown = {each.category for case in CASES for each in diagnoses(case.facts())}
    assert set(by_word()) - shown == set()


def test_names_are_unique() -> None:
    assert len({case.id for case in CASES}) == len(CASES)


def test_nothing_is_wrong_with_a_pod_that_runs_or_has_succeeded() -> None:
    assert diagnose(facts_of({"status": {"phase": "Running"}, "running": ["base"]})) is None
    assert diagnose(facts_of({"status": {"phase": "Succeeded"}, "ended": {"base": [0, "Completed"]}})) is None
    assert diagnose(facts_of({"waiting": {"base": ["ContainerCreating"]}})) is None


def test_a_refusal_of_the_create_says_nothing_of_a_pod_that_exists() -> None:
    quota = (
        'pods "load-7f" is forbidden: exceeded quota: rq, requested: pods=1, used: pods=1, limited: pods=1'
    )
    created = {"waiting": {"base": ["ContainerCreating"]}, "error": [403, "Forbidden", quota]}
    assert diagnose(facts_of(created)) is None


def test_evidence_keeps_the_end_of_a_long_message_where_the_reason_stands() -> None:
    message = f"failed to create task: {'x' * 400}: the reason"
    found = diagnose(
        facts_of({"status": {"phase": "Failed"}, "ended": {"base": [128, "StartError", message]}})
    )
    assert found is not None
    said = found.evidence[1]
    assert said.startswith("the runtime says: failed to create task: xxx")
    assert said.endswith("xxx: the reason")
    assert len(said) <= 300
