"""A test that thinks for long between two requests: the server has closed the connection meanwhile."""

from __future__ import annotations

import select

import pytest
from patience import until

from podbay.apiserver import connections
from podbay.embedded.cluster import ClusterOptions
from podbay.testing import Environment, requests
from podbay.testing.requests import Requests


def test_an_idle_connection_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr(requests, "FRESH_SECONDS", 0.1)
    with Environment.start(ClusterOptions(nodes=())) as environment, Requests(environment.kubeconfig) as api:
        assert api.call("GET", "/readyz") == (200, "ok")
        assert api._connection is not None
        socket = api._connection.sock
        # The server's goodbye.
        until(lambda: select.select([socket], [], [], 0)[0])
        assert api.call("GET", "/readyz") == (200, "ok")
