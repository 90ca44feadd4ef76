"""A server with the few paths of Airflow's REST API that the healer asks, over real sockets, and the faults it must stand.

Shapes, words and status codes: airflow.api_fastapi.core_api.routes.public.task_instances of Airflow 3.3.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

__all__ = ["ScriptedAirflow", "scripted_airflow"]


@dataclass
class ScriptedAirflow:
    """Its task instances by (dag, run, task, map index), and what it does wrong."""

    tasks: dict[tuple[str, str, str, int], dict[str, Any]] = field(default_factory=dict)
    retries: dict[tuple[str, str], int] = field(default_factory=dict)
    """Of tasks, by (dag, task)."""
    url: str = ""
    version: str = "3.3.2"
    token: str = "t-1"
    password: str = "secret-word"
    page: int = 100
    broken: dict[str, int] = field(default_factory=dict)
    """A part of a path to the status it answers with."""
    hang: bool = False
    hanging: set[str] = field(default_factory=set)
    """Tasks that it does not answer for."""
    ends_while_paging: tuple[str, str, str, int] | None = None
    """A task instance that ends once the first page of a list was answered."""
    forget_cursor: bool = False
    refuses_notes: bool = False
    requests: list[str] = field(default_factory=list)
    cleared: list[Any] = field(default_factory=list)
    patched: list[tuple[str, Any]] = field(default_factory=list)

    def put(self, dag: str, run: str, task: str, state: str | None, **more: Any) -> None:
        index = more.pop("map_index", -1)
        self.tasks[dag, run, task, index] = {
            "id": f"{len(self.tasks):08}",
            "dag_id": dag,
            "dag_run_id": run,
            "task_id": task,
            "map_index": index,
            "state": state,
            "try_number": 1,
            "end_date": None,
            "trigger": None,
            **more,
        }

    def _refuse(self, request: web.Request) -> web.Response | None:
        self.requests.append(f"{request.method} {request.rel_url.raw_path_qs}")
        for part, status in self.broken.items():
            if part in request.path_qs:
                return web.json_response({"detail": "broken"}, status=status)
        if request.path.startswith("/api/v2/dags") and (
            request.headers.get("Authorization") != f"Bearer {self.token}"
        ):
            return web.json_response({"detail": "Invalid JWT token"}, status=401)
        return None

    async def version_of(self, request: web.Request) -> web.Response:
        return self._refuse(request) or web.json_response({"version": self.version, "git_version": None})

    async def log_in(self, request: web.Request) -> web.Response:
        if refused := self._refuse(request):
            return refused
        if request.method == "POST" and (await request.json()).get("password") != self.password:
            return web.json_response({"detail": "Invalid credentials secret-word"}, status=401)
        return web.json_response({"access_token": self.token}, status=201)

    async def list(self, request: web.Request) -> web.Response:
        if self.hang:
            await asyncio.sleep(3600)
        if refused := self._refuse(request):
            return refused
        states = request.query.getall("state", [])
        since = request.query.get("updated_at_gte", "")
        found = sorted(
            (
                each
                for each in self.tasks.values()
                if (not states or each["state"] in states) and each.get("updated_at", since) >= since
            ),
            key=lambda each: each["id"],
        )
        cursor = request.query["cursor"]
        later = [each for each in found if each["id"] > cursor]
        page = later[: min(self.page, int(request.query["limit"]))]
        body: dict[str, Any] = {"task_instances": page, "total_entries": len(found)}
        if not self.forget_cursor:
            body["next_cursor"] = page[-1]["id"] if len(later) > len(page) else None
        answer = web.json_response(body)
        if self.ends_while_paging is not None:
            self.tasks[self.ends_while_paging]["state"] = "success"
        return answer

    async def clear(self, request: web.Request) -> web.Response:
        if refused := self._refuse(request):
            return refused
        dag, body = request.match_info["dag"], await request.json()
        self.cleared.append((dag, body))
        for each in body["task_ids"]:
            task_id, index = each if isinstance(each, list) else (each, -1)
            task = self.tasks[dag, body["dag_run_id"], task_id, index]
            # models.taskinstance.clear_task_instances: all retries anew, counted from here.
            task["max_tries"] = task["try_number"] + self.retries.get((dag, task_id), 0)
            task["state"] = None
        return web.json_response({"task_instances": [], "total_entries": 1})

    async def task(self, request: web.Request) -> web.Response:
        if refused := self._refuse(request):
            return refused
        retries = self.retries.get((request.match_info["dag"], request.match_info["task"]))
        if retries is None:
            return web.json_response({"detail": "Task with id was not found"}, status=404)
        return web.json_response({"retries": float(retries)})

    async def one(self, request: web.Request) -> web.Response:
        if refused := self._refuse(request):
            return refused
        info = request.match_info
        if info["task"] in self.hanging:
            await asyncio.sleep(3600)
        index = int(info.get("index", "-1"))
        task = self.tasks.get((info["dag"], info["run"], info["task"], index))
        if task is None:
            mapped = "" if index < 0 else "Mapped "
            ids = f"dag_id: `{info['dag']}`, run_id: `{info['run']}` and task_id: `{info['task']}`"
            detail = f"The {mapped}Task Instance with {ids} was not found"
            return web.json_response({"detail": detail}, status=404)
        if request.method == "PATCH":
            body = await request.json()
            if self.refuses_notes and "new_state" not in body:
                return web.json_response({"detail": "Forbidden"}, status=403)
            self.patched.append((info["task"], body))
            task["state"] = body.get("new_state", task["state"])
            task["note"] = body.get("note", task.get("note"))
        return web.json_response(task)


@asynccontextmanager
async def scripted_airflow() -> AsyncIterator[ScriptedAirflow]:
    """On a port of its own of 127.0.0.1."""
    found = ScriptedAirflow()
    app = web.Application()
    one = "/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}"
    app.add_routes(
        [
            web.get("/api/v2/version", found.version_of),
            web.route("*", "/auth/token", found.log_in),
            web.get("/api/v2/dags/~/dagRuns/~/taskInstances", found.list),
            web.post("/api/v2/dags/{dag}/clearTaskInstances", found.clear),
            web.get("/api/v2/dags/{dag}/tasks/{task}", found.task),
            web.route("*", one, found.one),
            web.route("*", one + "/{index}", found.one),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield found
    finally:
        await runner.cleanup()
