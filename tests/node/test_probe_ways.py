"""Probes of pods that this machine reaches by address, and of pods that it reaches through the runtime alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from patience import PATIENCE

from podbay.node.handlers import Handlers, Target
from podbay.node.probes import Answer
from podbay.node.runtime import Runtime
from pods import PodMaker

SERVER = "mkdir /www; echo yes > /www/ok; exec httpd -f -p 8080 -h /www"


class Prober:
    """Asks one container."""

    def __init__(self, runtime: Runtime, target: Target) -> None:
        self._handlers = Handlers(runtime, reaches_pods=False)
        self._target = target

    @classmethod
    async def start(cls, runtime: Runtime, pods: PodMaker) -> Prober:
        sandbox = await pods.sandbox()
        started = await pods.start("sh", "-c", SERVER, sandbox=sandbox)
        return cls(runtime, Target({"spec": {}}, {"name": "main"}, started.id, sandbox, "192.0.2.2"))

    async def ask(self, **probe: Any) -> Answer:
        return await self._handlers.probe(self._target, {"timeoutSeconds": 60, **probe})

    async def until_it_listens(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while not (await self.ask(tcpSocket={"port": 8080})).healthy:
                await asyncio.sleep(0.05)


@pytest.fixture
async def prober(runtime: Runtime, pods: PodMaker) -> Prober:
    return await Prober.start(runtime, pods)


async def test_through_the_runtime(prober: Prober) -> None:
    await prober.until_it_listens()
    assert (await prober.ask(httpGet={"path": "/ok", "port": 8080})).healthy
    assert await prober.ask(httpGet={"path": "/none", "port": 8080}) == Answer(
        False, "HTTP probe failed with statuscode: 404"
    )


async def test_a_server_that_is_not_there(prober: Prober) -> None:
    refused = await prober.ask(tcpSocket={"port": 8181})
    assert not refused.healthy and refused.text.endswith(":8181: connect: connection refused")
    refused = await prober.ask(httpGet={"port": 8181})
    assert not refused.healthy and refused.text.endswith(":8181: connect: connection refused")
    assert not (await prober.ask(grpc={"port": 8181})).healthy


async def test_a_server_that_speaks_something_else(prober: Prober) -> None:
    await prober.until_it_listens()
    assert not (await prober.ask(httpGet={"port": 8080, "scheme": "HTTPS"})).healthy
    assert not (await prober.ask(grpc={"port": 8080})).healthy


async def test_a_host_that_the_probe_names_is_asked_from_here(prober: Prober) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert (await prober.ask(tcpSocket={"port": port, "host": "127.0.0.1"})).healthy
        assert not (await prober.ask(tcpSocket={"port": port})).healthy
