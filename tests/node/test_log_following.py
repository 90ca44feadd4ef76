"""The log of a container that ends without another word (logs.py)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from podbay.node.observed import ContainerStatus
from podbay.node.runc import logs
from podbay.node.runc.inotify import FileWatch
from podbay.node.specs import LogQuery

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
PATIENCE = 60.0


@pytest.fixture
async def watch() -> AsyncIterator[FileWatch]:
    watch = FileWatch()
    yield watch
    watch.close()


async def test_a_silent_end_is_news(
    watch: FileWatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody looks by himself.
    monkeypatch.setattr(logs, "_POLL_SECONDS", 3600.0)
    path = tmp_path / "container.log"
    path.write_bytes(b"2026-11-22T00:00:00.5Z stdout F one\n")
    over = False
    end: asyncio.Future[ContainerStatus | None] = asyncio.get_running_loop().create_future()
    following = logs.follow_log(path, LogQuery(follow=True), watch, ended=lambda: over, end=end)
    seen: list[bytes] = []

    async def follow() -> None:
        async for lines in following:
            seen.extend(line.data for line in lines)

    reading = asyncio.ensure_future(follow())
    async with asyncio.timeout(PATIENCE):
        while seen != [b"one"]:
            await asyncio.sleep(0.01)
        with path.open("ab") as file:
            file.write(b"2026-11-22T00:00:01.5Z stdout F two\n")
        while seen != [b"one", b"two"]:
            await asyncio.sleep(0.01)
        assert not reading.done()
        over = True
        end.set_result(None)
        await reading
    assert seen == [b"one", b"two"]
