"""The server under test, and the recorded answers of a real cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from whole_server import Server, running_server

RECORDED = Path(__file__).parents[1] / "fidelity" / "kubernetes-1.36.json"


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture(scope="session")
def recorded() -> dict[str, Any]:
    """Recorded cases by id."""
    return {case["id"]: case for case in json.loads(RECORDED.read_bytes())}
