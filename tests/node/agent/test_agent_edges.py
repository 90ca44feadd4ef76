"""Pods that are turned away, ports of the machine, and containers that misbehave."""

from __future__ import annotations

import os
import socket
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from agent_pods import AgentCluster, Flag, pod, shell, state
from patience import PATIENCE

from podbay.node.runc import connections
from podbay.node.runc import runtime as runc_runtime

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.usefixtures("namespace")]


def test_a_pod_that_does_not_fit_is_turned_away(node: AgentCluster) -> None:
    main = shell("true", resources={"requests": {"cpu": "1000"}})
    found = node.run(pod(main, nodeName="node1"))
    status = found["status"]
    assert status["reason"] == "OutOfcpu"
    words = "Node didn't have enough resource: cpu, requested: 1000000, used: "
    assert status["message"].startswith(f"Pod was rejected: {words}")
    assert "containerStatuses" not in status
    reason, message = node.events()[-1]
    assert reason == "OutOfcpu" and message.startswith(words)
    node.delete()
    node.gone()


def test_a_wrong_node_selector_is_turned_away(node: AgentCluster) -> None:
    found = node.run(pod("true", nodeName="node1", nodeSelector={"no": "where"}))
    assert found["status"]["reason"] == "NodeAffinity"


def test_kernel_settings_of_the_machine_are_turned_away(node: AgentCluster) -> None:
    now = Path("/proc/sys/vm/swappiness").read_text().strip()
    sysctls = [{"name": "net/ipv4/tcp_syncookies", "value": "0"}, {"name": "vm.swappiness", "value": now}]
    status = node.run(pod("true", securityContext={"sysctls": sysctls}))["status"]
    assert status["reason"] == "SysctlForbidden"
    assert status["message"] == 'Pod was rejected: forbidden sysctl: "vm.swappiness" not allowlisted'
    script = "echo now $(cat /proc/sys/net/ipv4/tcp_syncookies)"
    node.run(pod(script, name="safe", securityContext={"sysctls": sysctls[:1]}))
    assert node.log("safe") == "now 0\n"


def test_a_pod_that_asks_for_its_own_users_is_not_run_without_them(node: AgentCluster) -> None:
    """Pod Security lets it have more than others, on the strength of that."""
    node.create(pod(shell("true", securityContext={"procMount": "Unmasked"}), hostUsers=False))
    words = "can't set `spec.hostUsers: false`, runtime does not support user namespaces"
    node.wait_event("FailedCreatePodSandBox", f"Failed to create pod sandbox: {words}")
    assert node.get()["status"]["phase"] == "Pending"
    node.delete()
    node.gone()


def test_a_port_of_the_machine_leads_into_the_pod(node: AgentCluster) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    main = shell(
        "mkdir /w; echo through > /w/f; exec httpd -f -p 8080 -h /w",
        ports=[{"containerPort": 8080, "hostPort": port}],
        readinessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    )
    node.create(pod(main))
    node.wait(lambda p: p["status"]["containerStatuses"][0]["ready"])
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/f", timeout=PATIENCE) as answer:
        assert answer.read() == b"through\n"


def test_processes_without_end_do_not_take_the_machine(node: AgentCluster) -> None:
    bomb = shell(
        "b() { b | b & }; b 2>/dev/null; sleep 2; echo survived", resources={"limits": {"memory": "256Mi"}}
    )
    node.create(pod(bomb))
    node.wait(lambda p: "running" in state(p) or "terminated" in state(p))
    time.sleep(1)
    assert node.run(pod("echo fine", name="other"))["status"]["phase"] == "Succeeded"
    node.delete()
    node.gone()


def test_a_grandchild_that_holds_the_output_open(node: AgentCluster) -> None:
    found = node.run(pod("sleep 300 & echo gone"))
    assert found["status"]["phase"] == "Succeeded"
    assert node.log() == "gone\n"
    node.delete()
    node.gone()


def test_a_long_line_without_end_and_random_bytes(node: AgentCluster) -> None:
    found = node.run(
        pod("head -c 5000000 /dev/zero | tr '\\0' x; echo; head -c 1000000 /dev/urandom; echo; echo end")
    )
    assert found["status"]["phase"] == "Succeeded"
    assert len(node.log(limitBytes=5_000_001)) == 5_000_001
    assert node.log(tailLines=1) == "end\n"


def test_a_secret_that_vanishes_between_two_containers(node: AgentCluster, flag: Flag) -> None:
    node.secret("s", k="v")
    env = [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    init = shell(flag.wait, name="i", env=env, volumeMounts=[flag.mount])
    node.create(pod(shell("echo $K", env=env), initContainers=[init], volumes=[flag.volume]))
    node.wait(lambda p: "running" in state(p, init=True))
    code, _ = node.api.call("DELETE", node.path("secrets", "s"))
    assert code == 200
    flag.up()
    found = node.wait(lambda p: state(p)["waiting"]["reason"] == "CreateContainerConfigError")
    assert state(found)["waiting"]["message"] == 'secret "s" not found'
    node.secret("s", k="back")
    node.wait(lambda p: p["status"]["phase"] == "Succeeded")
    assert node.log() == "back\n"


def test_many_pods_at_once(node: AgentCluster) -> None:
    count = 30
    for i in range(count):
        node.create(pod(f"echo {i}", name=f"p{i}"))
    for i in range(count):
        node.wait(lambda p: p["status"]["phase"] == "Succeeded", f"p{i}")
    assert {node.log(f"p{i}").strip() for i in range(count)} == {str(i) for i in range(count)}


def test_the_node_tells_what_it_is(node: AgentCluster) -> None:
    _, found = node.api.call("GET", "/api/v1/nodes/node1")
    info = found["status"]["nodeInfo"]
    assert info["containerRuntimeVersion"].startswith("runc://")
    assert info["architecture"] in ("amd64", "arm64")
    assert found["status"]["capacity"]["cpu"] == str(len(os.sched_getaffinity(0)))
    conditions = {c["type"]: c["status"] for c in found["status"]["conditions"]}
    assert conditions["Ready"] == "True" and "RuntimeLimited" in conditions


def test_who_insists_on_cluster_dns_is_told_that_there_is_none(node: AgentCluster) -> None:
    node.run(pod("true"))
    assert "MissingClusterDNS" not in dict(node.events())
    found = node.run(pod("true", name="asks", dnsPolicy="ClusterFirstWithHostNet"))
    words = "kubelet does not have ClusterDNS IP configured and cannot create Pod using "
    who = f"asks_{node.namespace}({found['metadata']['uid']})"
    ending = '"ClusterFirstWithHostNet" policy. Falling back to "Default" policy.'
    assert dict(node.events("asks"))["MissingClusterDNS"] == f'pod: "{who}". {words}{ending}'
    _, listed = node.api.call("GET", "/api/v1/namespaces/default/events")
    of_node = {e["reason"]: e["message"] for e in listed["items"] if e["involvedObject"]["kind"] == "Node"}
    assert of_node["MissingClusterDNS"].startswith(f'{words}"ClusterFirst" policy')


def test_a_pod_that_others_declare_failed_is_stopped(node: AgentCluster) -> None:
    node.running(pod("sleep 600", restartPolicy="Always"))
    node.patch(
        "pods", "p", {"status": {"phase": "Failed", "reason": "NodeLost", "message": "gone"}}, sub="status"
    )
    found = node.wait(lambda p: "terminated" in state(p))
    assert (found["status"]["phase"], found["status"]["reason"]) == ("Failed", "NodeLost")
    assert found["status"]["containerStatuses"][0]["restartCount"] == 0


def test_nothing_listens_after_a_node_that_ends_while_a_pod_starts(
    busybox_archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening a way to the API server is not interrupted, so it may end when the node has closed all others."""
    opened: list[socket.socket] = []
    asked = threading.Event()

    def slowly(namespace: Path, address: str, port: int) -> socket.socket:
        asked.set()
        time.sleep(1.0)
        opened.append(connections.listen_in_pod(namespace, address, port))
        return opened[-1]

    monkeypatch.setattr(runc_runtime, "listen_in_pod", slowly)
    with AgentCluster.start(busybox_archive) as cluster:
        cluster.create(pod("sleep 60"))
        assert asked.wait(PATIENCE)
    assert [listener.fileno() for listener in opened] == [-1]
