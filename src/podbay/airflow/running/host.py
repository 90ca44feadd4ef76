"""The process in which a private Airflow lives: imports Airflow once and forks everything else from itself.

    python -m podbay.airflow.running.host        started by link.py, which speaks to it over its stdin and stdout

Messages are lines of JSON. In: the order (first line), then {"do": "go" | "stop" | "kill"}. Out: what happened, see
link.py. It has one thread and no database connection, because it forks; hence no event loop. A component that dies is
started again; one that keeps dying is reported. For a run it stops when its starter is gone (end of stdin); a lasting
Airflow goes on until SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import selectors
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from podbay.airflow.running.forking import become_reaper, fork
from podbay.airflow.running.home import AirflowHome
from podbay.airflow.running.processes import ON_KILL_SECONDS, end_tasks, kill_descendants, wait_for_children
from podbay.airflow.running.supervision import Supervision

__all__ = ["main"]

END_SECONDS = 8.0
"""For components of a lasting Airflow to end by themselves."""
_TAIL = 3000


@dataclass(slots=True)
class Part:
    """A component that is to run."""

    name: str
    pid: int = 0
    supervision: Supervision = field(default_factory=Supervision)
    due: float = 0.0
    """When to start it again, while it is dead."""
    starts: int = 0
    loops: bool = False
    """It keeps dying."""


class Host:
    """Parts, the driver of the run if there is one, and the way to whoever has started this."""

    def __init__(self, order: dict[str, Any], control: int, events: int) -> None:
        self.order = order
        self.home = Path(order["home"])
        self.parts: dict[str, Part] = {}
        self.driver = 0
        self._control, self._events = control, events
        self._from_driver, self._to_driver = -1, -1
        self._wake, self._woken = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        self._selector = selectors.DefaultSelector()
        self._buffers: dict[int, bytes] = {}
        self._stopping = False
        self._over = False
        """The run has ended: no task is left that could be told to end."""
        self._abandoned = False
        """Whoever started this is gone, and nobody looks after the run's pods."""
        self.held: list[IO[bytes]] = []
        """Locks; no child may keep them."""

    # -- messages

    def tell(self, event: str, **facts: Any) -> None:
        self._pass_on(orjson.dumps({"event": event, **facts}))

    def _pass_on(self, line: bytes) -> None:
        # Nobody may be listening any more.
        with contextlib.suppress(BrokenPipeError):
            data = memoryview(line + b"\n")
            while data:
                data = data[os.write(self._events, data) :]

    def _lines(self, descriptor: int) -> list[bytes] | None:
        """What came in, whole lines only; None at the end."""
        data = os.read(descriptor, 65536)
        if not data:
            return None
        *lines, self._buffers[descriptor] = (self._buffers.get(descriptor, b"") + data).split(b"\n")
        return [line for line in lines if line]

    def _to(self, what: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self._to_driver, orjson.dumps({"do": what}) + b"\n")

    # -- processes

    def _fork(self, name: str, body: Callable[[], None]) -> int:
        ours = {self._control, self._events, self._wake, self._woken, self._selector.fileno()}
        ours |= {fd for fd in (self._from_driver, self._to_driver) if fd >= 0}
        ours |= {file.fileno() for file in self.held}
        return fork(body, log=self.home / f"{name}.log", close=ours)

    def start(self, name: str) -> None:
        """Start a component; nothing when it is there."""
        part = self.parts.setdefault(name, Part(name))
        if part.pid or part.due:
            return
        self._start(part)

    def _start(self, part: Part) -> None:
        from podbay.airflow.running.inside import component

        part.due = 0.0
        part.starts += 1
        part.pid = self._fork(part.name, lambda: component(part.name))
        self.tell("started", component=part.name, pid=part.pid)
        self._record()

    def _record(self) -> None:
        """For `podbay up --status`."""
        if self.order["what"] == "up":
            parts = {
                part.name: {"pid": part.pid or None, "starts": part.starts, "crashLoop": part.loops}
                for part in self.parts.values()
            }
            AirflowHome(self.home).write_process(
                {**self.order["facts"], "pid": os.getpid(), "components": parts}
            )

    def start_driver(self) -> None:
        from podbay.airflow.running.driver import drive

        self._from_driver, out = os.pipe()
        into, self._to_driver = os.pipe()
        self.driver = self._fork("driver", lambda: drive(self.order, into, out))
        os.close(out)
        os.close(into)
        self._selector.register(self._from_driver, selectors.EVENT_READ)

    def run_to_end(self, name: str, body: Callable[[], None]) -> bool:
        """Do something in a child of its own; whether it went well."""
        _, status = os.waitpid(self._fork(name, body), 0)
        return os.waitstatus_to_exitcode(status) == 0

    # -- the loop

    def take_signals(self) -> None:
        """From here on signals are news. Before, while Airflow is imported, SIGTERM ends this process at once."""
        signal.set_wakeup_fd(self._woken)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)

    def live(self) -> None:
        self._selector.register(self._wake, selectors.EVENT_READ)
        if self.order["what"] == "run":
            self._selector.register(self._control, selectors.EVENT_READ)
        while not self._stopping:
            self.turn(self._patience())

    def _patience(self) -> float | None:
        due = [part.due for part in self.parts.values() if part.due]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def turn(self, seconds: float | None) -> None:
        """Wait for news, at most so long, and deal with them."""
        for key, _ in self._selector.select(seconds):
            descriptor = key.fd
            if descriptor == self._wake:
                if {signal.SIGTERM, signal.SIGINT} & set(os.read(descriptor, 4096)):
                    self._stopping = True
            elif (lines := self._lines(descriptor)) is None:
                self._selector.unregister(descriptor)
                if descriptor == self._control:
                    self._stopping = self._abandoned = True
            else:
                for line in lines:
                    self._hear(descriptor, line)
        self._reap()
        for part in self.parts.values():
            if part.due and part.due <= time.monotonic() and not self._stopping:
                self._start(part)

    def _hear(self, descriptor: int, line: bytes) -> None:
        message = orjson.loads(line)
        if descriptor == self._control:
            if message["do"] == "go":
                self._to("go")
            else:
                self._stopping = True
                self.order["graceful"] = message["do"] == "stop"
        elif message["event"] == "need":
            self.start(message["component"])
        else:
            if message["event"] == "ended":
                wait_for_children(self._pid_of("dag-processor"))
                self._over = True
            self._pass_on(line)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            code = os.waitstatus_to_exitcode(status)
            if pid == self.driver:
                self.driver = 0
                if not self._stopping:
                    self.tell("driver-ended", code=code, said=self._tail("driver"))
            for part in self.parts.values():
                if part.pid == pid:
                    part.pid = 0
                    self._died(part, code)

    def _died(self, part: Part, code: int) -> None:
        if self._stopping:
            return
        now = time.monotonic()
        part.due = now + part.supervision.died(now)
        part.loops = part.supervision.loops(now)
        self.tell("died", component=part.name, code=code, loops=part.loops, said=self._tail(part.name))
        self._record()

    def _tail(self, name: str) -> str:
        with contextlib.suppress(OSError):
            return (self.home / f"{name}.log").read_text(errors="replace")[-_TAIL:]
        return ""

    # -- the end

    def _pid_of(self, name: str) -> int:
        part = self.parts.get(name)
        return part.pid if part is not None else 0

    def end(self) -> None:
        """Leave no process. Tasks that run are told to end, with their `on_kill`, unless there is no time for it."""
        self._stopping = True
        if self.order.get("graceful", True) and not self._over:
            deferred = self._end_run() if self.driver else 0
            end_tasks(self._pid_of("scheduler"), deferred=deferred)
            if self.order["what"] == "up":
                self._end_parts()
        kill_descendants()
        if self._abandoned and not self._over:
            self._delete_pods()
        self.tell("stopped")

    def _delete_pods(self) -> None:
        from podbay.airflow.running.run_cluster import delete_left

        kubeconfig = AirflowHome(self.home).kubeconfig
        if kubeconfig.exists():
            asyncio.run(delete_left(kubeconfig, self.order["run_id"]))

    def _end_run(self) -> int:
        """Have the driver mark the run as failed; how many of its tasks were deferred."""
        self._to("end")
        deadline = time.monotonic() + ON_KILL_SECONDS
        buffer = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._from_driver, selectors.EVENT_READ)
            while selector.select(max(0.0, deadline - time.monotonic())):
                data = os.read(self._from_driver, 65536)
                if not data:
                    break
                buffer += data
                for line in buffer.split(b"\n")[:-1]:
                    message = orjson.loads(line)
                    if message["event"] == "marked":
                        return int(message["deferred"])
        return 0

    def _end_parts(self) -> None:
        for part in self.parts.values():
            if part.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(part.pid, signal.SIGTERM)
        deadline = time.monotonic() + END_SECONDS
        while any(part.pid for part in self.parts.values()) and time.monotonic() < deadline:
            self._reap()
            time.sleep(0.05)


def _prepare(host: Host) -> bool:
    """Import Airflow, make the database ready."""
    from podbay.airflow.running import inside

    order = host.order
    # Cached bytecode of Airflow saves seconds at every start; the user's own files get none if he wants none.
    unwanted, sys.dont_write_bytecode = sys.dont_write_bytecode, False
    is_run = order["what"] == "run"
    inside.import_airflow(whole=not is_run)
    host.tell("imported")
    ready = _prepare_database(host)
    if ready and is_run:
        file = Path(order["file"])
        likely = inside.likely(file)
        if "task-api" in likely:
            # It takes longest to start, tasks wait for it, and it needs nothing that the file imports.
            host.start("task-api")
        inside.import_like(file)
        if "triggerer" in likely:
            host.start("triggerer")
    sys.dont_write_bytecode = unwanted
    return ready


def _prepare_database(host: Host) -> bool:
    from podbay.airflow.running import inside

    order = host.order
    database = Path(order["database"]) if order["database"] else None
    if database is not None and database.exists() and not order["migrate"]:
        return True
    template = Path(order["template"])
    if host.run_to_end("migrate", lambda: inside.migrate(database, template)):
        return True
    host.tell("unprepared", said=host._tail("migrate"))
    return False


def _hold(home: AirflowHome, order: dict[str, Any]) -> list[IO[bytes]]:
    """The lock of a lasting Airflow, and that of the embedded cluster's users, if it uses one."""
    held = [home.hold(taken="it is already running")]
    if order["users_lock"]:
        users = Path(order["users_lock"]).open("ab")  # noqa: SIM115 - open for as long as this process lives
        fcntl.flock(users, fcntl.LOCK_SH)
        held.append(users)
    return held


def main() -> int:
    """Read the order from stdin, live, leave nothing behind."""
    control, events = os.dup(0), os.dup(1)
    first = b""
    while not first.endswith(b"\n"):
        byte = os.read(control, 1)
        if not byte:
            return 1
        first += byte
    order = orjson.loads(first)
    home = AirflowHome(Path(order["home"]))
    log = os.open(Path(order["home"]) / "host.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    become_reaper()
    host = Host(order, control, events)
    try:
        if order["what"] == "up":
            host.held = _hold(home, order)
        if _prepare(host):
            host.take_signals()
            if order["what"] == "run":
                host.start_driver()
            for name in order["components"]:
                host.start(name)
            host.live()
    except BaseException:  # noqa: BLE001 - the end of a process; its starter is shown the last line
        traceback.print_exc()
    finally:
        host.end()
        if host.held:
            home.forget_process()
        # The interpreter's own end takes a second for what Airflow has imported.
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
