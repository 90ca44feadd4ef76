"""What becomes of a pod whose worker fails for a reason that nobody foresaw."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest

from podbay.aio.tasks import TaskGroup
from podbay.aio.virtual import VirtualClock
from podbay.errors import RuntimeUnavailableError
from podbay.node import agent as agent_module
from podbay.node.agent import AgentOptions, NodeAgent
from podbay.node.observed import RuntimeState
from podbay.node.parts import NodeParts


def pod(version: int) -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": str(version)}}


async def test_a_worker_that_fails_is_replaced_ever_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """By one that knows the pod as it is then, and once the runtime answers."""
    clock = VirtualClock()
    made: list[tuple[float, str]] = []

    class Sick:
        def __init__(self, _: object, pod: dict[str, Any], **__: object) -> None:
            self.record = SimpleNamespace(pod=pod)
            made.append((clock.monotonic() - start, pod["metadata"]["resourceVersion"]))

        async def run(self) -> None:
            raise RecursionError("nobody foresaw this")

    class Runtime:
        asked = 0

        async def list(self) -> RuntimeState:
            self.asked += 1
            if self.asked == 2:
                raise RuntimeUnavailableError("not now")
            # A change that is heard while the runtime is asked.
            running.workers["u"].record.pod = pod(self.asked)
            return RuntimeState((), ())

    monkeypatch.setattr(agent_module, "PodWorker", Sick)
    agent = NodeAgent(AgentOptions(name="n", storage=None, runtime=cast(Any, None)))
    start = clock.monotonic()
    async with TaskGroup("agent") as group:
        parts = cast(NodeParts, SimpleNamespace(clock=clock, runtime=Runtime()))
        running = agent_module._Running(parts, group)
        agent._start(running, pod(0), RuntimeState((), ()))
        for _ in range(200):
            await clock.advance(1.0)
    # After the second pause the runtime did not answer, and it was waited for once more.
    assert made[:5] == [(0, "0"), (1, "1"), (5, "3"), (9, "4"), (17, "5")]
    pauses = [later - earlier for (earlier, _), (later, _) in pairwise(made)]
    assert pauses[4:] == [16, 32, 60, 60]
