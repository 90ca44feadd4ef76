"""The engine against upstream's operator code: same pods, same embedded cluster, one run.

    python benchmarks/engine/run.py [--upstream-python .venv-airflow/bin/python] [--counts 1 100 1000 5000] [--seconds 1 60]

Requests are counted by the API server, ends of containers by a watch of the benchmark's own, CPU and memory in the
process that drives the pods. Upstream sync runs a thread a pod here; in Airflow it is a process of some 200 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plugin import CountingPlugin

from podbay.kube.kubeconfig import load_kubeconfig
from podbay.kube.lease import lease, pods_of
from podbay.kube.store import Change
from podbay.objects.meta import name_of
from podbay.objects.resource import GVR
from podbay.testing.requests import Requests

HERE = Path(__file__).parent
IMAGE = "localhost/podbay-bench:1"
PARTS = ("plugin", "logs", "pods")
BURSTS = 10
CHATTY = ("sh", "-c", f"i=0; while [ $i -lt {BURSTS} ]; do seq 1 10000; sleep 1; i=$((i+1)); done")
"""10,000 lines a second."""
NODES = 'nodes:\n- name: s\n  count: 4\n  capacity: {cpu: "100000", memory: 256Ti, pods: "50000"}\n'
MOST = {"upstream sync": 20, "upstream deferrable": 1000}
"""Pods at once that upstream is asked for; more take it many minutes."""


class Cluster:
    """A background cluster in a home of its own."""

    def __init__(self, nodes: str = "") -> None:
        self.nodes = nodes

    def __enter__(self) -> Cluster:
        self.home = tempfile.TemporaryDirectory(prefix="podbay-bench-")
        self.environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        self.environment |= {"PODBAY_HOME": self.home.name, "AIRFLOW_HOME": f"{self.home.name}/airflow"}
        words: list[str] = []
        if self.nodes:
            nodes = Path(self.home.name, "nodes.yaml")
            nodes.write_text(self.nodes)
            words = ["--nodes", str(nodes)]
        facts = json.loads(self._podbay("start", "-o", "json", *words))
        self.kubeconfig = Path(facts["kubeconfig"])
        return self

    def __exit__(self, *_: object) -> None:
        self._podbay("reset", "-y")
        self.home.cleanup()

    def _podbay(self, *words: str) -> str:
        command = [str(Path(sys.executable).parent / "podbay"), "cluster", *words]
        return subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True
        ).stdout

    def load_image(self) -> None:
        archive = Path(self.home.name, "image.tar")
        subprocess.run([HERE.parent.parent / "script/demo-image", archive, IMAGE], check=True)
        self._podbay("load", str(archive))

    def requests(self) -> int:
        with Requests(self.kubeconfig) as api:
            _, body = api.call("GET", "/metrics")
        return sum(
            int(count) for count in re.findall(r"^apiserver_request_total\{[^}]*\} (\d+)", body, re.MULTILINE)
        )


async def drive(
    cluster: Cluster,
    who: str,
    count: int,
    seconds: float,
    python: str,
    *,
    command: Sequence[str] = ("true",),
    kubeconfig: Path | None = None,
) -> dict[str, Any]:
    """One run; ends of containers are noted meanwhile. kubeconfig: the driver's, when it is not the cluster's own."""
    words = {"ours": ["ours.py", "x"], "upstream sync": ["upstream.py", "sync"], "upstream deferrable": ["upstream.py", "deferrable"]}  # fmt: skip
    script, mode = words[who]
    annotations = {
        "scripted.podbay.dev/run-seconds": str(seconds),
        "scripted.podbay.dev/log": "first\nsecond",
    }
    program = [
        sys.executable if who == "ours" else python, str(HERE / script), "--kubeconfig", str(kubeconfig or cluster.kubeconfig),
        "--image", IMAGE, "--command", json.dumps(command), "--annotations", json.dumps(annotations), "--mode", mode, "--count", str(count),
    ]  # fmt: skip
    ended: dict[int, float] = {}

    def note(change: Change) -> None:
        number = re.match(r"(?:ours|upstream)-(\d+)-", name_of(change.object or {}))
        statuses = ((change.object or {}).get("status") or {}).get("containerStatuses") or ()
        if number and any("terminated" in (each.get("state") or {}) for each in statuses):
            ended.setdefault(int(number[1]), time.time())

    async with (
        lease(load_kubeconfig(cluster.kubeconfig)) as leased,
        leased.watch(pods_of("default")) as store,
    ):
        await store.wait_synced()
        stop = store.listen(note)
        before = cluster.requests()
        process = await asyncio.create_subprocess_exec(
            *program,
            env=cluster.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        out, _ = await process.communicate()
        after = cluster.requests()
        stop()
        for pod in store.objects():
            await leased.client.delete(GVR("", "v1", "pods"), name_of(pod), namespace="default")
    if process.returncode:
        raise RuntimeError(f"{who} failed: {out.decode()[-500:]}")
    facts: dict[str, Any] = json.loads(out.splitlines()[-1])
    facts.setdefault("lines", out.count(b"[base]"))
    late = [done - ended[int(n)] for n, done in facts["done"].items() if int(n) in ended]
    facts["requests"] = (after - before - 1) / count
    facts["late"] = statistics.median(late) if late else float("nan")
    facts["late_max"] = max(late, default=float("nan"))
    return facts


def show(title: str, facts: dict[str, dict[str, Any]], count: int) -> None:
    print(f"\n{title}")
    print(
        f"  {'':20} {'wall s':>8} {'requests/pod':>13} {'CPU ms/pod':>11} {'memory MiB':>11} {'KiB/pod':>8} {'end->outcome s':>20}"
    )
    for who, each in facts.items():
        print(
            f"  {who:20} {each['wall']:8.1f} {each['requests']:13.1f} {each['cpu'] * 1000 / count:11.1f} {each['rss']:11.0f} "
            f"{(each['rss'] - each['base']) * 1024 / count:8.0f} {each['late']:12.3f} max {each['late_max']:.2f}"
        )
    ours = facts["ours"]
    print(
        f"  requests of ours by verb: {', '.join(f'{verb} {n}' for verb, n in sorted(ours['verbs'].items()))}"
    )
    for who, each in facts.items():
        if who != "ours":
            ratios = [
                each["requests"] / ours["requests"],
                each["cpu"] / ours["cpu"],
                each["late"] / ours["late"],
            ]
            print(
                f"  {who} / ours: requests {ratios[0]:.1f}x, CPU {ratios[1]:.1f}x, end->outcome {ratios[2]:.0f}x"
            )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--upstream-python", default=".venv-airflow/bin/python")
    parser.add_argument("--counts", type=int, nargs="*", default=[1, 100, 1000])
    parser.add_argument("--seconds", type=float, nargs="*", default=[1.0, 60.0])
    options = parser.parse_args()
    if "plugin" in options.parts:
        with Cluster(NODES) as cluster:
            await plugins(cluster, options.upstream_python)
    if "logs" in options.parts:
        with Cluster() as cluster:
            cluster.load_image()
            await logs(cluster, options.upstream_python)
    if "pods" not in options.parts:
        return
    with Cluster(NODES) as cluster:
        for seconds in options.seconds:
            await table(cluster, f"1 pod that runs {seconds:g} s", 1, seconds, options.upstream_python)
        for count in options.counts:
            if count > 1:
                await table(cluster, f"{count} pods at once, 30 s each", count, 30.0, options.upstream_python)


async def table(cluster: Cluster, title: str, count: int, seconds: float, python: str) -> None:
    facts = {"ours": await drive(cluster, "ours", count, seconds, python)}
    for who, most in MOST.items():
        if count <= most:
            facts[who] = await drive(cluster, who, count, seconds, python)
    show(title, facts, count)


async def plugins(cluster: Cluster, python: str, *, count: int = 20, seconds: float = 30.0) -> None:
    """How often a credential plugin is run whose token lives long."""
    print(f"\nruns of a credential plugin, {count} pods of {seconds:g} s at once")
    plugin = CountingPlugin(cluster.kubeconfig, Path(cluster.home.name))
    ours = 0
    for who in ("ours", *MOST):
        await drive(cluster, who, count, seconds, python, kubeconfig=plugin.kubeconfig)
        runs = plugin.take()
        ours = ours or runs
        print(f"  {who:20} {runs} runs for {count} pods ({runs / ours:.0f}x)")


async def logs(cluster: Cluster, python: str) -> None:
    """One container that writes 10,000 lines a second."""
    print(f"\n{BURSTS * 10_000} lines, 10,000 a second, from one container")
    for who in ("ours", "upstream sync"):
        facts = await drive(cluster, who, 1, 0.0, python, command=CHATTY)
        cores = facts["cpu"] / facts["wall"]
        lag = f", lag p50 {facts['lag_p50']:.3f} s p99 {facts['lag_p99']:.3f} s" if "lag_p50" in facts else ""
        print(
            f"  {who:20} {facts['lines']} lines told, {cores:.2f} cores, end->outcome {facts['late']:.2f} s{lag}"
        )


asyncio.run(main())
