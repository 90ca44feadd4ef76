"""What the service says of its rounds, and of itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from typing import Any, cast

import aiohttp
import pytest
from typer.main import get_command

from podbay.aio.clock import SystemClock
from podbay.aio.virtual import VirtualClock
from podbay.cli.heal import app
from podbay.errors import AirflowApiError, ConflictError, PodbayError
from podbay.healer.decide import Decision
from podbay.healer.endpoint import serve as serve_endpoint
from podbay.healer.leader import Leader
from podbay.healer.manifests import healer_objects
from podbay.healer.reconciler import Reconciler, Round
from podbay.healer.service import Service


class Rounds:
    """In place of a reconciler: one result after the other, the last one for ever."""

    def __init__(self, results: Iterable[Decision | PodbayError]) -> None:
        self._results = list(results)
        self.over = asyncio.Event()

    async def round(self, **_: Any) -> Round:
        result = self._results.pop(0) if len(self._results) > 1 else self._results[0]
        if len(self._results) == 1:
            self.over.set()
        if isinstance(result, PodbayError):
            raise result
        return Round(decision=result, done=(), pods=1, seconds=0.1)


class Alone:
    """In place of a leader: there is no other."""

    leads = True

    async def compete(self) -> bool:
        return True

    async def release(self) -> None:
        pass


async def serve(*results: Decision | PodbayError) -> Service:
    """As a service is after these rounds."""
    rounds = Rounds([*results, Decision()])
    service = Service(cast(Reconciler, rounds), cast(Leader, Alone()), SystemClock(), interval=0.001)
    running = asyncio.create_task(service.run())
    async with asyncio.timeout(10):
        await rounds.over.wait()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    return service


async def get(port: int, path: str, address: str = "127.0.0.1") -> tuple[int, str]:
    async with aiohttp.ClientSession() as http, http.get(f"http://{address}:{port}{path}") as answer:
        return answer.status, await answer.text()


async def test_a_new_process_is_asked_for_only_where_it_would_help() -> None:
    clock = VirtualClock()
    rounds = cast(Reconciler, Rounds([AirflowApiError("no Airflow")]))
    service = Service(rounds, cast(Leader, Alone()), clock, interval=30)
    async with serve_endpoint(0, service.metrics.text, service.ailment, service.hang) as port:
        running = asyncio.create_task(service.run())
        for _ in range(100):
            await clock.advance(30)
        assert await get(port, "/healthz") == (503, "no round for 3000 s\n")
        assert await get(port, "/livez") == (200, "ok\n")
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await clock.advance(1800)
        assert (await get(port, "/livez"))[0] == 200
        await clock.advance(100)
        assert await get(port, "/livez") == (503, "nothing for 1900 s\n")


async def test_it_listens_where_it_is_told() -> None:
    async with serve_endpoint(0, str, str, address="127.0.0.2") as port:
        assert await get(port, "/healthz", "127.0.0.2") == (200, "ok\n")
        with pytest.raises(aiohttp.ClientConnectorError):
            await get(port, "/healthz")
        with pytest.raises(ConflictError, match=f"port {port} is taken"):
            await AsyncExitStack().enter_async_context(serve_endpoint(port, str, str, address="127.0.0.2"))
    with pytest.raises(ConflictError, match=r"--metrics-address 192\.0\.2\.1: cannot listen there"):
        await AsyncExitStack().enter_async_context(serve_endpoint(0, str, str, address="192.0.2.1"))


def test_the_manifests_let_a_kubelet_ask() -> None:
    objects = healer_objects(
        deployment="prod", namespace="team", image="x", airflow_url="http://a", login="login"
    )
    [container] = objects[-1]["spec"]["template"]["spec"]["containers"]
    [port] = container["ports"]
    probe = container["livenessProbe"]["httpGet"]
    assert (probe["path"], probe["port"]) == ("/livez", port["name"])
    args = container["args"]
    assert args[args.index("--metrics-port") + 1] == str(port["containerPort"])
    assert args[args.index("--metrics-address") + 1] == "$(POD_IP)"
    assert container["env"][0]["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    known = {name for option in get_command(app).params for name in option.opts}
    assert {each for each in args if each.startswith("--")} <= known


async def test_what_was_left_open_is_said_once_and_is_no_ailment(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    ill = Decision(stopped="no answer")
    await serve(*[Decision(left_open=f"{n} pods are not judged") for n in (2, 2, 3)], Decision(), ill, ill)
    said = [each.getMessage() for each in caplog.records if each.name == "podbay.healer"]
    assert said == ["left open: 2 pods are not judged", "held back: no answer"]
