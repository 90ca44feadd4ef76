"""Tasks in an EKS cluster: how often a token is made, what is asked, what it takes, against upstream's operators.

    python benchmarks/eks.py [--count 100] [--seconds 30] [--upstream-python .venv-airflow/bin/python]

AWS is moto with what it lacks (tests/eks); the cluster is an embedded one with scripted nodes that judges tokens as EKS
does, in this process. The credential plugin of the kubeconfig is a program `aws` that counts its runs and gives a token that
was minted before: a run costs a few milliseconds here, of the real one it is about a second. Requests are counted by the
API server, those of AWS by the stand-in, memory is that of the process that drives the pods.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT / "tests" / "eks"), str(HERE / "engine")]

REGION = "us-east-1"
NODES = 'nodes:\n- name: s\n  count: 4\n  capacity: {cpu: "100000", memory: 256Ti, pods: "50000"}\n'


class FirstPod:
    """When the first pod was seen, by a watch in the cluster's own process: it costs no counted request."""

    def __init__(self, environment: Any) -> None:
        self.at = 0.0
        self._environment = environment

    def __enter__(self) -> FirstPod:
        from podbay.objects.resource import GVR

        async def watch() -> None:
            async for event in self._environment.embedded.api().watch(
                GVR("", "v1", "pods"), namespace="default"
            ):
                if event.type == "ADDED":
                    self.at = time.time()
                    return

        async def start() -> None:
            self._task = asyncio.create_task(watch())

        self._environment.run(start())
        return self

    def __exit__(self, *_: object) -> None:
        self._environment.call(self._task.cancel)


def requests_of(cluster: Any) -> int:
    import re

    with cluster.requests as api:
        _, body = api.call("GET", "/metrics")
    return sum(int(n) for n in re.findall(r"^apiserver_request_total\{[^}]*\} (\d+)", body, re.MULTILINE))


def clean(cluster: Any) -> None:
    with cluster.requests as api:
        api.call("DELETE", "/api/v1/namespaces/default/pods?gracePeriodSeconds=0")
        while api.call("GET", "/api/v1/namespaces/default/pods")[1]["items"]:
            time.sleep(0.2)


def drive(
    aws: Any, cluster: Any, command: list[str], environment: dict[str, str], runs: Path
) -> dict[str, Any]:
    """One run of a driver; what it cost."""
    runs.unlink(missing_ok=True)
    aws.counts.clear()
    before = requests_of(cluster)
    with FirstPod(cluster.environment) as first:
        started = time.time()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        ended = time.time()
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    facts["requests"] = requests_of(cluster) - before - 1
    facts["runs"] = len(runs.read_text().splitlines()) if runs.exists() else 0
    facts["aws"] = dict(aws.counts)
    # Without the loading of Python's modules, which a process does once.
    facts["first"] = first.at - (ended - facts["wall"])
    facts["first_from_start"] = first.at - started
    clean(cluster)
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument(
        "--sync", type=int, default=20, help="Pods at once that upstream's synchronous operator gets."
    )
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--upstream-python", default=str(ROOT / ".venv-airflow" / "bin" / "python"))
    options = parser.parse_args()
    from aws_stand_in import AwsStandIn

    from podbay.embedded.nodes import scripted_nodes

    with tempfile.TemporaryDirectory(prefix="podbay-bench-") as name, AwsStandIn.started() as aws:
        directory = Path(name)
        (directory / "nodes.yaml").write_text(NODES)
        nodes = scripted_nodes(directory / "nodes.yaml")
        with aws.cluster("bench", directory, namespaces=(), nodes=nodes) as cluster:
            measure(aws, cluster, directory, options)


def measure(aws: Any, cluster: Any, directory: Path, options: argparse.Namespace) -> None:
    role = aws.role("bench")
    entry = {"principalArn": role}
    cluster.entries.answer("POST", "", json.dumps(entry).encode())
    policy = {
        "policyArn": "arn:aws:eks::aws:cluster-access-policy/AmazonEKSEditPolicy",
        "accessScope": {"type": "namespace", "namespaces": ["default"]},
    }
    path = f"/{role.replace('/', '%2F')}/access-policies"
    cluster.entries.answer("POST", path, json.dumps(policy).encode())
    program = directory / "aws"
    program.touch(mode=0o755)
    real = [sys.executable, str(ROOT / "tests" / "eks" / "aws_program.py")]
    runs = directory / "runs"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    environment |= aws.user("bench").environment(aws.address)
    environment |= {
        "PATH": f"{directory}:{os.environ['PATH']}",
        "AWS_PROGRAM_RUNS": str(runs),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AIRFLOW_HOME": str(directory / "airflow"),
    }
    kubeconfig = directory / "kubeconfig"
    update = ["eks", "update-kubeconfig", "--region", REGION, "--name", "bench", "--kubeconfig", str(kubeconfig), "--role-arn", role]  # fmt: skip
    subprocess.run([*real, *update], env=environment, check=True, capture_output=True)
    token = [*real, "--region", REGION, "eks", "get-token", "--cluster-name", "bench", "--role", role]
    common = ["--kubeconfig", str(kubeconfig), "--image", "x", "--command", '["true"]']
    common += ["--annotations", json.dumps({"scripted.podbay.dev/run-seconds": str(options.seconds)})]
    engine, upstream = HERE / "engine" / "ours.py", HERE / "engine" / "upstream.py"
    drivers = {
        "ours, podbay_eks": (sys.executable, str(Path(__file__)), "--as-driver", role, options.count),
        "ours, kubeconfig": (sys.executable, str(engine), "--mode", "x", options.count),
        "upstream deferrable": (
            options.upstream_python,
            str(upstream),
            "--mode",
            "deferrable",
            options.count,
        ),
        "upstream sync": (options.upstream_python, str(upstream), "--mode", "sync", options.sync),
    }
    print(f"tasks of {options.seconds:g} s at once in an EKS cluster")
    print(
        f"  {'':20} {'tasks':>6} {'plugin runs':>12} {'roles assumed':>14} {'API requests/task':>18} {'memory MiB':>11} "
        f"{'first pod s':>12} {'from start s':>13} {'wall s':>7}"
    )
    for who, (python, script, flag, value, count) in drivers.items():
        command = [python, script, flag, value, *common, "--count", str(count)]
        _give(program, subprocess.run(token, env=environment, check=True, capture_output=True).stdout, runs)
        facts = drive(aws, cluster, command, environment, runs)
        roles = facts["aws"].get("sts:AssumeRole", 0)
        print(
            f"  {who:20} {count:6} {facts['runs']:12} {roles:14} {facts['requests'] / count:18.1f} {facts['rss']:11.0f} "
            f"{facts['first']:12.2f} {facts['first_from_start']:13.2f} {facts['wall']:7.1f}",
            flush=True,
        )


def _give(program: Path, answer: bytes, runs: Path) -> None:
    """Let the plugin print this."""
    told = program.with_suffix(".json")
    told.write_bytes(answer)
    program.write_text(f'#!/bin/sh\necho run >> "{runs}"\nexec cat "{told}"\n')


def as_driver(words: list[str]) -> None:
    """What engine/ours.py does, by a connection with podbay_eks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--as-driver", dest="role")
    for name in ("kubeconfig", "image", "command", "annotations"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--count", type=int, required=True)
    options = parser.parse_args(words)

    import podbay.kube.transport  # noqa: F401 - its loading is no part of a pod's cost
    from podbay.aws.eks import eks_config
    from podbay.aws.place import EksPlace
    from podbay.kube.lease import lease
    from podbay.lifecycle.engine import PodRun
    from podbay.lifecycle.plan import Deadlines, PodPlan
    from podbay.pods.build import build_pod
    from podbay.pods.identity import TaskIdentity
    from podbay.pods.request import PodRequest

    async def one(cluster: Any, number: int) -> None:
        def build(incarnation: int) -> Any:
            identity = TaskIdentity(
                deployment="bench",
                dag_id="bench",
                run_id=str(os.getpid()),
                task_id=f"ours-{number}",
                incarnation=incarnation,
            )
            return build_pod(
                PodRequest(
                    identity=identity,
                    namespace="default",
                    image=options.image,
                    command=json.loads(options.command),
                    annotations=json.loads(options.annotations),
                )
            )

        plan = PodPlan(build=build, deadlines=Deadlines(schedule=3600, start=3600))
        outcome = await PodRun(cluster, plan).run()
        if not outcome.ok:
            raise RuntimeError(outcome.message)

    async def run() -> None:
        place = EksPlace(cluster_name="bench", region=REGION, role_arn=options.role)
        async with lease(await eks_config(place)) as cluster:
            await asyncio.gather(*(one(cluster, number) for number in range(options.count)))

    began = time.time()
    asyncio.run(run())
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"wall": time.time() - began, "rss": usage.ru_maxrss / 1024}))


if __name__ == "__main__":
    if "--as-driver" in sys.argv:
        as_driver(sys.argv[1:])
    else:
        main()
