"""Followed logs over real sockets: exactly once whatever happens to the stream, live, bounded, two requests a log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from log_server import START, LogServer, Mishap, ended_pod, pod
from patience import PATIENCE, eventually

from podbay.aio.clock import SystemClock
from podbay.errors import ApiError
from podbay.kube.client import KubeClient
from podbay.kube.log_lines import PIECE, Position
from podbay.kube.log_reader import LogLine, LogSource
from podbay.kube.log_slots import LogSlots
from podbay.kube.logs import PodLogFollower

SAMPLE = ["one", "zwei äöü", "", "three three three", "4"]


@pytest_asyncio.fixture
async def server() -> AsyncIterator[LogServer]:
    async with LogServer.start() as started:
        yield started


@asynccontextmanager
async def sources(server: LogServer, *, streams: int = 100) -> AsyncIterator[LogSource]:
    clock = SystemClock()
    async with KubeClient(server.config, clock) as client:
        yield LogSource(client, LogSlots(clock, streams=streams), clock, "n", "p")


async def collect(follower: PodLogFollower, into: list[LogLine]) -> None:
    async for batch in follower.batches():
        into.extend(batch.lines)


def texts(lines: list[LogLine], container: str = "main") -> list[str]:
    return [line.text for line in lines if line.container == container and not line.notice]


def notices(lines: list[LogLine]) -> list[str]:
    return [line.text for line in lines if line.notice]


async def read_all(source: LogSource, **options: object) -> list[LogLine]:
    """The log of a pod that has ended."""
    lines: list[LogLine] = []
    async with PodLogFollower(source, **options) as follower:  # type: ignore[arg-type]
        follower.observe(ended_pod())
        await asyncio.wait_for(collect(follower, lines), PATIENCE)
    return lines


@pytest.mark.parametrize("clean", [False, True], ids=["broken", "ended-properly"])
async def test_cut_at_every_byte(server: LogServer, clean: bool) -> None:
    written = server.log()
    written.write(*SAMPLE)
    written.ended = True
    length = sum(len(text.encode()) + 32 for text in SAMPLE)
    async with sources(server) as source:
        for at in range(length + 1):
            server.mishaps.append(Mishap(cut_at=at, clean=clean))
            lines = await read_all(source)
            assert texts(lines) == SAMPLE, f"cut at byte {at}"
            assert notices(lines) == []


async def test_cut_at_every_byte_while_the_container_runs(server: LogServer) -> None:
    async with sources(server) as source:
        for at in range(0, 200, 3):
            written = server.logs[("main", False)] = type(server.log())()
            server.mishaps.extend(
                [Mishap(cut_at=at), Mishap(cut_at=at + 40), Mishap(cut_at=at // 2, clean=True)]
            )
            lines: list[LogLine] = []
            async with PodLogFollower(source) as follower:
                follower.observe(pod())
                reading = asyncio.ensure_future(collect(follower, lines))
                for number, text in enumerate(SAMPLE):
                    # Several lines of one stamp, then a later second.
                    written.write(text, ns=START + (number // 2) * 700_000_000)
                    server.touch()
                    await asyncio.sleep(0.002)
                written.ended = True
                server.touch()
                follower.observe(ended_pod())
                await asyncio.wait_for(reading, PATIENCE)
            assert texts(lines) == SAMPLE
            server.mishaps.clear()


async def test_a_log_costs_two_requests(server: LogServer) -> None:
    written = server.log()
    async with sources(server) as source:
        lines: list[LogLine] = []
        async with PodLogFollower(source) as follower:
            follower.observe(pod())
            reading = asyncio.ensure_future(collect(follower, lines))
            for number in range(50):
                written.write(f"line {number}")
                server.touch()
                await asyncio.sleep(0.005)
            written.ended = True
            server.touch()
            await asyncio.sleep(0.05)
            follower.observe(ended_pod())
            await asyncio.wait_for(reading, PATIENCE)
        assert texts(lines) == [f"line {number}" for number in range(50)]
        assert source.client.counter.of("n", "p") == {"log": 2}
        assert "follow" not in server.requests[1]


async def test_lines_are_live(server: LogServer) -> None:
    written = server.log()
    async with sources(server) as source, PodLogFollower(source) as follower:
        follower.observe(pod())
        batches = follower.batches()
        for number in range(20):
            written.write(f"line {number}")
            server.touch()
            # The log goes on, so a line that waited for more would never come.
            batch = await asyncio.wait_for(anext(batches), PATIENCE)
            assert [line.text for line in batch.lines] == [f"line {number}"]
        await batches.aclose()


async def test_containers_are_interleaved(server: LogServer) -> None:
    names = ("init", "main", "side")
    async with sources(server) as source, PodLogFollower(source) as follower:
        lines: list[LogLine] = []
        follower.observe(pod(*names))
        reading = asyncio.ensure_future(collect(follower, lines))
        await eventually(lambda: server.open == 3)
        for number in range(5):
            for name in names:
                server.log(name).write(f"{name} {number}")
                server.touch()
                await eventually(lambda: len(lines) == number * 3 + names.index(name) + 1)  # noqa: B023
        for name in names:
            server.log(name).ended = True
        server.touch()
        follower.observe(ended_pod(*names))
        await asyncio.wait_for(reading, PATIENCE)
        assert [line.text for line in lines] == [f"{name} {number}" for number in range(5) for name in names]


async def test_rotation_is_said(server: LogServer) -> None:
    written = server.log()
    written.write("a", "b", "c")
    written.ended = True
    async with sources(server) as source:
        server.mishaps.append(Mishap(cut_at=2 * 33))
        lines: list[LogLine] = []
        async with PodLogFollower(source) as follower:
            follower.observe(pod())
            reading = asyncio.ensure_future(collect(follower, lines))
            await eventually(lambda: len(lines) >= 2)
            follower.observe(ended_pod())
            await asyncio.wait_for(reading, PATIENCE)
        assert texts(lines) == ["a", "b", "c"]
        assert notices(lines) == []
        position = follower.positions["main"]

        written.lines = []
        written.write("x", "y", ns=START + 5_000_000_000)
        lines = await read_all(source, positions={"main": position})
        assert texts(lines) == ["x", "y"]
        assert "rotated the log" in notices(lines)[0]
        assert lines[0].notice

        written.lines = []
        lines = await read_all(source, positions={"main": Position(position.attempt, START + 9, 1)})
        assert texts(lines) == []
        assert "rotated the log" in notices(lines)[0]


async def test_positions_survive_an_engine_restart(server: LogServer) -> None:
    written = server.log()
    written.write(*(f"line {number}" for number in range(200)), step=0)
    written.ended = True
    async with sources(server) as source:
        got: list[str] = []
        positions: dict[str, Position] = {}
        for _ in range(100):
            server.mishaps.append(Mishap(cut_at=len(got) * 40 + 317))
            async with PodLogFollower(source, positions=positions) as follower:
                follower.observe(ended_pod())
                batches = follower.batches()
                batch = await anext(batches, None)
                if batch is None:
                    break
                got += [line.text for line in batch.lines]
                # Asking for more takes the batch over; then this engine dies.
                asking = asyncio.ensure_future(anext(batches, None))
                await asyncio.sleep(0)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
                positions = {name: Position.parse(str(at)) for name, at in follower.positions.items()}
            server.mishaps.clear()
        assert got == [f"line {number}" for number in range(200)]


async def test_what_is_not_taken_over_comes_again(server: LogServer) -> None:
    server.log().write("one", "two")
    server.log().ended = True
    async with sources(server) as source, PodLogFollower(source) as follower:
        follower.observe(ended_pod())
        batches = follower.batches()
        await anext(batches)
        await batches.aclose()
        assert follower.positions == {}


async def test_a_restarted_container_has_two_logs(server: LogServer) -> None:
    first = server.log(previous=True)
    first.write("first run")
    first.ended = True
    second = server.log()
    second.write("second run")
    second.ended = True
    async with sources(server) as source:
        lines: list[LogLine] = []
        async with PodLogFollower(source) as follower:
            follower.observe(ended_pod(restarts=1))
            await asyncio.wait_for(collect(follower, lines), PATIENCE)
        assert texts(lines) == ["first run", "second run"]
        again: list[LogLine] = []
        async with PodLogFollower(source, positions=follower.positions) as follower:
            follower.observe(ended_pod(restarts=1))
            await asyncio.wait_for(collect(follower, again), PATIENCE)
        assert again == []


async def test_a_last_line_without_newline_comes_once(server: LogServer) -> None:
    written = server.log()
    written.write("a", "the end")
    written.ended = written.unended_line = True
    async with sources(server) as source:
        for at in (None, 50, 60, 66, 70):
            if at:
                server.mishaps.append(Mishap(cut_at=at, clean=True))
            lines = await read_all(source)
            assert texts(lines) == ["a", "the end"]


async def test_a_huge_line_comes_in_pieces(server: LogServer) -> None:
    text = b"0123456789abcdef" * (1 << 16)
    written = server.log()
    written.write("before", text, "after")
    written.ended = True
    async with sources(server) as source:
        server.mishaps.extend([Mishap(cut_at=500_000), Mishap(cut_at=700_001)])
        lines = await read_all(source)
    assert "".join(texts(lines)) == "before" + text.decode() + "after"
    assert max(len(line.text) for line in lines) == PIECE
    assert [line.continues for line in lines] == [False] + [True] * 63 + [False, False]


async def test_bytes_that_are_no_text_stay_readable(server: LogServer) -> None:
    written = server.log()
    written.write(b"caf\xe9 \xff\xfe ok", b"tty line\r")
    written.ended = True
    async with sources(server) as source:
        assert texts(await read_all(source)) == ["caf\\xe9 \\xff\\xfe ok", "tty line"]


async def test_a_consumer_that_is_slow_holds_up_the_node(server: LogServer) -> None:
    written = server.log()
    written.write(*("x" * 1000 for _ in range(20_000)))
    written.ended = True
    async with sources(server) as source, PodLogFollower(source) as follower:
        follower.observe(ended_pod())
        batches = follower.batches()
        count = len((await anext(batches)).lines)
        await asyncio.sleep(0.3)
        assert follower._size < 2 << 20
        async for batch in batches:
            count += len(batch.lines)
        assert count == 20_000


async def test_a_log_that_is_not_there_yet_is_waited_for(server: LogServer) -> None:
    server.log().write("late")
    server.log().ended = True
    server.mishaps.append(
        Mishap(status=400, message='container "main" in pod "p" is waiting to start: ContainerCreating')
    )
    server.mishaps.append(Mishap(status=500, message="the kubelet is away"))
    async with sources(server) as source:
        assert texts(await read_all(source)) == ["late"]


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize(
    "words",
    [
        b"failed to create fsnotify watcher: too many open files",
        b'failed to watch file "0.log": no space left',
    ],
)
async def test_a_node_that_cannot_follow_loses_no_lines(server: LogServer, words: bytes, end: bytes) -> None:
    written = server.log()
    written.write("first")
    written.unfollowed = words + end
    async with sources(server) as source, PodLogFollower(source) as follower:
        lines: list[LogLine] = []
        follower.observe(pod())
        reading = asyncio.ensure_future(collect(follower, lines))
        # Two streams that end alike are no proof: the container writes on.
        await eventually(lambda: len(server.requests) == 2)
        await asyncio.sleep(0.1)
        written.write("second", "third")
        follower.observe(ended_pod())
        await asyncio.wait_for(reading, PATIENCE)
    assert texts(lines) == ["first", "second", "third"]
    assert notices(lines) == []


async def test_a_pod_that_is_deleted_where_nobody_can_follow_is_said(server: LogServer) -> None:
    server.log().write("first")
    server.log().unfollowed = b"failed to create fsnotify watcher: too many open files"
    async with sources(server) as source, PodLogFollower(source) as follower:
        lines: list[LogLine] = []
        follower.observe(pod())
        reading = asyncio.ensure_future(collect(follower, lines))
        await eventually(lambda: len(server.requests) == 2)
        await asyncio.sleep(0.1)
        follower.pod_gone()
        await asyncio.wait_for(reading, PATIENCE)
    assert texts(lines) == ["first"]
    assert notices(lines) == ["[podbay] main: the pod was deleted before its log was read to the end"]


@pytest.mark.parametrize("end", [b"", b"\n"])
async def test_a_log_that_its_node_has_removed_is_a_loss_of_its_own(
    server: LogServer, monkeypatch: pytest.MonkeyPatch, end: bytes
) -> None:
    from podbay.kube import log_reader

    monkeypatch.setattr(log_reader, "PATIENCE_SECONDS", 1.0)
    excuse = b"unable to retrieve container logs for containerd://0123456789ab"
    server.log("gone").excuse = excuse + end
    server.log().write("one", "two")
    async with sources(server) as source, PodLogFollower(source) as follower:
        lines: list[LogLine] = []
        follower.observe(ended_pod("gone", "main"))
        await asyncio.wait_for(collect(follower, lines), PATIENCE)
    assert texts(lines) == ["one", "two"]
    assert texts(lines, "gone") == []
    assert notices(lines) == [f"[podbay] gone: the log could not be read to its end: {excuse.decode()}"]
    assert len(server.requests) < 15


async def test_a_silent_read_of_an_ended_log_is_begun_anew(
    server: LogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from podbay.kube import client

    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.5)
    server.log().write(*("x" * 1000 for _ in range(5000)))
    server.mishaps.append(Mishap(delay=1000.0))
    async with sources(server) as source, PodLogFollower(source) as follower:
        follower.observe(ended_pod())
        batches = follower.batches()
        count = len((await asyncio.wait_for(anext(batches), PATIENCE)).lines)
        assert len(server.requests) == 2
        # A reader that is behind is not the server's silence.
        await asyncio.sleep(1.2)
        async for batch in batches:
            count += len(batch.lines)
        assert count == 5000
        assert len(server.requests) == 3


async def test_a_container_may_be_silent(server: LogServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from podbay.kube import client

    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.1)
    async with sources(server) as source, PodLogFollower(source) as follower:
        follower.observe(pod())
        await eventually(lambda: server.open == 1)
        await asyncio.sleep(0.5)
        assert len(server.requests) == 1


async def test_streams_that_break_after_old_lines_are_given_up(
    server: LogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from podbay.kube import log_reader

    monkeypatch.setattr(log_reader, "PATIENCE_SECONDS", 1.0)
    server.log().write("one", "two", "three")
    server.always = Mishap(cut_at=2 * 35)
    async with sources(server) as source:
        lines = await read_all(source)
    assert texts(lines) == ["one", "two"]
    assert "the log could not be read to its end" in notices(lines)[0]
    assert len(server.requests) < 15


async def test_a_refusal_is_an_error_after_the_lines(server: LogServer) -> None:
    server.always = Mishap(status=403, message='pods "p" is forbidden')
    async with sources(server) as source:
        with pytest.raises(ApiError, match="forbidden"):
            await read_all(source)


async def test_a_pod_that_is_deleted_ends_the_log(server: LogServer) -> None:
    server.log().write("one")
    async with sources(server) as source:
        lines: list[LogLine] = []
        async with PodLogFollower(source) as follower:
            follower.observe(pod())
            reading = asyncio.ensure_future(collect(follower, lines))
            await eventually(lambda: len(lines) == 1)
            follower.observe(pod(uid="another"))
            server.log().write("last words")
            server.log().ended = True
            server.touch()
            await asyncio.wait_for(reading, PATIENCE)
        assert texts(lines) == ["one", "last words"]
        assert notices(lines) == []


async def test_followers_take_turns_when_slots_are_short(
    server: LogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from podbay.kube import log_slots

    monkeypatch.setattr(log_slots, "HOLD_SECONDS", 0.05)
    names = tuple(f"c{number}" for number in range(6))
    async with sources(server, streams=2) as source, PodLogFollower(source) as follower:
        lines: list[LogLine] = []
        follower.observe(pod(*names))
        reading = asyncio.ensure_future(collect(follower, lines))
        for number in range(10):
            for name in names:
                server.log(name).write(f"{name} {number}")
            server.touch()
            await asyncio.sleep(0.05)
        for name in names:
            server.log(name).ended = True
        server.touch()
        follower.observe(ended_pod(*names))
        await asyncio.wait_for(reading, PATIENCE)
        assert server.most_open <= 3
        for name in names:
            assert texts(lines, name) == [f"{name} {number}" for number in range(10)]


async def test_distrusted_streams_are_opened_anew(server: LogServer) -> None:
    async with sources(server) as source, PodLogFollower(source) as follower:
        lines: list[LogLine] = []
        follower.observe(pod())
        reading = asyncio.ensure_future(collect(follower, lines))
        server.log().write("one")
        await eventually(lambda: len(lines) == 1)
        source.slots.reconnect_all()
        await eventually(lambda: len(server.requests) == 2)
        server.log().write("two")
        server.log().ended = True
        server.touch()
        follower.observe(ended_pod())
        await asyncio.wait_for(reading, PATIENCE)
        assert texts(lines) == ["one", "two"]
