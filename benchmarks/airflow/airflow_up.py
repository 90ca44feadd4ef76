"""A cluster and an Airflow around it in a home of their own, by the commands that people use; both go with the block.

`podbay cluster start` and `podbay up` with a temporary PODBAY_HOME: free ports, loopback only, nothing of the user's.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from podbay.testing.requests import Requests

__all__ = ["IMAGE", "PROGRAM", "Airflow", "ending", "free_port", "running_airflow"]

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).with_name("podbay")
IMAGE = "localhost/podbay-bench:1"
NODES = """nodes:
- name: scripted
  count: 4
  labels: {podbay.dev/scripted: "true"}
  taints: [{key: podbay.dev/scripted, value: "true", effect: NoSchedule}]
  capacity: {cpu: "100000", memory: 256Ti, pods: "50000"}
"""
FINAL = frozenset({"success", "failed"})
BUSY_SECONDS = 600.0


class Airflow:
    """One `podbay up` and the cluster that it uses."""

    def __init__(self, home: Path, database: str | None) -> None:
        self.home = home
        self.dags = home / "dags"
        self.dags.mkdir()
        kept = ("PATH", "PYTHONPATH", "LANG", "TMPDIR")
        self.environment = {name: os.environ[name] for name in kept if name in os.environ} | {
            "HOME": str(home),
            "PODBAY_HOME": str(home / "podbay"),
        }
        self._database = ["--database", database] if database else []
        self._token = ""
        self.url = ""
        self.kubeconfig = Path()

    def podbay(self, *words: str) -> str:
        """Run the command; what it printed. Raises RuntimeError with what it said."""
        done = subprocess.run(
            [str(PROGRAM), *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            # Ctrl-C is for this program, which then stops things in their order.
            start_new_session=True,
        )
        if done.returncode:
            raise RuntimeError(f"podbay {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    # -- start and end

    def start(self, *, containers: bool) -> None:
        nodes = self.home / "nodes.yaml"
        nodes.write_text(NODES)
        runtime = [] if containers else ["--runtime", "none"]
        facts = json.loads(self.podbay("cluster", "start", "-o", "json", "--nodes", str(nodes), *runtime))
        self.kubeconfig = Path(facts["kubeconfig"])
        if containers:
            archive = self.home / "image.tar"
            subprocess.run([ROOT / "script/demo-image", archive, IMAGE], check=True)
            self.podbay("cluster", "load", str(archive))
        self._start_airflow()

    def _start_airflow(self) -> None:
        words = ["--dags", str(self.dags), "--port", str(free_port()), "-o", "json", *self._database]
        up = json.loads(self.podbay("up", *words))
        self.url = up["url"]
        answer = self.call("POST", "/auth/token", {"username": up["user"], "password": up["password"]})
        self._token = answer["access_token"]

    def stop(self) -> None:
        self._stop_airflow()
        with contextlib.suppress(RuntimeError):
            self.podbay("cluster", "reset", "-y")

    def _stop_airflow(self) -> None:
        with contextlib.suppress(RuntimeError):
            self.podbay("down")

    # -- facts

    def roots(self) -> dict[str, int]:
        """Process ids: of the host, of each component, of the cluster."""
        up = json.loads(self.podbay("up", "--status", "-o", "json"))
        parts = {name: part["pid"] for name, part in up["components"].items()}
        return {"host": up["pid"], **parts, "cluster": self.cluster_pid()}

    def cluster_pid(self) -> int:
        return int(json.loads((self.kubeconfig.parent / "process.json").read_bytes())["pid"])

    def requests(self) -> Counter[str]:
        """Answered by the Kubernetes API until now, by HTTP method; this question is the last one that counts."""
        with Requests(self.kubeconfig) as api:
            _, body = api.call("GET", "/metrics")
        found: Counter[str] = Counter()
        for verb, count in re.findall(
            r'^apiserver_request_total\{verb="(\w+)"[^}]*\} (\d+)', body, re.MULTILINE
        ):
            found[verb] += int(count)
        return found

    # -- Airflow's REST API

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The parsed answer; None for 404. A question that Airflow cannot answer at the moment is asked again."""
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                return self._call(method, path, body)
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    return None
                # With SQLite below sixteen workers it has no turn for minutes.
                if method != "GET" or error.code < 500 or time.monotonic() > deadline:
                    said = error.read().decode()[:500]
                    raise RuntimeError(f"{method} {path}: {error.code} {said}") from error
            except OSError:
                if method != "GET" or time.monotonic() > deadline:
                    raise
            time.sleep(1)

    def _call(self, method: str, path: str, body: Any) -> Any:
        request = urllib.request.Request(self.url + path, method=method)
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.load(response)

    def wait_for_dags(self, dags: list[str], seconds: float = 240) -> None:
        deadline = time.monotonic() + seconds
        while any(self.call("GET", f"/api/v2/dags/{dag}") is None for dag in dags):
            if time.monotonic() > deadline:
                errors = self.call("GET", "/api/v2/importErrors")
                raise RuntimeError(f"not all of {dags} were loaded: {errors}")
            time.sleep(0.5)

    def run(self, dag: str, *, seconds: float, look: float = 1.0) -> dict[str, Any]:
        """Start a run and wait for its end; the run as Airflow tells of it."""
        run = self.call("POST", f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None})
        path = f"/api/v2/dags/{dag}/dagRuns/{run['dag_run_id']}"
        deadline = time.monotonic() + seconds
        while (run := self.call("GET", path))["state"] not in FINAL:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{dag} has not ended after {seconds:.0f} s")
            time.sleep(look)
        return dict(run)

    def tasks(self, dag: str, run_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            page = f"?limit=100&offset={len(found)}&order_by=id"
            answer = self.call("GET", f"/api/v2/dags/{dag}/dagRuns/{run_id}/taskInstances{page}")
            found += answer["task_instances"]
            if len(found) >= answer["total_entries"] or not answer["task_instances"]:
                return found

    def worker_starts(self, dag: str, run_id: str) -> int:
        """How often a worker took up a task of the run: each is a process of its own."""
        query = urlencode({"limit": 1, "event": "running", "dag_id": dag, "run_id": run_id})
        return int(self.call("GET", f"/api/v2/eventLogs?{query}")["total_entries"])

    def log_times(self, dag: str, run_id: str, task: str) -> list[str]:
        """Stamps of the lines of a task's log."""
        path = f"/api/v2/dags/{dag}/dagRuns/{run_id}/taskInstances/{task}/logs/1?full_content=true"
        content = (self.call("GET", path) or {}).get("content") or []
        return [
            str(line["timestamp"]) for line in content if isinstance(line, dict) and line.get("timestamp")
        ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


SomeAirflow = TypeVar("SomeAirflow", bound=Airflow)


@contextlib.contextmanager
def running_airflow(*, database: str | None) -> Iterator[Airflow]:
    with ending(lambda home: Airflow(home, database)) as airflow:
        yield airflow


@contextlib.contextmanager
def ending(made: Callable[[Path], SomeAirflow]) -> Iterator[SomeAirflow]:
    """To be started; whatever was started is gone after the block, also after Ctrl-C and SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="podbay-bench-", ignore_cleanup_errors=True) as directory:
        airflow = made(Path(directory))
        try:
            yield airflow
        finally:
            before = {
                number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)
            }
            airflow.stop()
            for number, handler in before.items():
                signal.signal(number, handler)
