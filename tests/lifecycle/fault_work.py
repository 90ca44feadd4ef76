"""The fault suite's tasks: what each does, what must come of it, and what happens to it meanwhile. Pure, by seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from engine_parts import SCRIPTED, frame

from podbay.lifecycle.plan import Deadlines, PodPlan
from podbay.objects.meta import Object
from podbay.pods.build import build_pod
from podbay.pods.identity import TaskIdentity
from podbay.pods.request import PodRequest, ResultTransport, SidecarOptions
from podbay.pods.sidecar import SIDECAR_NAME

Mishap = Literal["", "kill", "delete", "evict", "preempt", "eviction API"]

TICK = 0.1
TICKS = [f"tick {number}" for number in range(400)]
NODES = {
    "nodes": [{"name": "node", "count": 3, "capacity": {"pods": "2000", "cpu": "4000", "memory": "8000Gi"}}],
    "script": {
        "rules": [
            {
                "match": {"annotations": {"tests/ticks": "yes"}},
                "containers": {
                    "base": {"log": [{"after": TICK * n, "text": text} for n, text in enumerate(TICKS)]}
                },
            }
        ]
    },
}
"""Of the embedded cluster: pods that ask for it write a line every tenth of a second as long as they run."""


@dataclass
class Task:
    """One task, and its truth."""

    number: int
    run_seconds: float
    code: int
    lines: list[str]
    init_lines: list[str]
    ticks: bool
    transport: ResultTransport
    result: bytes | None
    start_delay: float
    idempotent: bool
    mishap: Mishap = ""
    mishap_after: float = 0.0
    crashes: list[float] = field(default_factory=list)
    """Seconds that each life of the engine lasts; the last one lasts to the end."""

    @property
    def id(self) -> str:
        return f"task-{self.number:04d}"

    @property
    def expected(self) -> list[str]:
        """The main container's lines when nothing happens to it."""
        if not self.ticks:
            return self.lines
        return TICKS[: int(self.run_seconds / TICK) + 1]

    def plan(self, namespace: str, *, image: str = "busybox") -> PodPlan:
        def build(incarnation: int) -> Object:
            identity = TaskIdentity(
                deployment="faults",
                dag_id="dag",
                run_id="run",
                task_id=self.id,
                incarnation=incarnation,
            )
            request = PodRequest(
                identity=identity,
                namespace=namespace,
                image=image,
                command=["sh", "-c", self._command()],
                annotations=self._script(),
                init_containers=[self._init(image)] if self.init_lines else [],
                result=self.transport,
                sidecar=SidecarOptions(image=image),
                termination_grace_period_seconds=5,
            )
            return build_pod(request)

        # Only what is done to a task may end it, never that the machine is slow.
        return PodPlan(
            build=build,
            result=self.transport,
            idempotent=self.idempotent,
            infrastructure_retries=8,
            deadlines=Deadlines(queue=None, schedule=3600.0, start=3600.0),
        )

    def _init(self, image: str) -> dict[str, Any]:
        return {"name": "prepare", "image": image, "command": ["sh", "-c", _echo(self.init_lines)]}

    def _command(self) -> str:
        """The same in a container that really runs."""
        words = [_echo(self.lines), f"sleep {self.run_seconds:.2f}"]
        if self.result is not None:
            words.append(f"printf %s '{self.result.decode()}' > /airflow/xcom/return.json")
        return "\n".join([*words, f"exit {self.code}"])

    def _script(self) -> dict[str, str]:
        marks = {
            "run-seconds": f"{self.run_seconds:.2f}",
            "exit-code": str(self.code),
            "start-delay-seconds": f"{self.start_delay:.2f}",
        }
        if self.lines and not self.ticks:
            marks["log"] = "\n".join(self.lines)
        if self.init_lines:
            marks["log.prepare"] = "\n".join(self.init_lines)
            marks["run-seconds.prepare"] = "0.3"
        if self.transport == "termination_message" and self.result is not None:
            marks["message"] = self.result.decode()
        if self.transport == "sidecar":
            text = "podbay-result/1 none\n" if self.result is None else frame(self.result)
            marks[f"log.{SIDECAR_NAME}"] = text
            if len(text) < 3000:
                marks[f"message.{SIDECAR_NAME}"] = text
        found = {SCRIPTED + key: value for key, value in marks.items()}
        return {**found, "tests/ticks": "yes"} if self.ticks else found


def _echo(lines: Sequence[str]) -> str:
    return "\n".join(f"echo '{line}'" for line in lines)


def make_tasks(count: int, rng: random.Random, *, longest: float, scripted: bool) -> list[Task]:
    """Tasks of all sorts. Without scripted nodes there is nothing that could tick, evict or preempt."""
    return [_task(number, rng, longest=longest, scripted=scripted) for number in range(count)]


def _task(number: int, rng: random.Random, *, longest: float, scripted: bool) -> Task:
    # Never on a tick, so that it is certain which line was the last.
    run_seconds = round(rng.uniform(0, longest), 1) + 0.05
    pad = "x" * rng.choice([0, 20, 200])
    lines = [f"{number}:{line} {pad}" for line in range(rng.choice([0, 1, 5, 60]))]
    transport: ResultTransport = rng.choice(
        ["none", "none", "none", "sidecar", "sidecar", "termination_message"]
    )
    task = Task(
        number=number,
        run_seconds=run_seconds,
        code=rng.choice([0, 0, 0, 1]),
        lines=lines,
        init_lines=[f"{number}:init {line}" for line in range(3)] if rng.random() < 0.15 else [],
        ticks=scripted and rng.random() < 0.4,
        transport=transport,
        result=_result(number, transport, rng),
        start_delay=rng.uniform(0, 1.5),
        idempotent=rng.random() < 0.1,
    )
    mishaps: list[Mishap] = ["kill", "delete", "eviction API"]
    if scripted:
        mishaps += ["evict", "evict", "preempt", "preempt"]
    if rng.random() < 0.3:
        task.mishap = rng.choice(mishaps)
        task.mishap_after = rng.uniform(0, longest + 2.0)
    if rng.random() < 0.3:
        task.crashes = [rng.uniform(0, longest / 2) for _ in range(rng.choice([1, 1, 2, 3]))]
    return task


def _result(number: int, transport: ResultTransport, rng: random.Random) -> bytes | None:
    if transport == "none" or rng.random() < 0.1:
        return None
    size = rng.choice([0, 100, 1000]) if transport == "termination_message" else rng.choice([0, 1000, 9000])
    return b'{"task": %d, "pad": "%s"}' % (number, b"y" * size)
