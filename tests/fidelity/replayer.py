"""Replays recorded requests against a cluster and compares the answers with those of a real Kubernetes 1.36.

A case is a list of steps in a namespace of its own: requests, waits until a field has a value, pauses. What differs
from run to run (uids, times, versions, generated names, addresses) is masked on both sides.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podbay.testing.requests import Requests

RECORD = Path(__file__).parent / "kubernetes-1.36.json"

PAUSES = {
    "touch /x; echo rc $?": "touch /x; rc=$?; sleep 1; echo rc $rc",
    "echo err >&2; printf tail": "sleep 1; echo err >&2; sleep 1; printf tail",
}
"""What a container writes to one stream and then to the other goes through two pipes, and whoever reads them finds both
full when the machine is busy: their order is nobody's promise, unless time passes between."""

VOLATILE = frozenset(
    [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "startTime",
        "startedAt",
        "finishedAt",
        "lastTransitionTime",
        "lastProbeTime",
        "time",
        "podIP",
        "podIPs",
        "hostIP",
        "hostIPs",
        "containerID",
        "imageID",
        "firstTimestamp",
        "lastTimestamp",
        "eventTime",
        "nodeName",
        "managedFields",
        "kubernetes.io/config.seen",
        "observedGeneration",
        "reportingInstance",
        "selfLink",
        "generation",
        "allocatedResources",
        "continue",
        "remainingItemCount",
        "count",
        "host",
    ]
)
_MASKS = [
    (re.compile(pattern), mask)
    for pattern, mask in (
        (r"kube-api-access-[a-z0-9]{5}", "kube-api-access-<r>"),
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uid>"),
        (r"(containerd|docker|podman|cri-o|runc)://[0-9a-f]{64}", "<cid>"),
        (r"sha256:[0-9a-f]{64}", "<sha>"),
        (r"\b10\.\d+\.\d+\.\d+\b|\b192\.0\.2\.\d+\b", "<ip>"),
        (r"^\d+m?s$", "<age>"),
        (r"\b(\d+) \((\d{3,})\)", r"\1 (<rv>)"),
        (r"record \(\d+\)", "record (<rv>)"),
        (r"^gen-[a-z0-9]{5}$", "gen-<r>"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<t>"),
    )
]


def load_cases() -> list[dict[str, Any]]:
    text = RECORD.read_text()
    for hasty, patient in PAUSES.items():
        assert hasty in text
        text = text.replace(hasty, patient)
    cases: list[dict[str, Any]] = json.loads(text)
    return cases


def masked(value: Any, namespace: str) -> Any:
    if isinstance(value, dict):
        return {k: "<*>" if k in VOLATILE else masked(v, namespace) for k, v in value.items()}
    if isinstance(value, list):
        return [masked(v, namespace) for v in value]
    if isinstance(value, str):
        value = value.replace(namespace, "<ns>")
        for pattern, mask in _MASKS:
            value = pattern.sub(mask, value)
    return value


def at(value: Any, path: str) -> Any:
    for part in path.split("."):
        if isinstance(value, list) and part.isdigit():
            value = value[int(part)] if int(part) < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value


def differences(real: Any, ours: Any, path: str = "") -> Iterator[str]:
    """One line for each place where the answers differ; the order of items inside a message does not count."""
    if type(real) is not type(ours):
        yield f"{path}: real {json.dumps(real)[:300]}, ours {json.dumps(ours)[:300]}"
    elif isinstance(real, dict):
        for key in sorted(real.keys() | ours.keys()):
            yield from differences(real.get(key, "<absent>"), ours.get(key, "<absent>"), f"{path}.{key}")
    elif isinstance(real, list) and len(real) == len(ours):
        for i, (a, b) in enumerate(zip(real, ours, strict=True)):
            yield from differences(a, b, f"{path}[{i}]")
    elif real != ours and not (isinstance(real, str) and _items(real) == _items(ours)):
        yield f"{path}: real {json.dumps(real)[:300]}, ours {json.dumps(ours)[:300]}"


def _items(message: str) -> list[str]:
    return sorted(re.split(r"[,\[\]] ?|: ", message))


@dataclass
class Replay:
    """One case on its way: names filled in, answers collected."""

    api: Requests
    namespace: str = field(default_factory=lambda: f"fid-{uuid.uuid4().hex[:8]}")
    saved: dict[str, str] = field(default_factory=dict)
    answers: list[dict[str, Any]] = field(default_factory=list)

    def run(self, case: dict[str, Any]) -> list[str]:
        """The differences between the recorded answers and this cluster's, empty when it answers alike."""
        own = not case.get("nons")
        self.saved["ns"] = self.namespace
        if own:
            self.api.create_namespace(self.namespace)
        try:
            for step in case["steps"]:
                self._step(self._filled(step))
        finally:
            if own:
                self.api.call("DELETE", f"/api/v1/namespaces/{self.namespace}")
        return list(differences(_without_dns_events(case["answers"]), _without_dns_events(self.answers)))

    def _filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self._filled(k): self._filled(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self._filled(v) for v in value]
        if isinstance(value, str):
            for name, text in self.saved.items():
                value = value.replace("{" + name + "}", text)
        return value

    def _step(self, step: dict[str, Any]) -> None:
        if "sleep" in step:
            time.sleep(step["sleep"])
        elif "until" in step:
            self._wait(step)
        else:
            self._request(step)

    def _wait(self, step: dict[str, Any]) -> None:
        path, wanted = step["until"]
        deadline = time.monotonic() + step.get("timeout", 60)
        while True:
            code, body = self.api.call("GET", step["path"])
            if str(at(body, path)) in wanted:
                break
            if time.monotonic() > deadline:
                code = "timeout"  # type: ignore[assignment]
                break
            time.sleep(0.05)
        self._answer(code, body)

    def _request(self, step: dict[str, Any]) -> None:
        headers = {"Accept": step.get("accept", "application/json")}
        if "ctype" in step:
            headers["Content-Type"] = step["ctype"]
        body = step["raw"] if "raw" in step else step.get("body")
        path = step["path"]
        if "stream_s" in step and "timeoutSeconds" not in path:
            path += f"&timeoutSeconds={step['stream_s']}"
        code, answer = self.api.call(step["method"], path, body, headers=headers, token=step.get("token"))
        if "stream_s" in step:
            answer = _lines(answer)
        for name, place in step.get("save", {}).items():
            self.saved[name] = str(at(answer, place))
        if "events" in step and isinstance(answer, dict):
            answer = self._events(answer)
        if step.get("silent"):
            return
        if step.get("pick") and isinstance(answer, dict):
            answer = {place: at(answer, place) for place in step["pick"]}
        self._answer(code, answer)

    def _events(self, answer: dict[str, Any]) -> list[list[str]]:
        seen = {
            (
                e["type"],
                e["reason"],
                masked(e["message"], self.namespace),
                e["source"].get("component") or e.get("reportingComponent", ""),
            )
            for e in answer.get("items", [])
        }
        return [list(e) for e in sorted(seen)]

    def _answer(self, code: int, body: Any) -> None:
        self.answers.append({"status": code, "body": masked(body, self.namespace)})


def _without_dns_events(value: Any) -> Any:
    """The recorded kubelet told every pod that there is no cluster DNS; here the node tells it once."""
    if isinstance(value, dict):
        return {k: _without_dns_events(v) for k, v in value.items()}
    if isinstance(value, list):
        return [
            _without_dns_events(v) for v in value if not (isinstance(v, list) and "MissingClusterDNS" in v)
        ]
    return value


def _lines(answer: Any) -> list[Any]:
    """The events of a watch; a single one arrives as one JSON document."""
    if isinstance(answer, str):
        return [json.loads(line) for line in answer.splitlines() if line]
    return [answer]
