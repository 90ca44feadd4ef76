"""Ends that come from outside, and what another process makes of a pod it did not start."""

from __future__ import annotations

from typing import Any

import pytest

from podbay.embedded.scripted import Attempt, LogLine, Rule, Script
from podbay.embedded.scripted.life import PodLife
from podbay.embedded.scripted.status import exact_start, pod_status
from podbay.objects.meta import Object

T0 = 1_767_225_600.0
"""2026-01-01T00:00:00Z."""
SIDECAR = {"name": "side", "image": "i", "restartPolicy": "Always"}


def pod(**annotations: str) -> Object:
    marks = {f"scripted.podbay.dev/{key}": value for key, value in annotations.items()}
    return {
        "metadata": {"namespace": "d", "name": "p", "uid": "u", "annotations": marks},
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "i"}],
            "initContainers": [SIDECAR],
        },
        "status": {"phase": "Pending", "conditions": []},
    }


def status(life: PodLife, at: float) -> Object:
    return pod_status(life, at, host_ip="127.0.0.1", pod_ip="10.244.0.2")


def sidecar_state(found: Object) -> Any:
    return found["initContainerStatuses"][0]["state"]


def test_a_sidecar_leaves_its_message_when_the_pod_ends() -> None:
    made = pod(**{"run-seconds": "2", "message.side": "the result", "log.side": "one\ntwo"})
    life = PodLife(made, Script().rule_for(made), T0)
    life.advance(T0 + 1)
    assert "running" in sidecar_state(status(life, T0 + 1))
    life.advance(T0 + 2)
    assert sidecar_state(status(life, T0 + 2))["terminated"]["message"] == "the result"
    assert [line.text for _, line in life.containers[0].lines()] == ["one", "two"]
    assert "message" not in status(life, T0 + 2)["containerStatuses"][0]["state"]["terminated"]


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_an_evicted_pod_fails_with_the_reason(seconds: float) -> None:
    life = PodLife(pod(), Rule(delay=0.5, containers=(("*", (Attempt(run_seconds=9),)),)), T0)
    life.advance(T0 + seconds)
    life.evict(T0 + seconds, "The node was low on resource: memory.")
    life.evict(T0 + 5, "too late")
    found = status(life, T0 + seconds)
    assert (found["phase"], found["reason"]) == ("Failed", "Evicted")
    assert found["message"] == "The node was low on resource: memory."
    disruption = next(c for c in found["conditions"] if c["type"] == "DisruptionTarget")
    assert disruption["reason"] == "TerminationByKubelet"
    main = found["containerStatuses"][0]["state"]
    assert main["terminated"]["exitCode"] == 137 if seconds else "waiting" in main


def test_another_process_stamps_lines_as_the_first_did() -> None:
    rule = Rule(containers=(("*", (Attempt(run_seconds=5, log=(LogLine(0.25, "x"),)),)),))
    first = PodLife(pod(), rule, T0 + 0.654321)
    first.advance(T0 + 2)
    told = status(first, T0 + 2)
    assert told["startTime"] == "2026-01-01T00:00:00Z"
    second = PodLife(pod(), rule, exact_start(told))
    second.advance(T0 + 2)
    assert [at for at, _ in second.containers[1].lines()] == [at for at, _ in first.containers[1].lines()]
    assert exact_start({"startTime": "2026-01-01T00:00:00Z"}) == T0
