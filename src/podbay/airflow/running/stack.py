"""`podbay up` and `down`: a whole Airflow of this machine, kept by a host in the background (host.py).

Everything it needs again stands in its home: keys, password, port, which DAGs. A second `up` finds the first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from podbay.airflow.running.cluster_use import users_lock
from podbay.airflow.running.connection import kubeconfig_of
from podbay.airflow.running.home import AirflowHome, new_keys, template_database, up_home
from podbay.airflow.running.session import free_port
from podbay.airflow.running.settings import HEALER, Keys, Wanted, airflow_cfg, environment
from podbay.embedded.home import ClusterHome
from podbay.errors import ConflictError, InvalidInputError, StateError
from podbay.kube.config import ClusterConfig

__all__ = ["USER", "UpRequest", "check", "password", "start", "status", "stop"]

SETTINGS = "settings.json"
COMPONENTS = ("api-server", "scheduler", "triggerer", "dag-processor", HEALER)
USER = "admin"
USUAL_PORT = 8080
START_SECONDS = 180.0
"""Until all components are healthy; a cold start on a busy machine."""
STOP_SECONDS = 40.0
_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class UpRequest:
    """What is asked for; None and 0 take what the last time had."""

    dags: Path | None = None
    port: int = 0
    database: str | None = None
    embedded: ClusterHome | None = None
    """The embedded cluster, if that is the one: it counts as used while Airflow runs."""


def status(home: AirflowHome | None = None) -> dict[str, Any]:
    """What runs: url, dags, components with pid, starts and crashLoop; {} when it is down."""
    home = home or up_home()
    return home.read_process() if home.is_held() else {}


def password(home: AirflowHome | None = None) -> str:
    """Of the user `admin`; made on first use."""
    path = (home or up_home()).directory / "passwords.json"
    try:
        return str(orjson.loads(path.read_bytes())[USER])
    except (FileNotFoundError, orjson.JSONDecodeError, KeyError):
        made = secrets.token_urlsafe(12)
        (home or up_home()).write(path.name, orjson.dumps({USER: made}).decode())
        return made


def check(request: UpRequest) -> None:
    """Raises what `start` would raise for what is asked, before anything is started for it."""
    home = up_home()
    running = status(home)
    if running:
        _same(request, running)
        return
    kept = _kept(home)
    with _port(request.port, kept.get("port", 0)) as port:
        _settings(home, request, kept, port)


async def start(request: UpRequest, config: ClusterConfig, *, version: str) -> dict[str, Any]:
    """Start it and wait until every component is healthy; its status. One that runs already is left as it is.

    Raises InvalidInputError without DAGs, ConflictError when another one runs or the port is taken, StateError when
    it does not get ready.
    """
    home = up_home()
    home.create()
    running = status(home)
    if running:
        _same(request, running)
        return running
    kept = _kept(home)
    with _port(request.port, kept.get("port", 0)) as port:
        return await _started(home, request, config, _settings(home, request, kept, port), version)


async def _started(
    home: AirflowHome, request: UpRequest, config: ClusterConfig, settings: dict[str, Any], version: str
) -> dict[str, Any]:
    home.write(SETTINGS, orjson.dumps(settings).decode())
    embedded = request.embedded
    facts = {
        "url": f"http://127.0.0.1:{settings['port']}",
        "dags": settings["dags"],
        "version": version,
        "cluster": embedded.name if embedded is not None else None,
    }
    home.write("kubeconfig", kubeconfig_of(config))
    home.write("airflow.cfg", airflow_cfg(_wanted(home, settings)))
    password(home)
    order = {
        "what": "up",
        "home": str(home.directory),
        "database": None,
        "migrate": True,
        "template": str(template_database(version)),
        "components": list(COMPONENTS),
        "users_lock": str(users_lock(embedded)) if embedded is not None else None,
        "facts": facts,
    }
    env = environment(home.directory, home.kubeconfig, config.namespace, os.environ)
    async with _host(home, order, env) as process:
        await _wait_healthy(home, process, facts["url"])
    return status(home)


def _same(request: UpRequest, running: dict[str, Any]) -> None:
    asked = str(request.dags.absolute()) if request.dags is not None else running["dags"]
    if asked != running["dags"] or (request.port and not running["url"].endswith(f":{request.port}")):
        raise ConflictError(
            f"Airflow already runs at {running['url']} with the DAGs of {running['dags']}. Stop it: podbay down"
        )


def _kept(home: AirflowHome) -> dict[str, Any]:
    """Settings of the last time."""
    try:
        found: dict[str, Any] = orjson.loads((home.directory / SETTINGS).read_bytes())
        return found
    except (FileNotFoundError, orjson.JSONDecodeError):
        return {}


def _settings(home: AirflowHome, request: UpRequest, kept: dict[str, Any], port: int) -> dict[str, Any]:
    """Those of the last time, changed by what is asked for now."""
    keys = kept.get("keys") or asdict(new_keys())
    dags = str(request.dags.absolute()) if request.dags is not None else kept.get("dags")
    if dags is None:
        raise InvalidInputError("name the directory with your DAG files: podbay up --dags DIR")
    if not Path(dags).is_dir():
        raise InvalidInputError(f"--dags {dags}: no such directory")
    return {
        "keys": keys,
        "dags": dags,
        "port": port,
        "database": request.database or kept.get("database") or f"sqlite:///{home.database}",
        "deployment": kept.get("deployment") or f"up-{secrets.token_hex(3)}",
    }


@contextlib.contextmanager
def _port(asked: int, last: int) -> Iterator[int]:
    """A port that nobody else takes until the end of the block, when Airflow listens there itself. Raises ConflictError."""
    candidates = [asked] if asked else [last, USUAL_PORT, *(free_port() for _ in range(3))]
    for port in filter(None, candidates):
        with socket.socket(socket.AF_UNIX) as mark:
            try:
                # A name and no file: it goes with this process, however that ends. Linux.
                mark.bind(f"\0podbay-up-{port}")
            except OSError:
                continue
            if _is_free(port):
                yield port
                return
    if not asked:
        raise ConflictError("no port is free for Airflow's UI. Name one: podbay up --port PORT")
    raise ConflictError(f"--port {asked}: somebody else listens there. Choose another one.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _wanted(home: AirflowHome, settings: dict[str, Any]) -> Wanted:
    return Wanted(
        directory=home.directory,
        dags=Path(settings["dags"]),
        database=settings["database"],
        port=settings["port"],
        keys=Keys(**settings["keys"]),
        deployment=settings["deployment"],
        lasting=True,
    )


@asynccontextmanager
async def _host(
    home: AirflowHome, order: dict[str, Any], env: dict[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A host that stays when the block ends well, and goes when it does not."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "podbay.airflow.running.host",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=home.log("host").open("ab"),
        env=env,
        cwd=home.directory,
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(orjson.dumps(order) + b"\n")
    process.stdin.close()
    try:
        yield process
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()
        raise


async def _wait_healthy(home: AirflowHome, process: asyncio.subprocess.Process, url: str) -> None:
    listening = asyncio.ensure_future(_listen(home, process))
    try:
        async with asyncio.timeout(START_SECONDS):
            while not await asyncio.to_thread(_is_healthy, url):
                if listening.done():
                    listening.result()
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        raise StateError(
            f"Airflow did not get ready within {START_SECONDS:.0f} s. Its logs are in {home.directory}"
        ) from None
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _listen(home: AirflowHome, process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        event = orjson.loads(line)
        said = str(event.get("said") or "").strip()[-1500:]
        if event["event"] == "unprepared":
            raise StateError(f"Airflow's database cannot be used: {home.last_words('migrate')}")
        name = event.get("component")
        # Airflow is ready without its healer, whom the cluster may refuse; `--status` shows that.
        if event["event"] == "died" and event["loops"] and name != HEALER:
            raise StateError(f"Airflow's {name} ends again and again. The end of {home.log(name)}:\n{said}")
    raise StateError(f"Airflow did not start: {home.last_words('host')}")


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/v2/monitor/health", timeout=5) as answer:
            found = orjson.loads(answer.read())
    except (OSError, urllib.error.URLError, orjson.JSONDecodeError):
        return False
    return all((found.get(part) or {}).get("status") == "healthy" for part in _HEALTH)


_HEALTH = ("metadatabase", "scheduler", "triggerer", "dag_processor")


def stop(home: AirflowHome | None = None) -> bool:
    """Stop it; False when it was down. Tasks that run are ended with their `on_kill`. Raises StateError."""
    home = home or up_home()
    pid = status(home).get("pid")
    if pid is None:
        if home.is_held():
            raise StateError("Airflow is starting; try again in a moment")
        return False
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not home.is_held():
                home.forget_process()
                return True
            time.sleep(0.05)
    raise StateError(f"Airflow (process {pid}) does not end. Its logs are in {home.directory}")
