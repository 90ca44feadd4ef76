"""What every answer carries, streams and upgrades as well, and the order of checks of a log request."""

from __future__ import annotations

import pytest
from test_wire_misbehaviour import V4, Spdy, exec_path
from test_wire_websocket import V5
from wire_cluster import Wire

pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest.mark.parametrize("path", ["", "/p", "/nobody", "?watch=1&timeoutSeconds=1", "/p/log"])
async def test_answers_have_an_id_and_name_no_library(wire: Wire, path: str) -> None:
    wire.node.end_log()
    async with wire.client() as client:
        async with client.get(f"{wire.pods_url}{path}", headers={"Audit-ID": "mine"}) as answer:
            assert answer.headers["Audit-Id"] == "mine"
            assert "Server" not in answer.headers
        async with client.get(f"{wire.pods_url}{path}") as answer:
            assert len(answer.headers["Audit-Id"]) == 36


async def test_upgrades_have_an_id_and_name_no_library(wire: Wire) -> None:
    async with wire.client() as client:
        url = f"{wire.pods_url}/p/exec?command=true&stdout=1"
        async with client.ws_connect(url, protocols=(V5,)) as socket:
            headers = socket._response.headers
            assert headers["Audit-Id"] and "Server" not in headers
    spdy, answer = await Spdy.open(wire, exec_path("true"), V4)
    assert b"\r\naudit-id: " in answer.lower()
    assert b"\r\nserver: " not in answer.lower()
    spdy.writer.transport.abort()
    await wire.node.wait_closed()


async def test_options_are_checked_before_the_pod_is_looked_for(wire: Wire) -> None:
    async with wire.client() as client:
        for pod in ("nobody", "p"):
            async with client.get(f"{wire.pods_url}/{pod}/log?tailLines=-1") as answer:
                assert answer.status == 422
                assert (await answer.json())["details"]["name"] == pod
            async with client.get(f"{wire.pods_url}/{pod}/log?limitBytes=x") as answer:
                assert answer.status == 400
        async with client.get(f"{wire.pods_url}/nobody/log?container=x") as answer:
            assert answer.status == 404
