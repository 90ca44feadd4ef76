"""pods/log over HTTP: the recorded answers of Kubernetes 1.36, and what clients do to a long answer."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from patience import PATIENCE
from wire_cluster import RUNNING, Wire
from wire_node import LocalNode

from podbay.apiserver.streams import LogOptions
from podbay.objects.meta import Object

pytestmark = pytest.mark.asyncio(loop_scope="package")

RECORDED = Path(__file__).parents[1] / "fidelity" / "kubernetes-1.36.json"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def ended(*names: str) -> Object:
    terminated = {"exitCode": 0, "reason": "Completed", "containerID": "local://1"}
    return {
        "phase": "Succeeded",
        "containerStatuses": [
            {"name": name, "image": "i", "imageID": "i", "state": {"terminated": terminated}}
            for name in names
        ],
    }


def waiting(reason: str) -> Object:
    state = {"waiting": {"reason": reason}}
    return {
        "phase": "Pending",
        "containerStatuses": [{"name": "main", "image": "i", "imageID": "i", "state": state}],
    }


_LINES = [b"line %d\n" % i for i in range(1, 6)] + [b"err\n", b"tail-without-newline"]
CASES: dict[str, tuple[Object, tuple[str, ...], list[bytes]]] = {
    "log-options": (ended("main"), ("main",), _LINES),
    "log-long-line": (ended("main"), ("main",), [b"z" * 40000 + b"\n", b"end\n"]),
    "pod-two": (ended("a", "b"), ("a", "b"), [b"b\n"]),
    "pod-running": (RUNNING, ("main",), []),
    "pod-image-never": (waiting("ErrImageNeverPull"), ("main",), []),
}


def log_steps(case: str) -> list[tuple[str, int, Any]]:
    """Path, status and body of the recorded log requests of a case."""
    found = next(c for c in json.loads(RECORDED.read_text()) if c["id"] == case)
    shown = [step for step in found["steps"] if not step.get("silent")]
    pairs = zip(shown, found["answers"], strict=True)
    return [(step["path"], a["status"], a["body"]) for step, a in pairs if "/p/log" in step.get("path", "")]


@pytest.mark.parametrize("case", CASES)
async def test_recorded_answers(wire: Wire, case: str) -> None:
    status, containers, wire.node.log = CASES[case]
    wire.node.log_ended = True
    await wire.add_namespace(case)
    await wire.add_pod(
        "p", status, namespace=case, containers=[{"name": c, "image": "i"} for c in containers]
    )
    steps = log_steps(case)
    assert steps
    async with wire.client() as client:
        for path, code, body in steps:
            async with client.get(wire.cluster.url + path.replace("{ns}", case)) as answer:
                text = _MOMENT.sub("<t>", await answer.text())
                assert answer.status == code, path
                assert (json.loads(text) if isinstance(body, dict) else text) == body, path


async def test_an_unbound_pod_has_an_empty_log(wire: Wire) -> None:
    await wire.add_pod("unbound", {"phase": "Pending"}, node="")
    async with wire.client() as client, client.get(f"{wire.pods_url}/unbound/log") as answer:
        assert (answer.status, await answer.read()) == (204, b"")


async def test_a_node_that_nobody_serves(wire: Wire) -> None:
    await wire.add_pod("elsewhere", RUNNING, node="elsewhere")
    async with wire.client() as client, client.get(f"{wire.pods_url}/elsewhere/log") as answer:
        assert answer.status == 500
        assert "no agent" in (await answer.json())["message"]


class Endless(LocalNode):
    """A log that never ends, or breaks."""

    breaks = False
    taken = 0

    async def _read_log(self, options: LogOptions) -> AsyncGenerator[bytes, None]:
        self.open.add(options)
        try:
            while True:
                self.taken += 65536
                yield b"x" * 65536
                if self.breaks:
                    raise OSError("the disk is on fire")
        finally:
            self.open.discard(options)


@pytest.fixture
def endless(wire: Wire) -> Endless:
    node = wire.cluster.server.core.nodes["endless"] = Endless()
    return node


async def test_a_client_that_does_not_read_holds_the_log_up(wire: Wire, endless: Endless) -> None:
    await wire.add_pod("slow", RUNNING, node="endless")
    async with wire.client() as client:
        answer = await client.get(f"{wire.pods_url}/slow/log?follow=true")
        assert len(await answer.content.readexactly(100)) == 100
        async with asyncio.timeout(PATIENCE):
            taken = -1
            while taken != endless.taken:
                taken = endless.taken
                await asyncio.sleep(0.3)
        # What the kernel's buffers take, and little more.
        assert taken < 32 * 1024 * 1024
        answer.close()
        await endless.wait_closed()


async def test_a_log_that_breaks_is_cut_off(wire: Wire, endless: Endless) -> None:
    endless.breaks = True
    await wire.add_pod("broken", RUNNING, node="endless")
    async with wire.client() as client, client.get(f"{wire.pods_url}/broken/log") as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    await endless.wait_closed()


async def test_a_silent_log_answers_at_once(wire: Wire) -> None:
    async with wire.client() as client:
        async with asyncio.timeout(PATIENCE), client.get(f"{wire.pods_url}/p/log?follow=true") as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "text/plain"
        await wire.node.wait_closed()
