"""Which runtime is chosen: from environments and files, and against sockets that answer, refuse or are silent."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from podbay.errors import InvalidInputError, RuntimeUnavailableError
from podbay.node.choose import choose_runtime, engine_endpoints
from podbay.node.engine.runtime import EngineRuntime
from podbay.node.runc.runtime import RuncRuntime
from podbay.node.runtime import Runtime


def tried(environment: dict[str, str], home: Path, *existing: str) -> list[str]:
    found = engine_endpoints(environment, home, exists=lambda path: path in existing)
    return [str(endpoint) for endpoint, _ in found]


def put_context(home: Path, name: str, host: str, *, current: bool = True) -> None:
    path = home / ".docker/contexts/meta" / hashlib.sha256(name.encode()).hexdigest() / "meta.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": host}}}))
    if current:
        (home / ".docker/config.json").write_text(json.dumps({"currentContext": name}))


def test_docker_host_comes_before_all(tmp_path: Path) -> None:
    put_context(tmp_path, "mine", "unix:///context.sock")
    assert tried({"DOCKER_HOST": "unix:///h.sock"}, tmp_path, "/var/run/docker.sock") == ["unix:///h.sock"]


def test_the_current_context_comes_before_sockets(tmp_path: Path) -> None:
    put_context(tmp_path, "mine", "unix:///context.sock")
    assert tried({}, tmp_path, "/var/run/docker.sock") == [
        "unix:///context.sock",
        "unix:///var/run/docker.sock",
    ]


def test_the_environment_names_another_context(tmp_path: Path) -> None:
    put_context(tmp_path, "mine", "unix:///context.sock")
    put_context(tmp_path, "other", "tcp://h:2375", current=False)
    assert tried({"DOCKER_CONTEXT": "other"}, tmp_path) == ["tcp://h:2375"]
    assert tried({"DOCKER_CONTEXT": "default"}, tmp_path) == []
    with pytest.raises(InvalidInputError, match='"missing" does not exist'):
        tried({"DOCKER_CONTEXT": "missing"}, tmp_path)


def test_sockets_in_their_order(tmp_path: Path) -> None:
    run = "/run/user/1000"
    paths = ["/var/run/docker.sock", f"{run}/docker.sock", f"{run}/podman/podman.sock"]
    assert tried({"XDG_RUNTIME_DIR": run}, tmp_path, *reversed(paths)) == [f"unix://{path}" for path in paths]


def test_another_configuration_directory(tmp_path: Path) -> None:
    put_context(tmp_path, "mine", "unix:///context.sock")
    environment = {"DOCKER_CONFIG": str(tmp_path / ".docker")}
    assert tried(environment, tmp_path / "elsewhere") == ["unix:///context.sock"]


@pytest.mark.parametrize("content", ["{", "", "null"])
def test_a_damaged_configuration(tmp_path: Path, content: str) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(content)
    if content == "null":
        assert tried({}, tmp_path) == []
    else:
        with pytest.raises(InvalidInputError, match=r"config\.json"):
            tried({}, tmp_path)


def test_a_damaged_context(tmp_path: Path) -> None:
    put_context(tmp_path, "mine", "unix:///context.sock")
    path = next((tmp_path / ".docker/contexts/meta").glob("*/meta.json"))
    path.write_text('{"Endpoints": {}}')
    with pytest.raises(InvalidInputError, match=r"meta\.json"):
        tried({}, tmp_path)


def test_tls_files_of_docker_host(tmp_path: Path) -> None:
    environment = {"DOCKER_HOST": "tcp://h", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
    [(endpoint, asked)] = engine_endpoints(environment, tmp_path)
    assert (str(endpoint), asked) == ("tcp://h:2376", True)
    assert endpoint.tls is not None
    assert (endpoint.tls.directory, endpoint.tls.verify) == (tmp_path, True)


# Against sockets


@asynccontextmanager
async def engine(path: Path, **version: str) -> AsyncIterator[None]:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"ApiVersion": "1.44", "MinAPIVersion": "1.24", "Os": "linux", **version})

    app = web.Application()
    app.router.add_get("/version", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def choose(tmp_path: Path, name: str = "auto", **environment: str) -> Runtime:
    return await choose_runtime(
        name,  # type: ignore[arg-type]
        node="n",
        directory=tmp_path / "state",
        environment={"PATH": "/nonexistent", **environment},
        home=tmp_path,
    )


async def test_an_engine_that_answers(tmp_path: Path) -> None:
    async with engine(tmp_path / "e.sock"):
        for name in ("auto", "docker"):
            found = await choose(tmp_path, name, DOCKER_HOST=f"unix://{tmp_path}/e.sock")
            assert isinstance(found, EngineRuntime)


async def test_what_was_asked_for_must_answer(tmp_path: Path) -> None:
    with pytest.raises(
        RuntimeUnavailableError, match=r"\(DOCKER_HOST\) cannot be reached: No such file"
    ) as caught:
        await choose(tmp_path, DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert "\n" not in str(caught.value)


async def test_a_stale_context_is_passed_over(tmp_path: Path) -> None:
    put_context(tmp_path, "stale", f"unix://{tmp_path}/none.sock")
    (tmp_path / "podman").mkdir()
    async with engine(tmp_path / "podman/podman.sock"):
        assert isinstance(await choose(tmp_path, XDG_RUNTIME_DIR=str(tmp_path)), EngineRuntime)


async def test_containers_of_another_system(tmp_path: Path) -> None:
    async with engine(tmp_path / "e.sock", Os="windows"):
        with pytest.raises(RuntimeUnavailableError, match="runs windows containers"):
            await choose(tmp_path, "docker", DOCKER_HOST=f"unix://{tmp_path}/e.sock")


async def test_something_that_is_no_engine(tmp_path: Path) -> None:
    async def nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n")
        writer.close()

    async with await asyncio.start_unix_server(nonsense, tmp_path / "e.sock"):
        with pytest.raises(RuntimeUnavailableError, match="cannot be reached"):
            await choose(tmp_path, DOCKER_HOST=f"unix://{tmp_path}/e.sock")


@pytest.mark.skipif(Path("/var/run/docker.sock").exists(), reason="this machine has an engine")
async def test_without_an_engine(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailableError, match=r"apt-get install docker\.io"):
        await choose(tmp_path, "docker")
    # The directories of system programs are searched whatever PATH says.
    if Path("/usr/sbin/runc").exists() and os.geteuid() == 0:
        found = await choose(tmp_path, PATH="/usr/bin:/bin")
        assert isinstance(found, RuncRuntime)
    with pytest.raises(RuntimeUnavailableError, match="conmon not found; apt-get install runc conmon"):
        await choose(tmp_path, "runc")
    with pytest.raises(RuntimeUnavailableError, match="no container runtime here") as caught:
        await choose(tmp_path)
    assert str(caught.value).endswith("start Docker or Podman, or apt-get install runc conmon")
