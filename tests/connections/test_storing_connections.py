"""Connections over Airflow's REST API: a server with its few paths over real sockets.

Shapes and status codes: airflow.api_fastapi.core_api.routes.public.connections of Airflow 3.3.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from podbay.aio.clock import SystemClock
from podbay.connections.entry import ConnectionEntry
from podbay.connections.storing import fetch_connection, store_connection
from podbay.errors import AirflowApiError, ConflictError, InvalidInputError
from podbay.healer.airflow_api import AirflowApi, AirflowLogin

ENTRY = ConnectionEntry("k8s", {"kube_config": '{"secret": "word"}', "namespace": "team"}, "Cluster x")


@dataclass
class Airflow:
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    refuse: int = 0
    url: str = ""

    async def log_in(self, _: web.Request) -> web.Response:
        return web.json_response({"access_token": "t"}, status=201)

    async def answer(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer t"
        if self.refuse:
            return web.json_response({"detail": "no"}, status=self.refuse)
        name = request.match_info.get("name", "")
        if request.method == "POST":
            body = await request.json()
            name = body["connection_id"]
            if name in self.known:
                return web.json_response({"detail": {"reason": "Unique constraint violation"}}, status=409)
            self.known[name] = body
            return web.json_response(body, status=201)
        if name not in self.known:
            return web.json_response(
                {"detail": f"The Connection with connection_id: `{name}` was not found"}, status=404
            )
        if request.method == "PATCH":
            self.known[name] |= await request.json()
        return web.json_response(self.known[name])


@pytest_asyncio.fixture
async def airflow() -> AsyncIterator[Airflow]:
    served = Airflow()
    app = web.Application()
    for path in ("/api/v2/connections", "/api/v2/connections/{name}"):
        app.router.add_route("*", path, served.answer)
    app.router.add_get("/auth/token", served.log_in)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield served
    await runner.cleanup()


async def test_made_read_back_and_changed(airflow: Airflow) -> None:
    async with AirflowApi(AirflowLogin(url=airflow.url), SystemClock()) as api:
        assert await store_connection(api, ENTRY, replace=False) == "made"
        assert await fetch_connection(api, "k8s") == ENTRY
        with pytest.raises(ConflictError, match="connection k8s exists in Airflow; change it with --replace"):
            await store_connection(api, ENTRY, replace=False)
        other = ConnectionEntry("k8s", {"in_cluster": True}, "Cluster y")
        assert await store_connection(api, other, replace=True) == "changed"
        assert await fetch_connection(api, "k8s") == other
        with pytest.raises(InvalidInputError, match="Airflow has no connection absent"):
            await fetch_connection(api, "absent")


async def test_a_refusal_says_nothing_of_what_was_sent(airflow: Airflow) -> None:
    airflow.refuse = 403
    async with AirflowApi(AirflowLogin(url=airflow.url), SystemClock()) as api:
        with pytest.raises(AirflowApiError, match="this login may not write connections") as raised:
            await store_connection(api, ENTRY, replace=False)
        assert "word" not in str(raised.value)
        airflow.refuse = 500
        with pytest.raises(AirflowApiError, match="does not give connection k8s: status 500, no"):
            await fetch_connection(api, "k8s")
