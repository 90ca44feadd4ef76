"""The control plane against a floor: what the same requests cost on an HTTPS server that does nothing.

The floor is aiohttp with the same certificates, parsing the body and answering bytes of the same size; the ratio is
what the Kubernetes semantics (decode, admission, validation, storage, watch) add. Run: python benchmarks/control_plane.py
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from podbay.embedded.access import client_tls

PODS = "/api/v1/namespaces/default/pods"


def pod(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "bench", "half": name[-1]}},
        "spec": {
            "restartPolicy": "Never",
            "schedulerName": "nobody",
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": "main",
                    "image": "localhost/bb:1",
                    "command": ["sh", "-c", "echo hi"],
                    "env": [{"name": "A", "value": "b"}],
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                }
            ],
        },
    }


class Cluster:
    """A background cluster in a home of its own, measured from outside its process."""

    def __init__(self, nodes: str) -> None:
        self.home = tempfile.TemporaryDirectory(prefix="podbay-bench-")
        # An installed package has its byte code; a checkout that may not write any would be timed compiling.
        self.environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        self.environment["PODBAY_HOME"] = self.home.name
        path = Path(self.home.name, "nodes.yaml")
        path.write_text(nodes)
        self.words = ["--nodes", str(path)]
        self.seconds = 0.0

    def __enter__(self) -> Cluster:
        started = time.perf_counter()
        out = self._podbay("start", "-o", "json", *self.words)
        self.seconds = time.perf_counter() - started
        facts = json.loads(out)
        self.pid, self.url = facts["pid"], facts["url"]
        self.pki = Path(facts["kubeconfig"]).parent / "pki"
        config = yaml.safe_load(Path(facts["kubeconfig"]).read_text())
        self.tls = client_tls(config["clusters"][0]["cluster"], config["users"][0]["user"])
        return self

    def __exit__(self, *_: object) -> None:
        self._podbay("reset", "-y")
        self.home.cleanup()

    def _podbay(self, *words: str) -> str:
        command = [str(Path(sys.executable).parent / "podbay"), "cluster", *words]
        return subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True
        ).stdout

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0.0


async def floor_server(cluster: Cluster, answer: bytes) -> tuple[web.ServerRunner, str]:
    """The peer: same TLS files, one JSON parse, a fixed answer."""

    async def serve(request: web.BaseRequest) -> web.Response:
        body = await request.read()
        if body:
            json.loads(body)
        return web.Response(body=answer, content_type="application/json")

    runner = web.ServerRunner(web.Server(serve))
    await runner.setup()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cluster.pki / "server.crt", cluster.pki / "server.key")
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    return runner, f"https://127.0.0.1:{port}"


async def timed(one: Callable[[int], Awaitable[None]], count: int, parallel: int) -> tuple[float, float]:
    """(median latency in ms, requests a second)."""
    latencies: list[float] = []
    numbers = iter(range(count))

    async def worker() -> None:
        for i in numbers:
            started = time.perf_counter()
            await one(i)
            latencies.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(parallel)))
    return statistics.median(latencies) * 1000, count / (time.perf_counter() - started)


class Load:
    """The requests of the benchmark against one base URL."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self.session, self.base = session, base

    async def send(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> bytes:
        headers = {"Content-Type": kind} if body is not None else {}
        data = json.dumps(body) if body is not None else None
        async with self.session.request(method, self.base + path, data=data, headers=headers) as response:
            answer = await response.read()
            if response.status >= 300:
                raise RuntimeError(f"{method} {path}: {response.status} {answer[:300]!r}")
            return answer

    async def measure(self, prefix: str, count: int) -> dict[str, tuple[float, float]]:
        async def create(i: int) -> None:
            await self.send("POST", PODS, pod(f"{prefix}-{i}"))

        async def get(i: int) -> None:
            await self.send("GET", f"{PODS}/{prefix}-{i}")

        async def patch(i: int) -> None:
            change = {"metadata": {"annotations": {"n": str(i)}}}
            await self.send("PATCH", f"{PODS}/{prefix}-{i}", change, "application/merge-patch+json")

        async def listing(_: int) -> None:
            await self.send("GET", f"{PODS}?limit=10")

        out = {}
        for name, one in (("create", create), ("get", get), ("list of 10", listing), ("patch", patch)):
            if name == "create":
                alone, _ = await timed(lambda i: create(i + 100_000), min(count, 200), 1)
            else:
                alone, _ = await timed(one, min(count, 200), 1)
            _, rate = await timed(one, count, 16)
            out[name] = (alone, rate)
        return out


async def watch_fan_out(load: Load, watchers: int) -> float:
    """Seconds from the answer of a patch until the last of `watchers` has its line, median of 20."""
    ready = asyncio.Semaphore(0)
    seen: asyncio.Queue[float] = asyncio.Queue()

    async def one() -> None:
        async with load.session.get(
            f"{load.base}{PODS}?watch=1&resourceVersion=0&timeoutSeconds=300&fieldSelector=metadata.name=fan"
        ) as r:
            await r.content.readline()
            ready.release()
            while await r.content.readline():
                seen.put_nowait(time.perf_counter())

    tasks = [asyncio.create_task(one()) for _ in range(watchers)]
    for _ in tasks:
        await ready.acquire()
    delays = []
    for i in range(20):
        started = time.perf_counter()
        await load.send(
            "PATCH",
            f"{PODS}/fan",
            {"metadata": {"annotations": {"fan": str(i)}}},
            "application/merge-patch+json",
        )
        delays.append(max([await seen.get() for _ in tasks]) - started)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return statistics.median(delays)


async def scripted(load: Load, count: int, parallel: int) -> float:
    """Seconds for `count` pods from create to Succeeded, `parallel` under way at a time."""
    slots = asyncio.Semaphore(parallel)
    finished: set[str] = set()
    everything = asyncio.Event()

    async def follow() -> None:
        url = f"{load.base}{PODS}?watch=1&labelSelector=run=scripted&timeoutSeconds=600"
        async with load.session.get(url, timeout=aiohttp.ClientTimeout(total=None)) as response:
            async for line in response.content:
                event = json.loads(line)
                name = event["object"]["metadata"]["name"]
                if event["object"].get("status", {}).get("phase") == "Succeeded" and name not in finished:
                    finished.add(name)
                    slots.release()
                    if len(finished) == count:
                        everything.set()

    follower = asyncio.create_task(follow())
    started = time.perf_counter()

    async def create(i: int) -> None:
        body = pod(f"s-{i}")
        body["metadata"]["labels"] = {"run": "scripted"}
        del body["spec"]["schedulerName"]
        await load.send("POST", PODS, body)

    pending: set[asyncio.Task[None]] = set()
    for i in range(count):
        await slots.acquire()
        task = asyncio.create_task(create(i))
        pending.add(task)
        task.add_done_callback(pending.discard)
    await everything.wait()
    seconds = time.perf_counter() - started
    follower.cancel()
    return seconds


def show(title: str, ours: dict[str, tuple[float, float]], floor: dict[str, tuple[float, float]]) -> None:
    print(f"\n{title}")
    print(f"{'':12} {'ms alone':>9} {'floor':>7} {'ratio':>6} {'req/s x16':>10} {'floor':>7} {'ratio':>6}")
    for name, (alone, rate) in ours.items():
        f_alone, f_rate = floor[name]
        print(
            f"{name:12} {alone:9.2f} {f_alone:7.2f} {alone / f_alone:6.1f} {rate:10.0f} {f_rate:7.0f} {f_rate / rate:6.1f}"
        )


NODES = "nodes: [{name: n, count: 4, capacity: {pods: '2000', cpu: '2000', memory: 2000Gi}}]"


async def run(count: int, stored: int, many: int) -> None:
    with Cluster(NODES):
        pass  # fills the byte code and file caches
    with Cluster(NODES) as cluster:
        print(f"start to ready, process included: {cluster.seconds:.2f} s (aim under 1)")
        await asyncio.sleep(2)
        before, began = cluster.cpu_seconds(), time.perf_counter()
        await asyncio.sleep(20)
        share = (cluster.cpu_seconds() - before) / (time.perf_counter() - began)
        print(
            f"idle: {share * 100:.2f} % of a core (aim under 1), {cluster.memory_mib():.0f} MiB (aim under 80)"
        )
        connector = aiohttp.TCPConnector(ssl=cluster.tls, limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            load = Load(session, cluster.url)
            answer = await load.send("POST", PODS, pod("fan"))
            runner, base = await floor_server(cluster, answer)
            floor = await Load(session, base).measure("x", count)
            few = await load.measure("few", count)
            show(f"few objects ({count} pods)", few, floor)
            began = time.perf_counter()
            await timed(lambda i: load.send("POST", PODS, pod(f"fill-{i}")), stored, 16)  # type: ignore[arg-type,return-value]
            print(
                f"\nfilled with {stored} more pods in {time.perf_counter() - began:.1f} s; {cluster.memory_mib():.0f} MiB"
            )
            full = await load.measure("full", count)
            show(f"with {stored} stored", full, floor)
            print(
                "growth of latency with stored objects: "
                + ", ".join(f"{n} x{full[n][0] / few[n][0]:.2f}" for n in few)
            )
            started = time.perf_counter()
            size = len(await load.send("GET", PODS))
            print(f"list of all: {(time.perf_counter() - started) * 1000:.0f} ms for {size / 1e6:.1f} MB")
            for watchers in (1, 1000):
                print(f"watch fan-out to {watchers}: {await watch_fan_out(load, watchers) * 1000:.1f} ms")
            await runner.cleanup()
    with Cluster(NODES) as cluster:
        connector = aiohttp.TCPConnector(ssl=cluster.tls, limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            seconds = await scripted(Load(session, cluster.url), many, 500)
            print(
                f"\n{many} scripted pods, 500 at a time: {seconds:.1f} s, {many / seconds:.0f} pods/s, "
                f"{cluster.cpu_seconds():.1f} CPU-s, {cluster.memory_mib():.0f} MiB"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="requests of each kind")
    parser.add_argument("--stored", type=int, default=10_000, help="objects stored for the second round")
    parser.add_argument("--pods", type=int, default=5_000, help="scripted pods")
    given = parser.parse_args()
    asyncio.run(run(given.count, given.stored, given.pods))


if __name__ == "__main__":
    main()
