"""What every runtime must do: the life of containers. Knows no runtime; see runtimes.py.

Streams, confinement, files and restarts are in the test_runtime_* files beside it.
"""

from __future__ import annotations

import asyncio
import signal
import time

import pytest
from patience import PATIENCE

from podbay.errors import StartError
from podbay.node.observed import ContainerState
from podbay.node.runtime import Runtime
from podbay.node.specs import HostAlias, Limits
from pods import ENDED, PodMaker

MIB = 1 << 20


async def test_life_of_a_container(runtime: Runtime, pods: PodMaker) -> None:
    before = time.time_ns()
    sandbox = await pods.sandbox(labels={"pod": "a"})
    created = await runtime.create_container(
        sandbox.id, pods.spec("sh", "-c", "sleep 0.2; exit 3", labels={"c": "1"})
    )
    assert created.state is ContainerState.CREATED
    assert created.started_ns == 0

    started = await runtime.start_container(created.id)
    assert started.state is ContainerState.RUNNING
    ended = await pods.ended(created.id)

    assert (ended.state, ended.exit_code, ended.oom_killed, ended.reason) == (
        ContainerState.EXITED,
        3,
        False,
        "",
    )
    assert before <= ended.created_ns <= ended.started_ns <= ended.finished_ns <= time.time_ns()
    assert ended.finished_ns - ended.started_ns >= 150_000_000
    assert (ended.name, ended.attempt, ended.image, dict(ended.labels)) == (
        "main",
        0,
        "localhost/bb:1",
        {"c": "1"},
    )

    state = await runtime.list()
    assert [c for c in state.containers if c.id == created.id] == [ended]
    assert [(s.id, dict(s.labels), s.ready) for s in state.sandboxes] == [(sandbox.id, {"pod": "a"}, True)]
    await runtime.remove_container(created.id)
    await runtime.remove_container(created.id)
    assert (await runtime.list()).containers == []
    await runtime.remove_sandbox(sandbox.id)
    await runtime.remove_sandbox(sandbox.id)
    assert (await runtime.list()).sandboxes == []


async def test_making_the_same_twice_makes_one(runtime: Runtime, pods: PodMaker) -> None:
    first = await pods.sandbox(pod_uid="same")
    assert (await pods.sandbox(pod_uid="same")).id == first.id
    assert (await pods.sandbox(pod_uid="same", attempt=1)).id != first.id
    spec = pods.spec("sleep", "100")
    one, two = await asyncio.gather(*(runtime.create_container(first.id, spec) for _ in range(2)))
    assert one.id == two.id
    await runtime.start_container(one.id)
    again = await runtime.start_container(one.id)
    assert again.state is ContainerState.RUNNING
    assert len((await runtime.list()).containers) == 1


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("exit 256", 0)]
)
async def test_exit_codes(pods: PodMaker, script: str, code: int) -> None:
    assert (await pods.run("sh", "-c", script))[0] == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
async def test_death_by_signal(runtime: Runtime, pods: PodMaker, number: int) -> None:
    # A shell as first process ignores what it does not handle, so a trap resets the signal in a child.
    started = await pods.start("sh", "-c", f"sh -c 'kill -{number} $$'; exit $?")
    assert (await pods.ended(started.id)).exit_code == 128 + number


async def test_kill_sends_signals(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start(
        "sh", "-c", "trap 'echo got usr1; exit 4' USR1; echo ready; while :; do sleep 0.05; done"
    )
    await pods.until_output(started.id, "ready")
    await runtime.kill_container(started.id, signal.SIGUSR1)
    assert (await pods.ended(started.id)).exit_code == 4
    assert "got usr1" in await pods.output(started.id)
    # It has ended: nothing to tell it any more.
    await runtime.kill_container(started.id, signal.SIGTERM)


async def test_stop_is_graceful(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start("sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done")
    await pods.until_output(started.id, "ready")
    await runtime.stop_container(started.id, 600)
    assert (await pods.status(started.id)).exit_code == 5
    await runtime.stop_container(started.id, 10)


async def test_stop_kills_what_does_not_listen(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
    await pods.until_output(started.id, "ready")
    before = time.monotonic()
    await runtime.stop_container(started.id, 0.5)
    assert time.monotonic() - before > 0.4
    assert (await pods.status(started.id)).exit_code == 137


async def test_stop_without_grace_kills_at_once(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start("sleep", "100")
    await runtime.stop_container(started.id, 0)
    assert (await pods.status(started.id)).exit_code == 137


async def test_stop_signal_of_the_container(runtime: Runtime, pods: PodMaker) -> None:
    script = "trap 'exit 6' INT; echo ready; while :; do sleep 0.05; done"
    started = await pods.start("sh", "-c", script, stop_signal="SIGINT")
    await pods.until_output(started.id, "ready")
    await runtime.stop_container(started.id, 10)
    assert (await pods.status(started.id)).exit_code == 6


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("/nope", 'exec: "/nope": stat /nope: no such file or directory'),
        ("/etc", 'exec: "/etc": permission denied'),
        ("nope", 'exec: "nope": executable file not found in $PATH'),
    ],
)
async def test_a_command_that_cannot_be_started(
    runtime: Runtime, pods: PodMaker, command: str, words: str
) -> None:
    sandbox = await pods.sandbox()
    created = await runtime.create_container(sandbox.id, pods.spec(command))
    with pytest.raises(StartError) as caught:
        await runtime.start_container(created.id)
    assert caught.value.reason == "StartError"
    assert caught.value.exit_code == 128
    assert str(caught.value).endswith(f"runc create failed: unable to start container process: {words}")

    status = await pods.status(created.id)
    assert (status.state, status.exit_code, status.reason) == (ContainerState.EXITED, 128, "StartError")
    assert status.message == str(caught.value)
    assert status.finished_ns > 0


async def test_an_unknown_image_is_refused(runtime: Runtime, pods: PodMaker) -> None:
    sandbox = await pods.sandbox()
    with pytest.raises(StartError) as caught:
        await runtime.create_container(sandbox.id, pods.spec("true", image_id="sha256:" + "0" * 64))
    assert caught.value.reason == "CreateContainerError"
    assert (await runtime.list()).containers == []


async def test_an_unknown_sandbox_is_refused(runtime: Runtime, pods: PodMaker) -> None:
    with pytest.raises(StartError):
        await runtime.create_container("0" * 64, pods.spec("true"))


async def test_out_of_memory_is_told(pods: PodMaker) -> None:
    started = await pods.start("sh", "-c", "exec tail /dev/zero", limits=Limits(memory=32 * MIB))
    ended = await pods.ended(started.id)
    assert (ended.exit_code, ended.oom_killed) == (137, True)


async def test_a_killed_container_is_not_out_of_memory(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start("sleep", "100", limits=Limits(memory=32 * MIB))
    await runtime.kill_container(started.id, signal.SIGKILL)
    ended = await pods.ended(started.id)
    assert (ended.exit_code, ended.oom_killed) == (137, False)


@pytest.mark.slow
async def test_cpu_limit(pods: PodMaker) -> None:
    # How long 0.4 s of CPU take with a fifth of one: 2 s, less what the first period gives at once. What the kernel
    # counted for the shell (utime and stime, in hundredths) is read without a process.
    script = (
        "read a x < /proc/uptime; n=0; while [ $n -lt 40 ]; do "
        "read -r l < /proc/$$/stat; set -- $l; n=$((${14}+${15})); done; read b x < /proc/uptime; echo $a $b"
    )
    text = await pods.shell(script, limits=Limits(cpu_quota=20_000, cpu_shares=204))
    began, ended = map(float, text.split())
    assert ended - began > 1.2


async def test_process_limit(pods: PodMaker) -> None:
    script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done 2>/dev/null; echo done"
    code, text = await pods.run("sh", "-c", script, limits=Limits(pids=5))
    assert "done" not in text or code != 0


async def test_usage(runtime: Runtime, pods: PodMaker) -> None:
    started = await pods.start(
        "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=4 2>/dev/null; echo ready; sleep 100"
    )
    await pods.until_output(started.id, "ready")
    [usage] = [u for u in await runtime.usage(disk=True) if u.container_id == started.id]
    assert usage.cpu_ns is not None
    assert usage.cpu_ns > 0
    assert usage.memory_bytes is not None
    assert usage.memory_bytes > 0
    assert usage.memory_working_set_bytes is not None
    assert usage.memory_working_set_bytes <= usage.memory_bytes
    assert usage.pids is not None
    assert usage.pids >= 1
    assert usage.rootfs_bytes is not None
    assert usage.rootfs_bytes >= 4 * MIB
    assert usage.log_bytes is not None
    assert usage.log_bytes > 0


async def test_containers_of_a_pod_share_a_network_and_a_hostname(runtime: Runtime, pods: PodMaker) -> None:
    sandbox = await pods.sandbox(hostname="shared", domain="sub.ns.svc.cluster.local")
    server = await pods.start("sh", "-c", "echo hello | nc -l -p 8000", sandbox=sandbox, name="server")
    client = "hostname; for i in 1 2 3 4 5 6 7 8 9; do nc 127.0.0.1 8000 </dev/null && break; sleep 0.1; done"
    assert (await pods.shell(client, sandbox=sandbox, name="client")).split() == ["shared", "hello"]
    assert (await pods.ended(server.id)).exit_code == 0


async def test_pods_do_not_share_loopback(pods: PodMaker) -> None:
    server = await pods.start("nc", "-l", "-p", "8000")
    code, _ = await pods.run("nc", "-w", "1", "127.0.0.1", "8000")
    assert code != 0
    assert (await pods.status(server.id)).state is ContainerState.RUNNING


async def test_pods_reach_each_other(runtime: Runtime, pods: PodMaker) -> None:
    if not (await runtime.info()).features.pod_network:
        pytest.skip("pods have no network here")
    sandbox = await pods.sandbox()
    [address] = sandbox.ips
    await pods.start("sh", "-c", "echo hello | nc -l -p 8000", sandbox=sandbox)
    client = f"for i in 1 2 3 4 5 6 7 8 9; do nc {address} 8000 </dev/null && break; sleep 0.1; done"
    assert await pods.shell(client) == "hello\n"


async def test_hosts_file_and_resolver(pods: PodMaker) -> None:
    sandbox = await pods.sandbox(
        hostname="box", domain="sub.ns.svc", host_aliases=[HostAlias("10.1.2.3", ["a.example", "b"])]
    )
    text = await pods.shell("cat /etc/hosts /etc/resolv.conf; cat /etc/hostname", sandbox=sandbox)
    assert "# Kubernetes-managed hosts file." in text
    assert "box.sub.ns.svc\tbox\n" in text
    assert "10.1.2.3\ta.example\tb\n" in text
    assert text.endswith("box\n")


async def test_host_network(runtime: Runtime, pods: PodMaker) -> None:
    if not (await runtime.info()).features.host_network:
        pytest.skip("no host network here")
    server = await asyncio.start_server(_greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        sandbox = await pods.sandbox(host_network=True, hostname="")
        assert await pods.shell(f"nc 127.0.0.1 {port} </dev/null", sandbox=sandbox) == "hello\n"


async def _greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello\n")
    await writer.drain()
    writer.close()


async def test_shared_processes(runtime: Runtime, pods: PodMaker) -> None:
    if not (await runtime.info()).features.shared_processes:
        pytest.skip("pods cannot share processes here")
    sandbox = await pods.sandbox(share_processes=True)
    sleeper = await pods.start("sleep", "1234", sandbox=sandbox, name="one")
    assert "sleep 1234" in await pods.shell("ps", sandbox=sandbox, name="two")
    # The first process is the sandbox's, so this one dies of a signal it does not handle.
    await runtime.stop_container(sleeper.id, 5)
    assert (await pods.status(sleeper.id)).exit_code == 143


async def test_processes_left_by_a_container_die_with_it(runtime: Runtime, pods: PodMaker) -> None:
    sandbox = await pods.sandbox(share_processes=True)
    await pods.run("sh", "-c", "sleep 4321 & exit 0", sandbox=sandbox, name="one")
    script = "for i in $(seq 1000); do ps | grep -q '[s]leep 4321' || break; sleep 0.1; done; ps"
    assert "sleep 4321" not in await pods.shell(script, sandbox=sandbox, name="two")


async def test_joining_the_processes_of_one_container(runtime: Runtime, pods: PodMaker) -> None:
    if not (await runtime.info()).features.shared_processes:
        pytest.skip("pods cannot share processes here")
    sandbox = await pods.sandbox()
    target = await pods.start("sleep", "1234", sandbox=sandbox, name="target")
    await pods.start("sleep", "4321", sandbox=sandbox, name="other")
    seen = await pods.shell("ps", sandbox=sandbox, name="debug", processes_of=target.id)
    assert "sleep 1234" in seen
    assert "sleep 4321" not in seen
    assert "sleep 1234" not in await pods.shell("ps", sandbox=sandbox, name="alone")
    assert (await pods.status(target.id)).state is ContainerState.RUNNING


async def test_joining_the_processes_of_a_container_that_has_ended(runtime: Runtime, pods: PodMaker) -> None:
    if not (await runtime.info()).features.shared_processes:
        pytest.skip("pods cannot share processes here")
    sandbox = await pods.sandbox()
    target = await pods.start("true", sandbox=sandbox, name="target")
    await pods.ended(target.id)
    with pytest.raises(StartError):
        await pods.start("ps", sandbox=sandbox, name="debug", processes_of=target.id)


async def test_removing_a_sandbox_removes_running_containers(runtime: Runtime, pods: PodMaker) -> None:
    sandbox = await pods.sandbox()
    await pods.start("sh", "-c", "trap '' TERM; sleep 1000 & wait", sandbox=sandbox)
    await runtime.remove_sandbox(sandbox.id)
    state = await runtime.list()
    assert (state.sandboxes, state.containers) == ([], [])


@pytest.mark.slow
async def test_fifty_containers_eight_at_a_time(runtime: Runtime, pods: PodMaker) -> None:
    limit = asyncio.Semaphore(8)

    async def one(number: int) -> int:
        async with limit:
            sandbox = await pods.sandbox()
            code, text = await pods.run("sh", "-c", f"echo {number}; exit {number % 5}", sandbox=sandbox)
            assert text == f"{number}\n"
            await runtime.remove_sandbox(sandbox.id)
            return code

    assert await asyncio.gather(*(one(n) for n in range(50))) == [n % 5 for n in range(50)]
    state = await runtime.list()
    assert (state.sandboxes, state.containers) == ([], [])


async def test_events_tell_of_start_and_end(runtime: Runtime, pods: PodMaker) -> None:
    events = await runtime.events()
    started = await pods.start("true")
    seen = []
    async with asyncio.timeout(PATIENCE):
        async for item in events:
            if item.id == started.id:
                seen.append(item.state)
                if item.state in ENDED:
                    break
    await events.aclose()
    assert seen[-1] is ContainerState.EXITED
    assert set(seen) <= {ContainerState.RUNNING, ContainerState.EXITED}
