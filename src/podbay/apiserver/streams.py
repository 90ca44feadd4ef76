"""The node's side of pods/log, exec, attach and portforward: what the API server asks of whoever runs a pod.

A real API server proxies these to the kubelet's HTTPS port; here the node agent and scripted nodes register an
object that answers in the same process. Wire formats (WebSocket channels, upgrades) stay on the API server's side.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable

from podbay.objects.meta import Object

__all__ = [
    "ExecOptions",
    "ExecSession",
    "LogOptions",
    "NodeStreams",
    "NodeUsage",
    "PortStream",
    "UsageMeter",
    "Use",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """PodLogOptions after validation (core/v1). since is absolute; tail_lines and limit_bytes None mean no limit."""

    container: str
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    since: datetime | None = None
    tail_lines: int | None = None
    limit_bytes: int | None = None
    stream: Literal["All", "Stdout", "Stderr"] = "All"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecOptions:
    """What to run (empty command: attach to the main process) and which streams the client wants."""

    container: str
    command: Sequence[str] = ()
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    tty: bool = False


class ExecSession(Protocol):
    """A running exec or attach. Whoever opened it calls `aclose`, also after the process has ended.

    `write`, `output` and `wait` are awaited at the same time, each by one task.
    """

    async def write(self, data: bytes) -> None:
        """Bytes for the process's stdin; waits while its pipe is full; ignored once it or its stdin has ended."""
        ...

    async def close_stdin(self) -> None:
        """Half-close: the process reads end of file. Not called when the client just disappears."""
        ...

    async def resize(self, width: int, height: int) -> None:
        """New terminal size in cells; ignored without a tty."""
        ...

    def output(self) -> AsyncIterator[tuple[Literal["stdout", "stderr"], bytes]]:
        """Chunks in the order they were read; ends when the process and its streams have ended."""
        ...

    async def wait(self) -> int:
        """The exit code, 128+signal for a killed process; as soon as the process itself has ended.

        A child that still holds the output open must not delay it. Raises StartError when the command turns out not
        to have been started.
        """
        ...

    async def aclose(self) -> None:
        """Let go: kill what exec has started, leave alone what attach has found. May be called twice; must be quick."""
        ...


class PortStream(Protocol):
    """One forwarded connection to a port inside the pod. ConnectionError means that the pod's side cut it off."""

    async def read(self) -> bytes:
        """The next chunk, empty at end of stream."""
        ...

    async def write(self, data: bytes) -> None:
        """Waits while the pod does not read."""
        ...

    async def close_write(self) -> None:
        """Half-close: the pod reads end of file; its answer can still be read."""
        ...

    async def aclose(self) -> None:
        """Let go of the connection. May be called twice; must be quick."""
        ...


class NodeStreams(Protocol):
    """One node's answers. Every method raises ApiError with the kubelet's words (container not found, …).

    A cancelled call leaves nothing open. objects.container_log decides which attempt a log request means.
    """

    async def logs(self, pod: Object, options: LogOptions) -> AsyncGenerator[bytes, None]:
        """Open the log; awaiting it raises every refusal. The bytes are those the kubelet sends, newline included.

        With follow the generator ends when the container does. Whoever opened it closes it (`aclose`).
        """
        ...

    async def exec(self, pod: Object, options: ExecOptions) -> ExecSession:
        """Run options.command (never empty). StartError with the runtime's words when it cannot be started."""
        ...

    async def attach(self, pod: Object, options: ExecOptions) -> ExecSession:
        """Join the container's first process; several clients may. Ends with the container."""
        ...

    async def port_forward(self, pod: Object, port: int) -> PortStream:
        """Connect to a port of the pod. ApiError with the runtime's words when nobody listens there."""
        ...


@dataclass(frozen=True, slots=True)
class Use:
    """What something uses: billionths of a CPU on average, and bytes of memory that cannot be reclaimed at once."""

    cpu_nanos: int
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeUsage:
    """A measurement of a node: CPU over the `window` seconds that ended at `timestamp`, memory at its end.

    pods holds the running containers of each pod, by pod uid and container name.
    """

    timestamp: datetime
    window: float
    node: Use
    pods: Mapping[str, Mapping[str, Use]]


@runtime_checkable
class UsageMeter(Protocol):
    """What nodes can do beside: tell what they use. Source: k8s.io/metrics, kubelet's /metrics/resource."""

    async def usage(self) -> NodeUsage | None:
        """A recent measurement; it may take a second to make one. None while the node cannot measure."""
        ...
