from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from storage_builders import FixedClock

from podbay.apiserver.storage import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def store(clock: FixedClock) -> Iterator[Store]:
    with Store.open(None, clock=clock) as store:
        yield store
