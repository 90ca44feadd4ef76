"""One `podbay run`: a host, a run in it, the cluster beside it, and nothing left of them afterwards.

    async with RunSession(request, version=..., namespace=..., listener=...) as session:
        report = await session.run(config)

The host imports Airflow and loads the file while the cluster starts; the run begins when both are ready.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import shutil
import socket
import time
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Protocol, Self

from podbay.airflow.running.connection import kubeconfig_of
from podbay.airflow.running.failures import Failure, explain
from podbay.airflow.running.home import (
    AirflowHome,
    airflow_root,
    new_keys,
    new_run_home,
    template_database,
)
from podbay.airflow.running.link import Event, HostLink, start_host
from podbay.airflow.running.picture import Picture, Row
from podbay.airflow.running.run_cluster import RunCluster, open_run_cluster
from podbay.airflow.running.settings import Wanted, airflow_cfg, environment
from podbay.errors import InvalidInputError, PodbayError, StateError
from podbay.kube.config import ClusterConfig

__all__ = ["Listener", "Report", "RunRequest", "RunSession", "free_port"]

ASKED_FAILURES: Final = 50
"""Of so many failed tasks the cluster is asked for events; of more, a pod and a log must tell enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What the user asked for."""

    file: Path
    dags: Path
    """The directory that DAG files import from, the file in it."""
    dag_id: str | None = None
    params: dict[str, str] = field(default_factory=dict)
    conf: dict[str, Any] = field(default_factory=dict)
    database: str | None = None
    """SQLAlchemy URL; None for SQLite in the run's own directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How it ended."""

    state: str
    """success, failed or interrupted."""
    seconds: float
    """From the command's start to the run's end."""
    failures: Sequence[Failure] = ()


class Listener(Protocol):
    """Who shows what happens. Called on the event loop; must return at once."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def changed(self, rows: Sequence[Row]) -> None:
        """Tasks or pods of these rows changed."""


class RunSession:
    """One run. `picture` is what is known at any time."""

    def __init__(self, request: RunRequest, *, version: str, namespace: str, listener: Listener) -> None:
        self.picture = Picture()
        self.run_id, self.home = new_run_home(datetime.now(UTC))
        self._request = request
        self._version, self._namespace = version, namespace
        self._listener = listener
        self._started = time.monotonic()
        self._interrupts = 0
        self._interrupted = asyncio.Event()
        self._stack = AsyncExitStack()
        self._link: HostLink | None = None
        self._cluster: RunCluster | None = None
        self._state = ""

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.enter_context(self.home.hold(taken=f"{self.home.directory} is in use"))
            if self._request.database is not None:
                stack.enter_context(_only_run_of(self._request.database))
            self._configure()
            env = environment(self.home.directory, self.home.kubeconfig, self._namespace, os.environ)
            self._link = await stack.enter_async_context(start_host(self.home, self._order(), env))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def interrupt(self) -> None:
        """Ctrl-C: end the run cleanly; the second time, at once."""
        self._interrupts += 1
        self._interrupted.set()

    # -- preparation

    def _configure(self) -> None:
        home, request = self.home, self._request
        template = template_database(self._version)
        if request.database is None and template.exists():
            shutil.copyfile(template, home.database)
        wanted = Wanted(
            directory=home.directory,
            dags=request.dags,
            database=self._database(),
            port=free_port(),
            keys=new_keys(),
            deployment=f"run-{secrets.token_hex(3)}",
            lasting=False,
        )
        home.write("airflow.cfg", airflow_cfg(wanted))

    def _database(self) -> str:
        return self._request.database or f"sqlite:///{self.home.database}"

    def _order(self) -> dict[str, Any]:
        request = self._request
        return {
            "what": "run",
            "home": str(self.home.directory),
            "file": str(request.file),
            "dags": str(request.dags),
            "dag_id": request.dag_id,
            "params": request.params,
            "conf": request.conf,
            "run_id": self.run_id,
            "database": None if request.database else str(self.home.database),
            "migrate": request.database is not None,
            "template": str(template_database(self._version)),
            "components": ["scheduler"],
        }

    # -- the run

    async def run(self, config: Awaitable[ClusterConfig]) -> Report:
        """Live through it. Raises InvalidInputError for what the user can mend, StateError when Airflow breaks."""
        assert self._link is not None
        cluster = AsyncExitStack()
        async with cluster:
            hearing = asyncio.ensure_future(self._hear(self._link))
            opening = asyncio.ensure_future(self._open(config, cluster))
            interrupted = asyncio.ensure_future(self._interrupted.wait())
            try:
                waited = {hearing, opening, interrupted}
                while not hearing.done() and not interrupted.done():
                    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                    if opening in waited and opening.done():
                        waited.discard(opening)
                        opening.result()
                        await self._link.say("go")
                if not interrupted.done():
                    hearing.result()
                state = self._state if hearing.done() else "interrupted"
                seconds = time.monotonic() - self._started
                failures = await self._failures() if state == "failed" else []
                return Report(state=state, seconds=seconds, failures=failures)
            finally:
                await self._end(hearing, opening)
                interrupted.cancel()

    async def _open(self, config: Awaitable[ClusterConfig], stack: AsyncExitStack) -> None:
        found = await config
        self.home.write("kubeconfig", kubeconfig_of(found))
        opened = open_run_cluster(found, self.run_id, self._hear_pod)
        self._cluster = await stack.enter_async_context(opened)

    def _hear_pod(self, pod: dict[str, Any]) -> None:
        row = self.picture.pod(pod)
        if row is not None:
            self._listener.changed([row])

    async def _hear(self, link: HostLink) -> None:
        async for event in link.events():
            if await self._take(event):
                return
        raise StateError(f"Airflow did not start: {self.home.last_words('host')}")

    async def _take(self, event: Event) -> bool:
        """Deal with one event; True when the run is over."""
        match event["event"]:
            case "dag":
                self.picture.dag(event["dag_id"], event["tasks"])
            case "run":
                self.picture.run_id = event["run_id"]
                self._listener.note(f"DAG {self.picture.dag_id}, run {event['run_id']}")
            case "tasks":
                self._listener.changed(self.picture.tasks(event["tasks"]))
            case "pool":
                self._listener.note(
                    f"pool {event['name']} is not known here: made with {event['slots']} slots"
                )
            case "died":
                self._died(event)
            case "refused":
                raise InvalidInputError(event["message"])
            case "unprepared":
                raise StateError(f"Airflow's database cannot be used: {self.home.last_words('migrate')}")
            case "driver-ended":
                raise StateError(f"the run was lost: its process ended with {event['code']}.\n{_tail(event)}")
            case "ended":
                self._state = self.picture.state = event["state"]
                return True
        return False

    def _died(self, event: Event) -> None:
        name = event["component"]
        if event["loops"]:
            raise StateError(
                f"Airflow's {name} ends again and again (exit code {event['code']}). The end of its log "
                f"{self.home.log(name)}:\n{_tail(event)}"
            )
        self._listener.note(f"Airflow's {name} ended with {event['code']} and is started again")

    async def _failures(self) -> list[Failure]:
        client = self._cluster.client if self._cluster is not None else None
        failed = [row for row in self.picture.sorted_rows() if row.state == "failed"]
        logs, dags = self.home.logs, self._request.dags
        return [
            await explain(
                self.picture, row, logs=logs, dags=dags, client=client if number < ASKED_FAILURES else None
            )
            for number, row in enumerate(failed)
        ]

    # -- the end

    async def _end(self, hearing: asyncio.Future[None], opening: asyncio.Future[None]) -> None:
        """Leave no process and, unless the run has ended by itself, no pod of it."""
        assert self._link is not None
        hearing.cancel()
        if not opening.done():
            opening.cancel()
        await asyncio.gather(opening, hearing, return_exceptions=True)
        cluster = self._cluster
        if cluster is None or not self.picture.run_id:
            # No task has begun.
            await self._link.say("kill")
            self._link.terminate()
            return
        over = bool(self._state)
        await self._link.say("stop")
        stopping = asyncio.ensure_future(self._link.ended())
        try:
            if not over:
                # Twice: a task may have made another pod before its process ended.
                await self._delete(cluster)
                await self._or_interrupted(stopping)
                await self._delete(cluster)
            await self._or_interrupted(asyncio.ensure_future(cluster.settle()))
            if not over and self._interrupts > 1:
                await cluster.delete(grace=0)
        finally:
            await stopping

    async def _delete(self, cluster: RunCluster) -> None:
        finished = {uid for row in self.picture.rows.values() if row.is_finished for uid in row.pods}
        try:
            await cluster.delete(keep=finished)
        except PodbayError as err:
            self._listener.note(f"the run's pods could not be deleted: {err}")

    async def _or_interrupted(self, waited: asyncio.Future[None]) -> None:
        """Wait for it, or for the second Ctrl-C."""
        while not waited.done() and self._interrupts < 2:
            await asyncio.wait({waited}, timeout=0.1)


def _only_run_of(database: str) -> IO[bytes]:
    """Two schedulers of two runs would take each other's tasks, and the first to end would end them."""
    name = hashlib.sha256(database.encode()).hexdigest()[:16]
    home = AirflowHome(airflow_root() / "databases" / name)
    return home.hold(taken="--database: another run on this machine uses this database. Wait for its end.")


def _tail(event: Event) -> str:
    return str(event.get("said") or "(nothing)").strip()[-1500:]


def free_port() -> int:
    """A port of the loopback address that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
