"""Runtime states and the statuses a kubelet reports of them. What a real one said is replayed in tests/fidelity."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from views import container, sandbox, spec, view

from podbay.node.status import final_status, pod_status
from podbay.node.view import Outcome, Probes, Reason, View

NOW = datetime(2027, 1, 15, 8, 0, 0, tzinfo=UTC)


def status_of(seen: View, *, final: bool = False) -> dict[str, Any]:
    return (final_status if final else pod_status)(seen, NOW, host_ip="192.0.2.1", runtime="runc")


def conditions(status: dict[str, Any]) -> dict[str, str]:
    """type to "status reason"."""
    return {c["type"]: f"{c['status']} {c.get('reason', '')}".strip() for c in status["conditions"]}


@pytest.mark.parametrize(
    ("seen", "phase"),
    [
        pytest.param(view(spec("m"), no_sandbox=True), "Pending", id="no sandbox"),
        pytest.param(view(spec("m"), container("m", "running")), "Running", id="runs"),
        pytest.param(
            view(spec("a", "b"), container("a", "running")), "Pending", id="one of two never started"
        ),
        pytest.param(
            view(spec("a", "b", policy="Never"), container("a", "0"), container("b", "running")),
            "Running",
            id="half",
        ),
        pytest.param(view(spec("m"), container("m", "1")), "Running", id="between two attempts"),
        pytest.param(
            view(spec("m", policy="OnFailure"), container("m", "1")), "Running", id="OnFailure again"
        ),
        pytest.param(
            view(spec("m", policy="Never"), container("m", "0"), ended=True), "Succeeded", id="success"
        ),
        pytest.param(
            view(spec("m", policy="Never"), container("m", "3"), ended=True), "Failed", id="failure"
        ),
        pytest.param(
            view(spec("a", "b", policy="Never"), container("a", "0"), container("b", "1"), ended=True),
            "Failed",
            id="one of two failed",
        ),
        pytest.param(view(spec("m", init=("i",)), container("i", "running")), "Pending", id="init runs"),
        pytest.param(view(spec("m", init=("i",)), container("i", "1")), "Pending", id="init again"),
        pytest.param(
            view(spec("m", init=("i",), policy="Never"), container("i", "1"), ended=True),
            "Failed",
            id="init failed",
        ),
        pytest.param(
            view(spec("m", init=("+s",)), container("s", "running"), container("m", "running")),
            "Running",
            id="sidecar",
        ),
        pytest.param(
            view(
                spec("m", init=("+s",), policy="Never"),
                container("s", "1"),
                container("m", "0"),
                ended=True,
            ),
            "Succeeded",
            id="a failing sidecar does not count",
        ),
        pytest.param(
            view(spec("m"), container("m", "137"), ended=True, outcome=Outcome("Evicted", "full")),
            "Failed",
            id="evicted",
        ),
    ],
)
def test_phase(seen: View, phase: str) -> None:
    assert status_of(seen)["phase"] == phase


def test_a_phase_that_ends_the_pod_waits_for_its_sidecars() -> None:
    seen = view(spec("m", init=("+s",), policy="Never"), container("s", "running"), container("m", "0"))
    assert status_of(seen)["phase"] == "Running"


def test_conditions_on_the_way() -> None:
    before = conditions(status_of(view(spec("m"), no_sandbox=True)))
    assert before == {
        "PodReadyToStartContainers": "False",
        "Initialized": "True",
        "Ready": "False ContainersNotReady",
        "ContainersReady": "False ContainersNotReady",
        "PodScheduled": "True",
    }
    running = conditions(status_of(view(spec("m"), container("m", "running"))))
    assert set(running.values()) == {"True"}
    done = conditions(status_of(view(spec("m", policy="Never"), container("m", "0"), ended=True)))
    assert done == {
        "PodReadyToStartContainers": "False",
        "Initialized": "True PodCompleted",
        "Ready": "False PodCompleted",
        "ContainersReady": "False PodCompleted",
        "PodScheduled": "True",
    }


def test_readiness_gates_hold_ready_back() -> None:
    gates = {"readinessGates": [{"conditionType": "x.dev/a"}, {"conditionType": "x.dev/b"}]}
    theirs = {"type": "x.dev/a", "status": "False", "lastTransitionTime": "2027-01-01T00:00:00Z"}
    status = status_of(view(spec("m", **gates), container("m", "running"), status={"conditions": [theirs]}))
    ready = next(c for c in status["conditions"] if c["type"] == "Ready")
    assert ready["reason"] == "ReadinessGatesNotReady"
    assert ready["message"] == (
        'the status of pod readiness gate "x.dev/a" is not "True", but False, '
        'corresponding condition of pod readiness gate "x.dev/b" does not exist.'
    )
    assert status["conditions"][0] == theirs


def test_transition_times_stay_while_nothing_changes() -> None:
    old = [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    status = status_of(
        view(spec("m"), no_sandbox=True, status={"conditions": old, "startTime": "2026-01-01T00:00:00Z"})
    )
    times = {c["type"]: c["lastTransitionTime"] for c in status["conditions"]}
    assert times["Ready"] == "2026-01-01T00:00:00Z"
    assert times["Initialized"] == "2027-01-15T08:00:00Z"
    assert status["startTime"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("attempt", "wanted"),
    [
        (container("m", "0"), {"exitCode": 0, "reason": "Completed"}),
        (container("m", "7"), {"exitCode": 7, "reason": "Error"}),
        (container("m", "137", oom_killed=True), {"exitCode": 137, "reason": "OOMKilled"}),
        (
            container("m", "128", reason="StartError", message="no such file"),
            {"exitCode": 128, "reason": "StartError", "message": "no such file"},
        ),
        (container("m", "lost"), {"exitCode": 255, "reason": "Unknown"}),
    ],
)
def test_how_a_container_ended(attempt: Any, wanted: dict[str, Any]) -> None:
    ended = status_of(view(spec("m", policy="Never"), attempt, ended=True))["containerStatuses"][0]["state"][
        "terminated"
    ]
    assert {k: ended[k] for k in wanted} == wanted
    assert ended["containerID"] == "runc://m-0"


def test_a_failed_start_shows_as_waiting_with_the_end_behind_it() -> None:
    seen = view(spec("m"), container("m", "1"), reasons={"m": Reason("CrashLoopBackOff", "back-off 10s …")})
    status = status_of(seen)["containerStatuses"][0]
    assert status["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s …"}}
    assert status["lastState"]["terminated"]["exitCode"] == 1


def test_a_pod_that_will_not_be_restarted_shows_its_end_not_a_reason() -> None:
    seen = view(spec("m"), container("m", "1"), reasons={"m": Reason("CrashLoopBackOff")}, deleted=True)
    assert "terminated" in status_of(seen)["containerStatuses"][0]["state"]


def test_ready_and_started_follow_probes() -> None:
    pod_spec = spec("m")
    pod_spec["containers"][0] |= {"readinessProbe": {}, "startupProbe": {}}
    running = container("m", "running")

    def flags(probes: Probes) -> tuple[bool, bool]:
        status = status_of(view(pod_spec, running, probes=probes))["containerStatuses"][0]
        return status["started"], status["ready"]

    assert flags(Probes()) == (False, False)
    assert flags(Probes(startup={"m-0": True})) == (True, False)
    assert flags(Probes(startup={"m-0": True}, readiness={"m-0": True})) == (True, True)


def test_a_container_that_vanished_counts_as_ended() -> None:
    old = {"containerStatuses": [{"name": "m", "state": {"running": {}}, "restartCount": 2}]}
    status = status_of(view(spec("m"), status=old))
    lost = status["containerStatuses"][0]
    assert lost["restartCount"] == 3
    assert lost["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    assert lost["lastState"]["terminated"]["exitCode"] == 137
    assert status["phase"] == "Running"


def test_the_end_of_a_pod_leaves_nothing_waiting() -> None:
    old = {"containerStatuses": [{"name": "m", "state": {"running": {}}, "restartCount": 0}]}
    seen = view(spec("m", policy="Never"), status=old, deleted=True, ended=True)
    status = status_of(seen, final=True)
    assert status["phase"] == "Failed"
    assert "terminated" in status["containerStatuses"][0]["state"]
    never = status_of(view(spec("m", init=("i",), policy="Never"), deleted=True, ended=True), final=True)
    assert never["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}


def test_addresses_and_outcome() -> None:
    seen = view(spec("m"), container("m", "143"), ended=True, outcome=Outcome("DeadlineExceeded", "too long"))
    status = status_of(seen)
    assert (status["reason"], status["message"]) == ("DeadlineExceeded", "too long")
    assert status["podIPs"] == [{"ip": "10.1.0.2"}] and status["hostIPs"] == [{"ip": "192.0.2.1"}]
    host = status_of(view(spec("m", hostNetwork=True), box=sandbox(ips=())))
    assert host["podIP"] == host["hostIP"] == "192.0.2.1"


def test_an_eviction_is_a_disruption() -> None:
    seen = view(spec("m"), container("m", "137"), ended=True, outcome=Outcome("Evicted", "full"))
    target = status_of(seen)["conditions"][0]
    assert (target["type"], target["reason"], target["message"]) == (
        "DisruptionTarget",
        "TerminationByKubelet",
        "full",
    )


def test_mounts_and_resources_are_shown() -> None:
    pod_spec = spec("m")
    mounts = [
        {"name": "a", "mountPath": "/a"},
        {"name": "b", "mountPath": "/b", "readOnly": True, "recursiveReadOnly": "IfPossible"},
    ]
    resources = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}
    pod_spec["containers"][0] |= {"volumeMounts": mounts, "resources": resources}
    status = status_of(view(pod_spec, container("m", "running")))
    shown = status["containerStatuses"][0]
    assert shown["volumeMounts"] == [
        {"name": "a", "mountPath": "/a"},
        {"name": "b", "mountPath": "/b", "readOnly": True, "recursiveReadOnly": "Enabled"},
    ]
    assert shown["resources"] == resources
    assert shown["allocatedResources"] == resources["requests"]
    assert status["resources"] == resources
