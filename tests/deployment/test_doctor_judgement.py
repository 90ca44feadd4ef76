"""What the doctor makes of answers: Airflow's page of health, and logins and images that were tried."""

from __future__ import annotations

from typing import Any

import pytest

from podbay.deployment.doctor import by_verbs, judge_health, judge_proofs

URL = "http://airflow.example"
HEALTHY = {
    name: {"status": "healthy"} for name in ("metadatabase", "scheduler", "triggerer", "dag_processor")
}


def test_a_healthy_airflow_is_healthy_part_by_part() -> None:
    found = judge_health(URL, HEALTHY)
    assert [(each.subject, each.verdict) for each in found] == [
        ("triggerer", "ok"),
        ("scheduler", "ok"),
        ("dag processor", "ok"),
        ("metadatabase", "ok"),
    ]


@pytest.mark.parametrize(
    ("triggerer", "said"),
    [({"status": None}, "none has ever run"), ({"status": "unhealthy"}, "unhealthy"), (None, "none has")],
)
def test_a_triggerer_that_is_away_is_a_failure_with_its_fix(triggerer: Any, said: str) -> None:
    (failed,) = [
        each for each in judge_health(URL, {**HEALTHY, "triggerer": triggerer}) if each.verdict != "ok"
    ]
    assert (failed.subject, failed.verdict) == ("triggerer", "failed")
    assert said in failed.message
    assert "airflow triggerer" in failed.fix


@pytest.mark.parametrize("body", [None, "hello", [], {}, {"metadatabase": "fine"}])
def test_what_is_no_airflow_is_said(body: Any) -> None:
    (found,) = judge_health(URL, body)
    assert (found.verdict, found.fix) == ("failed", "Correct --airflow-url.")


def test_logins_and_images_are_named_when_they_fail() -> None:
    good = {"subject": "registry at ghcr.io", "ok": True, "message": "the login is taken"}
    bad = {"subject": "etl:1", "ok": False, "message": "is not there"}
    assert [each.verdict for each in judge_proofs([], [])] == ["ok"]
    assert [each.message for each in judge_proofs([good], [])] == ["all 1 logins and images answer"]
    found = judge_proofs([good, bad], ["old"])
    assert [(each.verdict, each.message) for each in found] == [
        ("failed", "etl:1: is not there"),
        ("failed", "the login of Secret old has ended"),
    ]
    assert all(each.fix for each in found)


def test_rights_that_are_missing_are_told_together() -> None:
    denied = [
        *(("", "", name, "", verb) for name in ("namespaces", "limitranges") for verb in ("get", "list")),
        ("etl", "", "pods", "exec", "create"),
        ("etl", "networking.k8s.io", "networkpolicies", "", "get"),
    ]
    assert by_verbs(denied) == (
        "get, list on namespaces, limitranges; create on pods/exec; get on networkpolicies.networking.k8s.io"
    )
