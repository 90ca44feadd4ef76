"""The container runtime as the node agent sees it: images, volumes, pods, streams. The only seam below the agent.

Implementations: runc/ (runc and conmon, no daemon) and engine/ (the Docker Engine API). Both pass
tests/node/test_runtime_suite.py. A runtime keeps what it needs to find its own containers again; the agent keeps
nothing: after any restart `list` tells all. Everything that exists carries the labels it was made with.

Promises common to all methods: they may be called at once from many tasks; a cancelled call leaves nothing half made
that `list` does not show or the next call of the same kind does not clear away; ids that do not exist are no error for
remove, stop and kill. RuntimeUnavailableError comes from any method when the engine cannot be reached.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

from podbay.apiserver.streams import ExecSession, PortStream
from podbay.node.observed import (
    ContainerStatus,
    Image,
    LogLine,
    RuntimeInfo,
    RuntimeState,
    SandboxStatus,
    Usage,
)
from podbay.node.specs import (
    ContainerSpec,
    ExecSpec,
    LogQuery,
    RegistryAuth,
    SandboxSpec,
    VolumeFile,
    VolumeSpec,
)

__all__ = [
    "Images",
    "PodListeners",
    "Pods",
    "Runtime",
    "RuntimeEvents",
    "SandboxStopper",
    "Streams",
    "Volumes",
]


class RuntimeEvents(Protocol):
    """An open subscription. `anext` waits for the next change; whoever opened it calls `aclose`."""

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> ContainerStatus | SandboxStatus:
        """The state a change led to. RuntimeUnavailableError once when the engine is lost; then it is over."""
        ...

    async def aclose(self) -> None: ...


class Images(Protocol):
    """Images present on the node. References are as people write them ("busybox:1", "localhost/bb:1")."""

    async def images(self) -> Sequence[Image]:
        """All that are present."""
        ...

    async def find_image(self, reference: str) -> Image | None:
        """The image if present. PullError InvalidImageName, or ErrImagePull when only another architecture is."""
        ...

    async def pull_image(self, reference: str, auth: RegistryAuth | None = None) -> Image:
        """Ask the registry, fetch what is missing. PullError (InvalidImageName, ErrImagePull, RegistryUnavailable)."""
        ...

    async def load_images(self, archive: Path) -> Sequence[Image]:
        """Take images from a docker-archive or OCI-layout tar. Loading again is no error. InvalidInputError."""
        ...

    async def remove_image(self, image_id: str) -> None:
        """Forget the image and free its space. ConflictError while a container uses it."""
        ...


class Volumes(Protocol):
    """Directories that containers share and that outlive them."""

    async def create_volume(self, spec: VolumeSpec) -> None:
        """Make it if it does not exist; an existing one is left as it is."""
        ...

    async def write_volume(self, name: str, files: Mapping[str, VolumeFile]) -> None:
        """Make the volume hold exactly these relative paths. Readers see all of the old or all of the new files.

        Done as the kubelet does it: a symlink `..data` is switched over. The same files again change nothing.
        """
        ...

    async def volume_usage(self, name: str) -> int:
        """Bytes in use; 0 when it does not exist."""
        ...

    async def remove_volume(self, name: str) -> None: ...


class Pods(Protocol):
    """Sandboxes and the containers in them."""

    async def create_sandbox(self, spec: SandboxSpec) -> SandboxStatus:
        """Make the sandbox of (pod_uid, attempt), or give back the one that exists. StartError on failure.

        reason is "CreatePodSandboxError"; nothing is left behind.
        """
        ...

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Remove it with all its containers, killing those that run. Frees addresses, mounts, cgroups."""
        ...

    async def create_container(self, sandbox_id: str, spec: ContainerSpec) -> ContainerStatus:
        """Make the container of (sandbox, name, attempt), or give back the one that exists; it does not run yet.

        StartError with reason "CreateContainerError" on failure; nothing is left behind.
        """
        ...

    async def start_container(self, container_id: str) -> ContainerStatus:
        """Run it. StartError with reason "StartError" when its process cannot be started: it is EXITED then.

        A container that was started before is left alone, whatever its state.
        """
        ...

    async def stop_container(self, container_id: str, grace: float) -> None:
        """Stop signal, then SIGKILL after grace seconds; returns when it has ended. At once if it does not run."""
        ...

    async def kill_container(self, container_id: str, signal: int) -> None:
        """Send signal to its first process (SIGKILL: to all its processes). Returns without waiting."""
        ...

    async def remove_container(self, container_id: str) -> None:
        """Remove it with its files and logs, killing it if it runs."""
        ...

    async def list(self) -> RuntimeState:
        """All sandboxes and containers of ours, also those of an earlier process."""
        ...

    async def events(self) -> RuntimeEvents:
        """Subscribe to changes of state from now on; several quick ones may come as one.

        Call `list` after subscribing, at the start and after an engine was lost: what came before is not repeated.
        """
        ...

    async def usage(self, *, disk: bool = False) -> Sequence[Usage]:
        """What running containers use now. disk also counts their files, which reads whole trees."""
        ...


class Streams(Protocol):
    """Bytes in and out of containers."""

    def logs(self, container_id: str, query: LogQuery) -> AsyncGenerator[Sequence[LogLine], None]:
        """The log in order, in batches; also after the end. With follow it ends when the container's log does.

        Whoever opened it closes it (`aclose`). A container that does not exist has an empty log.
        """
        ...

    async def exec(self, container_id: str, spec: ExecSpec) -> ExecSession:
        """Run a command. A command that cannot be started ends with 126 or 127 and the reason on stderr.

        StartError when the container does not run.
        """
        ...

    async def attach(self, container_id: str, spec: ExecSpec) -> ExecSession:
        """Join the first process's streams from now on; spec.command is not used. StartError as for exec.

        `wait` gives the container's exit code.
        """
        ...

    async def connect(self, sandbox_id: str, port: int) -> PortStream:
        """A TCP connection to a port on the pod's loopback address. ConflictError when nothing listens there."""
        ...

    async def read_message(self, container_id: str, limit: int) -> bytes:
        """The last limit bytes of the termination message file; empty when there is none."""
        ...


@runtime_checkable
class SandboxStopper(Protocol):
    """What some runtimes can do beside: keep an ended pod's statuses and logs at less than the cost of a running one."""

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Free network, namespaces, mounts and cgroups of a sandbox whose containers have all ended.

        `list`, `logs` and `read_message` still tell of them; the sandbox is not ready any more and has no address.
        ConflictError while a container runs. May be repeated.
        """
        ...


@runtime_checkable
class PodListeners(Protocol):
    """What some runtimes can do beside: have this process listen inside a pod."""

    async def listen(self, sandbox_id: str, address: str, port: int) -> socket.socket | None:
        """A listening TCP socket on an IPv4 address of the pod alone; None for pods on the machine's network.

        ConflictError when the address is taken there. Whoever asked closes it, before the sandbox is removed.
        """
        ...


class Runtime(Images, Volumes, Pods, Streams, Protocol):
    """All of it, opened with `async with`. Leaving the block stops no container."""

    async def info(self) -> RuntimeInfo:
        """What this runtime is and can do here. Constant while open."""
        ...

    async def reset(self) -> None:
        """Remove everything of ours except images: containers, sandboxes, volumes, networks. May be repeated."""
        ...

    async def __aenter__(self) -> Runtime: ...

    async def __aexit__(self, *exc: object) -> None: ...
