"""All sandboxes and containers of one node: the blocking half of the runtime, safe to call from many threads.

Holds what exists in memory, as read from disk when it opens; every change goes to disk first. Work on one pod is done
one piece after the other, pods do not wait for each other. The event loop's half is runtime.py.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from podbay.errors import ConflictError, StartError
from podbay.node.observed import ContainerState, ContainerStatus, RuntimeState, SandboxStatus, Usage
from podbay.node.runc.cgroups import Cgroups
from podbay.node.runc.container import Container
from podbay.node.runc.containers import Containers
from podbay.node.runc.layout import Layout, container_id
from podbay.node.runc.logs import log_size
from podbay.node.runc.network import PodNetwork
from podbay.node.runc.sandboxes import Sandbox, Sandboxes
from podbay.node.specs import ContainerSpec, SandboxSpec
from podbay.node.trees import disk_usage

__all__ = ["PodTable"]

log = logging.getLogger(__name__)

_FINAL = (ContainerState.EXITED, ContainerState.UNKNOWN)


class PodTable:
    """See the module docstring. `publish` is called with each new state, from any thread."""

    def __init__(
        self,
        layout: Layout,
        sandboxes: Sandboxes,
        containers: Containers,
        *,
        network: PodNetwork,
        cgroups: Cgroups,
        node: str,
        publish: Callable[[ContainerStatus | SandboxStatus], None],
        forget: Callable[[str], None],
    ) -> None:
        self._layout = layout
        self._make = sandboxes
        self._run = containers
        self._network = network
        self._cgroups = cgroups
        self._node = node
        self._publish = publish
        self._forget = forget
        self._sandboxes: dict[str, Sandbox] = {}
        self._containers: dict[str, Container] = {}
        self._final: dict[str, ContainerStatus] = {}
        self._locks: dict[str, threading.RLock] = {}
        self._guard = threading.Lock()
        # An end is recorded by one thread, and never in a directory that is being deleted.
        self._ends = threading.RLock()
        self._removing: set[str] = set()

    def load(self) -> list[str]:
        """Read what exists, finish or clear away what was caught half-way; gives the addresses in use."""
        for path in list(self._layout.sandboxes.iterdir()):
            sandbox = self._make.read(path.name)
            if sandbox is not None:
                self._sandboxes[sandbox.id] = sandbox
        half_made: list[str] = []
        for path in list(self._layout.containers.iterdir()):
            container = self._run.read(path.name)
            if container is None or container.sandbox_id not in self._sandboxes:
                half_made.append(path.name)
            else:
                self._containers[container.id] = self._run.adopt(container)
        for identity in half_made:
            try:
                self._run.remove(identity, self._group_of(identity))
            except OSError as error:
                # It is tried again at the next start; the other pods need the node now.
                log.warning("what is left of container %s cannot be removed: %s", identity, error)
        for path in list(self._layout.sandboxes.iterdir()):
            if path.name not in self._sandboxes:
                self._make.remove(path.name, ())
        self._clear_strays()
        return [ip for sandbox in self._sandboxes.values() for ip in sandbox.ips]

    def _group_of(self, identity: str) -> str:
        """The control group of a container whose record is lost."""
        for sandbox in self._cgroups.groups_below(f"podbay/{self._node}"):
            if identity in self._cgroups.groups_below(f"podbay/{self._node}/{sandbox}"):
                return f"podbay/{self._node}/{sandbox}/{identity}"
        return f"podbay/{self._node}/lost/{identity}"

    def _clear_strays(self) -> None:
        known = {*self._sandboxes, *self._containers}
        for path in (*self._layout.exits.iterdir(), *self._layout.runc.iterdir()):
            if path.name.split(".")[0] not in known:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name in list(self._cgroups.groups_below(f"podbay/{self._node}")):
            if name not in self._sandboxes:
                self._cgroups.kill(f"podbay/{self._node}/{name}")
                self._cgroups.remove(f"podbay/{self._node}/{name}")

    def clear_links(self) -> None:
        """Delete network links of pods that are no more."""
        self._network.drop(self._network.strays(self._sandboxes))

    @contextmanager
    def _pod(self, sandbox_id: str) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(sandbox_id, threading.RLock())
        with lock:
            yield

    def sandbox(self, sandbox_id: str) -> Sandbox | None:
        return self._sandboxes.get(sandbox_id)

    def container(self, container_id: str) -> Container | None:
        return self._containers.get(container_id)

    def containers(self) -> list[Container]:
        return list(self._containers.values())

    def create_sandbox(self, spec: SandboxSpec) -> SandboxStatus:
        identity = self._make.identity(spec)
        with self._pod(identity):
            sandbox = self._sandboxes.get(identity)
            if sandbox is not None and self._make.ready(sandbox):
                return sandbox.status(ready=True)
            if sandbox is not None:
                self.remove_sandbox(identity)
            sandbox = self._make.create(spec)
            self._sandboxes[identity] = sandbox
            return sandbox.status(ready=True)

    def stop_sandbox(self, sandbox_id: str) -> None:
        """Free what only running containers need; all of them have ended."""
        with self._pod(sandbox_id):
            sandbox = self._sandboxes.get(sandbox_id)
            if sandbox is None:
                return
            for container in self.containers():
                if container.sandbox_id != sandbox_id:
                    continue
                status = self.observe(container.id)
                if status is None or status.state not in _FINAL:
                    raise ConflictError(f'container "{container.id}" has not ended: stop it first')
                self._run.release(container)
            self._sandboxes[sandbox_id] = stopped = self._make.stop(sandbox)
        self._publish(stopped.status(ready=False))

    def remove_sandbox(self, sandbox_id: str) -> None:
        with self._pod(sandbox_id):
            sandbox = self._sandboxes.get(sandbox_id)
            if sandbox is None:
                return
            for container in self.containers():
                if container.sandbox_id == sandbox_id:
                    self.remove_container(container.id)
            self._make.remove(sandbox_id, sandbox.ips)
            self._sandboxes.pop(sandbox_id, None)
        with self._guard:
            self._locks.pop(sandbox_id, None)
        self._publish(sandbox.status(ready=False))

    def create_container(self, sandbox_id: str, spec: ContainerSpec) -> ContainerStatus:
        with self._pod(sandbox_id):
            sandbox = self._sandboxes.get(sandbox_id)
            if sandbox is None:
                raise StartError("CreateContainerError", f'failed to find sandbox "{sandbox_id}": not found')
            existing = self._containers.get(container_id(sandbox_id, spec.name, spec.attempt))
            if existing is not None:
                return self._must_observe(existing.id)
            container = self._run.create(sandbox, spec)
            self._containers[container.id] = container
            return self._must_observe(container.id)

    def start_container(self, identity: str) -> ContainerStatus:
        container = self._containers.get(identity)
        if container is None:
            raise StartError("StartError", f'container "{identity}" in state: not found')
        with self._pod(container.sandbox_id):
            try:
                self._containers[identity] = self._run.start(container)
            finally:
                status = self._must_observe(identity)
        if status.state is ContainerState.RUNNING:
            self._publish(status)
        return status

    def remove_container(self, identity: str) -> None:
        container = self._containers.get(identity)
        if container is None:
            return
        with self._pod(container.sandbox_id):
            with self._ends:
                self._removing.add(identity)
            try:
                self._run.remove(identity, container.cgroup)
                self._containers.pop(identity, None)
                self._final.pop(identity, None)
            finally:
                self._removing.discard(identity)
        self._forget(identity)

    def kill(self, identity: str, number: int) -> None:
        container = self._containers.get(identity)
        if container is not None and identity not in self._final:
            self._run.kill(container, number)

    def observe(self, identity: str) -> ContainerStatus | None:
        """The container's state now; tells of its end when that is new."""
        with self._ends:
            final = self._final.get(identity)
            container = self._containers.get(identity)
            if final is not None or container is None or identity in self._removing:
                return final
            status = self._run.observe(container)
            if status.state in _FINAL:
                self._final[identity] = status
                self._publish(status)
            return status

    def _must_observe(self, identity: str) -> ContainerStatus:
        status = self.observe(identity)
        if status is None:
            raise StartError("StartError", f'container "{identity}" was removed')
        return status

    def note_end(self, identity: str) -> None:
        """An exit file has appeared."""
        self.observe(identity)
        sandbox = self._sandboxes.get(identity)
        if sandbox is not None:
            self._publish(sandbox.status(ready=self._make.ready(sandbox)))

    def check_all(self) -> None:
        """Look at every container that has not ended; a net under the exit files."""
        for identity in list(self._containers):
            try:
                self.observe(identity)
            except OSError as error:
                # Its end could not be written down: a full disk, mostly. The next check comes to it again.
                log.warning("looking at container %s: %s", identity, error)

    def state(self) -> RuntimeState:
        """All of it."""
        sandboxes = [s.status(ready=self._make.ready(s)) for s in list(self._sandboxes.values())]
        statuses = [self.observe(identity) for identity in list(self._containers)]
        return RuntimeState(sandboxes, [status for status in statuses if status is not None])

    def usage(self, *, disk: bool) -> list[Usage]:
        """What running containers use."""
        found = []
        for container in self.containers():
            if container.id in self._final or container.process is None:
                continue
            counters = self._cgroups.counters(container.cgroup)
            files = self._layout.container(container.id)
            memory = counters.memory
            found.append(
                Usage(
                    container_id=container.id,
                    cpu_ns=counters.cpu_ns,
                    memory_bytes=memory,
                    memory_working_set_bytes=None
                    if memory is None
                    else max(0, memory - counters.inactive_file),
                    pids=counters.pids,
                    rootfs_bytes=disk_usage(files.upper) if disk else None,
                    log_bytes=log_size(files.log) if disk else None,
                )
            )
        return found

    def ended(self, identity: str) -> bool:
        """Whether it has ended or is gone, as far as is known."""
        return identity in self._final or identity not in self._containers

    def read_message(self, identity: str, limit: int) -> bytes:
        return self._run.read_message(identity, limit)

    def image_users(self, image_id: str) -> list[str]:
        """Names of containers that use an image."""
        return [container.name for container in self.containers() if container.image_id == image_id]

    def remove_all(self) -> None:
        """Remove every sandbox and container."""
        for identity in list(self._sandboxes):
            self.remove_sandbox(identity)

    def remove_groups(self) -> None:
        """Remove the node's own control group, once no pod needs it."""
        if self._cgroups.version:
            self._cgroups.remove(f"podbay/{self._node}")

    @property
    def empty(self) -> bool:
        return not self._sandboxes
