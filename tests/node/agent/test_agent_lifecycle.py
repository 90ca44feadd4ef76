"""The life of pods on real containers: restarts, sidecars, probes, hooks, deadlines, deletion."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from agent_pods import AgentCluster, Flag, pod, shell, state
from patience import until

from podbay.node.observed import SandboxStatus

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.usefixtures("namespace")]


def test_a_crashing_container_backs_off(node: AgentCluster) -> None:
    node.create(pod("echo attempt; exit 3", restartPolicy="Always"))
    found = node.wait(lambda p: state(p)["waiting"]["reason"] == "CrashLoopBackOff")
    status = found["status"]["containerStatuses"][0]
    who = f"pod=p_{node.namespace}({found['metadata']['uid']})"
    assert status["state"]["waiting"]["message"] == f"back-off 10s restarting failed container=main {who}"
    assert status["lastState"]["terminated"]["exitCode"] == 3
    assert status["restartCount"] == 1
    assert found["status"]["phase"] == "Running"
    assert node.log(previous="true") == "attempt\n"
    node.wait_event("BackOff", f"Back-off restarting failed container main in pod {who[4:]}")


def test_on_failure_ends_with_success(node: AgentCluster) -> None:
    volumes = [{"name": "v", "emptyDir": {}}]
    script = "test -e /v/once || { touch /v/once; exit 1; }; echo second"
    main = shell(script, volumeMounts=[{"name": "v", "mountPath": "/v"}])
    found = node.run(pod(main, restartPolicy="OnFailure", volumes=volumes))
    assert found["status"]["phase"] == "Succeeded"
    assert found["status"]["containerStatuses"][0]["restartCount"] == 1
    assert node.log() == "second\n"


def test_a_sidecar_outlives_the_main_container_and_does_not_fail_the_pod(node: AgentCluster) -> None:
    sidecar = shell(
        "trap 'echo bye; exit 5' TERM; echo up > /v/up; while :; do sleep 0.05; done",
        name="side",
        restartPolicy="Always",
        volumeMounts=[{"name": "v", "mountPath": "/v"}],
        startupProbe={
            "exec": {"command": ["test", "-e", "/v/up"]},
            "periodSeconds": 1,
            "failureThreshold": 30,
        },
    )
    main = shell("cat /v/up", volumeMounts=[{"name": "v", "mountPath": "/v"}])
    found = node.run(pod(main, initContainers=[sidecar], volumes=[{"name": "v", "emptyDir": {}}]))
    assert found["status"]["phase"] == "Succeeded"
    assert node.log(container="main") == "up\n"
    assert node.log(container="side") == "bye\n"
    assert state(found, init=True)["terminated"]["exitCode"] == 5


def test_a_sidecar_is_restarted_while_the_main_container_runs(node: AgentCluster) -> None:
    sidecar = shell("sleep 0.2", name="side", restartPolicy="Always")
    node.create(pod("sleep 20", initContainers=[sidecar]))
    found = node.wait(lambda p: p["status"]["initContainerStatuses"][0]["restartCount"] >= 1)
    assert found["status"]["phase"] == "Running"


def test_liveness_restarts_and_says_so(node: AgentCluster) -> None:
    probe = {
        "exec": {"command": ["sh", "-c", "echo sick; exit 1"]},
        "periodSeconds": 1,
        "failureThreshold": 1,
    }
    node.create(pod(shell("sleep 30", livenessProbe=probe), restartPolicy="Always"))
    node.wait(lambda p: p["status"]["containerStatuses"][0]["restartCount"] >= 1)
    node.wait_event("Unhealthy", "Liveness probe failed: sick\n")
    node.wait_event("Killing", "Container main failed liveness probe, will be restarted")


@pytest.mark.parametrize(
    "probe",
    [
        {"httpGet": {"path": "/ok", "port": "web"}},
        {"tcpSocket": {"port": 8080}},
        {"exec": {"command": ["test", "-e", "/www/ok"]}},
    ],
    ids=["http", "tcp", "exec"],
)
def test_readiness_follows_its_probe(node: AgentCluster, flag: Flag, probe: dict[str, object]) -> None:
    server = f"mkdir /www; {flag.wait}; echo yes > /www/ok; exec httpd -f -p 8080 -h /www"
    main = shell(
        server,
        readinessProbe={**probe, "periodSeconds": 1},
        ports=[{"name": "web", "containerPort": 8080}],
        volumeMounts=[flag.mount],
    )
    found = node.running(pod(main, volumes=[flag.volume]))
    assert found["status"]["containerStatuses"][0]["ready"] is False
    flag.up()
    ready = node.wait(lambda p: p["status"]["containerStatuses"][0]["ready"])
    conditions = {c["type"]: c["status"] for c in ready["status"]["conditions"]}
    assert conditions["Ready"] == conditions["ContainersReady"] == "True"


def test_a_failing_http_probe_names_status_and_address(node: AgentCluster) -> None:
    main = shell(
        "mkdir /www; exec httpd -f -p 8080 -h /www",
        readinessProbe={"httpGet": {"path": "/none", "port": 8080}, "periodSeconds": 1},
    )
    node.running(pod(main))
    node.wait_event("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 404")


def test_pre_stop_runs_within_the_grace_period(node: AgentCluster) -> None:
    main = shell(
        "trap 'cat /tmp/said; exit 0' TERM; echo ready; while :; do sleep 0.05; done",
        lifecycle={"preStop": {"exec": {"command": ["sh", "-c", "echo stopping > /tmp/said"]}}},
    )
    node.running(pod(main, terminationGracePeriodSeconds=60, metadata={"finalizers": ["x.dev/hold"]}))
    node.wait_log("ready")
    node.delete()
    found = node.wait(lambda p: p["status"]["phase"] == "Succeeded")
    assert state(found)["terminated"]["exitCode"] == 0
    assert node.log() == "ready\nstopping\n"
    node.patch("pods", "p", {"metadata": {"finalizers": None}})
    node.gone()


def test_who_ignores_the_signal_is_killed_when_the_time_is_over(node: AgentCluster) -> None:
    node.running(pod("trap '' TERM; while :; do sleep 0.1; done", terminationGracePeriodSeconds=2))
    began = time.monotonic()
    node.delete()
    node.gone()
    assert time.monotonic() - began > 1.5


def test_a_second_deletion_shortens_the_grace_period(node: AgentCluster) -> None:
    node.running(pod("trap '' TERM; while :; do sleep 0.1; done", terminationGracePeriodSeconds=600))
    node.delete()
    node.wait(lambda p: p["metadata"]["deletionGracePeriodSeconds"] == 600)
    node.delete(gracePeriodSeconds=1)
    node.gone()


def test_force_deletion_stops_the_container_soon(node: AgentCluster) -> None:
    uid = node.running(pod("sleep 600"))["metadata"]["uid"]
    node.delete(gracePeriodSeconds=0)
    node.gone()
    until(lambda: node.environment.call(lambda: node.agent.worker(uid)) is None)


def test_container_restart_rules(node: AgentCluster) -> None:
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
    script = "test -e /v/once && exit 7; touch /v/once; exit 42"
    main = shell(
        script,
        restartPolicy="Never",
        restartPolicyRules=rules,
        volumeMounts=[{"name": "v", "mountPath": "/v"}],
    )
    found = node.run(pod(main, volumes=[{"name": "v", "emptyDir": {}}]))
    status = found["status"]["containerStatuses"][0]
    assert (status["restartCount"], status["state"]["terminated"]["exitCode"]) == (1, 7)


def test_out_of_memory_is_named(node: AgentCluster) -> None:
    main = shell("tail /dev/zero", resources={"limits": {"memory": "16Mi"}})
    found = node.run(pod(main))
    ended = state(found)["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


def test_a_debug_container_joins_a_running_pod(node: AgentCluster) -> None:
    node.running(pod("sleep 30"))
    debug = {"name": "debug", "image": "localhost/bb:1", "command": ["echo", "inside"]}
    node.patch("pods", "p", {"spec": {"ephemeralContainers": [debug]}}, sub="ephemeralcontainers")
    node.wait(lambda p: "terminated" in p["status"]["ephemeralContainerStatuses"][0]["state"])
    assert node.log(container="debug") == "inside\n"
    assert node.get()["status"]["phase"] == "Running"


def test_a_debug_container_sees_the_processes_of_its_target(node: AgentCluster) -> None:
    node.running(pod("sleep 1234"))
    debug = {
        "name": "debug",
        "image": "localhost/bb:1",
        "command": ["sh", "-c", "ps; sleep 4321"],
        "targetContainerName": "main",
    }
    node.patch("pods", "p", {"spec": {"ephemeralContainers": [debug]}}, sub="ephemeralcontainers")
    node.wait(lambda p: "running" in p["status"]["ephemeralContainerStatuses"][0]["state"])
    until(lambda: "sleep 1234" in node.log(container="debug"))
    node.delete()
    node.wait(lambda p: not p)


def test_shared_process_namespace(node: AgentCluster) -> None:
    other = shell("exec sleep 30", name="other")
    count = "ps -o comm | grep -c '^sleep$'"
    main = shell(f"for i in $(seq 1000); do test $({count}) = 1 && break; sleep 0.1; done; {count}")
    node.create(pod(main, other, shareProcessNamespace=True))
    node.wait(lambda p: "terminated" in state(p))
    assert node.log(container="main").strip() == "1"


def test_an_ended_pod_costs_little_and_keeps_status_and_log(node: AgentCluster) -> None:
    volumes = [{"name": "m", "emptyDir": {"medium": "Memory"}}]
    main = shell(
        "head -c 100000 /dev/zero > /m/f; echo kept", volumeMounts=[{"name": "m", "mountPath": "/m"}]
    )
    ended = node.run(pod(main, volumes=volumes))
    address = ended["status"]["podIP"]
    uid = ended["metadata"]["uid"]
    until(lambda: uid not in Path("/proc/self/mountinfo").read_text() and not _sandbox_ready(node, uid))
    assert node.log() == "kept\n"
    assert node.get()["status"]["podIP"] == address
    node.delete()
    node.gone()
    # An ended pod goes from the API at once, from the node right after.
    until(lambda: uid not in {sandbox.pod_uid for sandbox in _sandboxes(node)})


def _sandboxes(node: AgentCluster) -> Sequence[SandboxStatus]:
    async def sandboxes() -> Sequence[SandboxStatus]:
        return (await node.agent.runtime.list()).sandboxes

    return node.environment.run(sandboxes())


def _sandbox_ready(node: AgentCluster, uid: str) -> bool:
    return any(sandbox.ready for sandbox in _sandboxes(node) if sandbox.pod_uid == uid)
