"""A cluster of scripted nodes for each module of the engine's tests, a namespace and an engine for each test."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from engine_parts import Cluster, Engine, engine

from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.nodes import one_scripted_node
from podbay.testing import Environment
from podbay.testing.requests import Requests


@pytest.fixture(scope="module")
def scripted() -> Iterator[Environment]:
    with Environment.start(ClusterOptions(nodes=one_scripted_node())) as environment:
        yield environment


@pytest.fixture
def cluster(scripted: Environment) -> Iterator[Cluster]:
    """The outside view of a namespace of the test's own; lifts all faults afterwards."""
    name = f"e-{uuid.uuid4().hex[:8]}"
    with Requests(scripted.kubeconfig) as api:
        api.create_namespace(name)
        yield Cluster(api, name)
        api.call("DELETE", "/podbay.dev/v1/faults")
        # A test may have deleted it itself.
        api.call("DELETE", f"/api/v1/namespaces/{name}")


@pytest_asyncio.fixture
async def started(scripted: Environment, cluster: Cluster) -> AsyncIterator[Engine]:
    """An engine on that cluster."""
    async with engine(scripted.kubeconfig) as found:
        yield found
