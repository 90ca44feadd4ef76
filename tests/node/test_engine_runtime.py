"""What only engines have: they die and return, pull by themselves, and are shared with other people's containers."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import images
import pytest
from engines import DOCKER, PODMAN, Daemon
from images import Layer, build
from patience import PATIENCE

import registries
from podbay.errors import ConflictError, PullError, RuntimeUnavailableError
from podbay.node.engine.api import Engine
from podbay.node.engine.endpoint import Endpoint
from podbay.node.engine.keeper import Keeper
from podbay.node.engine.labels import Names
from podbay.node.engine.runtime import EngineRuntime
from podbay.node.images.manifest import Platform
from podbay.node.observed import ContainerState
from podbay.node.runtime import PodListeners
from podbay.node.specs import (
    ExecSpec,
    LogQuery,
    Mount,
    RegistryAuth,
    VolumeFile,
    VolumeSource,
    VolumeSpec,
)
from pods import PodMaker, text_of
from registries import PASSWORD, USER

pytestmark = [pytest.mark.root, pytest.mark.engine]
HERE = Platform("linux", images.ARCHITECTURE)
GOOD = RegistryAuth(USER, PASSWORD)


@pytest.fixture(scope="module", params=[DOCKER, PODMAN], ids=lambda daemon: daemon.name)
def daemon(request: pytest.FixtureRequest) -> Daemon:
    found: Daemon = request.param
    if not found.available():
        pytest.skip(f"no {found.name} here (needs root and its packages)")
    found.start()
    return found


@pytest.fixture
async def engine(daemon: Daemon, archive: Path) -> AsyncIterator[EngineRuntime]:
    async with EngineRuntime(
        Endpoint(origin="the test", path=str(daemon.socket)), node="engine-test"
    ) as opened:
        if await opened.find_image("localhost/bb:1") is None:
            await opened.load_images(archive)
        try:
            yield opened
        finally:
            daemon.start()
            await opened.reset()


# Pulls


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not registries.has_registry():
        pytest.skip("needs the packages docker-registry and apache2-utils")
    with registries.docker_registry(tmp_path_factory.mktemp("registry"), auth=True) as address:
        registries.push(address, "team/small", "1", *build([Layer().add("f", "x")]).manifest())
        foreign = build([Layer().add("f", "y")], architecture="s390x").manifest()
        registries.push(address, "team/foreign", "1", *foreign)
        platform = {"os": "linux", "architecture": "s390x"}
        registries.push(address, "team/strange", images.digest(foreign[0]), *foreign)
        registries.push(address, "team/strange", "1", registries.index((foreign[0], platform)), {})
        yield address


async def test_pull(engine: EngineRuntime, registry: str) -> None:
    image = await engine.pull_image(f"{registry}/team/small:1", GOOD)
    assert image.tags == (f"{registry}/team/small:1",)
    assert image.digests[0].startswith(f"{registry}/team/small@sha256:")
    assert await engine.find_image(f"{registry}/team/small:1") == image
    by_digest = await engine.pull_image(image.digests[0], GOOD)
    assert by_digest.id == image.id
    await engine.remove_image(image.id)
    assert await engine.find_image(f"{registry}/team/small:1") is None


@pytest.mark.parametrize(
    ("name", "auth", "reason", "cause"),
    [
        ("team/small:1", RegistryAuth(USER, "wrong-word"), "ErrImagePull", "access denied"),
        ("team/small:1", None, "ErrImagePull", "access denied"),
        ("team/small:2", GOOD, "ErrImagePull", "no such tag"),
        ("team/none:1", GOOD, "ErrImagePull", "no such"),
        ("team/strange:1", GOOD, "ErrImagePull", "no image for this architecture"),
        ("team/foreign:1", GOOD, "ErrImagePull", f"the image is for linux/s390x, this node is {HERE}"),
    ],
)
async def test_reasons_of_failed_pulls(
    engine: EngineRuntime, registry: str, name: str, auth: RegistryAuth | None, reason: str, cause: str
) -> None:
    with pytest.raises(PullError) as caught:
        await engine.pull_image(f"{registry}/{name}", auth)
    assert caught.value.reason == reason
    assert cause in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert "wrong-word" not in str(caught.value)


async def test_an_image_of_another_architecture_is_not_found(engine: EngineRuntime, registry: str) -> None:
    with pytest.raises(PullError):
        await engine.pull_image(f"{registry}/team/foreign:1", GOOD)
    # The engine has it all the same.
    with pytest.raises(PullError, match=f"linux/s390x.*{HERE}"):
        await engine.find_image(f"{registry}/team/foreign:1")


async def test_a_registry_that_is_down(engine: EngineRuntime) -> None:
    with pytest.raises(PullError, match="cannot be reached") as caught:
        await engine.pull_image(f"{registries.free_address()}/team/small:1")
    assert caught.value.reason == "RegistryUnavailable"


@pytest.mark.parametrize("name", ["host/UPPER", "a b", "x@sha256:12"])
async def test_names_that_are_none(engine: EngineRuntime, name: str) -> None:
    with pytest.raises(PullError) as caught:
        await engine.pull_image(name)
    assert caught.value.reason == "InvalidImageName"


async def test_a_short_name_in_an_archive(engine: EngineRuntime, tmp_path: Path) -> None:
    path = build([Layer().add("f", "z")]).archive(tmp_path / "short.tar", "short:1")
    [image] = await engine.load_images(path)
    assert "docker.io/library/short:1" in image.tags
    found = await engine.find_image("short:1")
    assert found is not None
    await engine.remove_image(found.id)


async def test_an_oci_layout(engine: EngineRuntime, tmp_path: Path) -> None:
    from test_engine_parts import oci_layout

    [image] = await engine.load_images(oci_layout(tmp_path / "oci.tar", "localhost/oci:1"))
    assert image.tags == ("localhost/oci:1",)
    await engine.remove_image(image.id)


async def test_our_own_image_is_nobodys(engine: EngineRuntime) -> None:
    assert not [image for image in await engine.images() if "keeper" in str(image.tags)]


# Sharing an engine


async def test_nodes_do_not_see_each_other(engine: EngineRuntime, daemon: Daemon) -> None:
    other = EngineRuntime(Endpoint(origin="the test", path=str(daemon.socket)), node="other-node")
    async with other, PodMaker.open(engine) as pods:
        started = await pods.start("sleep", "100")
        await other.create_volume(VolumeSpec(name="v"))
        assert (await other.list()).containers == []
        await other.reset()
        assert (await pods.status(started.id)).state is ContainerState.RUNNING
        assert await engine.volume_usage("v") == 0


async def test_two_processes_of_one_node(engine: EngineRuntime, daemon: Daemon) -> None:
    """As when a cluster restarts before the old process has ended."""
    second = EngineRuntime(Endpoint(origin="the test", path=str(daemon.socket)), node="engine-test")
    async with second, PodMaker.open(engine) as pods:
        for name, runtime in (("v1", engine), ("v2", second)):
            await runtime.create_volume(VolumeSpec(name=name))
        files = {"f": VolumeFile(b"x" * 700_000)}
        await asyncio.gather(engine.write_volume("v1", files), second.write_volume("v2", files))
        assert await engine.volume_usage("v2") >= 700_000
        started = await pods.start("sleep", "100")
        assert [c.id for c in (await second.list()).containers] == [started.id]


async def test_somebody_removes_the_keeper(engine: EngineRuntime, daemon: Daemon) -> None:
    await engine.create_volume(VolumeSpec(name="u/kept"))
    await engine.write_volume("u/kept", {"f": VolumeFile(b"still here")})
    listed = daemon.get("/containers/json")
    assert isinstance(listed, list)
    [keeper] = [one for one in listed if one["Labels"].get("podbay.dev/kind") == "keeper"]
    daemon.call("DELETE", f"/containers/{keeper['Id']}?force=1")
    async with PodMaker.open(engine) as pods:
        mounts = [Mount(source=VolumeSource("u/kept"), target="/k")]
        assert await pods.shell("cat /k/f", mounts=mounts) == "still here"


async def test_listening_in_a_pod(engine: EngineRuntime) -> None:
    assert isinstance(engine, PodListeners)
    async with PodMaker.open(engine) as pods:
        sandbox = await pods.sandbox()
        listener = await engine.listen(sandbox.id, "10.255.0.1", 6443)
        assert listener is not None

        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello from outside\n")
            writer.close()

        async with await asyncio.start_server(greet, sock=listener):
            text = await pods.shell("nc 10.255.0.1 6443 </dev/null", sandbox=sandbox)
        assert text == "hello from outside\n"
        with pytest.raises(ConflictError):
            held = await engine.listen(sandbox.id, "10.255.0.1", 6443)
            assert held is not None
            try:
                await engine.listen(sandbox.id, "10.255.0.1", 6443)
            finally:
                held.close()


async def test_a_process_that_only_the_engine_can_kill(engine: EngineRuntime, daemon: Daemon) -> None:
    """As of an exec on another machine, where a process id means nothing here."""
    victim = await asyncio.create_subprocess_exec("sleep", "100")
    async with Engine(Endpoint(origin="the test", path=str(daemon.socket))) as client:
        await Keeper(client, Names("engine-test")).kill_process(victim.pid)
        assert await asyncio.wait_for(victim.wait(), PATIENCE) == -signal.SIGKILL


# An engine that dies and returns


@pytest.fixture(scope="module", params=["docker", "podman"])
def mortal(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """An engine of its own, because it is killed. Its containers outlive it."""
    from engines import mortal_docker, mortal_podman

    found = {"docker": mortal_docker, "podman": mortal_podman}[request.param]()
    if not found.available():
        pytest.skip(f"no {request.param} here (needs root and its packages)")
    found.start()
    yield found


@pytest.mark.slow
async def test_an_engine_that_dies_and_returns(mortal: Daemon, archive: Path) -> None:
    async with EngineRuntime(Endpoint(origin="the test", path=str(mortal.socket)), node="mortal") as runtime:
        runtime_is_podman = (await runtime.info()).name == "podman"
        await runtime.load_images(archive)
        async with PodMaker.open(runtime) as pods:
            script = "echo one; sleep 4; echo two; exit 5"
            dying = await pods.start("sh", "-c", script, name="dying")
            staying = await pods.start("sleep", "100", name="staying")
            await runtime.create_volume(VolumeSpec(name="u/v"))
            events = await runtime.events()
            follower = asyncio.ensure_future(_follow(runtime, dying.id))
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0.3)

            await asyncio.to_thread(mortal.stop, signal.SIGTERM)

            with pytest.raises(RuntimeUnavailableError):
                await asyncio.wait_for(waiting, PATIENCE)
            with pytest.raises(StopAsyncIteration):
                await anext(events)
            with pytest.raises(RuntimeUnavailableError):
                await asyncio.wait_for(follower, PATIENCE)
            for call in (
                runtime.list,
                runtime.images,
                runtime.events,
                runtime.usage,
                lambda: runtime.find_image("localhost/bb:1"),
                lambda: runtime.stop_container(staying.id, 1),
                lambda: runtime.remove_container(staying.id),
                lambda: runtime.create_volume(VolumeSpec(name="u/w")),
                lambda: runtime.write_volume("u/v", {"f": VolumeFile(b"x")}),
                lambda: runtime.exec(staying.id, ExecSpec(command=["true"])),
                lambda: pods.lines(staying.id),
            ):
                with pytest.raises(RuntimeUnavailableError, match=r"mortal|cannot be reached|engine"):
                    await asyncio.wait_for(call(), PATIENCE)  # type: ignore[operator]

            await asyncio.sleep(4)
            mortal.start()

        async with PodMaker.open(runtime) as pods:
            async with asyncio.timeout(PATIENCE):
                while (await pods.status(dying.id)).state is ContainerState.RUNNING:
                    await asyncio.sleep(0.1)
            assert (await pods.status(dying.id)).exit_code == 5
            assert (await pods.status(staying.id)).state is ContainerState.RUNNING
            text = text_of(await pods.lines(dying.id))
            # Docker has nobody who would keep what a container writes and then ends while the daemon is down.
            assert text == "one\ntwo\n" or (text == "one\n" and not runtime_is_podman)
            await runtime.write_volume("u/v", {"f": VolumeFile(b"x")})
            assert (await pods.exec(staying.id, "echo", "alive")).stdout == "alive\n"
        await runtime.reset()


async def _follow(runtime: EngineRuntime, container_id: str) -> None:
    async for _ in runtime.logs(container_id, LogQuery(follow=True)):
        pass
