"""No test of the client may leave an asyncio task behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from patience import eventually

from podbay.testing import Environment
from podbay.testing.requests import Requests


@pytest_asyncio.fixture(autouse=True)
async def no_orphan_tasks() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield

    def left() -> list[str]:
        ours = asyncio.all_tasks() - before - {asyncio.current_task()}
        return [task.get_name() for task in ours if not task.done()]

    await eventually(lambda: not left(), seconds=10, tell=left)


@pytest.fixture
def api(podbay_cluster: Environment) -> Iterator[Requests]:
    """Raw requests to the cluster; lifts all faults afterwards."""
    with Requests(podbay_cluster.kubeconfig) as requests:
        yield requests
        requests.call("DELETE", "/podbay.dev/v1/faults")
