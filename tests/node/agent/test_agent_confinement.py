"""Who containers run as, what they may do, which network and names they have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from agent_pods import AgentCluster, pod, shell, state

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.usefixtures("namespace")]


@pytest.mark.parametrize(
    ("context", "script", "wanted"),
    [
        ({"runAsUser": 1000}, "id -u; id -g", "1000\n1000\n"),
        ({"runAsUser": 4321, "runAsGroup": 5}, "id -u; id -g", "4321\n5\n"),
        ({"readOnlyRootFilesystem": True}, "touch /x 2>/dev/null || echo no", "no\n"),
        ({"allowPrivilegeEscalation": False}, "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1\n"),
        ({"capabilities": {"drop": ["ALL"]}}, "grep CapEff /proc/self/status", "CapEff:\t0000000000000000\n"),
        (
            {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}},
            "grep CapEff /proc/self/status",
            "CapEff:\t0000000000000400\n",
        ),
        ({"privileged": True}, "test -e /dev/loop-control -o -e /dev/kmsg && echo devices", "devices\n"),
        ({"seccompProfile": {"type": "Unconfined"}}, "grep Seccomp: /proc/self/status", "Seccomp:\t0\n"),
        ({}, "grep Seccomp: /proc/self/status", "Seccomp:\t2\n"),
    ],
)
def test_security_context(node: AgentCluster, context: dict[str, Any], script: str, wanted: str) -> None:
    found = node.run(pod(shell(script, securityContext=context)))
    assert node.log() == wanted, found["status"]


def test_limits_reach_the_cgroup(node: AgentCluster) -> None:
    resources = {"requests": {"cpu": "100m"}, "limits": {"cpu": "500m", "memory": "64Mi"}}
    script = (
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.shares"
        " 2>/dev/null || cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max"
    )
    node.run(pod(shell(script, resources=resources)))
    lines = node.log().split()
    assert lines[:2] in (["67108864", "50000"], ["67108864", "50000"])


def test_host_names_and_aliases(node: AgentCluster) -> None:
    spec = {
        "hostname": "box",
        "subdomain": "sub",
        "hostAliases": [{"ip": "192.0.2.9", "hostnames": ["db", "db.example"]}],
        "dnsConfig": {
            "nameservers": ["192.0.2.53"],
            "searches": ["x.example"],
            "options": [{"name": "ndots", "value": "2"}],
        },
        "dnsPolicy": "None",
    }
    node.run(pod("hostname; grep -w db /etc/hosts; cat /etc/resolv.conf", **spec))
    assert node.log() == (
        "box\n192.0.2.9\tdb\tdb.example\nsearch x.example\nnameserver 192.0.2.53\noptions ndots:2\n"
    )


def test_host_network(node: AgentCluster) -> None:
    found = node.run(pod("hostname; ip addr | grep -c eth0 || true", hostNetwork=True))
    assert found["status"]["podIP"] == found["status"]["hostIP"]


def test_pods_reach_each_other(node: AgentCluster) -> None:
    server = node.running(pod("mkdir /w; echo hello > /w/f; exec httpd -f -p 8080 -h /w", name="server"))
    address = server["status"]["podIP"]
    get = f"for i in $(seq 50); do printf 'GET /f HTTP/1.0\\r\\n\\r\\n' | nc {address} 8080 && break; sleep 0.1; done | tail -1"
    node.run(pod(get, name="client"))
    assert node.log("client") == "hello\n"


def test_the_api_server_answers_inside_the_pod(node: AgentCluster) -> None:
    """From the pod's own network, with the pod's own files, checking the certificate."""
    found = node.running(pod("sleep 60", automountServiceAccountToken=True))
    worker = node.environment.call(lambda: node.agent.worker(found["metadata"]["uid"]))
    assert worker is not None and worker.record.sandbox is not None
    base: Path = node.environment.call(lambda: node.agent.runtime._base)  # type: ignore[attr-defined]
    files = base / "volumes"
    token = next(path for path in files.rglob("token") if found["metadata"]["uid"] in str(path))
    program = (
        "import http.client, ssl, sys\n"
        "t = open(sys.argv[1]).read(); c = ssl.create_default_context(cafile=sys.argv[2])\n"
        "h = http.client.HTTPSConnection('10.96.0.1', 443, context=c, timeout=5)\n"
        "h.request('POST', '/apis/authentication.k8s.io/v1/selfsubjectreviews',\n"
        '  \'{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}\',\n'
        "  {'Authorization': 'Bearer ' + t, 'Content-Type': 'application/json'})\n"
        "print(h.getresponse().read().decode())\n"
    )
    network = base / "sandboxes" / worker.record.sandbox.id / "ns-net"
    command = [
        "nsenter",
        f"--net={network}",
        sys.executable,
        "-c",
        program,
        str(token),
        str(token.parent / "ca.crt"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"system:serviceaccount:{node.namespace}:default" in done.stdout, done.stderr


def test_standard_input_once(node: AgentCluster) -> None:
    """A container with stdin open and nobody attached waits."""
    found = node.running(pod(shell("cat", stdin=True)))
    assert "running" in state(found)
