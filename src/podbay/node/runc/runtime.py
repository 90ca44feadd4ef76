"""The runtime protocol on runc and conmon: the event loop's half. Blocking work goes to threads (pods.py).

Open it with `async with`; leaving the block stops no container, and the next one to open the same directory finds them.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from podbay.aio.clock import Clock, SystemClock
from podbay.aio.tasks import TaskGroup
from podbay.apiserver.streams import ExecSession, PortStream
from podbay.errors import ClosedError, ConflictError, PodbayError, StartError
from podbay.node.images.archive import load_archive
from podbay.node.images.puller import ImagePuller
from podbay.node.images.reference import parse_reference
from podbay.node.kernel import IN_CLOSE_WRITE, IN_MOVED_TO
from podbay.node.observed import (
    ContainerState,
    ContainerStatus,
    Image,
    LogLine,
    RuntimeInfo,
    RuntimeState,
    SandboxStatus,
    Usage,
)
from podbay.node.runc.attach import AttachSession, open_attach, order
from podbay.node.runc.connections import PodConnection, connect_in_pod, listen_in_pod, socket_in_pod
from podbay.node.runc.exec import ExecProcess, RuncExecSession, abandon, start_exec
from podbay.node.runc.hub import EventHub, Subscription
from podbay.node.runc.inotify import FileWatch
from podbay.node.runc.logs import follow_log, rotate_log
from podbay.node.runc.machine import node_platform
from podbay.node.runc.opening import Parts, open_parts
from podbay.node.specs import (
    ContainerSpec,
    ExecSpec,
    LogQuery,
    RegistryAuth,
    SandboxSpec,
    VolumeFile,
    VolumeSpec,
)

__all__ = ["RuncRuntime"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_THREADS = 32
"""More pods than that at once wait; each mostly waits for runc, so there are more than processors."""
_KILL_SECONDS = 10.0
_CHECK_SECONDS = 5.0
"""How late an end is seen that inotify did not tell of."""
_ROTATE_SECONDS = 10.0
"""The kubelet's containerLogMonitorInterval."""
_LOG_BYTES, _LOG_FILES = 10 << 20, 5
"""The kubelet's containerLogMaxSize and containerLogMaxFiles."""
_FINAL = (ContainerState.EXITED, ContainerState.UNKNOWN)


class RuncRuntime:
    """`Runtime` without a daemon. Everything lives in one directory, which one process at a time may open."""

    def __init__(
        self,
        base: Path,
        *,
        clock: Clock | None = None,
        log_bytes: int = _LOG_BYTES,
        log_files: int = _LOG_FILES,
        insecure_registries: Sequence[str] = (),
    ) -> None:
        self._base = base
        self._clock = clock or SystemClock()
        self._log_limits = (log_bytes, log_files)
        self._insecure = tuple(insecure_registries)
        self._hub = EventHub()
        self._stack = AsyncExitStack()
        self._opened: Parts | None = None
        self._watch: FileWatch | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="podbay-runc")

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._stack.callback(self._threads.shutdown)
        self._stack.callback(self._hub.close)
        try:
            self._opened = await self._run(open_parts, self._base, self._publish, self._forget)
            self._stack.callback(self._opened.close)
            self._watch = FileWatch()
            self._stack.callback(self._watch.close)
            self._watch.add(self._opened.layout.exits, IN_CLOSE_WRITE | IN_MOVED_TO, self._note_exit)
            self._puller = await self._stack.enter_async_context(
                ImagePuller(self._opened.images, node_platform(), insecure=self._insecure)
            )
            group = await self._stack.enter_async_context(TaskGroup("runc runtime"))
            group.start("check", self._check_forever())
            group.start("rotate logs", self._rotate_forever())
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._opened = None
        await self._stack.aclose()

    @property
    def _parts(self) -> Parts:
        if self._opened is None:
            raise ClosedError("the runc runtime is used outside its `async with` block")
        return self._opened

    async def _run(self, work: Callable[..., T], *arguments: object) -> T:
        """Blocking work on a thread. A cancelled caller leaves it to finish; its effects are in the table then."""
        assert self._loop is not None
        return await self._loop.run_in_executor(self._threads, lambda: work(*arguments))

    def _publish(self, item: ContainerStatus | SandboxStatus) -> None:
        self._soon(lambda: self._hub.publish(item))

    def _forget(self, container_id: str) -> None:
        self._soon(lambda: self._hub.gone(container_id))

    def _soon(self, act: Callable[[], None]) -> None:
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(act)

    def _note_exit(self, name: str) -> None:
        if self._opened is None:
            return
        if not name:
            self._submit(self._opened.pods.check_all)
        elif "." not in name:
            pods = self._opened.pods
            self._submit(lambda: pods.note_end(name))

    def _submit(self, work: Callable[[], None]) -> Future[None]:
        # An error here is not lost for good: the regular check comes to the same container again.
        return self._threads.submit(work)

    async def _check_forever(self) -> None:
        while True:
            await self._clock.sleep(_CHECK_SECONDS)
            try:
                await self._run(self._parts.pods.check_all)
            except (PodbayError, OSError) as error:
                log.warning("looking at containers: %s", error)

    async def _rotate_forever(self) -> None:
        while True:
            await self._clock.sleep(_ROTATE_SECONDS)
            stamp = self._clock.now().strftime("%Y%m%d-%H%M%S")
            try:
                await self._run(self._rotate_all, stamp)
            except (PodbayError, OSError) as error:
                log.warning("rotating logs: %s", error)

    def _rotate_all(self, stamp: str) -> None:
        size, keep = self._log_limits
        for container in self._parts.pods.containers():
            files = self._parts.layout.container(container.id)
            try:
                if files.log.stat().st_size > size and files.control.exists():
                    rotate_log(files.log, stamp=stamp, keep=keep, reopen=partial(order, files, "reopen"))
            except FileNotFoundError:
                continue
            except (PodbayError, OSError) as error:
                # A full disk, mostly. The others' logs must not wait for this one's.
                log.warning("rotating the log of container %s: %s", container.id, error)

    # Runtime

    async def info(self) -> RuntimeInfo:
        return self._parts.info

    async def reset(self) -> None:
        await self._run(self._parts.reset)

    # Images

    async def images(self) -> Sequence[Image]:
        return [image.image() for image in self._parts.images.images()]

    async def find_image(self, reference: str) -> Image | None:
        store = self._parts.images
        stored = (
            store.get(reference)
            if reference.startswith("sha256:")
            else store.find(parse_reference(reference))
        )
        return stored.image() if stored else None

    async def pull_image(self, reference: str, auth: RegistryAuth | None = None) -> Image:
        return (await self._puller.pull(parse_reference(reference), auth or RegistryAuth())).image()

    async def load_images(self, archive: Path) -> Sequence[Image]:
        loaded = await self._run(load_archive, self._parts.images, archive, node_platform())
        return [image.image() for image in loaded]

    async def remove_image(self, image_id: str) -> None:
        users = self._parts.pods.image_users(image_id)
        if users:
            raise ConflictError(f'image "{image_id}" is in use by container "{users[0]}": remove that first')
        await self._run(self._parts.images.remove, image_id)

    # Volumes

    async def create_volume(self, spec: VolumeSpec) -> None:
        with _mount_failures(spec.name):
            await self._run(self._parts.volumes.create, spec)

    async def write_volume(self, name: str, files: Mapping[str, VolumeFile]) -> None:
        with _mount_failures(name):
            await self._run(self._parts.volumes.write, name, dict(files))

    async def volume_usage(self, name: str) -> int:
        return await self._run(self._parts.volumes.usage, name)

    async def remove_volume(self, name: str) -> None:
        await self._run(self._parts.volumes.remove, name)

    # Pods

    async def create_sandbox(self, spec: SandboxSpec) -> SandboxStatus:
        return await self._run(self._parts.pods.create_sandbox, spec)

    async def stop_sandbox(self, sandbox_id: str) -> None:
        await self._run(self._parts.pods.stop_sandbox, sandbox_id)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self._run(self._parts.pods.remove_sandbox, sandbox_id)

    async def create_container(self, sandbox_id: str, spec: ContainerSpec) -> ContainerStatus:
        return await self._run(self._parts.pods.create_container, sandbox_id, spec)

    async def start_container(self, container_id: str) -> ContainerStatus:
        return await self._run(self._parts.pods.start_container, container_id)

    async def stop_container(self, container_id: str, grace: float) -> None:
        container = self._parts.pods.container(container_id)
        if container is None:
            return
        for number, seconds in ((container.stop_signal, grace), (signal.SIGKILL, _KILL_SECONDS)):
            if seconds <= 0:
                continue
            if await self._end(container_id, number, seconds):
                return
        raise StartError(
            "KillContainerError", f'container "{container_id}" does not end: its process hangs in the kernel'
        )

    async def _end(self, container_id: str, number: int, seconds: float) -> bool:
        """Send a signal and wait for the end. False when it does not come."""
        end = self._hub.expect(container_id)
        try:
            status = await self._run(self._parts.pods.observe, container_id)
            if status is None or status.state is not ContainerState.RUNNING:
                return True
            await self._run(self._parts.pods.kill, container_id, number)
            await asyncio.wait_for(end, seconds)
            return True
        except TimeoutError:
            return False
        finally:
            self._hub.expect_no_more(container_id, end)

    async def kill_container(self, container_id: str, signal: int) -> None:
        await self._run(self._parts.pods.kill, container_id, signal)

    async def remove_container(self, container_id: str) -> None:
        await self._run(self._parts.pods.remove_container, container_id)

    async def list(self) -> RuntimeState:
        return await self._run(self._parts.pods.state)

    async def events(self) -> Subscription:
        _ = self._parts
        return self._hub.subscribe()

    async def usage(self, *, disk: bool = False) -> Sequence[Usage]:
        return await self._run(lambda: self._parts.pods.usage(disk=disk))

    # Streams

    async def logs(self, container_id: str, query: LogQuery) -> AsyncGenerator[Sequence[LogLine], None]:
        pods = self._parts.pods
        assert self._watch is not None

        def ended() -> bool:
            return pods.ended(container_id)

        path, end = self._parts.layout.container(container_id).log, self._hub.expect(container_id)
        try:
            async for lines in follow_log(path, query, self._watch, ended=ended, end=end):
                yield lines
        finally:
            self._hub.expect_no_more(container_id, end)

    async def exec(self, container_id: str, spec: ExecSpec) -> ExecSession:
        await self._must_run(container_id, "ExecError")
        files = self._parts.layout.container(container_id)
        starting = self._threads.submit(start_exec, self._parts.launcher, container_id, files, spec)
        try:
            process = await asyncio.wrap_future(starting)
        except asyncio.CancelledError:
            # A probe's time is up, or the client has left; the thread goes on, and nobody else would end the command.
            starting.add_done_callback(self._abandon)
            raise
        except OSError as error:
            raise StartError("ExecError", f"failed to exec in container: {error}") from error
        return RuncExecSession(process)

    def _abandon(self, starting: Future[ExecProcess]) -> None:
        if starting.cancelled() or starting.exception() is not None:
            return
        process = starting.result()
        try:
            # Not here: this may be the event loop.
            self._threads.submit(abandon, process)
        except RuntimeError:
            abandon(process)

    async def attach(self, container_id: str, spec: ExecSpec) -> ExecSession:
        await self._must_run(container_id, "AttachError")
        files = self._parts.layout.container(container_id)
        connection = await self._run(open_attach, files)

        async def wait() -> int:
            return await self._exit_code(container_id)

        return AttachSession(connection, files, stdin=spec.stdin, wait=wait)

    async def _exit_code(self, container_id: str) -> int:
        end = self._hub.expect(container_id)
        try:
            status = await self._run(self._parts.pods.observe, container_id)
            if status is not None and status.state not in _FINAL:
                status = await end
            return status.exit_code if status else 137
        finally:
            self._hub.expect_no_more(container_id, end)

    async def _must_run(self, container_id: str, reason: str) -> None:
        status = await self._run(self._parts.pods.observe, container_id)
        if status is None or status.state is not ContainerState.RUNNING:
            raise StartError(reason, f'container "{container_id}" is not running')

    async def connect(self, sandbox_id: str, port: int) -> PortStream:
        sandbox = self._parts.pods.sandbox(sandbox_id)
        if sandbox is None:
            raise ConflictError(f'sandbox "{sandbox_id}" does not exist')
        host = sandbox.spec.host_network
        namespace = None if host else self._parts.layout.sandbox(sandbox_id).namespace("net")

        async def make(family: int) -> socket.socket:
            return await self._run(socket_in_pod, namespace, family)

        return PodConnection(await connect_in_pod(make, port))

    async def listen(self, sandbox_id: str, address: str, port: int) -> socket.socket | None:
        sandbox = self._parts.pods.sandbox(sandbox_id)
        if sandbox is None:
            raise ConflictError(f'sandbox "{sandbox_id}" does not exist')
        if sandbox.spec.host_network:
            return None
        namespace = self._parts.layout.sandbox(sandbox_id).namespace("net")
        return await self._run(listen_in_pod, namespace, address, port)

    async def read_message(self, container_id: str, limit: int) -> bytes:
        return await self._run(self._parts.pods.read_message, container_id, limit)


@contextmanager
def _mount_failures(volume: str) -> Iterator[None]:
    """A full disk and the like, as what keeps a pod from starting."""
    try:
        yield
    except OSError as error:
        name = volume.rpartition("/")[2]
        message = f'MountVolume.SetUp failed for volume "{name}" : {error.strerror or error}'
        raise StartError("FailedMount", message) from error
