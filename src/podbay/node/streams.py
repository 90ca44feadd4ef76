"""A node's side of pods/log, exec, attach and portforward, answered from the runtime. See apiserver/streams.py.

Source of the words: pkg/kubelet/kubelet_pods.go (GetExec, GetAttach, GetKubeletContainerLogs), pkg/kubelet/server.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING

from podbay.apiserver.streams import ExecOptions, ExecSession, LogOptions, NodeUsage, PortStream
from podbay.errors import ApiError, ConflictError, RuntimeUnavailableError, StartError
from podbay.node.logs import LogWriter, log_query
from podbay.node.observed import ContainerState
from podbay.node.podspec import find_container
from podbay.node.runtime import Runtime
from podbay.node.specs import ExecSpec
from podbay.objects.container_log import logged_attempt
from podbay.objects.meta import Object, name_of, namespace_of, uid_of

if TYPE_CHECKING:
    from podbay.node.metering import Meter
    from podbay.node.podworker import PodWorker

__all__ = ["AgentStreams"]


class AgentStreams:
    """NodeStreams and UsageMeter of one node. worker finds the pod's worker by uid; runtime and meter are there while
    the agent runs."""

    def __init__(
        self,
        worker: Callable[[str], PodWorker | None],
        runtime: Callable[[], Runtime | None],
        meter: Callable[[], Meter | None],
    ) -> None:
        self._worker, self._runtime, self._meter = worker, runtime, meter

    async def usage(self) -> NodeUsage | None:
        meter = self._meter()
        return None if meter is None else await meter.usage()

    async def logs(self, pod: Object, options: LogOptions) -> AsyncGenerator[bytes, None]:
        worker = self._worker(uid_of(pod))
        status = worker.status if worker is not None else pod.get("status") or {}
        attempt = logged_attempt(name_of(pod), status, options.container, previous=options.previous)
        return self._read(attempt.container_id.partition("://")[2], options)

    async def _read(self, container_id: str, options: LogOptions) -> AsyncGenerator[bytes, None]:
        writer = LogWriter(options)
        reading = self._open().logs(container_id, log_query(options))
        try:
            async for lines in reading:
                if chunk := writer.write(lines):
                    yield chunk
                if writer.full:
                    return
        finally:
            await reading.aclose()

    async def exec(self, pod: Object, options: ExecOptions) -> ExecSession:
        container_id = self._running(pod, options.container)
        try:
            return await self._open().exec(container_id, _spec(options))
        except StartError as error:
            raise _internal(str(error)) from error

    async def attach(self, pod: Object, options: ExecOptions) -> ExecSession:
        container_id = self._running(pod, options.container)
        container = find_container(pod["spec"], options.container) or {}
        # Whether there is a terminal was settled when the container started.
        spec = ExecSpec(
            command=(),
            stdin=options.stdin and bool(container.get("stdin")),
            stdout=options.stdout,
            stderr=options.stderr,
            tty=bool(container.get("tty")),
        )
        try:
            return await self._open().attach(container_id, spec)
        except StartError as error:
            raise _internal(str(error)) from error

    async def port_forward(self, pod: Object, port: int) -> PortStream:
        worker = self._worker(uid_of(pod))
        sandbox = worker.record.sandbox if worker is not None else None
        if sandbox is None or not sandbox.ready:
            raise ApiError(404, "NotFound", f'pod not found ("{name_of(pod)}_{namespace_of(pod)}")')
        try:
            return await self._open().connect(sandbox.id, port)
        except ConflictError as error:
            raise _internal(str(error)) from error

    def _running(self, pod: Object, name: str) -> str:
        worker = self._worker(uid_of(pod))
        status = worker.record.latest(name) if worker is not None else None
        if status is None or status.state != ContainerState.RUNNING:
            raise _internal(f'container not found ("{name}")')
        return status.id

    def _open(self) -> Runtime:
        runtime = self._runtime()
        if runtime is None:
            raise RuntimeUnavailableError("the node agent is not running")
        return runtime


def _spec(options: ExecOptions) -> ExecSpec:
    return ExecSpec(
        command=options.command,
        stdin=options.stdin,
        stdout=options.stdout,
        stderr=options.stderr,
        tty=options.tty,
    )


def _internal(message: str) -> ApiError:
    return ApiError(500, "InternalError", message)
