"""Clients and objects for the tests of the client."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from podbay.aio.clock import SystemClock
from podbay.kube.client import KubeClient
from podbay.kube.config import ClusterConfig
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.kube.retry import Patience
from podbay.objects.meta import Object
from podbay.objects.resource import GVR
from podbay.testing.requests import Requests

CONFIGMAPS = GVR("", "v1", "configmaps")
FAULTS = "/podbay.dev/v1/faults"


@asynccontextmanager
async def client_of(
    config: ClusterConfig | Path, *, patience: float = 20.0, agent: str = "under-test"
) -> AsyncIterator[KubeClient]:
    chosen = load_kubeconfig(config) if isinstance(config, Path) else config
    limits = Patience(patience, patience)
    async with KubeClient(
        chosen, SystemClock(), rng=random.Random(1), agent=agent, patience=limits
    ) as client:
        yield client


def declare(api: Requests, **fault: Any) -> None:
    """Declare a fault that hits the client under test alone."""
    fault["match"] = {"agent": "under-test", **fault.get("match", {})}
    code, answer = api.call("POST", FAULTS, fault)
    assert code == 201, answer


def configmap(name: str, *, identity: str = "", **data: str) -> Object:
    annotations = {"podbay.dev/try": identity} if identity else {}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "annotations": annotations},
        "data": data,
    }


def a_pod(name: str, *, log: str = "", seconds: float = 0.0, **labels: str) -> Object:
    annotations = {"scripted.podbay.dev/run-seconds": str(seconds)}
    if log:
        annotations["scripted.podbay.dev/log"] = log
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]},
    }
