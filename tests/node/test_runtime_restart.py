"""What every runtime must do: what runs is found again by the next process, however the one before ended."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from patience import PATIENCE
from runtimes import RuntimeKind

from podbay.errors import ConflictError, StartError
from podbay.node.observed import ContainerState
from podbay.node.runtime import Runtime
from pods import PodMaker

OWNER = Path(__file__).with_name("owner.py")


@pytest.fixture
async def seeded(kind: RuntimeKind, base: Path, archive: Path, nothing_left: None) -> AsyncIterator[Path]:
    """A state directory with the image; whatever a test leaves running is removed."""
    async with kind.open(base) as runtime:
        if await runtime.find_image("localhost/bb:1") is None:
            await runtime.load_images(archive)
    yield base
    async with kind.open(base) as runtime:
        await runtime.reset()


async def owned(
    kind: RuntimeKind, base: Path, scripts: dict[str, str], *, seconds: float = 0
) -> dict[str, str]:
    """Let another process start the scripts and kill it after some seconds; gives the containers' ids."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(OWNER), kind.name, str(base), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(scripts).encode())
    process.stdin.close()
    line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
    await asyncio.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    return json.loads(line)


async def test_everything_is_found_again(kind: RuntimeKind, seeded: Path) -> None:
    ids = await owned(
        kind,
        seeded,
        {
            "long": "trap 'exit 7' TERM; echo before; while [ ! -e /go ]; do sleep 0.05; done; echo after; while :; do sleep 0.1; done",
            "finished": "echo done; printf why > /dev/termination-log; exit 3",
            "meanwhile": "sleep 1.5; echo late; exit 9",
            "oom": "tail /dev/zero",
            "unstarted": "echo started at last",
        },
        seconds=0.7,
    )
    await asyncio.sleep(1.5)
    async with kind.open(seeded) as runtime, PodMaker.open(runtime) as pods:
        async with asyncio.timeout(PATIENCE):
            while any(
                [
                    (await pods.status(ids[name])).state is ContainerState.RUNNING
                    for name in ("meanwhile", "oom")
                ]
            ):
                await asyncio.sleep(0.05)
        state = await runtime.list()
        found = {c.name: c for c in state.containers}
        assert {name: c.id for name, c in found.items()} == ids
        assert {s.pod_name for s in state.sandboxes} == set(ids)
        assert all(s.ready and dict(s.labels) == {"pod": s.pod_name} for s in state.sandboxes)
        assert all(dict(c.labels) == {"container": c.name} for c in state.containers)

        assert (found["finished"].state, found["finished"].exit_code) == (ContainerState.EXITED, 3)
        assert (found["meanwhile"].state, found["meanwhile"].exit_code) == (ContainerState.EXITED, 9)
        assert found["meanwhile"].finished_ns - found["meanwhile"].started_ns > 1_000_000_000
        assert (found["oom"].exit_code, found["oom"].oom_killed) == (137, True)
        assert await pods.output(ids["finished"]) == "done\n"
        assert await pods.output(ids["meanwhile"]) == "late\n"
        assert await runtime.read_message(ids["finished"], 100) == b"why"

        assert found["long"].state is ContainerState.RUNNING
        assert await pods.output(ids["long"]) == "before\n"
        assert (await pods.exec(ids["long"], "touch", "/go")).code == 0
        await pods.until_output(ids["long"], "after\n")
        assert await pods.output(ids["long"]) == "before\nafter\n"
        await runtime.stop_container(ids["long"], 10)
        assert (await pods.ended(ids["long"])).exit_code == 7

        assert found["unstarted"].state is ContainerState.CREATED
        await runtime.start_container(ids["unstarted"])
        assert (await pods.ended(ids["unstarted"])).exit_code == 0
        assert await pods.output(ids["unstarted"]) == "started at last\n"


async def test_closing_and_opening_in_one_process(kind: RuntimeKind, seeded: Path) -> None:
    async with kind.open(seeded) as runtime, PodMaker.open(runtime) as pods:
        started = await pods.start("sh", "-c", "until [ -e /go ]; do sleep 0.05; done; exit 4")
    async with kind.open(seeded) as runtime, PodMaker.open(runtime) as pods:
        assert (await pods.status(started.id)).state is ContainerState.RUNNING
        await pods.exec(started.id, "touch", "/go")
        assert (await pods.ended(started.id)).exit_code == 4
    async with kind.open(seeded) as runtime, PodMaker.open(runtime) as pods:
        assert (await pods.status(started.id)).exit_code == 4


async def test_a_container_whose_start_failed_stays_failed(kind: RuntimeKind, seeded: Path) -> None:
    async with kind.open(seeded) as runtime, PodMaker.open(runtime) as pods:
        sandbox = await pods.sandbox()
        created = await runtime.create_container(sandbox.id, pods.spec("/nope"))
        with pytest.raises(StartError):
            await runtime.start_container(created.id)
    async with kind.open(seeded) as runtime, PodMaker.open(runtime) as pods:
        status = await pods.status(created.id)
        assert (status.state, status.exit_code, status.reason) == (ContainerState.EXITED, 128, "StartError")
        assert "/nope" in status.message


@pytest.mark.slow
async def test_killed_at_any_moment(kind: RuntimeKind, seeded: Path) -> None:
    """Whatever the process was doing when it was killed: the next one opens, and can remove all there is."""
    for number in range(8):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(OWNER),
            kind.name,
            str(seeded),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps({f"c{number}x{i}": "echo x; sleep 100" for i in range(20)}).encode())
        process.stdin.close()
        await asyncio.sleep(0.6 + 0.1 * number)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        async with kind.open(seeded) as runtime:
            state = await runtime.list()
            assert {c.state for c in state.containers} <= {ContainerState.CREATED, ContainerState.RUNNING}
            for container in state.containers:
                # Nothing is stuck between made and running.
                await runtime.start_container(container.id)
            for sandbox in state.sandboxes:
                await runtime.remove_sandbox(sandbox.id)
            assert (await runtime.list()).containers == []


async def test_reset_may_be_repeated(runtime: Runtime, pods: PodMaker) -> None:
    await pods.start("sleep", "100")
    await runtime.reset()
    state = await runtime.list()
    assert (state.sandboxes, state.containers) == ([], [])
    await runtime.reset()


async def test_one_owner_at_a_time(kind: RuntimeKind, base: Path, runtime: Runtime) -> None:
    if kind.name != "runc":
        pytest.skip("an engine serves many")
    with pytest.raises(ConflictError, match="in use by another process"):
        async with kind.open(base):
            pass


async def test_a_cancelled_call_leaves_nothing_stuck(runtime: Runtime, pods: PodMaker) -> None:
    sandbox = await pods.sandbox()
    created = await runtime.create_container(sandbox.id, pods.spec("sleep", "100"))
    starting = asyncio.ensure_future(runtime.start_container(created.id))
    await asyncio.sleep(0.01)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    again = await runtime.start_container(created.id)
    assert again.state is ContainerState.RUNNING
    await runtime.remove_sandbox(sandbox.id)
