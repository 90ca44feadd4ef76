"""What the platform costs: plan and apply (time and requests) for one deployment and many, and its rules for one pod.

Run: python benchmarks/deployments.py. The cluster is embedded, in a process of its own, with a scripted node.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from podbay.aio.clock import SystemClock
from podbay.airflow.checking import check_parameters
from podbay.airflow.foreseeing import judge
from podbay.deployment.apply import apply_plan
from podbay.deployment.desired import desired_objects
from podbay.deployment.enforce import enforce, pod_defaults
from podbay.deployment.model import Deployment
from podbay.deployment.observe import observe
from podbay.deployment.plan import make_plan
from podbay.deployment.reading import parse_deployment
from podbay.kube.client import KubeClient
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.pods.build import build_pod
from podbay.pods.request import PodRequest

TEXT = """
version: 1
name: {name}
namespace: {name}
pods: {{architectures: [amd64], protected_labels: {{team: data}}, allowed_service_accounts: [etl]}}
quota: {{cpu: 10, memory: 20Gi, pods: 50}}
network: {{ingress: deny}}
"""


def deployment(number: int) -> Deployment:
    return parse_deployment(TEXT.format(name=f"bench-{number}" if number >= 0 else "bench-peer"))


async def measured(kube: KubeClient, work: Any) -> tuple[float, int]:
    """Milliseconds and requests of one awaitable."""
    before, started = kube.counter.total.total(), time.perf_counter()
    await work
    return (time.perf_counter() - started) * 1000, kube.counter.total.total() - before


async def plan_and_apply(kubeconfig: Path, count: int) -> dict[str, Any]:
    config = load_kubeconfig(kubeconfig)
    steps: dict[str, list[tuple[float, int]]] = {}
    async with KubeClient(config, SystemClock()) as kube:

        async def plan(wanted: Deployment) -> None:
            make_plan(wanted, await observe(kube, wanted))

        async def apply(wanted: Deployment) -> None:
            await apply_plan(kube, make_plan(wanted, await observe(kube, wanted)))

        await kube.version()
        for number in range(count):
            wanted = deployment(number)
            steps.setdefault("first plan", []).append(await measured(kube, plan(wanted)))
            steps.setdefault("first apply", []).append(await measured(kube, apply(wanted)))
            steps.setdefault("second apply (nothing to do)", []).append(await measured(kube, apply(wanted)))
    return {
        step: {
            "milliseconds": round(statistics.median(ms for ms, _ in found), 1),
            "requests": max(requests for _, requests in found),
        }
        for step, found in steps.items()
    }


def as_processes(home: str, kubeconfig: Path, environment: dict[str, str]) -> dict[str, float]:
    """Seconds of whole commands: ours, and kubectl with the same objects in another namespace."""
    bin_ = Path(sys.executable).parent
    file, manifests = Path(home, "podbay.yaml"), Path(home, "peer.json")
    file.write_text(TEXT.format(name="bench-command"))
    manifests.write_text(
        json.dumps({"apiVersion": "v1", "kind": "List", "items": desired_objects(deployment(-1))})
    )
    ours, peer = [str(bin_ / "podbay")], [str(bin_ / "kubectl"), "--kubeconfig", str(kubeconfig)]
    # kubectl runs `diff` for each object.
    environment = {**environment, "PATH": "/usr/bin:/bin"}
    found = {}
    for name, command in {
        "podbay apply, first": [*ours, "apply", "-f", str(file)],
        "kubectl apply --server-side, first": [*peer, "apply", "--server-side", "-f", str(manifests)],
        "podbay apply, nothing to do": [*ours, "apply", "-f", str(file)],
        "kubectl apply --server-side, nothing to do": [*peer, "apply", "--server-side", "-f", str(manifests)],
        "podbay plan": [*ours, "plan", "-f", str(file)],
        "kubectl diff --server-side": [*peer, "diff", "--server-side", "-f", str(manifests)],
    }.items():
        times = []
        for _ in range(1 if name.endswith("first") else 5):
            started = time.perf_counter()
            subprocess.run(command, env=environment, check=True, capture_output=True)
            times.append(time.perf_counter() - started)
        found[name] = round(statistics.median(times), 2)
    return found


def microseconds(work: Callable[[], object], times: int = 300) -> float:
    """The median of single calls."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        found.append((time.perf_counter() - started) * 1e6)
    return round(statistics.median(found), 1)


def rules() -> dict[str, float]:
    """What one pod costs without and with a deployment."""
    wanted = deployment(0)
    request = PodRequest(name="task", image="busybox", command=["echo", "hi"], result="sidecar")
    defaults = pod_defaults(wanted)
    pod = build_pod(request, defaults)
    text = TEXT.format(name="bench")
    given = {"image": "busybox", "cmds": ["echo", "hi"], "do_xcom_push": True, "namespace": wanted.namespace}
    known = check_parameters("task", given)
    return {
        "build a pod, no deployment": microseconds(lambda: build_pod(request)),
        "build a pod with a deployment's defaults": microseconds(lambda: build_pod(request, defaults)),
        "enforce": microseconds(lambda: enforce(pod, wanted)),
        "check a task's parameters where its DAG file is read": microseconds(
            lambda: check_parameters("task", given)
        ),
        "judge its pod there": microseconds(lambda: judge(known, wanted)),
        "read podbay.yaml": microseconds(lambda: parse_deployment(text)),
        "all objects of a deployment": microseconds(lambda: desired_objects(wanted)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deployments", type=int, nargs="*", default=[1, 50])
    chosen = parser.parse_args()
    results: dict[str, Any] = {"microseconds": rules()}
    for count in chosen.deployments:
        with tempfile.TemporaryDirectory(prefix="podbay-bench-") as home:
            nodes = Path(home, "nodes.yaml")
            nodes.write_text(
                "nodes: [{name: scripted}]\nscript: {rules: [{containers: {'*': [{run: 0}]}}]}\n"
            )
            podbay = [str(Path(sys.executable).with_name("podbay")), "cluster"]
            environment = {"PODBAY_HOME": home, "HOME": home, "PATH": "/usr/bin:/bin"}
            start = [*podbay, "start", "--runtime", "none", "--nodes", str(nodes)]
            subprocess.run(start, env=environment, check=True, capture_output=True)
            try:
                kubeconfig = Path(home, "clusters", "podbay", "kubeconfig")
                if count == chosen.deployments[0]:
                    results["seconds"] = as_processes(home, kubeconfig, environment)
                results[f"{count} deployments"] = asyncio.run(plan_and_apply(kubeconfig, count))
            finally:
                subprocess.run([*podbay, "stop"], env=environment, check=True, capture_output=True)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
