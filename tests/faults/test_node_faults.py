"""Faults of pods and nodes on a node that runs containers: each shows as the real thing does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import images
import pytest
from patience import PATIENCE

from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.nodes import container_nodes
from podbay.testing import Environment
from podbay.testing.requests import Requests

pytestmark = [pytest.mark.root, pytest.mark.slow]

FAULTS = "/podbay.dev/v1/node-faults"
IMAGE = "localhost/bb:1"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Requests]:
    archive = images.busybox().archive(tmp_path_factory.mktemp("image") / "bb.tar", IMAGE)
    nodes = container_nodes(runtime="runc", name="podbay")
    cluster = Environment.start(ClusterOptions(nodes=nodes))
    with cluster as environment, Requests(environment.kubeconfig) as requests:
        code, answer = requests.call("POST", "/podbay.dev/v1/images", archive.read_bytes())
        assert code == 200, answer
        yield requests


def start(
    api: Requests, name: str, command: str = "trap 'exit 3' TERM; while :; do sleep 0.05; done", **spec: Any
) -> str:
    container = {"name": "main", "image": IMAGE, "command": ["sh", "-c", command], **spec}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 2, "containers": [container]},
    }
    code, answer = api.call("POST", "/api/v1/namespaces/default/pods", pod)
    assert code == 201, answer
    return name


def until(api: Requests, name: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while True:
        code, pod = api.call("GET", f"/api/v1/namespaces/default/pods/{name}")
        if code != 200 or holds(pod):
            return pod  # type: ignore[no-any-return]
        assert time.monotonic() < deadline, pod["status"]
        time.sleep(0.05)


def running(pod: dict[str, Any]) -> bool:
    return bool(pod["status"]["phase"] == "Running")


def failed(pod: dict[str, Any]) -> bool:
    return bool(pod["status"]["phase"] == "Failed")


def disturb(api: Requests, **fault: Any) -> None:
    code, answer = api.call("POST", FAULTS, fault)
    assert code == 200, answer


def terminated(pod: dict[str, Any]) -> dict[str, Any]:
    return pod["status"]["containerStatuses"][0]["state"]["terminated"]  # type: ignore[no-any-return]


def test_an_evicted_pod_fails_with_the_reason(api: Requests) -> None:
    until(api, start(api, "evicted"), running)
    disturb(api, do="evict", pod="default/evicted", message="The node had no room left.")
    pod = until(api, "evicted", failed)
    assert (pod["status"]["reason"], pod["status"]["message"]) == ("Evicted", "The node had no room left.")


def test_a_container_out_of_memory_is_said_to_be(api: Requests) -> None:
    until(api, start(api, "hungry"), running)
    disturb(api, do="oom", pod="default/hungry")
    end = terminated(until(api, "hungry", failed))
    assert (end["reason"], end["exitCode"]) == ("OOMKilled", 137)


def test_a_signal_arrives(api: Requests) -> None:
    until(api, start(api, "signalled"), running)
    disturb(api, do="kill", pod="default/signalled", container="main", signal=15)
    assert terminated(until(api, "signalled", failed))["exitCode"] == 3


def test_a_preempted_pod_says_why_and_goes(api: Requests) -> None:
    until(
        api,
        start(api, "preempted", "sleep 0.5 & trap 'wait; exit 0' TERM; while :; do sleep 0.05; done"),
        running,
    )
    disturb(api, do="preempt", pod="default/preempted")
    code, pod = api.call("GET", "/api/v1/namespaces/default/pods/preempted")
    assert code == 200
    conditions = {c["type"]: c.get("reason") for c in pod["status"]["conditions"]}
    assert conditions["DisruptionTarget"] == "PreemptionByScheduler"
    assert until(api, "preempted", lambda _: False)["reason"] == "NotFound"


def test_pulls_fail_as_often_as_declared(api: Requests) -> None:
    disturb(api, do="fail-pulls", image="localhost/*", message="toomanyrequests: slow down", count=1)
    start(api, "pulled", "true", imagePullPolicy="Always")

    def refused(pod: dict[str, Any]) -> bool:
        states = [s["state"] for s in pod["status"].get("containerStatuses", [])]
        return any("toomanyrequests" in s.get("waiting", {}).get("message", "") for s in states)

    until(api, "pulled", refused)
    disturb(api, do="allow-pulls")


def test_a_lost_node_answers_no_more_and_comes_back(api: Requests) -> None:
    until(api, start(api, "unseen", "echo here; while :; do sleep 0.05; done"), running)
    disturb(api, do="lose-node", node="podbay")
    start(api, "waiting", "true")
    assert api.call("GET", "/api/v1/namespaces/default/pods/unseen/log")[0] == 500
    time.sleep(1)
    assert api.call("GET", "/api/v1/namespaces/default/pods/waiting")[1]["status"]["phase"] == "Pending"
    disturb(api, do="return-node", node="podbay")
    until(api, "waiting", lambda pod: pod["status"]["phase"] == "Succeeded")
    assert api.call("GET", "/api/v1/namespaces/default/pods/unseen/log") == (200, "here\n")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"do": "explode"}, "do: 'explode' is not a fault"),
        ({"do": "evict", "pod": "train"}, "write NAMESPACE/NAME"),
        ({"do": "evict", "pod": "default/nobody"}, 'pods "nobody" not found'),
        ({"do": "lose-node", "node": "x"}, "node: 'x' is not a node of this cluster; it has podbay"),
        ({"do": "slow-pulls", "seconds": -1}, "seconds: -1"),
    ],
)
def test_a_wrong_fault_is_refused_by_field(api: Requests, fault: dict[str, Any], words: str) -> None:
    code, answer = api.call("POST", FAULTS, fault)
    assert code in (400, 404)
    assert words in answer["message"]
