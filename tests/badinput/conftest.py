"""One server for bad input, watched: after each test it must answer, and its log must hold no traceback."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from raw_server import Server

from podbay.embedded.cluster import ClusterOptions
from podbay.testing import Environment
from podbay.testing.requests import Requests


@pytest.fixture(scope="session")
def running() -> Iterator[Environment]:
    with Environment.start(ClusterOptions(nodes=())) as environment:
        yield environment


@pytest.fixture
def server(running: Environment, caplog: pytest.LogCaptureFixture) -> Iterator[Server]:
    """The server; after the test it must be well, and must have logged nothing worse than a warning."""
    caplog.set_level(logging.INFO)
    made = Server(running)
    yield made
    made.close()
    with Requests(running.kubeconfig) as api:
        assert api.call("GET", "/readyz") == (200, "ok")
    worse = [r.getMessage() for r in caplog.get_records("call") if r.levelno >= logging.ERROR or r.exc_info]
    assert not worse
