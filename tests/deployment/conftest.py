"""A client of the session's cluster for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from deployment_parts import client_of

from podbay.kube.client import KubeClient
from podbay.testing import Environment


@pytest_asyncio.fixture
async def kube(podbay_cluster: Environment) -> AsyncIterator[KubeClient]:
    async with client_of(podbay_cluster.kubeconfig) as client:
        yield client
