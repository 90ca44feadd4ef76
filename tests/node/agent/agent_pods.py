"""Pods on a node agent, from a test's point of view: build, create, wait, read logs and events."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from patience import PATIENCE, until

from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.containers import container_agent
from podbay.embedded.home import ClusterHome
from podbay.node.agent import NodeAgent
from podbay.testing import Environment
from podbay.testing.requests import Requests

IMAGE = "localhost/bb:1"
Pod = dict[str, Any]


def shell(script: str, *, name: str = "main", **more: Any) -> dict[str, Any]:
    """A container that runs a script."""
    return {"name": name, "image": IMAGE, "command": ["sh", "-c", script], **more}


def pod(
    *containers: dict[str, Any] | str,
    name: str = "p",
    labels: dict[str, str] | None = None,
    metadata: dict[str, Any] | None = None,
    **spec: Any,
) -> Pod:
    """A pod of these containers (a script stands for one) that is never restarted unless spec says so."""
    listed = [shell(c) if isinstance(c, str) else c for c in containers]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}, **(metadata or {})},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "containers": listed,
            **spec,
        },
    }


@dataclass
class AgentCluster:
    """A running cluster with one node agent called node1."""

    environment: Environment
    agent: NodeAgent
    api: Requests
    namespace: str = "default"

    @classmethod
    @contextmanager
    def start(cls, archive: Path | None, *, home: ClusterHome | None = None) -> Iterator[AgentCluster]:
        agent = container_agent("node1", home.directory / "node" if home is not None else None)
        options = ClusterOptions(home=home, nodes=(lambda: agent,))
        with Environment.start(options) as environment, Requests(environment.kubeconfig) as api:
            cluster = cls(environment, agent, api)
            if archive is not None:
                cluster.load(archive)
            yield cluster

    def load(self, archive: Path) -> None:
        async def load() -> None:
            await self.agent.runtime.load_images(archive)

        self.environment.run(load())

    @contextmanager
    def new_namespace(self) -> Iterator[str]:
        """A namespace for one test, in which all its objects are made."""
        before, self.namespace = self.namespace, f"t-{uuid.uuid4().hex[:8]}"
        self.api.create_namespace(self.namespace)
        try:
            yield self.namespace
        finally:
            self.api.delete_namespace(self.namespace)
            self.namespace = before

    def path(self, resource: str, name: str = "", sub: str = "") -> str:
        parts = ["/api/v1/namespaces", self.namespace, resource, name, sub]
        return "/".join(part for part in parts if part)

    def create(self, obj: dict[str, Any]) -> dict[str, Any]:
        resource = {"Pod": "pods", "Secret": "secrets", "ConfigMap": "configmaps"}.get(obj["kind"])
        code, answer = self.api.call(
            "POST", self.path(resource or "persistentvolumeclaims"), {"apiVersion": "v1", **obj}
        )
        assert code == 201, answer
        return dict(answer)

    def secret(self, name: str, **data: str) -> None:
        self.create({"kind": "Secret", "metadata": {"name": name}, "stringData": data})

    def config_map(self, name: str, **data: str) -> None:
        self.create({"kind": "ConfigMap", "metadata": {"name": name}, "data": data})

    def get(self, name: str = "p") -> Pod:
        code, answer = self.api.call("GET", self.path("pods", name))
        return dict(answer) if code == 200 else {}

    def patch(self, resource: str, name: str, patch: dict[str, Any], *, sub: str = "") -> None:
        headers = {"Content-Type": "application/strategic-merge-patch+json"}
        code, answer = self.api.call("PATCH", self.path(resource, name, sub), patch, headers=headers)
        assert code == 200, answer

    def delete(self, name: str = "p", **options: Any) -> None:
        code, answer = self.api.call("DELETE", self.path("pods", name), options or None)
        assert code == 200, answer

    def wait(self, what: Callable[[Pod], Any], name: str = "p") -> Pod:
        """The pod as soon as `what` is true of it; an empty one stands for a pod that is gone."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = self.get(name)
            try:
                if what(found):
                    return found
            except (KeyError, IndexError, TypeError):
                pass
            assert time.monotonic() < deadline, found.get("status", "gone")
            time.sleep(0.03)

    def run(self, obj: Pod) -> Pod:
        """Create the pod and wait for its end."""
        name = self.create(obj)["metadata"]["name"]
        return self.wait(lambda p: p["status"]["phase"] in ("Succeeded", "Failed"), name)

    def running(self, obj: Pod) -> Pod:
        """Create the pod and wait until it runs."""
        name = self.create(obj)["metadata"]["name"]
        return self.wait(lambda p: p["status"]["phase"] == "Running", name)

    def gone(self, name: str = "p") -> None:
        self.wait(lambda p: not p, name)

    def log(self, name: str = "p", **query: Any) -> str:
        options = "&".join(f"{key}={value}" for key, value in query.items())
        code, answer = self.api.call(
            "GET", self.path("pods", name, "log") + (f"?{options}" if options else "")
        )
        return answer if isinstance(answer, str) else str(answer if code == 200 else answer["message"])

    def events(self, name: str = "p") -> list[tuple[str, str]]:
        """(reason, message) of a pod's events, oldest first."""
        _, answer = self.api.call("GET", self.path("events"))
        mine = [e for e in answer["items"] if e["involvedObject"]["name"] == name]
        return [(e["reason"], e["message"]) for e in mine]

    def wait_log(self, text: str, name: str = "p") -> None:
        """Wait until a pod's log says so."""
        until(lambda: text in self.log(name), tell=lambda: self.log(name))

    def wait_event(self, reason: str, message: str, name: str = "p") -> None:
        """Wait for an event of a pod."""
        until(lambda: (reason, message) in self.events(name), tell=lambda: self.events(name))


@dataclass(frozen=True)
class Flag:
    """A file that containers wait for until the test raises it."""

    directory: Path
    wait: str = "until test -e /flag/up; do sleep 0.05; done"
    """The line of shell that waits."""
    mount: ClassVar[dict[str, str]] = {"name": "flag", "mountPath": "/flag"}

    @property
    def volume(self) -> dict[str, Any]:
        return {"name": "flag", "hostPath": {"path": str(self.directory)}}

    def up(self) -> None:
        (self.directory / "up").touch()


def state(found: Pod, index: int = 0, *, init: bool = False) -> dict[str, Any]:
    """The state of a container."""
    field = "initContainerStatuses" if init else "containerStatuses"
    return dict(found["status"][field][index]["state"])
