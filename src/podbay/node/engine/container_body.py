"""A container's specification in the form of the Engine API's POST /containers/create. Pure.

Mounts come in ready (mounts.py), as finding their sources takes questions. Specification: docs.docker.com/reference/
api/engine, "ContainerCreate".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podbay.node.engine.keeper_image import PROGRAM
from podbay.node.observed import ImageConfig
from podbay.node.specs import ContainerSpec, Limits, SandboxSpec, Security, User

__all__ = ["SandboxFacts", "container_body", "sandbox_body", "user_text"]

_LOG = {"Type": "local", "Config": {"max-size": "10m", "max-file": "5", "compress": "false"}}
"""The kubelet's containerLogMaxSize and containerLogMaxFiles. The default driver, json-file, loses what is not UTF-8."""
_PODMAN_LOG = {"Type": "k8s-file", "Config": {}}
"""It cannot keep rotated files: with a size limit it would throw the old lines away."""


@dataclass(frozen=True, slots=True)
class SandboxFacts:
    """What the containers of a sandbox must know of it."""

    id: str
    hostname: str
    host_network: bool
    host_pid: bool
    host_ipc: bool
    share_processes: bool


def sandbox_body(spec: SandboxSpec, *, image: str, network: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """The first container of a pod: it holds the network and sleeps. network is the engine's name for pods' network."""
    host: dict[str, Any] = {
        "NetworkMode": "host" if spec.host_network else network,
        "IpcMode": "host" if spec.host_ipc else "shareable",
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "LogConfig": {"Type": "none"},
        "Sysctls": dict(spec.sysctls),
    }
    if spec.host_pid:
        host["PidMode"] = "host"
    body: dict[str, Any] = {
        "Image": image,
        "Entrypoint": [PROGRAM],
        "Cmd": ["pause"],
        "Labels": dict(labels),
        "HostConfig": host,
    }
    if spec.hostname:
        body["Hostname"] = spec.hostname
    return body


def container_body(
    spec: ContainerSpec,
    sandbox: SandboxFacts,
    image: ImageConfig,
    *,
    mounts: Sequence[Mapping[str, Any]],
    labels: Mapping[str, str],
    podman: bool,
    seccomp: str = "",
) -> dict[str, Any]:
    """One container of a pod, to be made in its sandbox. seccomp: the value of that option for a profile of its own."""
    body: dict[str, Any] = {
        "Image": spec.image_id,
        "Env": [f"{name}={value}" for name, value in dict(spec.env).items()],
        "Labels": dict(labels),
        "OpenStdin": spec.stdin,
        "StdinOnce": spec.stdin and spec.stdin_once,
        "Tty": spec.tty,
        "User": user_text(spec.user, image.user),
        "HostConfig": _host(spec, sandbox, mounts, podman=podman, seccomp=seccomp),
    }
    if spec.command:
        # An empty Cmd beside an Entrypoint keeps the image's arguments out.
        body |= {"Entrypoint": list(spec.command), "Cmd": list(spec.args)}
    elif spec.args:
        body["Cmd"] = list(spec.args)
    if spec.working_dir:
        body["WorkingDir"] = spec.working_dir
    if spec.stop_signal:
        body["StopSignal"] = spec.stop_signal
    if podman and sandbox.hostname and not sandbox.host_network:
        # Docker takes the hostname from the sandbox, and refuses to be told it.
        body["Hostname"] = sandbox.hostname
    return body


def _host(
    spec: ContainerSpec,
    sandbox: SandboxFacts,
    mounts: Sequence[Mapping[str, Any]],
    *,
    podman: bool,
    seccomp: str,
) -> dict[str, Any]:
    joined = f"container:{sandbox.id}"
    host: dict[str, Any] = {
        # Rootless Podman cannot join the host's network through another container.
        "NetworkMode": "host" if sandbox.host_network else joined,
        "IpcMode": "host" if sandbox.host_ipc else joined,
        "Mounts": [dict(mount) for mount in mounts],
        "GroupAdd": [str(group) for group in spec.user.groups],
        "LogConfig": _PODMAN_LOG if podman else _LOG,
        "Devices": [
            {
                "PathOnHost": device.path,
                "PathInContainer": device.target or device.path,
                "CgroupPermissions": device.permissions,
            }
            for device in spec.devices
        ],
        **_limits(spec.limits),
        **_security(spec.security, seccomp),
    }
    if sandbox.host_pid:
        host["PidMode"] = "host"
    elif sandbox.share_processes:
        host["PidMode"] = joined
    elif spec.processes_of:
        host["PidMode"] = f"container:{spec.processes_of}"
    return host


def _limits(limits: Limits) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if limits.memory is not None:
        # MemorySwap is the sum of both, so the same number means no swap.
        found |= {"Memory": limits.memory, "MemorySwap": limits.memory}
    if limits.cpu_shares is not None:
        found["CpuShares"] = limits.cpu_shares
    if limits.cpu_quota is not None:
        found |= {"CpuQuota": limits.cpu_quota, "CpuPeriod": limits.cpu_period}
    if limits.pids is not None:
        found["PidsLimit"] = limits.pids
    if limits.oom_score_adj is not None:
        # An engine cannot set it below its own, which is 0 or less: the rest would fail the start.
        found["OomScoreAdj"] = max(0, limits.oom_score_adj)
    return found


def _security(security: Security, seccomp: str) -> dict[str, Any]:
    options = ["no-new-privileges"] if security.no_new_privileges else []
    if security.seccomp == "unconfined":
        options.append("seccomp=unconfined")
    elif security.seccomp != "default":
        options.append(f"seccomp={seccomp}")
    if security.apparmor:
        options.append(f"apparmor={security.apparmor}")
    return {
        "Privileged": security.privileged,
        "ReadonlyRootfs": security.read_only_root,
        # Of what is in both lists engines keep it, CRI runtimes do not.
        "CapAdd": [name for name in security.capabilities.add if name not in security.capabilities.drop],
        "CapDrop": list(security.capabilities.drop),
        "SecurityOpt": options,
    }


def user_text(user: User, image_user: str) -> str:
    """The API's "user:group". The engine reads the image's passwd for what is left out."""
    if user.uid is not None:
        name, group = str(user.uid), ""
    else:
        name, _, group = (user.name or image_user).partition(":")
    if user.gid is not None:
        group = str(user.gid)
    return f"{name or 0}:{group}" if group else name
