"""What the store costs: writes, reads, lists, watches, start, at 10 and at 10,000 stored pods.

Run it as `python benchmarks/storage.py [--json]`. Numbers of one run compare with each other, not with another
machine's; "ratio" is the large store's cost over the small one's, 1.0 when the size does not matter.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from podbay.apiserver.storage import Store

SIZES = (10, 10_000)
WRITES = 3_000
FILLER = {f"annotation-{number}": "x" * 60 for number in range(20)}
Pod = dict[str, object]


def make_pod(number: int, value: int) -> Pod:
    """A pod of about 3 kB, the size of one that kube-apiserver has filled with defaults."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"pod-{number:06}",
            "namespace": f"team-{number % 5}",
            "uid": f"00000000-0000-0000-0000-{number:012}",
            "labels": {"app": "worker", "run": str(number % 100)},
            "annotations": FILLER,
        },
        "spec": {
            "containers": [
                {
                    "name": f"c{i}",
                    "image": "registry.example/image:1",
                    "env": [{"name": "A", "value": "b"}] * 6,
                }
                for i in range(3)
            ],
            "nodeName": "node-0",
        },
        "status": {"phase": "Running", "value": value},
    }


FIELDS = {"spec.nodeName": "node-0", "status.phase": "Running"}


def microseconds(action: Callable[[int], object], count: int) -> float:
    """The mean cost of one call, in microseconds."""
    started = time.perf_counter()
    for number in range(count):
        action(number)
    return (time.perf_counter() - started) / count * 1e6


def measure(path: Path, size: int) -> dict[str, float]:
    result: dict[str, float] = {}
    with Store.open(path) as store:
        result["create us"] = microseconds(
            lambda n: store.create("pods", make_pod(n, 0), fields=FIELDS), size
        )
        made = [make_pod(n % size, n + 1) for n in range(WRITES)]
        result["update us"] = microseconds(lambda n: store.update("pods", made[n], fields=FIELDS), WRITES)
        pod = made[-1]
        result["no-op update us"] = microseconds(lambda n: store.update("pods", pod, fields=FIELDS), WRITES)
        result["get us"] = microseconds(
            lambda n: store.get("pods", f"team-{n % size % 5}", f"pod-{n % size:06}"), WRITES
        )
        result["list all us"] = microseconds(
            lambda n: b",".join(e.raw for e in store.list("pods").entries), max(3, 3_000 // size)
        )
        result["page of 10 us"] = microseconds(lambda n: store.list("pods", limit=10), 200)
        past = str(store.version - 100)
        result["list 100 writes ago us"] = microseconds(
            lambda n: store.list("pods", resource_version=past, resource_version_match="Exact"), 5
        )
        result["resume 100 writes us"] = microseconds(
            lambda n: store.watch("pods", resource_version=past).take(), 20
        )
        new = make_pod(size, 0)
        result["create+delete us"] = microseconds(
            lambda n: (
                store.create("pods", new, fields=FIELDS),
                store.delete("pods", f"team-{size % 5}", f"pod-{size:06}"),
            ),
            1_000,
        )
    started = time.perf_counter()
    with Store.open(path):
        result["open ms"] = (time.perf_counter() - started) * 1e3
    result["file MiB"] = path.stat().st_size / 2**20
    return result


def measure_watches(path: Path) -> dict[str, float]:
    result: dict[str, float] = {}
    with Store.open(path) as store:
        for number in range(10):
            store.create("pods", make_pod(number, 0), fields=FIELDS)
        start = str(store.version)
        before = resident()
        for number in range(10_000):
            store.watch("pods", "elsewhere", name=f"pod-{number}", resource_version=start)
        result["10,000 idle watches MiB"] = resident() - before
        pods = [make_pod(n % 10, n) for n in range(WRITES)]
        result["update beside 10,000 idle watches us"] = microseconds(
            lambda n: store.update("pods", pods[n], fields=FIELDS), WRITES
        )
        for count in (1, 1_000):
            start = str(store.version)
            watchers = [store.watch("pods", resource_version=start) for _ in range(count)]
            fresh = [make_pod(n % 10, -n - count) for n in range(1, 51)]

            def write(n: int, pods: list[Pod] = fresh) -> None:
                store.update("pods", pods[n], fields=FIELDS)

            result[f"update to {count:,} watchers us"] = microseconds(write, len(fresh))
            started = time.perf_counter()
            taken = [
                change.encoded("json", lambda c: c.entry.raw + b"\n")
                for watcher in watchers
                for change in watcher.take()
            ]
            result[f"take and encode for {count:,} watchers, us a change"] = (
                (time.perf_counter() - started) / len(taken) * 1e6
            )
            for watcher in watchers:
                watcher.close()
    return result


def resident() -> float:
    """Memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory_of(path: Path) -> float:
    """MiB that a process of its own needs to hold a store."""
    command = [sys.executable, __file__, "--hold", str(path)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def hold(path: Path) -> None:
    base = resident()
    with Store.open(path):
        print(resident() - base)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--json", action="store_true", help="print one JSON object")
    arguments.add_argument("--hold", type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.hold:
        hold(options.hold)
        return
    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory) / f"{size}.db" for size in SIZES]
        small, large = (measure(path, size) for path, size in zip(paths, SIZES, strict=True))
        for result, path in ((small, paths[0]), (large, paths[1])):
            result["memory MiB"] = memory_of(path)
        watches = measure_watches(Path(directory) / "watches.db")
    if options.json:
        print(json.dumps({"small": small, "large": large, "watches": watches}, indent=2))
        return
    print(f"{'pods stored':28}{SIZES[0]:>12,}{SIZES[1]:>12,}{'ratio':>8}")
    for name, cost in small.items():
        print(f"{name:28}{cost:12.1f}{large[name]:12.1f}{large[name] / cost:8.1f}")
    for name, cost in watches.items():
        print(f"{name:52}{cost:12.1f}")


if __name__ == "__main__":
    main()
