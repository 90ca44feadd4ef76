"""Many pods under random faults: no wrong outcome, no orphan, no duplicate, no line lost or doubled, no result lost.

    script/test-faults                          1,000 pods
    script/test-faults --fault-pods 200 --fault-seed 7
    script/test-faults --cluster KUBECONFIG     on any cluster, without the faults that only the embedded one can have

What is true is judged by a watch of its own (fault_judge), not by the engine.
"""

from __future__ import annotations

import asyncio
import random
import resource
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from engine_parts import AGENT
from fault_chaos import FAULTS_BY_NAME, Admin, Chaos, ServerProcess, Tokens
from fault_judge import Recorder, Seen, Told, judge
from fault_work import Task, make_tasks

from podbay.kube.config import ClusterConfig
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.kube.lease import DeskOptions, LeasedCluster, LeaseDesk
from podbay.kube.logs import LogBatch
from podbay.lifecycle.checkpoint import Checkpoint
from podbay.lifecycle.engine import Driver, PodRun
from podbay.lifecycle.outcome import Outcome
from podbay.lifecycle.view import view_of
from podbay.testing.requests import Requests

START_SPREAD = 0.01
"""Seconds between the starts of two tasks."""
CALM_SECONDS = 240.0
"""When nothing goes wrong any more, all have ended after this. The longest time-out inside is of 180 s."""


@dataclass
class Suite:
    """One cluster to be tried, and what is random about it."""

    kubeconfig: Path
    namespace: str
    seed: int
    pods: int
    server: ServerProcess | None
    image: str

    @property
    def longest(self) -> float:
        """Seconds that a task's container runs at most."""
        return 4.0 if self.pods <= 100 else 20.0


@pytest.fixture
def suite(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Suite]:
    option = request.config.getoption
    seed = option("--fault-seed") or random.SystemRandom().randrange(1_000_000)
    chosen = option("--cluster")
    server = ServerProcess(tmp_path) if chosen is None else None
    path = server.kubeconfig if server is not None else Path(chosen)
    namespace = f"faults-{uuid.uuid4().hex[:8]}"
    try:
        with Requests(path) as api:
            api.create_namespace(namespace)
        print(f"\nfault suite: seed {seed}, {option('--fault-pods')} pods")
        if server is None:
            print(f"skipped on this cluster: {', '.join(FAULTS_BY_NAME)}, evict, preempt")
        yield Suite(path, namespace, seed, option("--fault-pods"), server, option("--fault-image"))
        if server is None:
            with Requests(path) as api:
                api.delete_namespace(namespace)
    finally:
        if server is not None:
            server.stop()
            print(f"the cluster used {server.cpu_seconds:.1f} s CPU")


class Teller(Driver):
    """Remembers what it is told, across the lives of the engine."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self.lost = False

    async def lines(self, batch: LogBatch) -> None:
        if self.lost:
            return
        for line in batch.lines:
            if line.notice:
                self._told.notices.append(line.text)
            else:
                self._told.lines.setdefault(batch.container, []).append(line.text)

    async def decided(self, outcome: Outcome) -> None:
        self._told.outcomes_decided.append(outcome)


async def live(cluster: LeasedCluster, suite: Suite, told: Told, admin: Admin) -> None:
    """Run one task through all lives that its engine has."""
    plan = told.task.plan(suite.namespace, image=suite.image)
    checkpoint = None
    crashes = list(told.task.crashes)
    now: list[PodRun] = []
    mishap = asyncio.create_task(strike(told, now, suite, admin)) if told.task.mishap else None
    try:
        while told.outcome is None:
            driver = Teller(told)
            run = PodRun(cluster, plan, driver, checkpoint=checkpoint)
            now[:] = [run]
            told.run = run
            life = asyncio.create_task(run.run())
            await asyncio.wait({life}, timeout=crashes.pop(0) if crashes else None)
            if not life.done():
                checkpoint = Checkpoint.from_json(run.checkpoint().to_json())
                driver.lost = True
                told.lives += 1
                life.cancel()
                await asyncio.gather(life, return_exceptions=True)
            else:
                told.outcome = life.result()
            told.saw.append((time.monotonic(), run.state.uid, knows_the_end(run)))
            told.ends.append(f"{datetime.now(UTC):%H:%M:%S.%f} {run.state}")
    finally:
        if mishap is not None:
            mishap.cancel()
            await asyncio.gather(mishap, return_exceptions=True)


def knows_the_end(run: PodRun) -> bool:
    """It has heard that its pod has ended or is about to; that it is not there any more says nothing of why."""
    state = run.state
    view = view_of(state.pod, run.plan.container) if state.pod is not None else None
    heard = view is not None and (
        view.stage == "ended" or bool(view.disruption) or view.deleted_at is not None
    )
    found_gone = state.gone and not heard
    known = state.verdict is not None and not found_gone
    return state.deletion_seen or heard or known or state.remembered is not None


async def strike(told: Told, now: list[PodRun], suite: Suite, admin: Admin) -> None:
    """The task's own mishap, once its pod is there."""
    task = told.task
    await asyncio.sleep(task.mishap_after)
    while not now or not now[0].state.name:
        if task.mishap == "kill" and now:
            break
        await asyncio.sleep(0.05)
    name = now[0].state.name
    path = f"/api/v1/namespaces/{suite.namespace}/pods/{name}"
    if task.mishap == "kill":
        told.struck = True
        now[0].kill("chaos")
        return
    # From here on it may have happened, whatever the answer.
    told.struck = True
    if task.mishap == "delete":
        await admin.acall("DELETE", path)
    elif task.mishap == "eviction API":
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        await admin.acall("POST", f"{path}/eviction", body)
    else:
        await admin.acall(
            "POST", "/podbay.dev/v1/node-faults", {"do": task.mishap, "pod": f"{suite.namespace}/{name}"}
        )


async def play(suite: Suite, tasks: list[Task]) -> list[Told]:
    """All tasks at once in one engine; chaos ends when nearly all have ended."""
    told = [Told(task) for task in tasks]
    config = load_kubeconfig(suite.kubeconfig)
    chaos = None
    if suite.server is not None:
        config = as_service_account(config, suite)
        spread = suite.longest + START_SPREAD * suite.pods
        rng = random.Random(suite.seed + 1)
        chaos = Chaos(
            suite.server, rng, restarts=[spread * rng.uniform(0.1, 1.2) for _ in range(1 + suite.pods // 300)]
        )
    desk = LeaseDesk(DeskOptions(linger_seconds=0, agent=AGENT))
    admin = Admin(suite.kubeconfig)
    trouble = asyncio.create_task(chaos.run()) if chaos is not None else None
    async with desk.lease(config) as cluster:
        lives = []
        for each in told:
            lives.append(asyncio.create_task(live(cluster, suite, each, admin)))
            await asyncio.sleep(START_SPREAD)
        pending, until = set(lives), time.monotonic() + 3 * suite.longest
        while len(pending) > suite.pods // 50 and time.monotonic() < until:
            _, pending = await asyncio.wait(pending, timeout=1.0)
            assert trouble is None or not trouble.done(), trouble
        if chaos is not None and trouble is not None:
            trouble.cancel()
            await asyncio.gather(trouble, return_exceptions=True)
            await chaos.calm()
            print(f"faults: {dict(chaos.done)}")
            chaos.close()
        _, pending = await asyncio.wait(lives, timeout=CALM_SECONDS)
        for each in told:
            if each.outcome is None:
                print(f"not ended: {each.task.id} mishap {each.task.mishap!r} {each.run and each.run.state}")
                if each.run is not None:
                    path = f"/api/v1/namespaces/{suite.namespace}/pods/{each.run.state.name}"
                    code, pod = await admin.acall("GET", path)
                    print(f"the cluster says: {code} {pod.get('metadata')} {pod.get('status')}")
        for one in pending:
            one.cancel()
        await asyncio.gather(*lives, return_exceptions=bool(pending))
    await desk.aclose()
    admin.close()
    return told


def as_service_account(config: ClusterConfig, suite: Suite) -> ClusterConfig:
    """The engine as a service account whose tokens may expire, allowed what the documentation asks for."""
    with Requests(suite.kubeconfig) as api:
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "engine"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": suite.namespace}],
        }
        path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{suite.namespace}/rolebindings"
        code, answer = api.call("POST", path, binding)
        assert code == 201, answer
    source = Tokens(suite.kubeconfig, suite.namespace).source()
    return replace(config, credential=source, certificate=None)


async def nothing_left(suite: Suite) -> list[str]:
    """Names of the pods that are there for good: none of them may be kept."""
    deadline = time.monotonic() + 60
    while True:
        with Requests(suite.kubeconfig) as api:
            code, answer = api.call("GET", f"/api/v1/namespaces/{suite.namespace}/pods")
        assert code == 200, answer
        left = [pod["metadata"]["name"] for pod in answer["items"]]
        if not left or time.monotonic() > deadline:
            return left
        await asyncio.sleep(0.5)


@pytest.mark.faults
async def test_pods_under_faults(suite: Suite) -> None:
    rng = random.Random(suite.seed)
    tasks = make_tasks(suite.pods, rng, longest=suite.longest, scripted=suite.server is not None)
    watching = Requests(suite.kubeconfig)
    recorder = Recorder(watching, suite.namespace)
    began, cpu = time.monotonic(), _cpu()
    told = await play(suite, tasks)
    print(
        f"{suite.pods} pods in {time.monotonic() - began:.1f} s wall, {_cpu() - cpu:.1f} s CPU (engine and judge)"
    )
    left = await nothing_left(suite)
    await asyncio.sleep(1.0)
    await asyncio.to_thread(recorder.close)
    watching.__exit__(None, None, None)
    assert not recorder.history_lost, "the judge has not seen everything"
    pods: dict[str, list[Seen]] = defaultdict(list)
    for pod in recorder.pods.values():
        pods[pod.task].append(pod)
    wrong = [
        (each.task.id, each.told_of(), [text[:1000] for text in found], pods[each.task.id], each.ends)
        for each in told
        if (found := judge(each, pods[each.task.id]))
    ]
    print(_summary(told, recorder))
    print(_latest(told))
    assert not wrong, f"seed {suite.seed}: " + "\n".join(str(each) for each in wrong)
    assert not left, f"seed {suite.seed}: orphans {left}"


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _latest(told: list[Told]) -> str:
    """Who kept the run waiting: an end long after the last fault asks for a look."""
    ends = sorted((each.saw[-1][0], each.told_of(), each.notices) for each in told if each.saw)
    return "\n".join(f"{at - ends[-1][0]:7.1f} s {what} {notices}" for at, what, notices in ends[-5:])


def _summary(told: list[Told], recorder: Recorder) -> str:
    kinds = Counter(each.outcome.kind for each in told if each.outcome is not None)
    lines = sum(len(lines) for each in told for lines in each.lines.values())
    lives = sum(each.lives for each in told)
    return f"outcomes {dict(kinds)}, {len(recorder.pods)} pods, {lives} lives of the engine, {lines} lines"
