"""What a container runtime tells: of itself, of images, and of the sandboxes and containers that exist.

Times are nanoseconds since the epoch, 0 for "not yet". What is asked of a runtime is in specs.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple

__all__ = [
    "ContainerState",
    "ContainerStatus",
    "Features",
    "Image",
    "ImageConfig",
    "LogLine",
    "ResolvedUser",
    "RuntimeInfo",
    "RuntimeState",
    "SandboxStatus",
    "Usage",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What works with this runtime on this machine. False is never silent: the agent warns on pods that ask for it."""

    memory_limit: bool
    cpu_limit: bool
    pids_limit: bool
    pod_network: bool
    """A pod has an address of its own that other pods reach."""
    pod_ip_from_host: bool
    """…and that processes of this machine reach."""
    outbound_network: bool
    """Pods reach what the machine reaches."""
    api_from_pods: bool = True
    """This process can listen inside pods, which is their way to the API server."""
    host_paths: bool
    """Paths of this process's machine can be mounted."""
    host_network: bool
    users: bool
    """Containers may run as any user id (rootless without subordinate ids: only as one)."""
    shared_processes: bool
    seccomp: bool
    notes: Sequence[str] = ()
    """One sentence for each thing that does not work, with the reason and the fix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeInfo:
    """name is what stands before "://" in container ids; architecture as in image indexes ("amd64", "arm64")."""

    name: str
    version: str
    os: str
    architecture: str
    variant: str = ""
    kernel_version: str = ""
    os_image: str = ""
    features: Features


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The parts of an image's configuration that containers inherit."""

    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    env: Sequence[str] = ()
    working_dir: str = ""
    user: str = ""
    stop_signal: str = ""
    volumes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image that is present. id is the digest of its configuration ("sha256:…")."""

    id: str
    tags: Sequence[str] = ()
    """Normalised references ("docker.io/library/busybox:1.36")."""
    digests: Sequence[str] = ()
    """Repository digests ("docker.io/library/busybox@sha256:…"), what status.imageID shows."""
    size: int = 0
    loaded: bool = False
    """It came from an archive: no registry needs to have it. False where the runtime does not know."""
    os: str = "linux"
    architecture: str = ""
    config: ImageConfig = ImageConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxStatus:
    """A sandbox. Not ready: it was lost (reboot, engine restart) and its containers cannot be started again in it."""

    id: str
    pod_uid: str
    pod_name: str
    pod_namespace: str
    attempt: int
    labels: Mapping[str, str]
    created_ns: int
    ready: bool
    ips: Sequence[str] = ()
    """The pod's addresses; empty with host network or where pods have none."""


class ContainerState(StrEnum):
    """The life of a container, in this order; there is no way back."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    UNKNOWN = "unknown"
    """It was running and vanished with no exit recorded (power cut): exit code 255."""


@dataclass(frozen=True, slots=True)
class ResolvedUser:
    """Whom the first process runs as."""

    uid: int
    gid: int
    groups: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStatus:
    """A container as it is now. exit_code counts in the last two states only; 128+n for signal n."""

    id: str
    sandbox_id: str
    name: str
    attempt: int
    image: str
    image_id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    state: ContainerState
    created_ns: int
    started_ns: int = 0
    finished_ns: int = 0
    exit_code: int = 0
    oom_killed: bool = False
    reason: str = ""
    """"StartError" when it never ran; else empty."""
    message: str = ""
    """The runtime's words that go with reason."""
    user: ResolvedUser | None = None


@dataclass(frozen=True, slots=True)
class RuntimeState:
    """Everything of ours that exists, finished or not."""

    sandboxes: Sequence[SandboxStatus]
    containers: Sequence[ContainerStatus]


class LogLine(NamedTuple):
    """One write of a container to a stream, cut at newlines. data has no newline; partial: the line goes on."""

    time_ns: int
    stream: Literal["stdout", "stderr"]
    partial: bool
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a container uses. None where the machine does not tell."""

    container_id: str
    cpu_ns: int | None
    """CPU time since start, nanoseconds."""
    memory_bytes: int | None
    memory_working_set_bytes: int | None
    """Without inactive file cache, as the kubelet counts it."""
    pids: int | None
    rootfs_bytes: int | None = None
    """Written to the container's own layer; only when disk usage was asked for."""
    log_bytes: int | None = None
