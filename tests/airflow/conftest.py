"""A cluster of scripted nodes for each module that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.nodes import one_scripted_node
from podbay.testing import Environment
from podbay.testing.requests import Requests


@pytest.fixture(scope="module")
def scripted() -> Iterator[Environment]:
    with Environment.start(ClusterOptions(nodes=one_scripted_node())) as environment:
        yield environment


@pytest.fixture
def kube(scripted: Environment) -> Iterator[Requests]:
    with Requests(scripted.kubeconfig) as requests:
        yield requests
