"""Short ways to say what a runtime test needs: a pod, a container in it, its end, its log, the output of a command."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from patience import PATIENCE

from podbay.apiserver.streams import ExecSession
from podbay.node.observed import ContainerState, ContainerStatus, LogLine, SandboxStatus
from podbay.node.runtime import Runtime
from podbay.node.specs import ContainerSpec, ExecSpec, LogQuery, SandboxSpec

IMAGE = "localhost/bb:1"
ENDED = (ContainerState.EXITED, ContainerState.UNKNOWN)
_NUMBERS = itertools.count(1)


@dataclass
class PodMaker:
    """Makes pods on one runtime and knows how they end."""

    runtime: Runtime
    image_id: str
    ends: dict[str, asyncio.Future[ContainerStatus]] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def open(cls, runtime: Runtime) -> AsyncIterator[Self]:
        image = await runtime.find_image(IMAGE)
        assert image is not None
        maker = cls(runtime, image.id)
        events = await runtime.events()
        listening = asyncio.ensure_future(maker._listen(events))
        try:
            yield maker
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await events.aclose()

    async def _listen(self, events: Any) -> None:
        async for item in events:
            if isinstance(item, ContainerStatus) and item.state in ENDED:
                end = self._end(item.id)
                if not end.done():
                    end.set_result(item)

    def _end(self, container_id: str) -> asyncio.Future[ContainerStatus]:
        return self.ends.setdefault(container_id, asyncio.get_running_loop().create_future())

    async def sandbox(self, **spec: Any) -> SandboxStatus:
        number = next(_NUMBERS)
        values = {
            "pod_uid": f"uid-{number}",
            "pod_name": f"pod-{number}",
            "pod_namespace": "test",
            "hostname": f"pod-{number}",
        }
        return await self.runtime.create_sandbox(SandboxSpec(**{**values, **spec}))

    def spec(self, *command: str, **values: Any) -> ContainerSpec:
        base = {"name": "main", "image": IMAGE, "image_id": self.image_id, "command": command}
        return ContainerSpec(**{**base, **values})

    async def start(
        self, *command: str, sandbox: SandboxStatus | None = None, **values: Any
    ) -> ContainerStatus:
        """A running container, in a new pod unless one is given."""
        sandbox = sandbox or await self.sandbox()
        created = await self.runtime.create_container(sandbox.id, self.spec(*command, **values))
        return await self.runtime.start_container(created.id)

    async def ended(self, container_id: str) -> ContainerStatus:
        """Its state once it has ended, as an event told."""
        return await asyncio.wait_for(asyncio.shield(self._end(container_id)), PATIENCE)

    async def run(
        self, *command: str, sandbox: SandboxStatus | None = None, **values: Any
    ) -> tuple[int, str]:
        """Exit code and output of a container."""
        started = await self.start(*command, sandbox=sandbox, **values)
        status = await self.ended(started.id)
        return status.exit_code, await self.output(started.id)

    async def shell(self, script: str, **values: Any) -> str:
        """Output of a script in a container that must succeed."""
        code, text = await self.run("sh", "-c", script, **values)
        assert code == 0, text
        return text

    async def lines(self, container_id: str, **query: Any) -> list[LogLine]:
        found: list[LogLine] = []
        async for batch in self.runtime.logs(container_id, LogQuery(**query)):
            found += batch
        return found

    async def output(self, container_id: str) -> str:
        """stdout and stderr together, as text."""
        return text_of(await self.lines(container_id))

    async def until_output(self, container_id: str, text: str) -> None:
        """Wait until a container has written this."""
        async with asyncio.timeout(PATIENCE):
            while text not in await self.output(container_id):
                await asyncio.sleep(0.02)

    async def status(self, container_id: str) -> ContainerStatus:
        state = await self.runtime.list()
        return next(c for c in state.containers if c.id == container_id)

    async def exec(self, container_id: str, *command: str, **values: Any) -> Answer:
        """Run a command to its end, without input."""
        session = await self.runtime.exec(container_id, ExecSpec(command=command, **values))
        return await finish(session)


@dataclass(frozen=True)
class Answer:
    """What a command gave."""

    code: int
    stdout: str
    stderr: str


async def finish(session: ExecSession) -> Answer:
    """Read a session to its end and close it."""
    chunks: Mapping[str, list[bytes]] = {"stdout": [], "stderr": []}
    try:
        async with asyncio.timeout(PATIENCE):
            async for stream, data in session.output():
                chunks[stream].append(data)
            code = await session.wait()
    finally:
        await session.aclose()
    return Answer(code, *(b"".join(chunks[name]).decode("utf-8", "replace") for name in ("stdout", "stderr")))


def text_of(lines: list[LogLine]) -> str:
    """Log lines as the container wrote them."""
    return "".join(line.data.decode("utf-8", "replace") + ("" if line.partial else "\n") for line in lines)
