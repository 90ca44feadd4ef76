"""Cases of diagnosis as data: short forms in cases/*.yaml made into pods, events, nodes and errors.

A case names the category it must give. Its short form stands for a pod etl/load-7f with one container `base` on node1:

    image, spec, metadata, status   merged into the pod; a None removes
    waiting, ended, running, last   container states: {name: [reason, message]}, {name: [code, reason, message, seconds]}
    init, sidecar, beside           names of further containers
    events                          [reason, message, container?, seconds?, kind?]
    node, nodes                     the pod's node, all nodes
    error                           ApiError: [code, reason, message, details?]; or {unreachable|credential|input: …}
    no_pod, bare                    no pod at all; a manifest that was never stored
    context, result                 as in Facts; result is [state, size, limit] or {value: text}
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from podbay.errors import ApiError, CredentialError, InvalidInputError, PodbayError, UnreachableError
from podbay.lifecycle.diagnosis.model import Facts
from podbay.pods.result import ResultReading

CASES = Path(__file__).with_name("cases")
_START = "2026-03-01T10:{:02d}:{:02d}Z"


@dataclass(frozen=True)
class Case:
    family: str
    name: str
    category: str
    data: dict[str, Any]

    @property
    def id(self) -> str:
        return f"{self.family}/{self.name}"

    def facts(self) -> Facts:
        return facts_of(self.data)


def all_cases() -> list[Case]:
    found = []
    for path in sorted(CASES.glob("*.yaml")):
        for data in yaml.safe_load(path.read_text()):
            found.append(Case(path.stem, data["name"], data["category"], data))
    return found


def at(seconds: int) -> str:
    return _START.format(seconds // 60, seconds % 60)


def facts_of(data: dict[str, Any]) -> Facts:
    context = dict(data.get("context") or {})
    if "result" in data:
        result = data["result"]
        context["result"] = (
            ResultReading("value", result["value"].encode())
            if isinstance(result, dict)
            else ResultReading(*[result[0], b"", *result[1:]])
        )
    nodes = [node_of(each) for each in data.get("nodes") or ([data["node"]] if data.get("node") else [])]
    return Facts(
        pod=None if data.get("no_pod") else pod_of(data),
        events=[event_of(each) for each in data.get("events") or ()],
        nodes=nodes,
        error=error_of(data.get("error")),
        context=context,
    )


def pod_of(data: dict[str, Any]) -> dict[str, Any]:
    names = {"initContainers": [*(data.get("init") or ()), *(data.get("sidecar") or ())]}
    names["containers"] = ["base", *(data.get("beside") or ())]
    spec: dict[str, Any] = {"nodeName": "node1", "restartPolicy": "Never"}
    status: dict[str, Any] = {"phase": "Pending"}
    for field, part in (("initContainers", "initContainerStatuses"), ("containers", "containerStatuses")):
        if names[field]:
            spec[field] = [_container(name, data) for name in names[field]]
            status[part] = [_status(name, data) for name in names[field]]
    metadata = {"name": "load-7f", "namespace": "etl", "uid": "u1"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}
    for part in ("metadata", "spec", "status"):
        _merge(pod[part], data.get(part) or {})
    if "base" in data:
        _merge(spec["containers"][0], data["base"])
    if data.get("bare"):
        del pod["status"]
    return pod


def _container(name: str, data: dict[str, Any]) -> dict[str, Any]:
    stays = {"restartPolicy": "Always"} if name in (data.get("sidecar") or ()) else {}
    return {"name": name, "image": data.get("image", "registry.example.com/team/load:1.2"), **stays}


def _status(name: str, data: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = {}
    last: dict[str, Any] = {}
    if name in (data.get("waiting") or {}):
        reason, *message = data["waiting"][name]
        state["waiting"] = {"reason": reason, **({"message": message[0]} if message else {})}
    if name in (data.get("running") or ()):
        state["running"] = {"startedAt": at(0)}
    for field, into in (("ended", state), ("last", last)):
        if name in (data.get(field) or {}):
            into["terminated"] = _ended(*data[field][name])
    return {"name": name, "state": state, "lastState": last, "restartCount": 3 if last else 0}


def _ended(code: int, reason: str = "Error", message: str = "", seconds: int = 60) -> dict[str, Any]:
    return {"exitCode": code, "reason": reason, "message": message, "finishedAt": at(seconds)}


def event_of(short: list[Any]) -> dict[str, Any]:
    reason, message, container, seconds, kind = [*short, *[None] * (5 - len(short))]
    about: dict[str, Any] = {"kind": kind or "Pod", "name": "load-7f", "namespace": "etl"}
    if (kind or "Pod") == "Pod":
        about["uid"] = "u1"
    if container:
        about["fieldPath"] = f"spec.containers{{{container}}}"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "involvedObject": about,
        "reason": reason,
        "message": message,
        "count": 1,
        "lastTimestamp": at(seconds or 10),
    }


def node_of(short: dict[str, Any]) -> dict[str, Any]:
    ready = short.get("ready", "True")
    return {
        "metadata": {"name": short.get("name", "node1"), "labels": short.get("labels") or {}},
        "spec": {"taints": [{"key": key, "effect": "NoSchedule"} for key in short.get("taints") or ()]},
        "status": {
            "allocatable": short.get("allocatable") or {},
            "conditions": [{"type": "Ready", "status": ready}],
            "nodeInfo": {"architecture": short.get("architecture", "amd64")},
        },
    }


def error_of(short: Any) -> PodbayError | None:
    if isinstance(short, list):
        code, reason, message, details = [*short, *[None] * (4 - len(short))]
        return ApiError(code, reason, message, details=details)
    if isinstance(short, dict):
        if "unreachable" in short:
            kind, message, *permanent = short["unreachable"]
            return UnreachableError(kind, message, permanent=bool(permanent))
        if "credential" in short:
            return CredentialError(short["credential"])
        return InvalidInputError(short["input"])
    return None


def _merge(into: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
