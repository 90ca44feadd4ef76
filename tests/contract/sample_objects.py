"""Objects of the contract tests. Images exist in public registries; annotations tell scripted nodes how pods end."""

from __future__ import annotations

from typing import Any

PAUSE = "registry.k8s.io/pause:3.10"
"""Runs until it is stopped."""
BUSYBOX = "busybox:1.36"

Object = dict[str, Any]


def config_map(name: str, data: dict[str, str] | None = None, **labels: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(name, labels), "data": data or {}}


def _metadata(name: str, labels: dict[str, str]) -> Object:
    return {"name": name, "labels": labels} if labels else {"name": name}


def pod(name: str, **labels: str) -> Object:
    """A pod that runs until it is deleted and ends as soon as it is asked to."""
    container = {"name": "main", "image": PAUSE}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(name, labels),
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 2},
    }


def finishing_pod(name: str, code: int = 0) -> Object:
    """A pod whose only container ends with this exit code."""
    obj = pod(name)
    obj["metadata"]["annotations"] = {
        "scripted.podbay.dev/run-seconds": "0",
        "scripted.podbay.dev/exit-code": str(code),
    }
    obj["spec"]["restartPolicy"] = "Never"
    obj["spec"]["containers"][0].update(image=BUSYBOX, command=["sh", "-c", f"exit {code}"])
    return obj


def unschedulable_pod(name: str) -> Object:
    """A pod that no node takes: it stays Pending and starts nothing."""
    obj = pod(name)
    obj["spec"]["nodeSelector"] = {"podbay.dev/no-such-node": "true"}
    return obj
