"""Reading the logs of one pod for `podbay logs`: as they are now, sorted by time, or live to the pod's end.

Live reading is `kube.logs`: every line exactly once through cuts and restarts. Reading what is there is simpler (the
logs end) and can sort the containers' lines by time; a cut is mended by the same rule of positions.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing

from podbay.aio.clock import SystemClock
from podbay.aio.tasks import TaskGroup
from podbay.errors import UnreachableError
from podbay.kube.client import PODS, KubeClient
from podbay.kube.lease import LeasedCluster
from podbay.kube.log_attempts import containers_of
from podbay.kube.log_lines import LineSplitter, Piece, Position, Tracker
from podbay.kube.log_reader import LogLine, LogSource
from podbay.kube.logs import PodLogFollower
from podbay.kube.store import Subscription
from podbay.kube.watch import Scope
from podbay.objects.meta import Object, name_of, namespace_of, uid_of

__all__ = ["follow_lines", "lines_until_now", "readable_containers"]

_ATTEMPTS = 4
"""Times the read of one log may break before it is given up."""


def readable_containers(pod: Object, *, previous: bool = False) -> list[str]:
    """Containers whose log the node has, in the order in which they start."""
    return [
        name
        for name, logs in containers_of(pod)
        if (any(a.previous for a in logs.attempts) if previous else logs.attempts)
    ]


async def lines_until_now(
    client: KubeClient, pod: Object, containers: Sequence[str], *, previous: bool = False
) -> AsyncGenerator[LogLine, None]:
    """The logs of the containers as they are, in the order of time. Raises ApiError, UnreachableError."""
    async with AsyncExitStack() as stack:
        waiting: list[tuple[int, int, LogLine, AsyncGenerator[LogLine, None]]] = []
        for number, container in enumerate(containers):
            lines = await stack.enter_async_context(aclosing(_log(client, pod, container, previous=previous)))
            first = await anext(lines, None)
            if first is not None:
                heapq.heappush(waiting, (first.time_ns, number, first, lines))
        while waiting:
            time_ns, number, line, lines = heapq.heappop(waiting)
            yield line
            after = await anext(lines, None)
            if after is not None:
                # A container's own order counts, also where its clock was set back.
                heapq.heappush(waiting, (max(time_ns, after.time_ns), number, after, lines))


async def _log(
    client: KubeClient, pod: Object, container: str, *, previous: bool
) -> AsyncGenerator[LogLine, None]:
    tracker = Tracker(Position("now"))
    for attempt in range(1, _ATTEMPTS + 1):
        splitter = LineSplitter()
        since = tracker.begin().since
        try:
            async with (
                client.logs(
                    namespace_of(pod), name_of(pod), container=container, previous=previous, since=since
                ) as stream,
                aclosing(stream.chunks()) as chunks,
            ):
                async for chunk in chunks:
                    for piece in tracker.take(splitter.feed(chunk)):
                        yield _line(container, piece)
        except UnreachableError:
            if attempt == _ATTEMPTS:
                raise
            continue
        rest = tracker.take(splitter.finish())
        if not tracker.found and not tracker.gap:
            rest = tracker.give_up()
        for piece in rest:
            yield _line(container, piece)
        return


def _line(container: str, piece: Piece) -> LogLine:
    text = piece.body.decode("utf-8", "backslashreplace").removesuffix("\r")
    return LogLine(container, piece.time_ns or 0, text, not piece.last)


async def follow_lines(
    cluster: LeasedCluster,
    pod: Object,
    *,
    follow: Callable[[str], bool],
    write: Callable[[Sequence[LogLine]], None],
    on_state: Callable[[Object], None],
) -> None:
    """Write the lines of the pod's containers from their beginning until all have ended; tell of the pod's states."""
    namespace, name = namespace_of(pod), name_of(pod)
    scope = Scope(resource=PODS, namespace=namespace, field_selector=f"metadata.name={name}")
    source = LogSource(cluster.client, cluster.log_slots, SystemClock(), namespace, name)
    async with (
        cluster.watch(scope) as store,
        store.subscribe(namespace, name, known=pod) as changes,
        PodLogFollower(source, uid=uid_of(pod), follow=follow) as follower,
        TaskGroup(f"follow/{name}") as group,
    ):
        on_state(pod)
        follower.observe(pod)
        # Without the right to watch nothing would ever be heard; that is said instead.
        group.start("rights", store.wait_synced())
        group.start("changes", _tell(changes, follower, on_state))
        async with aclosing(follower.batches()) as batches:
            async for batch in batches:
                write(batch.lines)


async def _tell(changes: Subscription, follower: PodLogFollower, on_state: Callable[[Object], None]) -> None:
    while True:
        change = await changes.next()
        if change.type == "DELETED" or change.object is None:
            follower.pod_gone()
            return
        on_state(change.object)
        follower.observe(change.object)
