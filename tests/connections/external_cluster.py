"""An embedded cluster as the one somewhere else, and a credential plugin that counts its runs."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from podbay.kube.lease import LeasedCluster
from podbay.lifecycle.engine import PodRun
from podbay.lifecycle.outcome import Outcome
from podbay.lifecycle.plan import PodPlan
from podbay.objects.meta import Object
from podbay.pods.build import build_pod
from podbay.pods.identity import TaskIdentity
from podbay.pods.request import PodRequest
from podbay.testing import Environment
from podbay.testing.requests import Requests

NAMESPACE = "airflow-kpo"
LAUNCHER = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "get", "list", "watch", "patch", "delete"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
]  # fmt: skip


@dataclass(frozen=True)
class External:
    """Reached by its kubeconfig alone."""

    environment: Environment
    document: dict[str, Any]

    @classmethod
    def of(cls, environment: Environment) -> External:
        made = cls(environment, yaml.safe_load(environment.kubeconfig.read_text()))
        with Requests(environment.kubeconfig) as api:
            api.create_namespace(NAMESPACE)
        return made

    @property
    def cluster(self) -> dict[str, Any]:
        found: dict[str, Any] = self.document["clusters"][0]["cluster"]
        return found

    @property
    def server(self) -> str:
        return str(self.cluster["server"])

    def kubeconfig(self, user: Mapping[str, Any] | None = None, **cluster: Any) -> dict[str, Any]:
        """A kubeconfig for another user, or with another idea of the cluster."""
        admin = self.document["users"][0]["user"]
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {**self.cluster, **cluster}}],
            "users": [{"name": "u", "user": dict(admin if user is None else user)}],
            "contexts": [{"name": "work", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
            "current-context": "work",
        }

    def account(self, name: str, rules: list[dict[str, Any]]) -> str:
        """A service account with these rights in the namespace, and a token of its own."""
        rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/" + NAMESPACE
        group = "rbac.authorization.k8s.io"
        with Requests(self.environment.kubeconfig) as api:
            core = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
            api.call("POST", core, {"metadata": {"name": name}})
            api.call("POST", f"{rbac}/roles", {"metadata": {"name": name}, "rules": rules})
            subject = {"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}
            role = {"apiGroup": group, "kind": "Role", "name": name}
            binding = {"metadata": {"name": name}, "roleRef": role, "subjects": [subject]}
            api.call("POST", f"{rbac}/rolebindings", binding)
            asked = {"spec": {"expirationSeconds": 3600}}
            answer = api.call("POST", f"{core}/{name}/token", asked)
        token: str = _body(answer)["status"]["token"]
        return token


def _body(answer: Any) -> dict[str, Any]:
    found = answer[1] if isinstance(answer, tuple) else answer
    assert isinstance(found, dict), answer
    return found


def counting_plugin(directory: Path, token: str, *, life: str = "") -> tuple[Path, Path]:
    """A program that prints an ExecCredential, and the file that has a line for each of its runs."""
    program, runs = directory / "get-token", directory / "runs"
    status = {"token": token} | ({"expirationTimestamp": life} if life else {})
    answer = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "kind": "ExecCredential",
        "status": status,
    }
    program.write_text(f"#!/bin/sh\necho run >> {runs}\ncat <<'END'\n{json.dumps(answer)}\nEND\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program, runs


async def run_task(cluster: LeasedCluster, name: str) -> Outcome:
    """One task's pod to its end, by the engine."""

    def build(incarnation: int) -> Object:
        identity = TaskIdentity(
            deployment="tests",
            dag_id="dag",
            run_id="run",
            task_id=name,
            try_number=1,
            incarnation=incarnation,
        )
        return build_pod(
            PodRequest(
                identity=identity,
                namespace=NAMESPACE,
                image="busybox",
                result="none",
                annotations={
                    "scripted.podbay.dev/run-seconds": "0",
                    "scripted.podbay.dev/log": f"hello of {name}",
                },
            )
        )

    return await PodRun(cluster, PodPlan(build=build)).run()
