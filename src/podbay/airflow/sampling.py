"""What running pods use, as metrics.k8s.io tells it: one list for all of a process's pods in a namespace, now and then.

Off unless `[podbay] usage_seconds` says how often. A cluster without metrics, or one that does not allow them, is asked once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from podbay.errors import ApiError, PodbayError
from podbay.kube.client import KubeClient
from podbay.objects.meta import Object, name_of
from podbay.objects.quantity import Quantity
from podbay.objects.resource import GVR
from podbay.pods.identity import DEPLOYMENT_LABEL

__all__ = ["Samples", "sampled"]

_METRICS: Final = GVR("metrics.k8s.io", "v1beta1", "pods")


@dataclass(slots=True)
class Samples:
    """Of one task's pods."""

    names: set[str]
    """Of the pods; the task adds to it."""
    count: int = 0
    cpu: float = 0.0
    """Sum of the cores of all samples."""
    memory: float = 0.0
    """Sum of the bytes."""
    peak: int = 0
    """Most bytes at a moment that was looked at."""
    container: str = ""
    """The main one, of which the most is kept by itself: that is what its task can ask for less or more of."""
    main_cpu: float = 0.0
    main_peak: int = 0
    _last: str = ""

    def add(self, metrics: Object) -> None:
        """One answer; the same one twice, which comes of asking more often than a cluster measures, counts once."""
        stamp = f"{name_of(metrics)} {metrics.get('timestamp')}"
        if stamp == self._last:
            return
        self._last = stamp
        try:
            used = {str(each.get("name")): _used(each) for each in metrics.get("containers") or ()}
        except ValueError:
            return
        memory = sum(each for _, each in used.values())
        self.count += 1
        self.cpu += sum(each for each, _ in used.values())
        self.memory += memory
        self.peak = max(self.peak, memory)
        main_cpu, main_memory = used.get(self.container, (0.0, 0))
        self.main_cpu = max(self.main_cpu, main_cpu)
        self.main_peak = max(self.main_peak, main_memory)

    def to_json(self) -> Mapping[str, Any] | None:
        """Averages in cores and bytes; None without any sample."""
        if not self.count:
            return None
        return {
            "samples": self.count,
            "cpu": round(self.cpu / self.count, 6),
            "memory": round(self.memory / self.count),
            "peakMemory": self.peak,
            **self._main(),
        }

    def _main(self) -> Mapping[str, Any]:
        if not self.main_peak:
            return {}
        return {"main": {"peakCpu": round(self.main_cpu, 6), "peakMemory": self.main_peak}}


def _used(container: Mapping[str, Any]) -> tuple[float, int]:
    """Cores and bytes. Raises ValueError for what is no quantity."""
    usage = container.get("usage") or {}
    cpu, memory = (Quantity.from_json(usage.get(name) or 0) for name in ("cpu", "memory"))
    return cpu.as_float(), memory.value()


class _Namespace:
    """All that is sampled of one namespace of one cluster."""

    def __init__(self, client: KubeClient, namespace: str, deployment: str, seconds: int) -> None:
        self.wanted: list[Samples] = []
        self._client = client
        self._namespace = namespace
        self._selector = f"{DEPLOYMENT_LABEL}={deployment}"
        self._seconds = seconds
        self.task = asyncio.create_task(self._go_on(), name=f"sampling/{namespace}")

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            try:
                found = await self._client.list(
                    _METRICS, namespace=self._namespace, label_selector=self._selector
                )
            except ApiError as error:
                if error.code in (401, 403, 404):
                    return
                continue
            except PodbayError:
                continue
            for metrics in found.items:
                for samples in self.wanted:
                    if name_of(metrics) in samples.names:
                        samples.add(metrics)


_namespaces: dict[tuple[int, str], _Namespace] = {}


@contextlib.asynccontextmanager
async def sampled(
    client: KubeClient, namespace: str, deployment: str, names: set[str], *, seconds: int, container: str = ""
) -> AsyncIterator[Samples]:
    """What the pods of these names use as long as the block lasts. seconds 0: nothing is asked."""
    samples = Samples(names, container=container)
    if not seconds:
        yield samples
        return
    key = (id(client), namespace)
    shared = _namespaces.get(key)
    if shared is None:
        shared = _namespaces[key] = _Namespace(client, namespace, deployment, seconds)
    shared.wanted.append(samples)
    try:
        yield samples
    finally:
        shared.wanted.remove(samples)
        if not shared.wanted:
            del _namespaces[key]
            shared.task.cancel()
