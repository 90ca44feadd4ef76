"""The port of `podbay up`: nobody else's, also while nobody listens there yet."""

from __future__ import annotations

import socket

import pytest

from podbay.airflow.running import stack
from podbay.errors import ConflictError


@pytest.fixture(autouse=True)
def usual(monkeypatch: pytest.MonkeyPatch) -> int:
    """The one that everybody takes first; not the real one, where somebody's Airflow may be."""
    port = stack.free_port()
    monkeypatch.setattr(stack, "USUAL_PORT", port)
    return port


def test_two_that_start_at_once_have_two_ports(usual: int) -> None:
    with stack._port(0, 0) as first, stack._port(0, 0) as second:
        assert first == usual
        assert second != usual
        with pytest.raises(ConflictError, match=f"--port {usual}: somebody else"), stack._port(usual, 0):
            pass


def test_the_port_of_the_last_time_comes_first(usual: int) -> None:
    last = stack.free_port()
    with stack._port(0, last) as port:
        assert port == last
    # Kept by nobody any more, and listened on by somebody.
    with socket.create_server(("127.0.0.1", last)), stack._port(0, last) as port:
        assert port == usual
