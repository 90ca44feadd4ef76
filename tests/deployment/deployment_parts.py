"""Deployments and clients for the tests of the platform."""

from __future__ import annotations

import contextlib
import random
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from patience import PATIENCE

from podbay.aio.clock import SystemClock
from podbay.deployment.apply import Applied, apply_plan
from podbay.deployment.destroy import destroy, removal_of
from podbay.deployment.model import Deployment
from podbay.deployment.observe import observe
from podbay.deployment.plan import Plan, make_plan
from podbay.deployment.reading import parse_deployment
from podbay.errors import StateError
from podbay.kube.client import KubeClient
from podbay.kube.config import ClusterConfig
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.kube.retry import Patience
from podbay.objects.meta import Object
from podbay.objects.resource import GVR

NAMESPACES = GVR("", "v1", "namespaces")
PODS = GVR("", "v1", "pods")
SECRETS = GVR("", "v1", "secrets")
LIMIT_RANGES = GVR("", "v1", "limitranges")
QUOTAS = GVR("", "v1", "resourcequotas")
ROLES = GVR("rbac.authorization.k8s.io", "v1", "roles")
ROLE_BINDINGS = GVR("rbac.authorization.k8s.io", "v1", "rolebindings")
CLUSTER_ROLES = GVR("rbac.authorization.k8s.io", "v1", "clusterroles")
CLUSTER_ROLE_BINDINGS = GVR("rbac.authorization.k8s.io", "v1", "clusterrolebindings")
ACCOUNTS = GVR("", "v1", "serviceaccounts")
POLICIES = GVR("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies")
PRIORITY_CLASSES = GVR("scheduling.k8s.io", "v1", "priorityclasses")
CONFIGMAPS = GVR("", "v1", "configmaps")
WRITES = ("create", "update", "patch", "delete")


def deployment(text: str = "", *, name: str = "", namespace: str | None = None) -> Deployment:
    """A deployment of the further lines, in a namespace of its own and called after it."""
    own = namespace or f"analytics-{uuid.uuid4().hex[:8]}"
    return parse_deployment(f"version: 1\nname: {name or own}\nnamespace: {own}\n{text}")


@asynccontextmanager
async def client_of(
    config: ClusterConfig | Path, *, patience: float = 20.0, agent: str = "platform"
) -> AsyncIterator[KubeClient]:
    chosen = load_kubeconfig(config) if isinstance(config, Path) else config
    limits = Patience(patience, patience)
    async with KubeClient(
        chosen, SystemClock(), rng=random.Random(1), agent=agent, patience=limits
    ) as client:
        yield client


@asynccontextmanager
async def applied(kube: KubeClient, wanted: Deployment) -> AsyncIterator[Deployment]:
    """The deployment in the cluster, destroyed afterwards."""
    try:
        results = await apply_plan(kube, await planned(kube, wanted))
        assert {each.done for each in results} == {"created"}, results
        yield wanted
    finally:
        await gone(kube, wanted)


async def gone(kube: KubeClient, wanted: Deployment, *, wait: bool = False) -> None:
    """Destroy; `wait` until the namespace has ended as well, which takes some seconds."""
    with contextlib.nullcontext() if wait else contextlib.suppress(StateError):
        seconds = PATIENCE if wait else 0.0
        await destroy(kube, await removal_of(kube, wanted), SystemClock(), wait_seconds=seconds)


async def planned(kube: KubeClient, wanted: Deployment, *, adopt: bool = False, force: bool = False) -> Plan:
    return make_plan(wanted, await observe(kube, wanted), adopt=adopt, force=force)


def writes(kube: KubeClient) -> int:
    """Requests so far that change something."""
    return sum(count for verb, count in verbs(kube).items() if verb in WRITES)


def verbs(kube: KubeClient) -> dict[str, int]:
    return dict(kube.counter.total)


def outcomes(results: Iterable[Applied]) -> dict[str, str]:
    return {str(each.change.key[0]): each.done for each in results}


def a_pod(name: str = "", **spec: Any) -> Object:
    """A pod that keeps every rule of a deployment without special rules, unless `spec` says otherwise."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name or f"pod-{uuid.uuid4().hex[:8]}", "labels": {}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "base", "image": "busybox"}], **spec},
    }


def size(cpu: str, memory: str, *, requests: dict[str, str] | None = None) -> dict[str, Any]:
    limits = {"cpu": cpu, "memory": memory}
    return {"requests": requests or limits, "limits": limits}
