"""Podbay's engine with the same pods, all in one event loop. Prints one line of JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
from dataclasses import replace
from pathlib import Path

from podbay.kube.kubeconfig import load_kubeconfig
from podbay.kube.lease import lease
from podbay.kube.logs import LogBatch
from podbay.lifecycle.engine import Driver, PodRun
from podbay.lifecycle.plan import Deadlines, PodPlan
from podbay.pods.build import build_pod
from podbay.pods.identity import TaskIdentity
from podbay.pods.request import PodRequest


class Lines(Driver):
    """Counts lines, and how late each was."""

    def __init__(self) -> None:
        self.count = 0
        self.lags: list[float] = []
        self.last_ns = 0

    async def lines(self, batch: LogBatch) -> None:
        now = time.time()
        self.count += len(batch.lines)
        self.lags += [now - line.time_ns / 1e9 for line in batch.lines]
        self.last_ns = batch.lines[-1].time_ns


async def run(options: argparse.Namespace) -> dict[str, object]:
    done: dict[int, float] = {}
    ends: dict[int, float] = {}
    lags: list[float] = []
    lines = 0

    async def one(number: int) -> None:
        nonlocal lines
        identity = TaskIdentity(
            deployment="bench", dag_id="bench", run_id=options.run, task_id=f"ours-{number}"
        )
        request = PodRequest(
            identity=identity,
            namespace="default",
            image=options.image,
            command=json.loads(options.command),
            annotations=json.loads(options.annotations),
        )
        plan = PodPlan(
            build=lambda n: build_pod(replace(request, identity=replace(identity, incarnation=n))),
            deadlines=Deadlines(schedule=3600, start=3600),
        )
        driver = Lines()
        outcome = await PodRun(cluster, plan, driver).run()
        if not outcome.ok:
            raise RuntimeError(outcome.message)
        done[number] = time.time()
        ends[number] = driver.last_ns / 1e9
        lags.extend(driver.lags)
        lines += driver.count

    async with lease(load_kubeconfig(Path(options.kubeconfig))) as cluster:
        await asyncio.gather(*(one(number) for number in range(options.count)))
        verbs = dict(cluster.client.counter.total)
    lags.sort()
    return {
        "verbs": verbs,
        "done": done,
        "ends": ends,
        "lines": lines,
        "lag_p50": lags[len(lags) // 2] if lags else None,
        "lag_p99": lags[int(len(lags) * 0.99)] if lags else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("kubeconfig", "image", "command", "annotations", "mode"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--run", default=str(time.time()))
    options = parser.parse_args()
    import podbay.kube.transport  # noqa: F401 - its loading is no part of a pod's cost

    base = resource.getrusage(resource.RUSAGE_SELF)
    before, began = base.ru_utime + base.ru_stime, time.time()
    facts = asyncio.run(run(options))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "wall": time.time() - began,
                "cpu": usage.ru_utime + usage.ru_stime - before,
                "rss": usage.ru_maxrss / 1024,
                "base": base.ru_maxrss / 1024,
                **facts,
            }
        )
    )


main()
