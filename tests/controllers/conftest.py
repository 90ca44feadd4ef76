from __future__ import annotations

import pytest

from podbay.aio.virtual import VirtualClock


@pytest.fixture
def plain_clock() -> VirtualClock:
    """A clock for deciding code; it never moves by itself."""
    return VirtualClock()
