"""What kube-scheduler 1.36 said of pods that fit nowhere, recorded from a real cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scheduler_builders import cluster, message, node

CASES = json.loads((Path(__file__).parents[1] / "fidelity" / "kubernetes-1.36.json").read_text())


def recorded() -> list[tuple[str, dict[str, object], str]]:
    found = []
    for case in CASES:
        answer = case["answers"][0]["body"] if case["answers"] else None
        if not case["id"].startswith("sched-") or not isinstance(answer, dict) or answer.get("kind") != "Pod":
            continue
        for condition in answer.get("status", {}).get("conditions", ()):
            if condition.get("reason") == "Unschedulable":
                found.append((case["id"], answer, condition["message"]))
    return found


@pytest.mark.parametrize(("case", "pod", "words"), recorded(), ids=[r[0] for r in recorded()])
def test_says_what_the_real_one_said(case: str, pod: dict[str, object], words: str) -> None:
    one_node = node("node1", cpu="2", memory="24Gi")
    assert message(cluster([one_node]), pod) == words  # type: ignore[arg-type]


def test_there_are_recorded_cases() -> None:
    assert {r[0] for r in recorded()} >= {"sched-memory", "sched-selector", "sched-gpu", "sched-pvc"}
