"""Cells of a pod's row: what kubectl shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from podbay.apiserver.kinds.pod_table import pod_cells

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def row(status: dict[str, Any], spec: dict[str, Any] | None = None, **meta: Any) -> list[Any]:
    containers = {"containers": [{"name": "main"}, {"name": "other"}]}
    return list(
        pod_cells(
            {
                "metadata": {"name": "p", "creationTimestamp": "2026-01-01T11:59:55Z", **meta},
                "spec": {**containers, **(spec or {})},
                "status": status,
            },
            NOW,
        )
    )


def waiting(reason: str) -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason}}, "restartCount": 0, "ready": False}


def ended(code: int, reason: str = "", **more: Any) -> dict[str, Any]:
    return {"state": {"terminated": {"exitCode": code, "reason": reason, **more}}, "restartCount": 0}


RUNNING = {"state": {"running": {}}, "restartCount": 0, "ready": True}
INIT = {"initContainers": [{"name": "i"}]}
SIDECAR = {"initContainers": [{"name": "i", "restartPolicy": "Always"}]}
READY = [{"type": "Ready", "status": "True"}]


def status(phase: str, *containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"phase": phase, "containerStatuses": list(containers), **more}


@pytest.mark.parametrize(
    ("given", "spec", "ready", "word"),
    [
        ({"phase": "Pending"}, {}, "0/2", "Pending"),
        (
            {
                "phase": "Pending",
                "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}],
            },
            {},
            "0/2",
            "SchedulingGated",
        ),
        (status("Pending", waiting("ContainerCreating")), {}, "0/2", "ContainerCreating"),
        (status("Pending", waiting("ImagePullBackOff"), RUNNING), {}, "1/2", "ImagePullBackOff"),
        (status("Running", RUNNING, RUNNING, conditions=READY), {}, "2/2", "Running"),
        (status("Succeeded", ended(0, "Completed"), ended(0, "Completed")), {}, "0/2", "Completed"),
        (status("Running", ended(0, "Completed"), RUNNING, conditions=READY), {}, "1/2", "Running"),
        (status("Running", ended(0, "Completed"), RUNNING), {}, "1/2", "NotReady"),
        (status("Failed", ended(3, "Error")), {}, "0/2", "Error"),
        (status("Failed", ended(3)), {}, "0/2", "ExitCode:3"),
        (status("Failed", ended(137, signal=9)), {}, "0/2", "Signal:9"),
        ({"phase": "Failed", "reason": "Evicted"}, {}, "0/2", "Evicted"),
        ({"phase": "Pending", "initContainerStatuses": [RUNNING]}, INIT, "0/2", "Init:0/1"),
        ({"phase": "Pending", "initContainerStatuses": [ended(1, "Error")]}, INIT, "0/2", "Init:Error"),
        ({"phase": "Pending", "initContainerStatuses": [ended(2)]}, INIT, "0/2", "Init:ExitCode:2"),
        (
            {"phase": "Pending", "initContainerStatuses": [waiting("CrashLoopBackOff")]},
            INIT,
            "0/2",
            "Init:CrashLoopBackOff",
        ),
        (
            status("Pending", waiting("PodInitializing"), initContainerStatuses=[ended(0)]),
            INIT,
            "0/2",
            "PodInitializing",
        ),
        (
            status(
                "Running", RUNNING, RUNNING, initContainerStatuses=[{**RUNNING, "name": "i", "started": True}]
            ),
            SIDECAR,
            "3/3",
            "Running",
        ),
    ],
)
def test_ready_and_status(given: dict[str, Any], spec: dict[str, Any], ready: str, word: str) -> None:
    assert row(given, spec)[:3] == ["p", ready, word]


@pytest.mark.parametrize(
    ("given", "word"),
    [({"phase": "Running"}, "Terminating"), ({"phase": "Running", "reason": "NodeLost"}, "Unknown")],
)
def test_a_deleted_pod(given: dict[str, Any], word: str) -> None:
    assert row(given, deletionTimestamp="2026-01-01T12:00:00Z")[2] == word


def test_restarts_tell_when_the_last_one_was() -> None:
    last = {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T11:59:50Z"}}
    cells = row(status("Running", {**RUNNING, "restartCount": 2, "lastState": last}))
    assert cells[3] == "2 (10s ago)"
    assert row(status("Running", RUNNING))[3] == "0"


def test_wide_cells() -> None:
    assert row({"phase": "Pending"})[4:] == ["5s", "<none>", "<none>", "<none>", "<none>"]
    given = {
        "phase": "Running",
        "podIPs": [{"ip": "10.0.0.1"}, {"ip": "::1"}],
        "nominatedNodeName": "m",
        "conditions": [{"type": "g1", "status": "True"}],
    }
    gates = [{"conditionType": "g1"}, {"conditionType": "g2"}]
    assert row(given, {"nodeName": "n", "readinessGates": gates})[5:] == ["10.0.0.1", "n", "m", "1/2"]
