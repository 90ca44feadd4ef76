"""What the engine says of a container, read as the state of ours. Pure.

Specification: docs.docker.com/reference/api/engine, "ContainerInspect".
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from podbay.node.engine.labels import (
    ATTEMPT,
    IMAGE,
    IMAGE_ID,
    NAME,
    POD_NAME,
    POD_NAMESPACE,
    POD_UID,
    SANDBOX,
    own_labels,
)
from podbay.node.observed import ContainerState, ContainerStatus, ResolvedUser, SandboxStatus

__all__ = ["Memory", "container_status", "nanoseconds", "sandbox_status", "start_message", "was_started"]

_LOST_EXIT_CODE = 255
"""As containerd reports a container whose end nobody saw."""
_NEVER_RAN_EXIT_CODE = 128
"""As the kubelet reports a container whose process could not be started."""
_KILLED = 137
_ADDED = re.compile(r": unknown$|: OCI (runtime|permission)[^:]*$|: (container|executable) not found[^:]*$")
"""What containerd and Podman put behind the words of the program that failed."""
_STARTED = ("running", "paused", "stopping", "restarting")
_ENDED = ("exited", "stopped", "dead", "removing")


@dataclass(frozen=True, slots=True)
class Memory:
    """What this process knows of a container and the engine may not tell."""

    start_error: str = ""
    """The engine's words when its start failed."""
    killed: bool = False
    """We have sent it SIGKILL."""
    tells_oom: bool = True
    """The engine tells when the kernel killed for want of memory (Podman before 5 does not)."""


def container_status(found: Mapping[str, Any], memory: Memory) -> ContainerStatus:
    """found is the engine's answer to an inspection."""
    labels = found["Config"].get("Labels") or {}
    state = found["State"]
    created = nanoseconds(found.get("Created", ""))
    known = ContainerStatus(
        id=found["Id"],
        sandbox_id=labels.get(SANDBOX, ""),
        name=labels.get(NAME, ""),
        attempt=_number(labels.get(ATTEMPT, "")),
        image=labels.get(IMAGE, ""),
        image_id=labels.get(IMAGE_ID, ""),
        labels=own_labels(labels),
        state=ContainerState.CREATED,
        created_ns=created,
        user=_user(found["Config"].get("User") or "", (found.get("HostConfig") or {}).get("GroupAdd") or ()),
    )
    word = str(state.get("Status", "")).lower()
    if not was_started(found):
        error = memory.start_error or start_message(state.get("Error") or "")
        return replace(known, **_never_ran(error, state, created)) if error else known
    started = nanoseconds(state.get("StartedAt", ""))
    if word in _STARTED:
        return replace(known, state=ContainerState.RUNNING, started_ns=started)
    known = replace(known, started_ns=started, finished_ns=nanoseconds(state.get("FinishedAt", "")))
    if word not in _ENDED:
        # Podman puts what ran when the machine went down back to its beginning.
        return replace(known, state=ContainerState.UNKNOWN, exit_code=_LOST_EXIT_CODE)
    code = int(state.get("ExitCode") or 0)
    oom = bool(state.get("OOMKilled")) or _must_be_oom(found, code, memory)
    return replace(known, state=ContainerState.EXITED, exit_code=code, oom_killed=oom)


def was_started(found: Mapping[str, Any]) -> bool:
    """Whether the container's process has ever run."""
    return nanoseconds(found["State"].get("StartedAt", "")) > 0


def start_message(words: str) -> str:
    """The engine's words on a failed start, down to those of the program that failed."""
    return _ADDED.sub("", words.strip())


def _never_ran(error: str, state: Mapping[str, Any], created: int) -> dict[str, Any]:
    return {
        "state": ContainerState.EXITED,
        "finished_ns": nanoseconds(state.get("FinishedAt", "")) or created,
        "exit_code": _NEVER_RAN_EXIT_CODE,
        "reason": "StartError",
        "message": error,
    }


def _must_be_oom(found: Mapping[str, Any], code: int, memory: Memory) -> bool:
    """Where the engine does not tell: something killed it, it has a limit, and it was not us."""
    limited = bool((found.get("HostConfig") or {}).get("Memory"))
    return not memory.tells_oom and code == _KILLED and limited and not memory.killed


def sandbox_status(found: Mapping[str, Any]) -> SandboxStatus:
    """found is the engine's answer to an inspection of the sandbox's own container."""
    labels = found["Config"].get("Labels") or {}
    return SandboxStatus(
        id=found["Id"],
        pod_uid=labels.get(POD_UID, ""),
        pod_name=labels.get(POD_NAME, ""),
        pod_namespace=labels.get(POD_NAMESPACE, ""),
        attempt=_number(labels.get(ATTEMPT, "")),
        labels=own_labels(labels),
        created_ns=nanoseconds(found.get("Created", "")),
        ready=str(found["State"].get("Status", "")).lower() == "running",
        ips=_ips(found),
    )


def _ips(found: Mapping[str, Any]) -> tuple[str, ...]:
    settings = found.get("NetworkSettings") or {}
    networks = list((settings.get("Networks") or {}).values()) or [settings]
    addresses = [network.get(key) for network in networks for key in ("IPAddress", "GlobalIPv6Address")]
    return tuple(str(address) for address in addresses if address)


@lru_cache(maxsize=4096)
def _seconds(text: str) -> int:
    """Of "2006-01-02T15:04:05"."""
    day, _, clock = text.partition("T")
    numbers = [int(part) for part in (*day.split("-"), *clock.split(":"))]
    return timegm((*numbers, 0, 0, 0))


def nanoseconds(text: str) -> int:
    """An RFC 3339 time in nanoseconds since the epoch; 0 for none, which Go writes as year 1."""
    if len(text) < 20 or text.startswith("0001"):
        return 0
    rest = text[19:]
    fraction = ""
    if rest.startswith("."):
        end = next((i for i, char in enumerate(rest[1:], 1) if not char.isdigit()), len(rest))
        fraction, rest = rest[1:end], rest[end:]
    offset = 0
    if rest[:1] in ("+", "-"):
        offset = (int(rest[1:3]) * 60 + int(rest[4:6])) * (60 if rest[0] == "+" else -60)
    return (_seconds(text[:19]) - offset) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9])


def _user(text: str, groups: Sequence[str]) -> ResolvedUser | None:
    """Known only where user and group are numbers."""
    uid, _, gid = text.partition(":")
    if not (uid.isdigit() and gid.isdigit()):
        return None
    return ResolvedUser(int(uid), int(gid), tuple(sorted({int(gid), *map(int, filter(str.isdigit, groups))})))


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
