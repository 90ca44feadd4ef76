"""What the healer costs: one round's time, requests and memory by the number of pods, beside 100,000 task instances.

Pods are of the embedded cluster with scripted nodes. Airflow is a server with the shapes of its REST API v2 that answers
from a list, in a process of its own: what Airflow's own database takes comes on top. Every round is that of a service
that has its watch. Run: python benchmarks/healer.py [--counts 100 1000 10000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web

from podbay.aio.clock import SystemClock
from podbay.healer.airflow_api import AirflowLogin
from podbay.healer.process import reconciler_of
from podbay.healer.rules import Rules
from podbay.kube.client import PODS, KubeClient
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.kube.lease import DeskOptions, LeaseDesk
from podbay.pods.build import build_pod
from podbay.pods.identity import TaskIdentity
from podbay.pods.request import PodRequest

INSTANCES = 100_000
ROUNDS = 5
RULES = Rules(deployment="bench", young=0, finished=0)
NODES = "nodes: [{nodes}]\nscript: {{rules: [{{containers: {{'*': [{{run: 36000}}]}}}}]}}\n"
NODE = "{{name: n{number}, capacity: {{cpu: '10000', memory: 10000Gi, pods: '20000'}}}}"


def identity(number: int) -> TaskIdentity:
    return TaskIdentity(deployment="bench", dag_id=f"dag{number % 50}", run_id="r", task_id=f"t{number}")


class Airflow:
    """So many task instances, the first of which run."""

    def __init__(self) -> None:
        self.running = 0
        self.requests = 0
        self.ended: dict[int, str] = {}

    def task(self, number: int) -> dict[str, Any]:
        own = identity(number)
        runs = number < self.running and number not in self.ended
        return {
            "id": f"{number:08}",
            "dag_id": own.dag_id,
            "dag_run_id": own.run_id,
            "task_id": own.task_id,
            "map_index": -1,
            "state": "running" if runs else "success",
            "try_number": 1,
            "end_date": None if runs else self.ended.get(number, "2026-01-01T00:00:00Z"),
            "trigger": None,
        }

    async def list(self, request: web.Request) -> web.Response:
        self.requests += 1
        cursor = request.query["cursor"]
        first = int(cursor) + 1 if cursor else 0
        limit = int(request.query["limit"])
        if "running" not in request.query.getall("state", []):
            return web.json_response({"task_instances": [], "total_entries": 0, "next_cursor": None})
        found = [number for number in range(first, self.running) if number not in self.ended][: limit + 1]
        page = [self.task(number) for number in found[:limit]]
        following = page[-1]["id"] if len(found) > limit else None
        body = {"task_instances": page, "total_entries": self.running, "next_cursor": following}
        return web.json_response(body)

    async def one(self, request: web.Request) -> web.Response:
        self.requests += 1
        number = int(request.match_info["task"][1:])
        if number < INSTANCES:
            return web.json_response(self.task(number))
        return web.json_response({"detail": "not here"}, status=404)

    async def fixed(self, request: web.Request) -> web.Response:
        self.requests += 1
        return web.json_response({"version": "3.3.2", "access_token": "t"}, status=200)

    async def told(self, request: web.Request) -> web.Response:
        """Of the benchmark itself: how many run, which one ends now, how many requests there were."""
        order = await request.json()
        self.running = order.get("running", self.running)
        if "end" in order:
            # The cluster's clock has whole seconds.
            self.ended[order["end"]] = (datetime.now(UTC) - timedelta(seconds=2)).isoformat()
        return web.json_response(self.requests)


def serve() -> None:
    """Until killed; the first line of stdout is the address."""
    airflow, app = Airflow(), web.Application()
    tasks = "/api/v2/dags/{dag}/dagRuns/{run}/taskInstances"
    app.add_routes(
        [
            web.post("/told", airflow.told),
            web.get("/api/v2/version", airflow.fixed),
            web.get("/auth/token", airflow.fixed),
            web.get("/api/v2/dags/~/dagRuns/~/taskInstances", airflow.list),
            web.get(tasks + "/{task}", airflow.one),
        ]
    )

    async def main() -> None:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        sys.stdout.write(f"http://127.0.0.1:{runner.addresses[0][1]}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()

    asyncio.run(main())


async def fill(kubeconfig: str, first: int, last: int) -> None:
    """Make the pods and wait until all run."""
    config = load_kubeconfig(kubeconfig)
    numbers = iter(range(first, last))
    async with KubeClient(config, SystemClock()) as kube:

        async def work() -> None:
            for number in numbers:
                request = PodRequest(identity=identity(number), namespace="default", image="task")
                await kube.create(PODS, build_pod(request), namespace="default")

        await asyncio.gather(*(work() for _ in range(16)))
        while True:
            selector = "status.phase!=Running"
            found = await kube.list(PODS, namespace="default", field_selector=selector)
            if not found.items:
                return
            await asyncio.sleep(1)


async def heal(kubeconfig: str, url: str, count: int) -> dict[str, Any]:
    """What a healer's process measures of itself."""
    config, clock = load_kubeconfig(kubeconfig), SystemClock()
    desk = LeaseDesk(DeskOptions(clock=clock, linger_seconds=0.0))
    async with desk.lease(config) as cluster, ClientSession() as session:

        async def told(**order: Any) -> int:
            async with session.post(f"{url}/told", json=order) as answer:
                return int(await answer.json())

        await told(running=count)
        began = time.perf_counter()
        opening = reconciler_of(cluster, "default", rules=RULES, login=AirflowLogin(url=url), clock=clock)
        async with opening as reconciler:
            listed = time.perf_counter() - began
            first = await reconciler.round()
            assert count - 9 < first.pods <= count and not first.done and not first.decision.stopped, (
                first.decision
            )
            airflow, kube = await told(), cluster.client.counter.total.total()
            cpu, rounds = time.process_time(), []
            for _ in range(ROUNDS):
                rounds.append((await reconciler.round()).seconds)
            cpu = (time.process_time() - cpu) / ROUNDS
            asked = (await told() - airflow) / ROUNDS
            sent = (cluster.client.counter.total.total() - kube) / ROUNDS
            removed = [
                await _remove(reconciler, cluster.client, told, number) for number in range(count - 3, count)
            ]
    return {
        "pods": count,
        "list s": listed,
        "round s": statistics.median(rounds),
        "CPU s": cpu,
        "to Airflow": asked,
        "to the cluster": sent,
        "MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "orphaned to removed s": statistics.median(removed),
    }


async def _remove(reconciler: Any, client: KubeClient, told: Any, number: int) -> float:
    """From the end of a task whose pod nobody ends to the pod's deletion, with no grace and a round at once."""
    await told(end=number)
    began = time.perf_counter()
    [done] = (await reconciler.round()).done
    assert (done.action.check, done.result) == ("OwnerFinished", "done"), done
    pod = await client.list(PODS, namespace="default", field_selector=f"metadata.name={done.action.name}")
    assert all("deletionTimestamp" in each["metadata"] for each in pod.items)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part:
        part, *words = asked.part
        if part == "serve":
            serve()
        elif part == "fill":
            asyncio.run(fill(words[0], int(words[1]), int(words[2])))
        else:
            print(json.dumps(asyncio.run(heal(words[0], words[1], int(words[2])))))
        return
    with tempfile.TemporaryDirectory() as directory:
        measure(Path(directory), asked.counts)


def measure(home: Path, counts: list[int]) -> None:
    program = str(Path(sys.executable).with_name("podbay"))
    env = {**os.environ, "PODBAY_HOME": str(home)}
    (home / "nodes.yaml").write_text(NODES.format(nodes=", ".join(NODE.format(number=n) for n in range(4))))
    start = [program, "cluster", "start", "--runtime", "none", "--nodes", str(home / "nodes.yaml")]
    subprocess.run(start, env=env, check=True, stdout=subprocess.DEVNULL)
    kubeconfig = str(home / "clusters" / "podbay" / "kubeconfig")
    me = [sys.executable, __file__, "--part"]
    server = subprocess.Popen([*me, "serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url, made = server.stdout.readline().strip(), 0
        for count in counts:
            # Three of each size are removed by being measured.
            subprocess.run([*me, "fill", kubeconfig, str(made), str(count)], check=True)
            made = count
            print(f"load of the machine: {os.getloadavg()[0]:.1f}")
            words = [*me, "heal", kubeconfig, url, str(count)]
            found = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
            print("  ".join(f"{key} {value:.3g}" for key, value in found.items()), flush=True)
    finally:
        server.kill()
        server.wait()
        subprocess.run([program, "cluster", "stop"], env=env, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
