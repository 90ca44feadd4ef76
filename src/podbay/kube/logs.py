"""All containers of one pod, live and interleaved: every line exactly once.

    async with PodLogFollower(source, positions=saved) as follower:
        follower.observe(pod)                    # every state of the pod that the shared watch tells
        async for batch in follower.batches():
            write(batch.lines)
        save(follower.positions)

A batch counts as taken over when the next one is asked for. Memory is bounded: readers pause while the consumer is
behind, and with them the node. Lines of one container keep their order; between containers they come as they arrive.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import NamedTuple, Self

from podbay.aio.tasks import TaskGroup
from podbay.errors import PodbayError
from podbay.kube.log_attempts import containers_of, is_over
from podbay.kube.log_lines import Position
from podbay.kube.log_reader import ContainerReader, LogLine, LogSource
from podbay.objects.meta import Object, uid_of

__all__ = ["LogBatch", "PodLogFollower"]

BUFFER = 256 << 10
"""Characters waiting for the consumer at which the readers of a pod pause (each may add what one chunk held)."""


class LogBatch(NamedTuple):
    """Lines of one container, and its position after them."""

    container: str
    lines: Sequence[LogLine]
    position: Position | None


class PodLogFollower:
    """See the module docstring. `follow` chooses containers by name."""

    def __init__(
        self,
        source: LogSource,
        *,
        uid: str = "",
        positions: Mapping[str, Position] | None = None,
        follow: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self.positions: dict[str, Position] = dict(positions or {})
        """By container: what the consumer has taken over."""
        self._source = source
        self._uid = uid
        self._follow = follow
        self._readers: dict[str, ContainerReader] = {}
        self._running = 0
        self._over = False
        self._gone = False
        self._final: frozenset[str] = frozenset()
        self._taken = asyncio.Event()
        self._handing: str | None = None
        self._pod: Object | None = None
        self._error: PodbayError | None = None
        self._outbox: deque[LogBatch] = deque()
        self._size = 0
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._stack = AsyncExitStack()
        self._group: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._group = await self._stack.enter_async_context(TaskGroup(f"logs/{self._source.pod}"))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(exc_type, exc, traceback)

    @property
    def idle(self) -> bool:
        """No log is being read, and nothing waits for the consumer."""
        return not self._outbox and self._handing is None and all(r.over for r in self._readers.values())

    # -- told by the owner

    def observe(self, pod: Object) -> None:
        """A state of the pod; another pod of the same name counts as the end of this one."""
        if self._gone:
            return
        self._uid = self._uid or uid_of(pod)
        if uid_of(pod) != self._uid:
            self.pod_gone()
            return
        self._over = is_over(pod)
        for name, logs in containers_of(pod):
            if not self._follow(name):
                continue
            reader = self._readers.get(name)
            if reader is None and logs.attempts:
                reader = self._start(name)
            if reader is not None:
                reader.observe(logs, over=self._over or name in self._final)
        self._filled.set()
        self._pod = pod

    def pod_gone(self) -> None:
        """The pod does not exist any more; what is on its way is still taken."""
        self._gone = True
        for reader in self._readers.values():
            reader.pod_gone()
        self._filled.set()

    async def finish(self, ended: Collection[str]) -> None:
        """Return when the consumer has taken over all that these containers wrote; they will not be restarted.

        Those that were never read count as finished. The consumer must be reading meanwhile.
        """
        self._final = frozenset(ended)
        if self._pod is not None and not self._gone:
            self.observe(self._pod)
        while not self._is_taken(ended):
            self._taken.clear()
            await self._taken.wait()

    async def attached(self, seconds: float) -> None:
        """Return when the log of every container that has begun is open or read, at most after so long."""
        try:
            async with asyncio.timeout(seconds):
                while not all(reader.attached for reader in self._readers.values()):
                    self._taken.clear()
                    await self._taken.wait()
        except TimeoutError:
            pass

    def _is_taken(self, names: Collection[str]) -> bool:
        waiting = {batch.container for batch in self._outbox}
        if self._handing is not None:
            waiting.add(self._handing)
        reading = {name for name, reader in self._readers.items() if not reader.over}
        return not (waiting | reading) & set(names)

    def _start(self, name: str) -> ContainerReader:
        assert self._group is not None, "used outside its `async with` block"
        reader = ContainerReader(self._source, name, self, self.positions.get(name))
        self._readers[name] = reader
        self._running += 1
        self._group.start(name, self._run(reader))
        return reader

    async def _run(self, reader: ContainerReader) -> None:
        try:
            await reader.run()
        except PodbayError as err:
            # Belongs to the consumer, after the lines that came before it.
            self._error = self._error or err
        finally:
            self._running -= 1
            reader.over = True
            self._filled.set()
            self._taken.set()

    # -- LogSink

    def opened(self) -> None:
        self._taken.set()

    def put(self, container: str, lines: Sequence[LogLine], position: Position | None) -> None:
        self._outbox.append(LogBatch(container, lines, position))
        self._size += sum(len(line.text) for line in lines) + len(lines)
        self._filled.set()
        if self._size > BUFFER:
            self._drained.clear()

    async def room(self) -> None:
        if self._size > BUFFER:
            await self._drained.wait()

    # -- read by the consumer

    async def batches(self) -> AsyncGenerator[LogBatch, None]:
        """Until all containers have ended and been read. Raises ApiError when the cluster forbids reading."""
        while True:
            while self._outbox:
                batch = self._outbox.popleft()
                self._size -= sum(len(line.text) for line in batch.lines) + len(batch.lines)
                if self._size <= BUFFER // 2:
                    self._drained.set()
                self._handing = batch.container
                yield batch
                self._handing = None
                if batch.position is not None:
                    self.positions[batch.container] = batch.position
            self._taken.set()
            if self._error is not None:
                raise self._error
            if (self._over or self._gone) and self._running == 0:
                return
            self._filled.clear()
            await self._filled.wait()
