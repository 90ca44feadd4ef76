"""pytest fixtures: a cluster for the session, a namespace for each test.

pytest loads this in every run where Podbay is installed, so nothing heavy is imported until a fixture is used.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from podbay.embedded.cluster import ClusterOptions
    from podbay.testing.environment import Environment

__all__ = ["podbay_cluster", "podbay_namespace", "pytest_addoption"]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("podbay")
    group.addoption(
        "--podbay-nodes",
        choices=("containers", "scripted"),
        default="containers",
        help="What runs pods of an embedded cluster: containers (default), or a script that lets them succeed at once.",
    )
    group.addoption(
        "--podbay-cluster",
        metavar="KUBECONFIG",
        default="embedded",
        help="'embedded' (default) starts a cluster for the session; a path uses the cluster of that kubeconfig.",
    )


@pytest.fixture(scope="session")
def podbay_cluster(request: pytest.FixtureRequest) -> Iterator[Environment]:
    """A ready cluster; see podbay.testing.Environment."""
    from podbay.testing.environment import Environment

    chosen = request.config.getoption("--podbay-cluster")
    if chosen != "embedded":
        yield Environment.from_kubeconfig(Path(chosen))
        return
    with Environment.start(_options(request.config.getoption("--podbay-nodes"))) as environment:
        yield environment


def _options(nodes: str) -> ClusterOptions:
    from podbay.embedded.cluster import ClusterOptions
    from podbay.embedded.nodes import default_nodes, one_scripted_node

    return ClusterOptions(nodes=default_nodes() if nodes == "containers" else one_scripted_node())


@pytest.fixture
def podbay_namespace(podbay_cluster: Environment) -> Iterator[str]:
    """A fresh namespace; it and all in it are deleted after the test."""
    from podbay.testing.requests import Requests

    name = f"test-{uuid.uuid4().hex[:10]}"
    with Requests(podbay_cluster.kubeconfig) as api:
        api.create_namespace(name)
        yield name
        api.delete_namespace(name)
