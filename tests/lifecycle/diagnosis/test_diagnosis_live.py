"""The same categories from pods that really fail: on the embedded cluster, with real containers and a real registry.

The cases next door quote what kubelets and registries say; these show that what is said here is understood as well.
"""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import images
import pytest
from patience import PATIENCE

from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.containers import container_agent, runtime_available
from podbay.errors import ApiError
from podbay.lifecycle.diagnosis.diagnose import diagnose
from podbay.lifecycle.diagnosis.model import Diagnosis, Facts
from podbay.testing import Environment
from podbay.testing.requests import Requests
from registries import docker_registry, has_registry

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2 * PATIENCE),
    pytest.mark.skipif(
        not runtime_available(), reason="no container runtime here (needs root, runc and conmon)"
    ),
]
IMAGE = "localhost/bb:1"


@dataclass
class Live:
    """One namespace on a cluster with real containers."""

    api: Requests
    namespace: str
    made: list[str] = field(default_factory=list)

    def path(self, resource: str, name: str = "", sub: str = "") -> str:
        return "/".join(part for part in ("/api/v1/namespaces", self.namespace, resource, name, sub) if part)

    def create(self, resource: str, obj: dict[str, Any]) -> dict[str, Any]:
        code, answer = self.api.call("POST", self.path(resource), {"apiVersion": "v1", **obj})
        assert code == 201, answer
        return dict(answer)

    def refused(self, obj: dict[str, Any], namespace: str = "") -> Diagnosis | None:
        """The diagnosis of a pod that the API server does not take."""
        path = f"/api/v1/namespaces/{namespace or self.namespace}/pods"
        code, answer = self.api.call("POST", path, obj)
        assert code >= 400, answer
        manifest = {**obj, "metadata": {**obj["metadata"], "namespace": namespace or self.namespace}}
        return diagnose(Facts(pod=manifest, error=ApiError.from_status(answer)))

    def facts(self, name: str) -> Facts:
        _, found = self.api.call("GET", self.path("pods", name))
        _, events = self.api.call("GET", self.path("events"))
        _, nodes = self.api.call("GET", "/api/v1/nodes")
        about = [each for each in events["items"] if each["involvedObject"]["name"] == name]
        return Facts(pod=found, events=about, nodes=nodes["items"])

    def diagnosed(self, obj: dict[str, Any], category: str, **context: Any) -> Diagnosis:
        """What the pod's diagnosis comes to; fails with what it is instead."""
        name = self.create("pods", obj)["metadata"]["name"]
        return self.comes_to(name, category, **context)

    def comes_to(self, name: str, category: str, **context: Any) -> Diagnosis:
        deadline = time.monotonic() + PATIENCE
        while True:
            facts = self.facts(name)
            found = diagnose(Facts(pod=facts.pod, events=facts.events, nodes=facts.nodes, context=context))
            if found is not None and found.category == category:
                return found
            assert time.monotonic() < deadline, (found, facts.pod, [e["message"] for e in facts.events])
            time.sleep(0.05)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Requests]:
    archive = images.busybox().archive(tmp_path_factory.mktemp("images") / "bb.tar", IMAGE)
    agent = container_agent("node1", None)
    with (
        Environment.start(ClusterOptions(nodes=(lambda: agent,))) as environment,
        Requests(environment.kubeconfig) as api,
    ):

        async def load() -> None:
            await agent.runtime.load_images(archive)

        environment.run(load())
        yield api


@pytest.fixture
def live(cluster: Requests) -> Iterator[Live]:
    name = f"d-{uuid.uuid4().hex[:8]}"
    cluster.create_namespace(name)
    yield Live(cluster, name)
    cluster.delete_namespace(name)


def container(*command: str, name: str = "base", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": IMAGE, "command": list(command), **more}


def sh(script: str, **more: Any) -> dict[str, Any]:
    return container("sh", "-c", script, **more)


def pod(*containers: dict[str, Any], name: str = "p", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "containers": list(containers),
            **spec,
        },
    }


SCRATCH = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
# An ELF header of a machine that this one is not (EM_SPARC).
FOREIGN = r"printf '\177ELF\002\001\001\000\000\000\000\000\000\000\000\000\002\000\002\000' >/v/app; chmod +x /v/app"
SECRET_KEY = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}
CONFIG_KEY = {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "mode"}}}
HANGS = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}

# A kubelet makes `$$$$` of a command into `$$`.
FAILING = {
    "ExitCode": pod(sh("exit 3")),
    "SegmentationFault": pod(sh("sh -c 'kill -SEGV $$$$'; exit $?")),
    "Aborted": pod(sh("sh -c 'kill -ABRT $$$$'; exit $?")),
    "Sigkilled": pod(sh("sh -c 'kill -KILL $$$$'; exit $?")),
    "OOMKilled": pod(sh("tail /dev/zero", resources={"limits": {"memory": "16Mi"}})),
    "CommandNotExecutable": pod(container("/etc")),
    "WorkingDirectory": pod(container("true", workingDir="/bin/busybox")),
    "InitContainerFailed": pod(sh("true"), initContainers=[sh("exit 4", name="prepare")]),
    "LivenessProbeFailed": pod(sh("sleep 600", livenessProbe=HANGS)),
    "StartupProbeFailed": pod(sh("sleep 600", startupProbe=HANGS)),
    "PostStartHookFailed": pod(sh("sleep 600", lifecycle={"postStart": {"exec": {"command": ["false"]}}})),
    "DeadlineExceeded": pod(sh("sleep 600"), activeDeadlineSeconds=1),
    "CrashLoop": pod(sh("exit 1"), restartPolicy="OnFailure"),
    "SidecarHung": pod(sh("true"), sh("sleep 600", name="proxy")),
    "SidecarFailed": pod(sh("true"), sh("exit 1", name="proxy")),
    "EmptyDirLimit": pod(
        sh("dd if=/dev/zero of=/v/f bs=1024 count=4096; sleep 600", **SCRATCH),
        volumes=[{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}],
    ),
}
PENDING = {
    "SecretMissing": pod(sh("true", env=[SECRET_KEY])),
    "ConfigMapMissing": pod(sh("true", env=[CONFIG_KEY])),
    "RunAsNonRoot": pod(sh("true"), securityContext={"runAsNonRoot": True}),
    "ImageNeverPull": pod({**sh("true"), "image": "localhost/none:1", "imagePullPolicy": "Never"}),
    "InvalidImageName": pod({**sh("true"), "image": "Not A/valid::image"}),
    "RegistryNotHere": pod({**sh("true"), "image": "127.0.0.1:1/app:1"}),
    "RegistryNameUnknown": pod({**sh("true"), "image": "registry.invalid/app:1"}),
    "TooBigForAnyNode": pod(sh("true", resources={"requests": {"memory": "900Ti"}})),
    "NodeSelectorMismatch": pod(sh("true"), nodeSelector={"pool": "big"}),
    "SchedulingGated": pod(sh("true"), schedulingGates=[{"name": "example.com/wait"}]),
    "PvcMissing": pod(sh("true"), volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "ghost"}}]),
    "HostPathMissing": pod(
        sh("true", **SCRATCH), volumes=[{"name": "v", "hostPath": {"path": "/nowhere", "type": "Directory"}}]
    ),
}


@pytest.mark.parametrize("category", [*FAILING, *PENDING])
def test_pods_that_fail_or_do_not_start(live: Live, category: str) -> None:
    found = live.diagnosed({**FAILING, **PENDING}[category], category)
    assert found.evidence
    assert f"{live.namespace}/p" in found.cause


def test_a_registry_that_does_not_answer(live: Live) -> None:
    """At an address of this machine that others could ask, too: what is at 127.0.0.1 has a category of its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sends_nothing:
        try:
            sends_nothing.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but that of loopback")
        address = sends_nothing.getsockname()[0]
    live.diagnosed(pod({**sh("true"), "image": f"{address}:1/app:1"}), "RegistryUnreachable")


@pytest.mark.parametrize("command", [("nope",), ("/nope",), ("sh", "-c", "nope")])
def test_a_program_that_is_not_there(live: Live, command: tuple[str, ...]) -> None:
    live.diagnosed(pod(container(*command)), "CommandNotFound")


def test_a_program_for_another_processor(live: Live) -> None:
    """It fails when the runtime lets go of it: the status knows an exit code, only the log says why."""
    build = sh(FOREIGN, name="build", **SCRATCH)
    main = container("/v/app", **SCRATCH)
    live.create("pods", pod(main, initContainers=[build], volumes=[{"name": "v", "emptyDir": {}}]))
    live.comes_to("p", "ExitCode")
    _, log = live.api.call("GET", live.path("pods", "p", "log"))
    live.comes_to("p", "WrongArchitecture", last_lines=log.splitlines())
    told = pod(
        {**main, "terminationMessagePolicy": "FallbackToLogsOnError"},
        name="q",
        initContainers=[build],
        volumes=[{"name": "v", "emptyDir": {}}],
    )
    live.diagnosed(told, "WrongArchitecture")


def test_keys_that_are_not_there(live: Live) -> None:
    live.create("secrets", {"kind": "Secret", "metadata": {"name": "db"}, "stringData": {"user": "x"}})
    live.create("configmaps", {"kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"other": "x"}})
    found = live.diagnosed(pod(sh("true", env=[SECRET_KEY])), "SecretKeyMissing")
    assert found.cause.startswith('Secret "db" has no key "password"')
    live.diagnosed(pod(sh("true", env=[CONFIG_KEY]), name="q"), "ConfigMapKeyMissing")
    items = {"secretName": "db", "items": [{"key": "password", "path": "p"}]}
    mounted = pod(sh("true", **SCRATCH), name="r", volumes=[{"name": "v", "secret": items}])
    live.diagnosed(mounted, "SecretKeyMissing")


def test_volumes_of_what_is_not_there(live: Live) -> None:
    for name, category, source in (
        ("p", "SecretMissing", {"secret": {"secretName": "ghost"}}),
        ("q", "ConfigMapMissing", {"configMap": {"name": "ghost"}}),
    ):
        found = live.diagnosed(
            pod(sh("true", **SCRATCH), name=name, volumes=[{"name": "v", **source}]), category
        )
        assert '"ghost"' in found.cause


def test_init_containers_are_looked_at_as_well(live: Live) -> None:
    found = live.diagnosed(
        pod(sh("true"), initContainers=[sh("true", name="prepare", env=[SECRET_KEY])]), "SecretMissing"
    )
    assert found.container == "prepare"
    broken = pod(sh("true"), name="q", initContainers=[container("nope", name="prepare")])
    assert live.diagnosed(broken, "CommandNotFound").container == "prepare"


@pytest.mark.skipif(not has_registry(), reason="docker-registry and htpasswd are not installed")
def test_images_that_a_registry_does_not_give(live: Live, tmp_path: Path) -> None:
    for part, auth in (("open", False), ("closed", True)):
        (tmp_path / part).mkdir()
        with docker_registry(tmp_path / part, auth=auth) as address:
            image = {"image": f"{address}/team/none:1"}
            category = "ImagePullDenied" if auth else "ImageTagNotFound"
            live.diagnosed(pod({**sh("true"), **image}, name=part), category)


def test_a_deleted_pod(live: Live) -> None:
    script = "trap '' TERM; while :; do sleep 0.1; done"
    live.create("pods", pod(sh(script), terminationGracePeriodSeconds=600))
    path = live.path("pods", "p")
    deadline = time.monotonic() + PATIENCE
    while live.api.call("GET", path)[1]["status"]["phase"] != "Running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    live.api.call("DELETE", path)
    live.comes_to("p", "DeletedBySomeone")
    last = live.facts("p")
    assert live.comes_to("p", "KilledOnRequest", killed_by="anna").cause.endswith("by anna")
    live.api.call("DELETE", path, {"gracePeriodSeconds": 0})
    found = diagnose(Facts(pod=last.pod, events=last.events, context={"gone": True}))
    assert found is not None
    assert (found.category, "does not exist any more" in found.cause) == ("DeletedBySomeone", True)


def test_an_evicted_pod(live: Live) -> None:
    live.create(
        "pods", pod(sh("trap '' TERM; while :; do sleep 0.1; done"), terminationGracePeriodSeconds=600)
    )
    deadline = time.monotonic() + PATIENCE
    while live.api.call("GET", live.path("pods", "p"))[1]["status"]["phase"] != "Running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    code, answer = live.api.call("POST", live.path("pods", "p", "eviction"), eviction)
    assert code == 201, answer
    live.comes_to("p", "EvictedByApi")
    live.api.call("DELETE", live.path("pods", "p"), {"gracePeriodSeconds": 0})


def test_a_pod_that_asks_for_a_node_without_room(live: Live) -> None:
    live.diagnosed(
        pod(sh("true", resources={"requests": {"memory": "900Ti"}}), nodeName="node1"), "KubeletRejected"
    )


def test_refusals(live: Live) -> None:
    quota = {
        "kind": "ResourceQuota",
        "metadata": {"name": "rq"},
        "spec": {"hard": {"pods": "0", "limits.memory": "1Gi"}},
    }
    small = pod(sh("true", resources={"limits": {"memory": "64Mi"}}))
    for category, refused in {
        "InvalidPod": pod(sh("true", resources={"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}})),
        "ServiceAccountMissing": pod(sh("true"), serviceAccountName="ghost"),
        "PriorityClassMissing": pod(sh("true"), priorityClassName="ghost"),
        "RuntimeClassMissing": pod(sh("true"), runtimeClassName="ghost"),
    }.items():
        found = live.refused(refused)
        assert found is not None
        assert found.category == category, found
    missing = live.refused(small, "no-such-namespace")
    assert missing is not None
    assert missing.category == "NamespaceMissing"
    live.create("pods", pod(sh("sleep 1"), name="p"))
    taken = live.refused(small)
    assert taken is not None
    assert taken.category == "NameTaken"
    live.create("resourcequotas", quota)
    deadline = time.monotonic() + PATIENCE
    while not live.api.call("GET", live.path("resourcequotas", "rq"))[1].get("status", {}).get("hard"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    small["metadata"]["name"] = "q"
    full = live.refused(small)
    assert full is not None
    # One pod is more than none: no waiting makes room in a quota of 0.
    assert full.category == "QuotaTooSmall", full
    unsized = live.refused(pod(sh("true"), name="q"))
    assert unsized is not None
    assert unsized.category == "QuotaWantsResources", unsized
