"""A cluster whose node runs containers, and a small client for what a test does with pods."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import images
import pytest
from agent_pods import AgentCluster, Flag

from podbay.embedded.containers import runtime_available


@pytest.fixture(scope="session")
def busybox_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images.busybox().archive(tmp_path_factory.mktemp("images") / "bb.tar", "localhost/bb:1")


@pytest.fixture(scope="session")
def node(busybox_archive: Path) -> Iterator[AgentCluster]:
    if not runtime_available():
        pytest.skip("no container runtime here (needs root, runc and conmon)")
    with AgentCluster.start(busybox_archive) as cluster:
        yield cluster


@pytest.fixture
def flag(tmp_path: Path) -> Flag:
    return Flag(tmp_path)


@pytest.fixture
def namespace(node: AgentCluster) -> Iterator[str]:
    with node.new_namespace() as name:
        yield name
