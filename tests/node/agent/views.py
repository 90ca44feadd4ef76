"""Building views of pods for tests of deciding code: specs and runtime states in a few words."""

from __future__ import annotations

from typing import Any

from podbay.node.observed import ContainerState, ContainerStatus, ResolvedUser, SandboxStatus
from podbay.node.view import Outcome, Probes, Reason, View

NOW_NS = 1_800_000_000 * 10**9


def spec(*names: str, init: tuple[str, ...] = (), policy: str = "Always", **more: Any) -> dict[str, Any]:
    """A pod spec. Names of init containers that begin with "+" are sidecars."""
    inits = [
        {
            "name": n.removeprefix("+"),
            "image": "i",
            **({"restartPolicy": "Always"} if n.startswith("+") else {}),
        }
        for n in init
    ]
    containers = [{"name": n, "image": "i"} for n in names]
    return {
        "restartPolicy": policy,
        "containers": containers,
        **({"initContainers": inits} if inits else {}),
        **more,
    }


def container(name: str, state: str, *, attempt: int = 0, **more: Any) -> ContainerStatus:
    """state: "running", "created", "lost", or the exit code as text."""
    kind = {
        "running": ContainerState.RUNNING,
        "created": ContainerState.CREATED,
        "lost": ContainerState.UNKNOWN,
    }
    values: dict[str, Any] = {
        "id": f"{name}-{attempt}",
        "sandbox_id": "s",
        "name": name,
        "attempt": attempt,
        "image": "localhost/i:1",
        "image_id": "sha256:1",
        "state": kind.get(state, ContainerState.EXITED),
        "created_ns": NOW_NS + attempt,
        "started_ns": 0 if state == "created" else NOW_NS,
        "user": ResolvedUser(0, 0, (0,)),
    }
    if state == "lost":
        values["exit_code"] = 255
    if state not in kind:
        values |= {"exit_code": int(state), "finished_ns": NOW_NS}
    return ContainerStatus(**{**values, **more})


def sandbox(*, ready: bool = True, ips: tuple[str, ...] = ("10.1.0.2",)) -> SandboxStatus:
    return SandboxStatus(
        id="s",
        pod_uid="u",
        pod_name="p",
        pod_namespace="ns",
        attempt=0,
        labels={},
        created_ns=NOW_NS,
        ready=ready,
        ips=ips,
    )


def view(
    pod_spec: dict[str, Any],
    *statuses: ContainerStatus,
    box: SandboxStatus | None = None,
    no_sandbox: bool = False,
    status: dict[str, Any] | None = None,
    reasons: dict[str, Reason] | None = None,
    deleted: bool = False,
    probes: Probes | None = None,
    ended: bool = False,
    outcome: Outcome | None = None,
    messages: dict[str, str] | None = None,
) -> View:
    """A view of the pod ns/p with these containers, newest attempt first in each name."""
    metadata: dict[str, Any] = {"name": "p", "namespace": "ns", "uid": "u", "generation": 1}
    if deleted:
        metadata["deletionTimestamp"] = "2027-01-15T08:00:00Z"
    attempts: dict[str, list[ContainerStatus]] = {}
    for one in sorted(statuses, key=lambda s: -s.attempt):
        attempts.setdefault(one.name, []).append(one)
    return View(
        pod={"metadata": metadata, "spec": pod_spec, "status": status or {}},
        sandbox=None if no_sandbox else box or sandbox(),
        attempts=attempts,
        reasons=reasons or {},
        probes=probes or Probes(),
        ended=ended,
        outcome=outcome,
        messages=messages or {},
    )
