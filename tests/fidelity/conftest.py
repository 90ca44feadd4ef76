"""A cluster with one node whose pods run until they are deleted: what the control plane's cases need of a node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import images
import pytest

from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.scripted import Script, ScriptedNode, ScriptedNodes
from podbay.testing import Environment

FOREVER = Script.from_data({"rules": [{"containers": {"*": [{"run": "forever"}]}}]})


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Iterator[Environment]:
    if request.config.getoption("--podbay-cluster") != "embedded":
        yield request.getfixturevalue("podbay_cluster")
        return
    nodes = (lambda: ScriptedNodes([ScriptedNode(name="node")], FOREVER),)
    with Environment.start(ClusterOptions(nodes=nodes)) as environment:
        yield environment


@pytest.fixture(scope="session")
def busybox_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """localhost/bb:1, the image of the recordings."""
    return images.busybox().archive(tmp_path_factory.mktemp("images") / "bb.tar", "localhost/bb:1")
