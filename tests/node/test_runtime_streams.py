"""What every runtime must do: logs, exec, attach, connections."""

from __future__ import annotations

import asyncio
import time

import pytest
from patience import PATIENCE

from podbay.errors import ConflictError, StartError
from podbay.node.observed import LogLine
from podbay.node.runtime import Runtime
from podbay.node.specs import ExecSpec, LogQuery
from pods import PodMaker, finish, text_of

# Logs


async def test_streams_are_told_apart(pods: PodMaker) -> None:
    # Two pipes have no order between them: each part is written when the one before was read.
    wait = "until [ -e /go{} ]; do sleep 0.02; done"
    script = f"echo out; {wait.format(1)}; echo err >&2; {wait.format(2)}; printf tail"
    started = await pods.start("sh", "-c", script)
    for number, text in enumerate(("out", "err"), 1):
        await pods.until_output(started.id, text)
        await pods.exec(started.id, "touch", f"/go{number}")
    await pods.ended(started.id)
    lines = await pods.lines(started.id)
    assert [(line.stream, line.data) for line in lines if line.data] == [
        ("stdout", b"out"),
        ("stderr", b"err"),
        ("stdout", b"tail"),
    ]
    assert text_of(lines) == "out\nerr\ntail"
    times = [line.time_ns for line in lines]
    assert times == sorted(times)
    assert started.created_ns <= times[0] <= time.time_ns()


async def test_a_line_without_newline_is_partial(pods: PodMaker) -> None:
    started = await pods.start("sh", "-c", "printf abc; sleep 0.3; echo def")
    await pods.ended(started.id)
    assert text_of(await pods.lines(started.id)) == "abcdef\n"


async def test_empty_lines_and_no_output(pods: PodMaker) -> None:
    assert await pods.shell("echo; echo; echo x") == "\n\nx\n"
    assert await pods.shell("true") == ""


async def test_binary_output_comes_through(pods: PodMaker) -> None:
    started = await pods.start(
        "sh", "-c", 'i=0; while [ $i -lt 256 ]; do printf "\\\\$(printf %03o $i)"; i=$((i+1)); done'
    )
    await pods.ended(started.id)
    got = b"".join(line.data + (b"" if line.partial else b"\n") for line in await pods.lines(started.id))
    assert got == bytes(range(256))


async def test_a_very_long_line(pods: PodMaker) -> None:
    started = await pods.start("sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x; echo; echo end")
    await pods.ended(started.id)
    text = text_of(await pods.lines(started.id))
    assert text == "x" * 1_000_000 + "\nend\n"


async def test_many_lines_keep_their_order(pods: PodMaker) -> None:
    started = await pods.start("seq", "1", "50000")
    await pods.ended(started.id)
    assert text_of(await pods.lines(started.id)) == "".join(f"{n}\n" for n in range(1, 50001))


async def test_following_ends_with_the_container(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start(
        "sh", "-c", "for i in 1 2 3; do until [ -e /go$i ]; do sleep 0.02; done; echo $i; done"
    )
    seen: list[bytes] = []
    async with asyncio.timeout(PATIENCE):
        await pods.exec(started.id, "touch", "/go1")
        async for batch in runtime.logs(started.id, LogQuery(follow=True)):
            # They come one by one: none is written before the one before was read.
            seen += [line.data for line in batch]
            if len(seen) < 3:
                await pods.exec(started.id, "touch", f"/go{len(seen) + 1}")
    assert seen == [b"1", b"2", b"3"]


async def test_followers_that_leave(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start("sh", "-c", "while :; do echo x; sleep 0.02; done")
    logs = runtime.logs(started.id, LogQuery(follow=True))
    assert (await anext(logs))[0].data == b"x"
    await logs.aclose()


async def test_tail(pods: PodMaker) -> None:
    started = await pods.start("seq", "1", "100")
    await pods.ended(started.id)
    assert text_of(await pods.lines(started.id, tail_lines=3)) == "98\n99\n100\n"
    assert await pods.lines(started.id, tail_lines=0) == []
    assert len(await pods.lines(started.id, tail_lines=1000)) == 100


async def test_tail_and_follow(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start("sh", "-c", "seq 1 100; until [ -e /go ]; do sleep 0.02; done; echo new")
    await pods.until_output(started.id, "\n100\n")
    got: list[LogLine] = []
    async for batch in runtime.logs(started.id, LogQuery(follow=True, tail_lines=2)):
        got += batch
        if len(got) == 2:
            await pods.exec(started.id, "touch", "/go")
    assert text_of(got) == "99\n100\nnew\n"


async def test_since(pods: PodMaker) -> None:
    started = await pods.start("sh", "-c", "echo old; sleep 1.2; echo new")
    await pods.ended(started.id)
    lines = await pods.lines(started.id)
    assert [line.data for line in await pods.lines(started.id, since_ns=lines[1].time_ns)] == [b"new"]
    assert await pods.lines(started.id, since_ns=lines[1].time_ns + 2_000_000_000) == []


async def test_log_of_a_container_that_never_ran(runtime: Runtime, pods: PodMaker) -> None:
    sandbox = await pods.sandbox()
    created = await runtime.create_container(sandbox.id, pods.spec("true"))
    assert await pods.lines(created.id) == []
    assert await pods.lines("0" * 64) == []


async def test_a_grandchild_that_keeps_stdout_open(runtime: Runtime, pods: PodMaker) -> None:
    """The container has ended when its first process has, whoever still holds its output."""
    sandbox = await pods.sandbox(share_processes=True)
    started = await pods.start("sh", "-c", "(trap '' TERM; sleep 600) & echo done", sandbox=sandbox)
    assert (await pods.ended(started.id)).exit_code == 0
    assert await pods.output(started.id) == "done\n"


# Exec


async def test_exec_output_and_code(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start("sleep", "100")
    answer = await pods.exec(started.id, "sh", "-c", "echo out; echo err >&2; exit 9")
    assert (answer.code, answer.stdout, answer.stderr) == (9, "out\n", "err\n")


async def test_exec_stdin_and_half_close(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start("sleep", "100")
    session = await runtime.exec(started.id, ExecSpec(command=["sh", "-c", "cat; echo end"], stdin=True))
    await session.write(b"one\n")
    await session.write(b"two\n")
    await session.close_stdin()
    answer = await finish(session)
    assert (answer.code, answer.stdout) == (0, "one\ntwo\nend\n")


async def test_exec_moves_much_data_both_ways(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start("sleep", "100")
    data = bytes(range(256)) * 16384
    session = await runtime.exec(started.id, ExecSpec(command=["cat"], stdin=True))
    received = bytearray()

    async def read() -> None:
        async for _, chunk in session.output():
            received.extend(chunk)

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        group.create_task(read())
        await session.write(data)
        await session.close_stdin()
    assert await session.wait() == 0
    await session.aclose()
    assert bytes(received) == data


async def test_exec_waits_for_a_slow_reader(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start("sleep", "100")
    session = await runtime.exec(started.id, ExecSpec(command=["head", "-c", "8000000", "/dev/zero"]))
    await asyncio.sleep(0.3)
    total = 0
    async for _, chunk in session.output():
        total += len(chunk)
    assert (total, await session.wait()) == (8_000_000, 0)
    await session.aclose()


async def test_exec_has_the_containers_environment_and_user(pods: PodMaker) -> None:
    from podbay.node.specs import User

    started = await pods.start("sleep", "100", env=[("A", "b c")], user=User(uid=1000), working_dir="/tmp")
    answer = await pods.exec(started.id, "sh", "-c", "echo $A; id -u; pwd")
    assert answer.stdout == "b c\n1000\n/tmp\n"


async def test_exec_of_a_missing_command(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start("sleep", "100")
    with pytest.raises(StartError) as caught:
        await runtime.exec(started.id, ExecSpec(command=["nope"]))
    assert (
        'exec failed: unable to start container process: exec: "nope": executable file not found in $PATH'
        in str(caught.value)
    )


async def test_exec_in_a_container_that_does_not_run(runtime: Runtime, pods: PodMaker) -> None:
    sandbox = await pods.sandbox()
    created = await runtime.create_container(sandbox.id, pods.spec("true"))
    for container_id in (created.id, "0" * 64):
        with pytest.raises(StartError):
            await runtime.exec(container_id, ExecSpec(command=["true"]))


async def test_exec_behind_a_terminal(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start("sleep", "100")
    wait = "until [ \"$(stty size)\" = '42 101' ]; do sleep 0.05; done"
    script = f"tty >/dev/null && echo yes; read line; {wait}; stty size; echo err >&2; exit 3"
    session = await runtime.exec(started.id, ExecSpec(command=["sh", "-c", script], stdin=True, tty=True))
    await session.resize(101, 42)
    await session.write(b"go\n")
    answer = await finish(session)
    assert answer.code == 3
    assert "yes" in answer.stdout
    assert "42 101" in answer.stdout
    assert "err\r\n" in answer.stdout
    assert answer.stderr == ""


async def test_end_of_input_behind_a_terminal(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start("sleep", "100")
    session = await runtime.exec(started.id, ExecSpec(command=["cat"], stdin=True, tty=True))
    await session.write(b"hello\n")
    await session.close_stdin()
    answer = await finish(session)
    assert answer.code == 0
    assert answer.stdout.endswith("hello\r\n")


async def test_leaving_an_exec_ends_its_command(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start("sleep", "100")
    session = await runtime.exec(started.id, ExecSpec(command=["sleep", "5555"]))
    await session.aclose()
    answer = await pods.exec(started.id, "ps")
    assert "sleep 5555" not in answer.stdout


async def test_ten_execs_at_once(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start("sleep", "100")
    answers = await asyncio.gather(*(pods.exec(started.id, "sh", "-c", f"exit {n}") for n in range(10)))
    assert [answer.code for answer in answers] == list(range(10))


async def test_exec_ends_when_the_container_does(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start("sleep", "100")
    session = await runtime.exec(started.id, ExecSpec(command=["sleep", "100"]))
    await runtime.stop_container(started.id, 0)
    assert (await finish(session)).code == 137


# Attach


async def test_attach_with_input(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start("sh", "-c", "cat; echo bye; exit 4", stdin=True, stdin_once=True)
    session = await runtime.attach(started.id, ExecSpec(command=(), stdin=True))
    await session.write(b"hello\n")
    await session.close_stdin()
    answer = await finish(session)
    assert (answer.code, answer.stdout) == (4, "hello\nbye\n")
    assert await pods.output(started.id) == "hello\nbye\n"


async def test_attach_output_only(runtime: Runtime, pods: PodMaker) -> None:
    # Whoever attaches sees what comes from then on, so nothing comes before.
    script = "until [ -e /go ]; do sleep 0.05; done; echo out; echo err >&2; sleep 0.2"
    started = await pods.start("sh", "-c", script)
    session = await runtime.attach(started.id, ExecSpec(command=()))
    await pods.exec(started.id, "touch", "/go")
    answer = await finish(session)
    assert (answer.code, answer.stdout, answer.stderr) == (0, "out\n", "err\n")


async def test_attach_to_a_terminal(runtime: Runtime, pods: PodMaker) -> None:
    wait = "until [ \"$(stty size)\" = '24 80' ]; do sleep 0.05; done"
    started = await pods.start(
        "sh", "-c", f"read line; {wait}; stty size; echo got $line", stdin=True, tty=True
    )
    session = await runtime.attach(started.id, ExecSpec(command=(), stdin=True, tty=True))
    await session.resize(80, 24)
    await session.write(b"it\n")
    answer = await finish(session)
    assert "24 80" in answer.stdout
    assert "got it" in answer.stdout


async def test_leaving_an_attach_leaves_the_container(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start("sh", "-c", "read a; echo $a; read b; echo $b", stdin=True)
    for word in ("one", "two"):
        session = await runtime.attach(started.id, ExecSpec(command=(), stdin=True))
        await session.write(f"{word}\n".encode())
        await pods.until_output(started.id, f"{word}\n")
        await session.aclose()
    assert (await pods.ended(started.id)).exit_code == 0
    assert await pods.output(started.id) == "one\ntwo\n"


async def test_attach_needs_a_running_container(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start("true")
    await pods.ended(started.id)
    with pytest.raises(StartError):
        await runtime.attach(started.id, ExecSpec(command=()))


# Connections


async def test_connecting_into_a_pod(runtime: Runtime, pods: PodMaker) -> None:
    sandbox = await pods.sandbox()
    await pods.start("sh", "-c", "while :; do nc -l -p 9000 -e cat; done", sandbox=sandbox)
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                connection = await runtime.connect(sandbox.id, 9000)
                break
            except ConflictError:
                await asyncio.sleep(0.05)
    await connection.write(b"ping")
    assert await connection.read() == b"ping"
    await connection.close_write()
    assert await connection.read() == b""
    await connection.aclose()


async def test_nothing_listens(runtime: Runtime, pods: PodMaker) -> None:
    sandbox = await pods.sandbox()
    with pytest.raises(ConflictError, match="9999"):
        await runtime.connect(sandbox.id, 9999)


async def test_termination_message(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start(
        "sh", "-c", "printf 0123456789 > /dev/termination-log", message_path="/dev/termination-log"
    )
    await pods.ended(started.id)
    assert await runtime.read_message(started.id, 4096) == b"0123456789"
    assert await runtime.read_message(started.id, 4) == b"6789"
    silent = await pods.start("true", message_path="/dev/termination-log")
    await pods.ended(silent.id)
    assert await runtime.read_message(silent.id, 4096) == b""
