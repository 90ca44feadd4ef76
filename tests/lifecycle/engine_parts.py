"""What tests of the engine have in common: a task's plan for scripted nodes, a driver that remembers, one engine's life."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from patience import PATIENCE, eventually

from podbay.kube.config import ClusterConfig
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.kube.lease import DeskOptions, LeasedCluster, LeaseDesk
from podbay.kube.logs import LogBatch
from podbay.kube.retry import Patience
from podbay.lifecycle.checkpoint import Checkpoint
from podbay.lifecycle.engine import Driver, PodRun
from podbay.lifecycle.outcome import Outcome
from podbay.lifecycle.plan import Deadlines, PodPlan
from podbay.lifecycle.state import Phase
from podbay.objects.meta import Object, name_of, namespace_of
from podbay.pods.build import build_pod
from podbay.pods.identity import TaskIdentity
from podbay.pods.request import PodRequest
from podbay.pods.sidecar import SIDECAR_NAME
from podbay.testing.requests import Requests

AGENT = "engine-under-test"
SCRIPTED = "scripted.podbay.dev/"


def task(
    namespace: str,
    *,
    task_id: str = "",
    try_number: int = 1,
    run: float | str = 0,
    log: str = "",
    code: int = 0,
    script: Mapping[str, str] | None = None,
    first: Mapping[str, str] | None = None,
    pod: Mapping[str, Any] | None = None,
    **plan: Any,
) -> PodPlan:
    """One task on a scripted node.

    script adds annotations without their prefix, first those of the first incarnation alone, pod fields of the PodRequest.
    """
    chosen = task_id or f"t-{uuid.uuid4().hex[:8]}"
    marks = {"run-seconds": str(run), "exit-code": str(code), **(script or {})}
    if log:
        marks["log"] = log

    def build(incarnation: int) -> Object:
        own = marks | (first or {}) if incarnation == 0 else marks
        identity = TaskIdentity(
            deployment="tests",
            dag_id="dag",
            run_id="run",
            task_id=chosen,
            try_number=try_number,
            incarnation=incarnation,
        )
        fields = {"image": "busybox", "result": plan.get("result", "none"), **(pod or {})}
        annotations = {SCRIPTED + key: value for key, value in own.items()}
        return build_pod(
            PodRequest(identity=identity, namespace=namespace, annotations=annotations, **fields)
        )

    return PodPlan(build=build, **plan)


def sidecar(**marks: str) -> dict[str, str]:
    """The result sidecar's script."""
    return {f"{key}.{SIDECAR_NAME}": value for key, value in marks.items()}


def frame(content: bytes, *, size: int | None = None) -> str:
    """What the sidecar prints for a result."""
    import hashlib

    digest = hashlib.sha256(content).hexdigest()
    length = len(content) if size is None else size
    end = f"podbay-result/1 end bytes={length} sha256={digest}"
    return f"podbay-result/1 begin\n{content.decode()}\n{end}\n"


@dataclass
class Notes(Driver):
    """A driver that remembers everything; it can be slow, or fail, where told."""

    phases: list[tuple[Phase, str]] = field(default_factory=list)
    lines_: dict[str, list[str]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    saved: list[Checkpoint] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    fail_at: str = ""
    """Name of the method that raises."""
    lost: bool = False
    """Its process is gone: what is told now is told to nobody."""

    def _fail(self, method: str) -> None:
        if self.fail_at == method:
            raise ConnectionError(f"the driver's {method} failed")

    async def phase(self, phase: Phase, text: str) -> None:
        self.phases.append((phase, text))

    async def lines(self, batch: LogBatch) -> None:
        self._fail("lines")
        if self.lost:
            return
        for line in batch.lines:
            if line.notice:
                self.notices.append(line.text)
            else:
                self.lines_.setdefault(batch.container, []).append(line.text)

    async def save(self, checkpoint: Checkpoint) -> None:
        self._fail("save")
        self.saved.append(Checkpoint.from_json(checkpoint.to_json()))

    async def decided(self, outcome: Outcome) -> None:
        self._fail("decided")
        self.outcomes.append(outcome)

    @property
    def log(self) -> list[str]:
        return self.lines_.get("base", [])

    def has_phase(self, *wanted: str) -> bool:
        return any(phase in wanted for phase, _ in self.phases)


@dataclass
class Life:
    """A run under way in a task of its own."""

    run: PodRun
    notes: Notes
    task: asyncio.Task[Outcome]

    @property
    def pod(self) -> str:
        return self.run.state.name

    async def outcome(self) -> Outcome:
        return await asyncio.wait_for(self.task, PATIENCE)

    async def until(self, *phases: str) -> None:
        def there() -> bool:
            assert not self.task.done(), self.task.result()
            return self.run.state.phase in phases

        await eventually(there, tell=lambda: self.notes.phases)

    async def crash(self) -> Checkpoint:
        """End the engine as a lost process would, and give what it had written down last, with the present log position.

        The position is what a driver stores together with the lines, so it is never older than those.
        """
        found = self.run.checkpoint()
        self.notes.lost = True
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        return Checkpoint.from_json(found.to_json())


@dataclass
class Engine:
    """One process's engine on one cluster."""

    cluster: LeasedCluster
    tasks: list[asyncio.Task[Outcome]] = field(default_factory=list)

    def start(
        self, plan: PodPlan, *, checkpoint: Checkpoint | None = None, notes: Notes | None = None
    ) -> Life:
        chosen = notes or Notes()
        run = PodRun(self.cluster, plan, chosen, checkpoint=checkpoint)
        started = asyncio.create_task(run.run())
        self.tasks.append(started)
        return Life(run, chosen, started)

    async def run(self, plan: PodPlan, **more: Any) -> tuple[Outcome, Notes]:
        life = self.start(plan, **more)
        return await life.outcome(), life.notes

    def requests(self, outcome: Outcome) -> dict[str, int]:
        return dict(self.cluster.client.counter.of(outcome.namespace, outcome.pod))


@asynccontextmanager
async def engine(
    config: ClusterConfig | Path, *, agent: str = AGENT, patience: float = 30.0, log_streams: int = 0
) -> AsyncIterator[Engine]:
    """An engine with a client of its own, as in a process of its own."""
    chosen = load_kubeconfig(config) if isinstance(config, Path) else config
    limits = Patience(patience, patience)
    desk = LeaseDesk(DeskOptions(linger_seconds=0, agent=agent, patience=limits, log_streams=log_streams))
    try:
        async with desk.lease(chosen) as cluster:
            found = Engine(cluster)
            try:
                yield found
            finally:
                for each in found.tasks:
                    each.cancel()
                await asyncio.gather(*found.tasks, return_exceptions=True)
    finally:
        await desk.aclose()


class Cluster:
    """What somebody else does to the cluster meanwhile; requests in the test's own thread are short."""

    def __init__(self, api: Requests, namespace: str) -> None:
        self.api, self.namespace = api, namespace

    def _path(self, name: str = "", sub: str = "") -> str:
        return "/".join(p for p in (f"/api/v1/namespaces/{self.namespace}/pods", name, sub) if p)

    async def call(self, method: str, path: str, body: Any = None, *, expect: int = 0, **more: Any) -> Any:
        code, answer = await asyncio.to_thread(self.api.call, method, path, body, **more)
        assert expect in (0, code), answer
        return answer

    async def pods(self) -> list[Object]:
        return list((await self.call("GET", self._path()))["items"])

    async def pod(self, name: str) -> Object | None:
        found = await self.call("GET", self._path(name))
        return found if found.get("kind") == "Pod" else None

    async def create(self, pod: Object) -> Object:
        return dict(await self.call("POST", self._path(), pod, expect=201))

    async def delete(self, name: str, **options: Any) -> None:
        await self.call("DELETE", self._path(name), options or None, expect=200)

    async def patch(self, name: str, patch: Any, sub: str = "") -> Object:
        headers = {"Content-Type": "application/merge-patch+json"}
        return dict(await self.call("PATCH", self._path(name, sub), patch, headers=headers, expect=200))

    async def fault(self, **fault: Any) -> None:
        """One that hits the engine alone."""
        fault["match"] = {"agent": AGENT, **fault.get("match", {})}
        await self.call("POST", "/podbay.dev/v1/faults", fault, expect=201)

    async def lift_faults(self) -> None:
        await self.call("DELETE", "/podbay.dev/v1/faults", expect=200)

    async def node_fault(self, do: str, **fault: Any) -> None:
        await self.call("POST", "/podbay.dev/v1/node-faults", {"do": do, **fault}, expect=200)

    async def gone(self, name: str) -> None:
        """Wait until there is no such pod."""
        while await self.pod(name) is not None:
            await asyncio.sleep(0.02)


__all__ = [
    "AGENT",
    "Cluster",
    "Deadlines",
    "Engine",
    "Life",
    "Notes",
    "engine",
    "frame",
    "name_of",
    "namespace_of",
    "sidecar",
    "task",
]
