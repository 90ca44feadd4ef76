"""`podbay logs` in action: which containers of a pod, now or live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing

from podbay.cli.log_writer import LogWriter
from podbay.cli.progress import Progress
from podbay.cli.reading import follow_lines, lines_until_now, readable_containers
from podbay.cli.rows import key_of, status_of
from podbay.cli.target import connect, find_pod
from podbay.errors import InvalidInputError, StateError
from podbay.kube.client import KubeClient
from podbay.kube.config import ClusterConfig
from podbay.kube.lease import LeasedCluster
from podbay.kube.log_reader import LogLine
from podbay.objects.meta import Object
from podbay.pods.sidecar import SIDECAR_NAME

__all__ = ["show_logs"]

_BLOCK = 512
"""Lines that are written at once."""

WriterFor = Callable[[bool], LogWriter]
"""Makes the writer; True puts container names in front of lines."""


async def show_logs(
    config: ClusterConfig,
    name: str,
    *,
    containers: Sequence[str],
    follow: bool,
    previous: bool,
    writer: WriterFor,
) -> None:
    """Write the logs of the pod; no containers means all but the result sidecar's."""
    async with connect(config) as cluster:
        pod = await find_pod(cluster.client, config.namespace, name, ended=True)
        chosen = _chosen(pod, containers)
        out = writer(len(chosen) > 1)
        if follow:
            await _follow(cluster, pod, chosen, out)
        else:
            await _show(cluster.client, pod, chosen, out, previous=previous)


def _chosen(pod: Object, containers: Sequence[str]) -> list[str]:
    spec = pod.get("spec") or {}
    lists = ("initContainers", "containers", "ephemeralContainers")
    known = [str(each.get("name")) for key in lists for each in spec.get(key) or ()]
    unknown = [each for each in containers if each not in known]
    if unknown:
        raise InvalidInputError(
            f"pod {key_of(pod)} has no container {unknown[0]!r}. It has: {', '.join(known)}"
        )
    return [each for each in known if (each in containers if containers else each != SIDECAR_NAME)]


async def _follow(cluster: LeasedCluster, pod: Object, chosen: Sequence[str], out: LogWriter) -> None:
    progress = Progress(plain=False)
    wrote = False

    def write(lines: Sequence[LogLine]) -> None:
        nonlocal wrote
        wrote = True
        progress.clear()
        out.write(lines)

    def on_state(state: Object) -> None:
        if not wrote:
            progress.show(f"{key_of(state)}: {status_of(state)}")

    try:
        await follow_lines(cluster, pod, follow=lambda name: name in chosen, write=write, on_state=on_state)
    finally:
        progress.clear()
        out.end_line()


async def _show(
    client: KubeClient, pod: Object, chosen: Sequence[str], out: LogWriter, *, previous: bool
) -> None:
    ready = [name for name in readable_containers(pod, previous=previous) if name in chosen]
    if not ready and previous:
        raise StateError(f"no container of pod {key_of(pod)} was restarted. Leave out --previous")
    if not ready:
        raise StateError(
            f"pod {key_of(pod)} has no log yet: {status_of(pod)}. Wait for it with --follow, or see: "
            f"podbay explain {key_of(pod)}"
        )
    block: list[LogLine] = []
    async with aclosing(lines_until_now(client, pod, ready, previous=previous)) as lines:
        async for line in lines:
            block.append(line)
            if len(block) >= _BLOCK:
                out.write(block)
                block.clear()
    out.write(block)
    out.end_line()
