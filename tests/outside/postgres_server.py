"""A PostgreSQL server of its own for one session of tests: Debian's programs, a directory that goes with it, loopback only."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow_deployment import free_port

__all__ = ["new_database", "postgres_server"]

STOP_SECONDS = 30.0
DRIVERS = {"psycopg2": "psycopg2-binary", "asyncpg": "asyncpg"}


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """URL of an empty database `airflow`. Skips, by name, what is missing on this machine."""
    missing = [package for module, package in DRIVERS.items() if importlib.util.find_spec(module) is None]
    if missing:
        pytest.skip(f"no driver for PostgreSQL here: .venv-airflow/bin/pip install {' '.join(missing)}")
    initdb = _program("initdb")
    if initdb is None:
        pytest.skip("no PostgreSQL server here: apt-get install postgresql")
    port, password = free_port(), secrets.token_hex(16)
    with _directory() as directory:
        _make(initdb, directory, password)
        server = _start(initdb.with_name("postgres"), directory, port)
        try:
            _create(initdb.with_name("psql"), directory, port)
            yield f"postgresql+psycopg2://airflow:{password}@127.0.0.1:{port}/airflow"
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(STOP_SECONDS)


def new_database(url: str) -> str:
    """URL of another empty database on the same server."""
    import psycopg2

    name = f"d{secrets.token_hex(4)}"
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    connection.close()
    return url.rpartition("/")[0] + f"/{name}"


def _program(name: str) -> Path | None:
    """Debian keeps the server's programs off PATH, one directory for each version."""
    found = shutil.which(name)
    if found is not None:
        return Path(found).resolve()
    newest = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    return newest[-1] if newest else None


def _user() -> str | None:
    """The server refuses to run as root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    return None


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    """Outside of pytest's own, which only their owner may enter."""
    directory = Path(tempfile.mkdtemp(prefix="airflow-postgres-"))
    user = _user()
    if user is not None:
        shutil.chown(directory, user)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _run(directory: Path, *words: str | Path) -> None:
    done = subprocess.run(
        words, cwd=directory, user=_user(), capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode != 0:
        raise RuntimeError(f"{Path(words[0]).name} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def _make(initdb: Path, directory: Path, password: str) -> None:
    file = directory / "password"
    file.touch(mode=0o600)
    if (user := _user()) is not None:
        shutil.chown(file, user)
    file.write_text(password)
    common = ("--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--auth-host=scram-sha-256")
    _run(directory, initdb, "-D", directory / "data", "-U", "airflow", f"--pwfile={file}", *common)


def _start(postgres: Path, directory: Path, port: int) -> subprocess.Popen[bytes]:
    # Two processes of Airflow hold many connections; what a lost machine would lose does not matter here.
    settings = ("listen_addresses=127.0.0.1", "max_connections=300", "fsync=off", "full_page_writes=off")
    words = [str(postgres), "-D", "data", "-p", str(port), "-k", str(directory)]
    for setting in settings:
        words += ["-c", setting]
    with (directory / "log").open("wb") as log:
        return subprocess.Popen(words, cwd=directory, user=_user(), stdout=log, stderr=log, process_group=0)


def _create(psql: Path, directory: Path, port: int) -> None:
    """Over the socket in the directory, which asks for no password."""
    words = (psql, "-h", directory, "-p", str(port), "-U", "airflow", "-d", "postgres")
    last = ""
    for _ in range(100):
        try:
            return _run(directory, *words, "-c", "CREATE DATABASE airflow")
        except RuntimeError as error:
            last = str(error)
            if "could not connect" not in last and "connection to server" not in last:
                raise
        subprocess.run(["sleep", "0.2"], check=True)
    raise RuntimeError(last)
