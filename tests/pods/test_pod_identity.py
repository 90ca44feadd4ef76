"""Names and labels: valid, distinct, readable back, and the same in every process and version."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pod_requests import GOLDEN

from podbay.errors import InvalidInputError
from podbay.objects.names import dns1123_label_errors, label_value_errors
from podbay.pods.identity import (
    TaskIdentity,
    identity_annotations,
    identity_of,
    pod_name,
    safe_label_value,
    task_labels,
    task_name,
    upstream_selector,
    with_suffix,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)
IDENTITIES = st.builds(
    TaskIdentity,
    deployment=TEXT,
    dag_id=TEXT,
    run_id=TEXT,
    task_id=TEXT,
    map_index=st.integers(-1, 10_000),
    try_number=st.integers(0, 100),
    incarnation=st.integers(0, 3),
)


def identity(**changes: object) -> TaskIdentity:
    usual = {"deployment": "prod", "dag_id": "etl", "run_id": "manual__2025", "task_id": "load"}
    return TaskIdentity(**{**usual, **changes})  # type: ignore[arg-type]


NAMES = [
    (identity(), ""),
    (identity(map_index=0), ""),
    (identity(map_index=7, try_number=3), ""),
    (identity(incarnation=1), ""),
    (identity(deployment="stage"), ""),
    (identity(dag_id="etl.daily", run_id="manual__2025-03-20T16:21:27+00:00"), "say-hello"),
    (identity(task_id="group.Load_Übersicht"), ""),
    (identity(task_id="数据"), ""),
    (identity(task_id="x" * 250), ""),
    (identity(task_id="x" * 45 + "-._-y"), ""),
]


def test_names_are_the_recorded_ones_for_ever() -> None:
    """Never update this recording: pods of the version before must be found by the next one."""
    recorded = (GOLDEN / "names.txt").read_text().splitlines()
    assert [pod_name(*each) for each in NAMES] == recorded


def test_another_process_gives_the_same_name() -> None:
    program = (
        "from podbay.pods.identity import *; "
        "print(pod_name(TaskIdentity(deployment='prod', dag_id='etl', run_id='manual__2025', task_id='load')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == pod_name(identity())


@given(IDENTITIES, st.text(max_size=300))
def test_every_name_is_a_dns_label(who: TaskIdentity, readable: str) -> None:
    assert dns1123_label_errors(pod_name(who, readable)) == []


@given(IDENTITIES, IDENTITIES)
def test_names_are_equal_exactly_for_equal_identities(one: TaskIdentity, other: TaskIdentity) -> None:
    assert (pod_name(one, "same") == pod_name(other, "same")) == (one == other)


@given(TEXT, TEXT, st.integers(0, 20))
def test_moving_text_from_one_part_to_the_next_gives_another_name(one: str, other: str, cut: int) -> None:
    whole = one + other
    if not 0 < cut < len(whole):
        return
    moved = identity(dag_id=whole[:cut], run_id=whole[cut:])
    kept = identity(dag_id=one, run_id=other)
    assert (moved.digest() == kept.digest()) == (moved == kept)


@given(IDENTITIES)
def test_annotations_say_exactly_who_it_is(who: TaskIdentity) -> None:
    assert identity_of({"metadata": {"annotations": identity_annotations(who)}}) == who


@pytest.mark.parametrize("broken", ["podbay.dev/run-id", "podbay.dev/try-number"])
def test_half_an_identity_is_none(broken: str) -> None:
    annotations = identity_annotations(identity())
    assert identity_of({"metadata": {"annotations": {**annotations, "podbay.dev/try-number": "two"}}}) is None
    del annotations[broken]
    assert identity_of({"metadata": {"annotations": annotations}}) is None
    assert identity_of({"metadata": {}}) is None


@given(IDENTITIES)
def test_labels_are_always_valid(who: TaskIdentity) -> None:
    for value in task_labels(who).values():
        assert label_value_errors(value) == []


def test_labels_are_upstreams() -> None:
    """Spec 17 and 21: the pair in the specification was seen on the installed provider."""
    assert safe_label_value("manual__2025-03-20T16:21:27+00:00") == "manual__2025-03-20T1621270000-220054855"
    assert task_labels(identity(try_number=4)) == {
        "dag_id": "etl",
        "task_id": "load",
        "run_id": "manual__2025",
        "kubernetes_pod_operator": "True",
        "try_number": "4",
    }
    assert task_labels(identity(map_index=0))["map_index"] == "0"


def test_the_selector_is_upstreams() -> None:
    assert upstream_selector(identity(map_index=2), {"team": None, "dag_id": "mine"}) == (
        "dag_id=etl,kubernetes_pod_operator=True,map_index=2,run_id=manual__2025,task_id=load,team=,"
        "already_checked!=True,!airflow-worker"
    )


def test_a_name_without_identity_is_cut_to_fit() -> None:
    assert with_suffix("My Tool!", "abc") == "my-tool-abc"
    assert with_suffix("...", "") == "pod"
    assert len(with_suffix("y" * 100, "abc")) == 63


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"dag_id": ""}, "dag_id must be a string that is not empty"),
        ({"run_id": "a\ud800"}, "run_id holds characters that cannot be written as UTF-8"),
        ({"map_index": -2}, "map_index must be a whole number"),
        ({"try_number": True}, "try_number must be a whole number"),
    ],
)
def test_an_impossible_identity_is_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        identity(**wrong)


def test_a_name_without_suffix_is_the_tasks_where_it_has_one_in_latin_letters() -> None:
    assert task_name(identity(task_id="Group.Load__Übersicht_-1", try_number=2)) == "group-load-ubersicht-1"
    assert task_name(identity(task_id=f"{'x' * 62}_yy")) == "x" * 62
    assert task_name(identity(task_id="数据")) == pod_name(identity(task_id="数据"))
