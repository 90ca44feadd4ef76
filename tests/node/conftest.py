"""Fixtures for runtimes: one opened per test on a directory whose images are loaded once, and a look at what is left."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import images
import pytest
from patience import PATIENCE
from places import open_directory
from runtimes import PARAMETERS, RuntimeKind

from podbay.node.runtime import Runtime
from pods import PodMaker


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        call = getattr(item, "callspec", None)
        found = call.params.get("kind") if call is not None else None
        reason = found.deviations.get(item.originalname) if isinstance(found, RuntimeKind) else None
        if reason is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture(scope="session", params=PARAMETERS)
def kind(request: pytest.FixtureRequest) -> RuntimeKind:
    found: RuntimeKind = request.param
    if not found.available():
        pytest.skip(f"no {found.name} here (needs root and its packages)")
    return found


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """localhost/bb:1 as `docker save` would write it."""
    return images.busybox().archive(tmp_path_factory.mktemp("images") / "bb.tar", "localhost/bb:1")


@pytest.fixture(scope="session")
def base(kind: RuntimeKind) -> Iterator[Path]:
    """The state directory; kept through the session for its images."""
    # Users in containers pass through it on their way to volumes.
    with open_directory() as path:
        yield path


@pytest.fixture
def nothing_left(kind: RuntimeKind, base: Path) -> Iterator[None]:
    """Fails a test after which something of it still exists on the machine."""
    before = kind.left(base)
    yield
    deadline = time.monotonic() + PATIENCE
    while (left := kind.left(base) - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, "left behind:\n" + "\n".join(sorted(left))


@pytest.fixture
async def runtime(kind: RuntimeKind, base: Path, archive: Path, nothing_left: None) -> AsyncIterator[Runtime]:
    async with kind.open(base) as opened:
        if await opened.find_image("localhost/bb:1") is None:
            await opened.load_images(archive)
        try:
            yield opened
        finally:
            await opened.reset()


@pytest.fixture
async def pods(runtime: Runtime) -> AsyncIterator[PodMaker]:
    async with PodMaker.open(runtime) as maker:
        yield maker
