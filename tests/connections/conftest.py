"""Two external clusters, each with its own authority, and what they let whom do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from external_cluster import External

from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.nodes import one_scripted_node
from podbay.testing import Environment


def _start(name: str) -> Iterator[External]:
    with Environment.start(ClusterOptions(name=name, nodes=one_scripted_node())) as environment:
        yield External.of(environment)


@pytest.fixture(scope="module")
def east() -> Iterator[External]:
    yield from _start("east")


@pytest.fixture(scope="module")
def west() -> Iterator[External]:
    yield from _start("west")
