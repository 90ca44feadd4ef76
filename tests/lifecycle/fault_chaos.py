"""What goes wrong in the fault suite: a cluster in a process of its own that is stopped and killed, faults of its API."""

from __future__ import annotations

import asyncio
import http.client
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from engine_parts import AGENT
from fault_work import NODES

from podbay.embedded import process
from podbay.embedded.home import ClusterHome, cluster_home
from podbay.kube.config import MintedToken, SecretText, TokenSource
from podbay.testing.requests import Requests

API_FAULTS: list[Callable[[random.Random], dict[str, Any]]] = [
    lambda r: {"do": "refuse", "status": 429, "retry_after": 1, "count": r.randint(1, 10)},
    lambda r: {"do": "refuse", "status": r.choice([500, 503, 504]), "count": r.randint(1, 10)},
    lambda r: {
        "do": "refuse",
        "status": r.choice([500, 503, 504]),
        "after": True,
        "count": r.randint(1, 10),
        "match": {"verb": r.choice(["create", "delete"])},
    },
    lambda r: {"do": "drop", "after": r.random() < 0.5, "count": r.randint(1, 10)},
    lambda r: {"do": "cut", "bytes": r.randint(0, 20_000), "count": 2, "match": {"verb": "watch"}},
    lambda r: {
        "do": "cut",
        "bytes": r.randint(0, 3000),
        "count": r.randint(1, 60),
        "match": {"subresource": "log"},
    },
    lambda r: {
        "do": "refuse",
        "status": r.choice([429, 500, 503]),
        "count": r.randint(1, 30),
        "match": {"subresource": "log"},
    },
    lambda r: {"do": "delay", "seconds": r.uniform(0.1, 2.0), "count": r.randint(1, 20)},
]
FAULTS_BY_NAME = (
    "refuse",
    "drop",
    "cut",
    "delay",
    "expire-tokens",
    "lose-node",
    "stop server",
    "kill server",
)
"""What needs the embedded cluster; skipped on others."""


class ServerProcess:
    """The embedded cluster with scripted nodes, as `podbay cluster start` runs it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._home: ClusterHome = cluster_home("faults", directory)
        self._nodes = directory / "nodes.yaml"
        self._nodes.write_text(yaml.safe_dump(NODES))
        self._port = 0
        self.cpu_seconds = 0.0
        self.start()

    @property
    def kubeconfig(self) -> Path:
        return self._home.kubeconfig

    def start(self) -> None:
        words = process.to_arguments(host="127.0.0.1", port=self._port, nodes=self._nodes, runtime="none")
        self._home.directory.mkdir(parents=True, exist_ok=True)
        with self._home.log.open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "podbay.embedded.serve", "--name", self._home.name, *words],
                env={**os.environ, "PODBAY_HOME": str(self._directory)},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 120
        while self._home.read_process().get("pid") != self._child.pid:
            assert self._child.poll() is None, self._home.log.read_text()[-2000:]
            assert time.monotonic() < deadline, "the cluster does not become ready"
            time.sleep(0.02)
        self._port = self._home.last_port

    def stop(self, *, kill: bool = False) -> None:
        if self._child.poll() is None:
            self.cpu_seconds += _cpu_seconds(self._child.pid)
            self._child.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        self._child.wait(timeout=60)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Admin:
    """Requests of an administrator that wait out an API server that is away."""

    def __init__(self, kubeconfig: Path) -> None:
        self._requests = Requests(kubeconfig)
        self._turn = threading.Lock()

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        deadline = time.monotonic() + 60
        while True:
            try:
                # One connection, and many tasks that ask in threads.
                with self._turn:
                    return self._requests.call(method, path, body)
            except (OSError, http.client.HTTPException):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    async def acall(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return await asyncio.to_thread(Admin.call, self, method, path, body)

    def close(self) -> None:
        self._requests.__exit__(None, None, None)

    def __del__(self) -> None:
        self.close()


class Tokens:
    """Service account tokens, made anew whenever the client wants one."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self._admin = Admin(kubeconfig)
        self._path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
        self.minted = 0

    def source(self) -> TokenSource:
        return TokenSource("fault-suite", self._mint)

    async def _mint(self) -> MintedToken:
        self.minted += 1
        code, answer = await self._admin.acall("POST", self._path, {"spec": {"expirationSeconds": 3600}})
        assert code == 201, answer
        expires = datetime.now(UTC) + timedelta(seconds=3600)
        return MintedToken(SecretText(answer["status"]["token"]), expires)


class Chaos:
    """Does one thing after the other until it is cancelled; counts what it did."""

    def __init__(self, server: ServerProcess, rng: random.Random, *, restarts: list[float]) -> None:
        self._server, self._rng = server, rng
        self._admin = Admin(server.kubeconfig)
        self._restarts = sorted(restarts)
        self.done: Counter[str] = Counter()
        # Of its own: all common threads may be waiting for the very server that is to be started.
        self._hands = ThreadPoolExecutor(1)
        self._restarting: asyncio.Task[None] | None = None

    async def run(self) -> None:
        started = time.monotonic()
        expired = 0.0
        while True:
            await asyncio.sleep(self._rng.uniform(0.2, 0.8))
            elapsed = time.monotonic() - started
            if self._restarts and elapsed >= self._restarts[0]:
                self._restarts.pop(0)
                self._restarting = asyncio.create_task(self._restart())
                await asyncio.shield(self._restarting)
            elif elapsed - expired > 8 and self._rng.random() < 0.1:
                expired = elapsed
                await self._say("/podbay.dev/v1/faults/expire-tokens", {}, "expire-tokens")
            elif self._rng.random() < 0.04:
                await self._lose_node()
            else:
                fault = self._rng.choice(API_FAULTS)(self._rng)
                fault["match"] = {"agent": AGENT, **fault.get("match", {})}
                await self._say("/podbay.dev/v1/faults", fault, str(fault["do"]))

    async def _say(self, path: str, body: Any, name: str) -> None:
        code, answer = await self._admin.acall("POST", path, body)
        assert code < 300, answer
        self.done[name] += 1

    async def _lose_node(self) -> None:
        path = "/podbay.dev/v1/node-faults"
        await self._say(path, {"do": "lose-node", "node": "node-0"}, "lose-node")
        await asyncio.sleep(self._rng.uniform(0.5, 4.0))
        await self._admin.acall("POST", path, {"do": "return-node", "node": "node-0"})

    async def _restart(self) -> None:
        kill = self._rng.random() < 0.5
        name = "kill server" if kill else "stop server"
        began = time.monotonic()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._hands, partial(self._server.stop, kill=kill))
        stopped = time.monotonic()
        await asyncio.sleep(self._rng.uniform(0.0, 3.0))
        starting = time.monotonic()
        await loop.run_in_executor(self._hands, self._server.start)
        now = time.monotonic()
        # A judge who reads of an outage wants to know whose it was.
        print(
            f"{datetime.now(UTC):%H:%M:%S} {name}: {stopped - began:.1f} s to end, {starting - stopped:.1f} s away, "
            f"{now - starting:.1f} s to start"
        )
        self.done[name] += 1

    async def calm(self) -> None:
        """Everything works again."""
        if self._restarting is not None:
            await self._restarting
        await self._admin.acall("DELETE", "/podbay.dev/v1/faults")
        await self._admin.acall("POST", "/podbay.dev/v1/node-faults", {"do": "return-node", "node": "node-0"})

    def close(self) -> None:
        self._admin.close()
        self._hands.shutdown()


__all__ = ["FAULTS_BY_NAME", "Admin", "Chaos", "ServerProcess", "Tokens"]
