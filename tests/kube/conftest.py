"""No test of the client may leave an asyncio task behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from podbay.testing import Environment
from podbay.testing.requests import Requests


@pytest_asyncio.fixture(autouse=True)
async def no_orphan_tasks() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    for _ in range(20):
        left = [t for t in asyncio.all_tasks() - before if t is not asyncio.current_task() and not t.done()]
        if not left:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"tasks left running: {[task.get_name() for task in left]}")


@pytest.fixture
def api(podbay_cluster: Environment) -> Iterator[Requests]:
    """Raw requests to the cluster; lifts all faults afterwards."""
    with Requests(podbay_cluster.kubeconfig) as requests:
        yield requests
        requests.call("DELETE", "/podbay.dev/v1/faults")
