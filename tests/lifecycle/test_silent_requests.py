"""Requests of one pod's run to a server that does not answer them."""

from __future__ import annotations

import asyncio

import pytest
from patience import PATIENCE

from podbay.aio.clock import SystemClock
from podbay.kube import client as kube_client
from podbay.kube.client import KubeClient
from podbay.kube.config import ClusterConfig
from podbay.kube.looks import Looks
from podbay.lifecycle import requests
from podbay.lifecycle import state as s
from podbay.lifecycle.requests import PodRequests


async def test_a_result_that_nobody_gives_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requests, "RESULT_SECONDS", 0.5)
    monkeypatch.setattr(kube_client, "ANSWER_SECONDS", 0.3)
    asked = 0

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.readuntil(b"\r\n\r\n")
        asked += 1
        await reader.read()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    clock = SystemClock()
    try:
        port = server.sockets[0].getsockname()[1]
        async with KubeClient(ClusterConfig(server=f"http://127.0.0.1:{port}"), clock) as client:
            pod = PodRequests(client, clock, "base", Looks(client, clock))
            event = await asyncio.wait_for(pod.result("n", "p"), PATIENCE)
    finally:
        server.close()
    assert isinstance(event, s.ResultRead)
    assert event.reading.state == "missing"
    assert asked >= 2
