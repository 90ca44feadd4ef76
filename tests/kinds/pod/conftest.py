"""Pods sent to a whole API server without sockets (the `server` fixture of the directory above)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

NAMESPACE = "ns"


@dataclass
class Pods:
    """The pods collection of one namespace that has its default service account."""

    server: Any
    path: str = f"/api/v1/namespaces/{NAMESPACE}/pods"

    def body(self, spec: dict[str, Any] | None = None, **container: Any) -> dict[str, Any]:
        """A small valid pod; spec and container replace single fields."""
        main = {"name": "main", "image": "x:1", **container}
        merged = {"containers": [main], "automountServiceAccountToken": False, **(spec or {})}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": merged}

    def refusals(self, spec: dict[str, Any] | None = None, **container: Any) -> list[str]:
        """Causes of a refused dry run, "field: message"."""
        causes: list[str] = self.server.refusals(
            "POST", f"{self.path}?dryRun=All", self.body(spec, **container)
        )
        return causes

    def accepted(self, spec: dict[str, Any] | None = None, **container: Any) -> dict[str, Any]:
        """What a dry run would store."""
        code, answer = self.server.call("POST", f"{self.path}?dryRun=All", self.body(spec, **container))
        assert code == 201, answer
        return dict(answer)

    def create(self, spec: dict[str, Any] | None = None, **container: Any) -> dict[str, Any]:
        """Store a pod named p."""
        return dict(self.server.create(self.path, self.body(spec, **container)))

    def patch(self, patch: Any, *, sub: str = "", kind: str = "merge") -> tuple[int, dict[str, Any]]:
        """Patch pod p or a subresource of it."""
        code, answer = self.server.call("PATCH", f"{self.path}/p{sub}", patch, patch=kind)
        return code, dict(answer)

    def patch_refusals(self, patch: Any, *, sub: str = "", kind: str = "merge") -> list[str]:
        causes: list[str] = self.server.refusals("PATCH", f"{self.path}/p{sub}", patch, patch=kind)
        return causes

    def get(self) -> dict[str, Any]:
        code, answer = self.server.call("GET", f"{self.path}/p")
        assert code == 200, answer
        return dict(answer)


@pytest.fixture
def pods(server: Any) -> Pods:
    server.create(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": {"name": "default"}})
    return Pods(server)


@pytest.fixture
def spec_of(pods: Pods) -> Callable[..., dict[str, Any]]:
    """The stored form of a pod's spec."""
    return lambda spec=None, **container: pods.accepted(spec, **container)["spec"]
