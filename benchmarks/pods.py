"""Pods on the embedded cluster against the same container started straight with runc: what being Kubernetes adds.

Needs root, runc and busybox. Run: python benchmarks/pods.py
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from podbay.embedded.access import client_tls

PODS = "/api/v1/namespaces/default/pods"
IMAGE = "localhost/podbay-bench:1"
ROOT = Path(__file__).resolve().parent.parent


def pod(name: str, command: list[str], **spec: Any) -> dict[str, Any]:
    main = {"name": "main", "image": IMAGE, "command": command}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "containers": [main],
            **spec,
        },
    }


def rich_pod(name: str) -> dict[str, Any]:
    """An init container, a native sidecar and a shared emptyDir."""
    mount = {"volumeMounts": [{"name": "work", "mountPath": "/data"}]}
    sidecar = "trap 'exit 0' TERM; while :; do sleep 0.05; done"
    built = pod(name, ["cat", "/data/a"])
    built["spec"]["containers"][0].update(mount)
    built["spec"]["initContainers"] = [
        {"name": "init", "image": IMAGE, "command": ["sh", "-c", "echo a > /data/a"], **mount},
        {"name": "side", "image": IMAGE, "restartPolicy": "Always", "command": ["sh", "-c", sidecar]},
    ]
    built["spec"]["volumes"] = [{"name": "work", "emptyDir": {}}]
    return built


class Bare:
    """The peer: `runc run` of a bundle made of the same files, with a network namespace and no Kubernetes."""

    def __init__(self, archive: Path, directory: Path) -> None:
        self.bundle = directory / "bundle"
        rootfs = self.bundle / "rootfs"
        rootfs.mkdir(parents=True)
        with tarfile.open(archive) as outer:
            layer = next(m for m in outer.getmembers() if m.name.endswith("layer.tar"))
            content = outer.extractfile(layer)
            with tarfile.open(fileobj=content) as inner:
                inner.extractall(rootfs, filter="fully_trusted")
        subprocess.run(["runc", "spec"], cwd=self.bundle, check=True)
        path = self.bundle / "config.json"
        config = json.loads(path.read_text())
        config["process"].update(terminal=False, args=["true"])
        config["process"].pop("rlimits", None)
        path.write_text(json.dumps(config))

    def run(self, name: str) -> float:
        started = time.perf_counter()
        subprocess.run(["runc", "run", name], cwd=self.bundle, check=True)
        return time.perf_counter() - started


class Cluster:
    """A background cluster with one container node and the image of the benchmark."""

    def __init__(self, archive: Path, home: Path) -> None:
        self.archive, self.environment = archive, {**os.environ, "PODBAY_HOME": str(home)}
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def __enter__(self) -> Cluster:
        facts = json.loads(self._podbay("start", "--runtime", "runc", "-o", "json"))
        self.pid, self.url = facts["pid"], facts["url"]
        config = yaml.safe_load(Path(facts["kubeconfig"]).read_text())
        self.tls = client_tls(config["clusters"][0]["cluster"], config["users"][0]["user"])
        self._podbay("load", str(self.archive))
        return self

    def __exit__(self, *_: object) -> None:
        self._podbay("reset", "-y")

    def _podbay(self, *words: str) -> str:
        command = [str(Path(sys.executable).parent / "podbay"), "cluster", *words]
        return subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True
        ).stdout

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self) -> float:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


class Pods:
    """Creates pods and hears of their phases through one watch, as a client should."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session, self.url = session, url
        self.phases: dict[str, str] = {}
        self.changed = asyncio.Condition()

    async def follow(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        async with self.session.get(f"{self.url}{PODS}?watch=1", timeout=timeout) as response:
            async for line in response.content:
                obj = json.loads(line)["object"]
                async with self.changed:
                    self.phases[obj["metadata"]["name"]] = obj.get("status", {}).get("phase", "")
                    self.changed.notify_all()

    async def create(self, body: dict[str, Any]) -> None:
        async with self.session.post(self.url + PODS, json=body) as response:
            if response.status != 201:
                raise RuntimeError(await response.text())

    async def reach(self, name: str, *phases: str) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.phases.get(name) in phases)

    async def run(self, body: dict[str, Any]) -> float:
        name = body["metadata"]["name"]
        started = time.perf_counter()
        await self.create(body)
        await self.reach(name, "Succeeded", "Failed")
        if self.phases[name] != "Succeeded":
            raise RuntimeError(f"{name} failed")
        return time.perf_counter() - started

    async def delete_all(self) -> None:
        async with self.session.delete(f"{self.url}{PODS}?gracePeriodSeconds=0") as response:
            await response.read()


def told(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    return f"p50 {statistics.median(ordered) * 1000:.0f} ms, p90 {ordered[int(len(ordered) * 0.9)] * 1000:.0f} ms"


async def measure(cluster: Cluster, bare: Bare, count: int) -> None:
    connector = aiohttp.TCPConnector(ssl=cluster.tls, limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        pods = Pods(session, cluster.url)
        follower = asyncio.create_task(pods.follow())
        await pods.run(pod("warm", ["true"]))
        floor = [await asyncio.to_thread(bare.run, f"podbay-bench-{i}") for i in range(20)]
        alone = [await pods.run(pod(f"alone-{i}", ["true"])) for i in range(20)]
        ratio = statistics.median(alone) / statistics.median(floor)
        print(f"bare runc run true: {told(floor)}")
        print(
            f"pod of `true`, create to Succeeded: {told(alone)}; {ratio:.1f}x the bare container (aim p50 150 ms)"
        )
        slots = asyncio.Semaphore(16)

        async def one(i: int) -> None:
            async with slots:
                await pods.run(pod(f"many-{i}", ["true"]))

        started = time.perf_counter()
        await asyncio.gather(*(one(i) for i in range(count)))
        rate = count / (time.perf_counter() - started)
        print(f"{count} pods, 16 at a time: {rate:.1f} pods/s (aim 15)")
        rich = [await pods.run(rich_pod(f"rich-{i}")) for i in range(10)]
        print(f"pod with init container, sidecar, emptyDir: {told(rich)}")
        await logs(pods)
        await pods.delete_all()
        await running(cluster, pods)
        follower.cancel()


async def logs(pods: Pods) -> None:
    size = 9_000_000  # below the 10 MiB at which the kubelet rotates: older files are not served
    line = "x" * 99
    await pods.run(pod("talker", ["sh", "-c", f"yes {line} | head -c {size}"]))
    started = time.perf_counter()
    received = 0
    async with pods.session.get(f"{pods.url}{PODS}/talker/log") as response:
        async for chunk in response.content.iter_any():
            received += len(chunk)
    seconds = time.perf_counter() - started
    print(f"log of {received / 1e6:.0f} MB read in {seconds:.1f} s: {received / 1e6 / seconds:.0f} MB/s")


async def running(cluster: Cluster, pods: Pods) -> None:
    made = 0
    for wanted in (1, 20, 100):
        started = time.perf_counter()
        names = [f"run-{i}" for i in range(made, wanted)]
        for name in names:
            await pods.create(pod(name, ["sleep", "3600"]))
        for name in names:
            await pods.reach(name, "Running")
        made = wanted
        up = time.perf_counter() - started
        before = cluster.cpu_seconds()
        await asyncio.sleep(10)
        share = (cluster.cpu_seconds() - before) / 10 * 100
        print(
            f"{wanted} running pods (the last {len(names)} up in {up:.1f} s): {share:.1f} % of a core, {cluster.memory_mib():.0f} MiB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="podbay-bench-") as directory:
        archive = Path(directory, "image.tar")
        subprocess.run([ROOT / "script" / "demo-image", str(archive), IMAGE], check=True)
        bare = Bare(archive, Path(directory))
        with Cluster(archive, Path(directory, "home")) as cluster:
            asyncio.run(measure(cluster, bare, given.count))


if __name__ == "__main__":
    main()
