"""What only the runc runtime has: its state directory, rotation of logs, leftovers, and machines that lack something."""

from __future__ import annotations

import asyncio
import errno
import gzip
import hashlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NoReturn

import images
import pytest
from patience import PATIENCE
from runtimes import KINDS, RuntimeKind

from podbay.aio.virtual import VirtualClock
from podbay.errors import ConflictError, RuntimeUnavailableError, StartError, StateError
from podbay.node import kernel
from podbay.node.images.layers import unpack_layer
from podbay.node.observed import ContainerState, ContainerStatus, LogLine
from podbay.node.runc import connections
from podbay.node.runc import runtime as runc_runtime
from podbay.node.runc.exec import ExecProcess, start_exec
from podbay.node.runc.netlink import Netlink
from podbay.node.runc.runtime import RuncRuntime
from podbay.node.runc.snapshots import Snapshots
from podbay.node.specs import ExecSpec, Limits, LogQuery, Mount, Security, VolumeSource, VolumeSpec
from pods import PodMaker

MIB = 1 << 20


@pytest.fixture(scope="session", params=[pytest.param(KINDS["runc"], id="runc", marks=pytest.mark.root)])
def kind(request: pytest.FixtureRequest) -> RuntimeKind:
    found: RuntimeKind = request.param
    if not found.available():
        pytest.skip("needs root, runc and conmon")
    return found


# Logs


@pytest.fixture
async def small_logs(
    base: Path, archive: Path, nothing_left: None
) -> AsyncIterator[tuple[RuncRuntime, VirtualClock]]:
    """A runtime that rotates logs of 20 kB, and the clock that makes it look."""
    clock = VirtualClock()
    async with RuncRuntime(base, clock=clock, log_bytes=20_000, log_files=3) as runtime:
        await runtime.load_images(archive)
        try:
            yield runtime, clock
        finally:
            await runtime.reset()


async def test_logs_rotate(small_logs: tuple[RuncRuntime, VirtualClock], base: Path) -> None:
    runtime, clock = small_logs
    script = "n=0; while [ ! -e /stop ]; do if [ -e /go ]; then rm /go; i=0; while [ $i -lt 500 ]; do echo line $n; n=$((n+1)); i=$((i+1)); done; echo round; fi; sleep 0.02; done"
    async with PodMaker.open(runtime) as pods:
        started = await pods.start("sh", "-c", script)
        followed: list[LogLine] = []

        async def follow() -> None:
            async for lines in runtime.logs(started.id, LogQuery(follow=True)):
                followed.extend(lines)

        following = asyncio.ensure_future(follow())
        log = base / "containers" / started.id / "log"
        for number in range(1, 6):
            await pods.exec(started.id, "touch", "/go")
            async with asyncio.timeout(PATIENCE):
                while sum(line.data == b"round" for line in followed) < number:
                    await asyncio.sleep(0.02)
            await clock.advance(11)
            await asyncio.sleep(0.3)
        names = sorted(path.name for path in log.iterdir())
        assert names[0] == "container.log"
        assert len(names) <= 3
        assert any(name.endswith(".gz") for name in names)
        packed = next(path for path in log.iterdir() if path.suffix == ".gz")
        assert b" stdout F line " in gzip.decompress(packed.read_bytes())
        await pods.exec(started.id, "touch", "/stop")
        await asyncio.wait_for(following, PATIENCE)
        wanted = [f"line {n}".encode() for n in range(2500)]
        # Who follows misses nothing, whatever was rotated meanwhile.
        assert [line.data for line in followed if line.data != b"round"] == wanted


async def test_a_flood_without_newlines(runtime: RuncRuntime, pods: PodMaker) -> None:
    started = await pods.start("sh", "-c", "head -c 20000000 /dev/zero | tr '\\0' y")
    await pods.ended(started.id)
    size = sum([len(line.data) for line in await pods.lines(started.id)])
    assert size == 20_000_000


async def test_random_bytes(pods: PodMaker) -> None:
    script = "head -c 500000 /dev/urandom | tee /dev/stderr | sha256sum; sleep 0.1"
    started = await pods.start("sh", "-c", script)
    assert (await pods.ended(started.id)).exit_code == 0
    lines = await pods.lines(started.id)
    printed = next(line.data for line in lines if line.stream == "stdout")
    data = b"".join(line.data + (b"" if line.partial else b"\n") for line in lines if line.stream == "stderr")
    assert hashlib.sha256(data).hexdigest() == printed.split()[0].decode()


# Leftovers


async def test_a_failed_creation_leaves_nothing(runtime: RuncRuntime, pods: PodMaker, base: Path) -> None:
    sandbox = await pods.sandbox()
    await runtime.create_volume(VolumeSpec(name="u/v"))
    good = Mount(source=VolumeSource("u/v"), target="/good", sub_path="made")
    for bad in (
        Mount(source=VolumeSource("u/v"), target="/x", sub_path="../.."),
        Mount(source=VolumeSource("u/missing"), target="/x"),
    ):
        with pytest.raises(StartError) as caught:
            await runtime.create_container(sandbox.id, pods.spec("true", mounts=[good, bad]))
        assert caught.value.reason == "CreateContainerError"
        assert list((base / "containers").iterdir()) == []
    mounts = Path("/proc/self/mountinfo").read_text()
    assert f"{base}/containers" not in mounts


async def test_a_failed_sandbox_leaves_nothing(
    runtime: RuncRuntime, pods: PodMaker, kind: RuntimeKind, base: Path
) -> None:
    before = kind.left(base)
    for number in range(3):
        with pytest.raises(StartError) as caught:
            await pods.sandbox(pod_uid=f"bad{number}", sysctls={"kernel.there_is_no_such": "1"})
        assert caught.value.reason == "CreatePodSandboxError"
    assert kind.left(base) == before
    sandbox = await pods.sandbox(sysctls={"net.ipv4.ip_local_port_range": "1024 2000"})
    assert await pods.shell("cat /proc/sys/net/ipv4/ip_local_port_range", sandbox=sandbox) == "1024\t2000\n"


async def test_pods_set_nothing_that_the_machine_has_once(pods: PodMaker) -> None:
    now = Path("/proc/sys/vm/swappiness").read_text().strip()
    ours = {"net.ipv4.tcp_syncookies": "0"}
    for uid, more in (
        ("a", {"sysctls": {"vm.swappiness": now}}),
        ("b", {"sysctls": {"vm/swappiness": now}}),
        ("c", {"sysctls": {"fs.mqueue.msg_max": "10"}, "host_ipc": True}),
        ("d", {"sysctls": ours, "host_network": True}),
    ):
        with pytest.raises(StartError, match="not in a separate kernel namespace"):
            await pods.sandbox(pod_uid=uid, **more)
    sandbox = await pods.sandbox(sysctls=ours | {"kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "11"})
    files = "/proc/sys/net/ipv4/tcp_syncookies /proc/sys/kernel/shm_rmid_forced /proc/sys/fs/mqueue/msg_max"
    assert await pods.shell(f"cat {files}", sandbox=sandbox) == "0\n1\n11\n"


async def test_a_failed_start_leaves_nothing_running(
    runtime: RuncRuntime, pods: PodMaker, base: Path
) -> None:
    sandbox = await pods.sandbox()
    created = await runtime.create_container(sandbox.id, pods.spec("/nope"))
    with pytest.raises(StartError):
        await runtime.start_container(created.id)
    assert list((base / "runc").iterdir()) == []
    assert list((base / "exits").iterdir()) == []


async def left_running(kind: RuntimeKind, base: Path, archive: Path, count: int) -> list[ContainerStatus]:
    """Containers that outlive the node which has started them."""
    async with kind.open(base) as runtime:
        await runtime.load_images(archive)
        async with PodMaker.open(runtime) as pods:
            return [await pods.start("sleep", "300") for _ in range(count)]


async def test_what_was_half_made_is_cleared_away(
    kind: RuntimeKind, base: Path, archive: Path, nothing_left: None
) -> None:
    kept, lost = await left_running(kind, base, archive, 2)
    lost_files = base / "containers" / lost.id
    (lost_files / "container.json").write_bytes(b'{"id":')  # the machine died while this was being written
    half = base / "containers" / ("a" * 64)
    half.mkdir()
    (half / "rootfs").mkdir()
    kernel.mount("tmpfs", half / "rootfs", "tmpfs")
    (base / "sandboxes" / ("b" * 64)).mkdir()
    (base / "sandboxes" / ("b" * 64) / "ns-net").touch()
    (base / "exits" / ("c" * 64)).write_text("0")
    (base / "runc" / ("d" * 64)).mkdir()
    bridge = next(name for _, name in socket.if_nameindex() if _is_ours(name, base))
    with Netlink() as link:
        index = int(Path(f"/sys/class/net/{bridge}/ifindex").read_text())
        link.add_veth(
            f"pv{bridge[2:7]}stray000", master=index, peer="strayend0", peer_namespace=_own_network()
        )
    async with kind.open(base) as runtime:
        state = await runtime.list()
        assert [c.id for c in state.containers] == [kept.id]
        assert not half.exists()
        assert not lost_files.exists()
        assert sorted(path.name for path in (base / "sandboxes").iterdir()) == sorted(
            s.id for s in state.sandboxes
        )
        assert list((base / "exits").iterdir()) == []
        assert [path.name for path in (base / "runc").iterdir()] == [kept.id]
        assert not any(name.endswith("stray000") for _, name in socket.if_nameindex())
        await runtime.reset()


async def test_a_container_that_was_let_go_is_not_waited_for(
    kind: RuntimeKind, base: Path, archive: Path, nothing_left: None
) -> None:
    """Its node was killed in the moment between the container's first command and the deletion of what it waited at."""
    (started,) = await left_running(kind, base, archive, 1)
    os.mkfifo(base / "runc" / started.id / "exec.fifo")
    record = base / "containers" / started.id / "container.json"
    facts = json.loads(record.read_bytes())
    record.write_text(json.dumps({**facts, "process": None}))
    async with asyncio.timeout(PATIENCE), kind.open(base) as runtime:
        (found,) = (await runtime.list()).containers
        assert found.state is ContainerState.RUNNING
        assert json.loads(record.read_bytes())["process"] == facts["process"] is not None
        assert not (base / "runc" / started.id / "exec.fifo").exists()
        await runtime.reset()


def _is_ours(bridge: str, base: Path) -> bool:
    return bridge == f"pb{hashlib.sha256(str(base).encode()).hexdigest()[:10]}"


def _own_network() -> int:
    return os.open("/proc/self/ns/net", os.O_RDONLY)


async def test_after_a_reboot(kind: RuntimeKind, base: Path, archive: Path, nothing_left: None) -> None:
    """Namespaces and mounts are gone, the files are there: sandboxes are not ready, what ran is unknown."""
    async with kind.open(base) as runtime, PodMaker.open(runtime) as pods:
        await runtime.load_images(archive)
        sandbox = await pods.sandbox(pod_uid="rebooted")
        started = await pods.start("sleep", "100", sandbox=sandbox)
        waiting = await runtime.create_container(sandbox.id, pods.spec("true", name="waiting"))
    conmon = int((base / "containers" / started.id / "conmon.pid").read_text())
    os.kill(conmon, signal.SIGKILL)
    os.kill(int((base / "containers" / started.id / "pid").read_text()), signal.SIGKILL)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if str(base) in line.split()[4]:
            kernel.detach(line.split()[4])
    await asyncio.sleep(0.2)
    async with kind.open(base) as runtime, PodMaker.open(runtime) as pods:
        state = await runtime.list()
        assert [s.ready for s in state.sandboxes] == [False]
        found = {c.name: c for c in state.containers}
        assert (found["main"].state, found["main"].exit_code) == (ContainerState.UNKNOWN, 255)
        with pytest.raises(StartError):
            await runtime.start_container(waiting.id)
        again = await pods.sandbox(pod_uid="rebooted")
        assert again.ready
        assert (await runtime.list()).containers == []
        assert await pods.run("true", sandbox=again, name="again") == (0, "")
        await runtime.reset()


async def test_conmon_dies(runtime: RuncRuntime, pods: PodMaker, base: Path) -> None:
    started = await pods.start("sleep", "1.5")
    os.kill(int((base / "containers" / started.id / "conmon.pid").read_text()), signal.SIGKILL)
    assert (await pods.status(started.id)).state is ContainerState.RUNNING
    ended = await pods.ended(started.id)
    assert (ended.state, ended.exit_code) == (ContainerState.UNKNOWN, 255)


async def test_the_first_process_is_killed_from_outside(
    runtime: RuncRuntime, pods: PodMaker, base: Path
) -> None:
    started = await pods.start("sleep", "100")
    os.kill(int((base / "containers" / started.id / "pid").read_text()), signal.SIGKILL)
    ended = await pods.ended(started.id)
    assert (ended.exit_code, ended.oom_killed) == (137, False)


async def test_a_fork_bomb(runtime: RuncRuntime, pods: PodMaker) -> None:
    started = await pods.start("sh", "-c", "b() { b | b & b; }; b", limits=Limits(pids=60, memory=64 * MIB))
    await asyncio.sleep(0.7)
    await runtime.stop_container(started.id, 0.2)
    await runtime.remove_container(started.id)


async def test_a_container_that_moves_to_another_group(runtime: RuncRuntime, pods: PodMaker) -> None:
    script = (
        "for g in /sys/fs/cgroup/*/; do mkdir $g/sub 2>/dev/null && cat /sys/fs/cgroup/cpuset.cpus >$g/sub/x 2>/dev/null;"
        " echo 1 > $g/sub/cgroup.procs; done 2>/dev/null; trap '' TERM; sleep 1000 & sleep 1000"
    )
    started = await pods.start("sh", "-c", script, security=Security(privileged=True))
    await asyncio.sleep(0.3)
    await runtime.stop_container(started.id, 0.1)
    assert (await pods.status(started.id)).exit_code == 137


async def test_secrets_stay_private(runtime: RuncRuntime, pods: PodMaker, base: Path) -> None:
    started = await pods.start("sleep", "100", env=[("PASSWORD", "swordfish")])
    holding = [
        path
        for path in (base / "containers" / started.id).iterdir()
        if path.is_file() and b"swordfish" in path.read_bytes()
    ]
    assert [path.name for path in holding] == ["config.json"]
    assert stat.S_IMODE(holding[0].stat().st_mode) == 0o600
    commands = subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout
    assert "swordfish" not in commands


async def test_a_node_without_pods_leaves_nothing(kind: RuntimeKind, base: Path, archive: Path) -> None:
    before = kind.left(base)
    async with kind.open(base) as runtime:
        await runtime.load_images(archive)
        async with PodMaker.open(runtime) as pods:
            sandbox = await pods.sandbox()
            assert kind.left(base) > before
            await runtime.remove_sandbox(sandbox.id)
    assert kind.left(base) == before


async def test_the_bridge_of_a_deleted_node_is_removed(
    kind: RuntimeKind, base: Path, archive: Path, tmp_path: Path
) -> None:
    deleted = tmp_path / "deleted"
    async with kind.open(deleted) as runtime:
        if not (await runtime.info()).features.pod_network:
            pytest.skip("pods have no network here")
        await runtime.load_images(archive)
        async with PodMaker.open(runtime) as pods:
            await pods.sandbox()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if str(deleted) in line.split()[4]:
            kernel.detach(line.split()[4])
    shutil.rmtree(deleted)
    assert [left.split()[0] for left in sorted(kind.left(deleted))].count("link") >= 1
    async with kind.open(base):
        assert not [left for left in kind.left(deleted) if left.startswith("link pb")]
    rules = subprocess.run(
        ["iptables", "-t", "nat", "-S"], capture_output=True, text=True, check=False
    ).stdout
    assert hashlib.sha256(str(deleted).encode()).hexdigest()[:10] not in rules
    for group in Path("/sys/fs/cgroup").glob(
        f"*/podbay/{hashlib.sha256(str(deleted).encode()).hexdigest()[:12]}"
    ):
        for directory, _, _ in os.walk(group, topdown=False):
            Path(directory).rmdir()


# Machines that lack something


@pytest.mark.root
def test_copies_where_overlayfs_does_not_work(tmp_path: Path) -> None:
    layers = tmp_path / "layers"
    contents = [
        images.Layer()
        .directory("d")
        .add("d/a", "1")
        .add("d/b", "2", uid=7)
        .directory("o")
        .add("o/x", "x")
        .add("f", "old"),
        images.Layer()
        .directory("d")
        .add("d/.wh.a")
        .directory("o")
        .add("o/.wh..wh..opq")
        .add("o/y", "y")
        .symlink("f", "d/b"),
    ]
    for number, layer in enumerate(contents):
        (layers / str(number)).mkdir(parents=True)
        data = layer.tar()
        with (tmp_path / "layer").open("w+b") as file:
            file.write(data)
            file.seek(0)
            unpack_layer(file, layers / str(number), images.digest(data))
    copied = tmp_path / "copied"
    Snapshots(layers).mount(["0", "1"], copied, upper=tmp_path / "unused")
    mounted = tmp_path / "mounted"
    overlay = Snapshots(layers)
    overlay.probe(tmp_path / "probe")
    if overlay.overlay:
        overlay.mount(["0", "1"], mounted, upper=tmp_path / "upper", work=tmp_path / "work")
    for root in [copied, *([mounted] if overlay.overlay else [])]:
        found = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
        assert found == ["d", "d/b", "f", "o", "o/y"]
        assert (root / "f").read_text() == "2"
        assert (root / "d/b").stat().st_uid == 7
    kernel.detach(mounted)


async def test_missing_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "import podbay.node.runc.launch as launch\n"
        "launch._PATH = '/nowhere'\n"
        "from podbay.node.runc.runtime import RuncRuntime\n"
        "async def main():\n"
        "    async with RuncRuntime(Path(sys.argv[1])): pass\n"
        "asyncio.run(main())\n"
    )
    monkeypatch.setenv("PATH", "/nowhere")
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert "RuntimeUnavailableError" in done.stderr
    if os.geteuid() == 0:
        assert "runc and conmon not found: install with `apt-get install runc conmon`" in done.stderr


async def test_a_state_directory_of_a_newer_version(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    (tmp_path / "runtime.json").write_text('{"version": 99}')
    with pytest.raises(StateError, match="newer version"):
        async with RuncRuntime(tmp_path):
            pass


async def test_a_state_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((StateError, RuntimeUnavailableError)):
        async with RuncRuntime(tmp_path / "file" / "state"):
            pass


# What others leave waiting


async def test_a_program_that_does_not_accept(
    runtime: RuncRuntime, pods: PodMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections to it keep no thread that other pods need, and come to an end."""
    monkeypatch.setattr(connections, "_CONNECT_SECONDS", 3.0)
    sandbox = await pods.sandbox(host_network=True)

    async def connect(port: int) -> str:
        try:
            await (await runtime.connect(sandbox.id, port)).aclose()
        except ConflictError as error:
            return str(error)
        return ""

    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(connect(port)) for _ in range(40)]
            await asyncio.sleep(0.5)
            async with asyncio.timeout(2.0):
                await runtime.list()
    text = f"failed to connect to localhost:{port} inside the pod: connection timed out"
    assert sum(task.result() == text for task in tasks) > 32


async def test_an_exec_that_nobody_waits_for_any_more(
    runtime: RuncRuntime, pods: PodMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe's time-out comes while the command is being started."""
    made: list[ExecProcess] = []

    def slowly(*arguments: Any) -> ExecProcess:
        process = start_exec(*arguments)
        time.sleep(0.5)
        made.append(process)
        return process

    monkeypatch.setattr(runc_runtime, "start_exec", slowly)
    started = await pods.start("sleep", "100")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await runtime.exec(started.id, ExecSpec(command=["sleep", "5555"], stdin=True))
    deadline = time.monotonic() + PATIENCE
    files = Path("/proc/self/fd")
    while not made or made[0].runc.returncode is None or len(list(files.iterdir())) > before:
        assert time.monotonic() < deadline, made
        await asyncio.sleep(0.05)


async def test_a_full_disk_ends_nothing(
    small_logs: tuple[RuncRuntime, VirtualClock], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be written down is tried again; the runtime goes on."""
    runtime, clock = small_logs
    full = OSError(errno.ENOSPC, "No space left on device")

    def fail(*_: Any, **__: Any) -> NoReturn:
        raise full

    table = runtime._parts.pods
    async with PodMaker.open(runtime) as pods:
        started = await pods.start("sh", "-c", "head -c 100000 /dev/zero | tr '\\0' 'x\\n'; sleep 100")
        with monkeypatch.context() as patch:
            patch.setattr(runc_runtime, "rotate_log", fail)
            patch.setattr(table._run, "observe", fail)
            patch.setattr(runtime._parts.volumes, "create", fail)
            for _ in range(3):
                await clock.advance(10.0)
                await asyncio.sleep(0.1)
            with pytest.raises(StartError, match='volume "v" : No space left') as caught:
                await runtime.create_volume(VolumeSpec(name="u/v"))
            assert caught.value.reason == "FailedMount"
        status = next(c for c in (await runtime.list()).containers if c.id == started.id)
        assert status.state is ContainerState.RUNNING


async def test_what_cannot_be_removed_keeps_no_node_from_opening(
    kind: RuntimeKind, base: Path, monkeypatch: pytest.MonkeyPatch, nothing_left: None
) -> None:
    half = base / "containers" / ("a" * 64)

    def fail(path: Path) -> NoReturn:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("podbay.node.runc.containers.remove_tree", fail)
        async with kind.open(base) as runtime:
            half.mkdir()
        async with kind.open(base) as runtime:
            assert (await runtime.list()).containers == []
            assert half.exists()
    async with kind.open(base) as runtime:
        assert not half.exists()
        await runtime.reset()
