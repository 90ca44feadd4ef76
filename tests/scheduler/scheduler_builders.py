"""Pods, nodes and views for the scheduler's tests."""

from __future__ import annotations

import random
from typing import Any

from podbay.embedded.scheduler.algorithm import Placement, Unschedulable, schedule
from podbay.embedded.scheduler.cache import Cache, PodInfo
from podbay.embedded.scheduler.cycle import View
from podbay.objects.meta import Object


def node(name: str = "n1", *, cpu: str = "4", memory: str = "8Gi", pods: str = "110", **more: Any) -> Object:
    extended = more.pop("resources", {})
    allocatable = {"cpu": cpu, "memory": memory, "pods": pods, "ephemeral-storage": "10Gi", **extended}
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **more.pop("labels", {})}},
        "spec": more,
        "status": {"allocatable": allocatable},
    }


def pod(name: str = "p", *, requests: dict[str, str] | None = None, priority: int = 0, **more: Any) -> Object:
    metadata: Object = {"namespace": more.pop("namespace", "d"), "name": name, "uid": f"uid-{name}"}
    metadata["labels"] = more.pop("labels", {})
    status = more.pop("status", {"phase": "Pending"})
    metadata |= more.pop("metadata", {})
    ports = more.pop("ports", [])
    container = {"name": "main", "image": "x", "resources": {"requests": requests or {}}, "ports": ports}
    return {
        "metadata": metadata,
        "spec": {"containers": [container], "priority": priority, **more},
        "status": status,
    }


def cluster(nodes: list[Object], running: dict[str, list[Object]] | None = None) -> Cache:
    """A cache with pods running on nodes (node name -> pods)."""
    cache = Cache()
    for n in nodes:
        cache.set_node(n)
    for name, pods in (running or {}).items():
        for p in pods:
            cache.add_pod(PodInfo.of(p), name)
    return cache


def decide(cache: Cache, p: Object, **view: Any) -> Placement | Unschedulable:
    seen = View(cache.nodes, cache.with_anti_affinity, **view)
    return schedule(PodInfo.of(p), seen, cache.nominated, random.Random(1))


def message(cache: Cache, p: Object, **view: Any) -> str:
    outcome = decide(cache, p, **view)
    assert isinstance(outcome, Unschedulable), outcome
    return outcome.message


def chosen(cache: Cache, p: Object, **view: Any) -> str:
    outcome = decide(cache, p, **view)
    assert isinstance(outcome, Placement), outcome
    return outcome.node
