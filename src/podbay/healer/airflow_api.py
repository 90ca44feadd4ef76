"""Task instances over Airflow's REST API v2: login by token, pages by cursor, single ones.

An answer is whole or it is none (spec 23): one page that is missing, a version that we do not know or a refusal of the
list make it incomplete, and then nothing is done. A task instance counts as absent only when Airflow itself says so of
exactly that one; a 404 of a proxy, or one that hides what a login may not see, says nothing.
Source: airflow.api_fastapi.core_api.routes.public.task_instances, auth.managers.simple.routes.login.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

import aiohttp
import orjson
from yarl import URL

from podbay.aio.clock import Clock
from podbay.errors import AirflowApiError, ClosedError
from podbay.healer.decide import Questions
from podbay.healer.world import AirflowAnswer, TaskInstance, TaskKey
from podbay.lifecycle.view import parse_time

__all__ = ["AirflowApi", "AirflowLogin"]

ACTIVE: Final = (
    "scheduled",
    "queued",
    "running",
    "restarting",
    "up_for_retry",
    "up_for_reschedule",
    "deferred",
)
"""States that are listed; one that is not among them is found when it is asked for."""
PAGE: Final = 100
"""Airflow's own limit by default ([api] maximum_page_limit); it cuts more without a word."""
PAGES: Final = 1000
NOTE_MAX: Final = 1000
"""Characters of a note (PatchTaskInstanceBody)."""
SECONDS: Final = 30.0
LOOKUPS: Final = 8
"""At once; Airflow serves people as well."""
_MARGIN: Final = timedelta(hours=1)
"""A task instance may have been changed last so long before its pod was made."""
_TOO_OLD_SECONDS: Final = 3600.0
"""After which a list that was too long is asked for once more."""
_ABSENT: Final = re.compile(r"^The (Mapped )?Task Instance with dag_id: .* was not found$", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowLogin:
    """Where and as whom. Without user name and token: an Airflow that gives everybody a token."""

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


class _TooManyError(AirflowApiError):
    """A list goes on beyond what is read of one."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: Any
    date: datetime | None


class AirflowApi:
    """One Airflow. Use with `async with`."""

    def __init__(self, login: AirflowLogin, clock: Clock, *, seconds: float = SECONDS) -> None:
        self._login = login
        self._base = login.url.rstrip("/")
        self._clock = clock
        self._seconds = seconds
        self._token = login.token
        self._session: aiohttp.ClientSession | None = None
        self._now: datetime | None = None
        self._too_old, self._too_old_until = 0.0, 0.0

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=self._seconds)
        self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def answer(self, ask: Callable[[AirflowAnswer], Questions]) -> AirflowAnswer:
        """Active task instances, and what `ask` wants to know besides once it has seen them. Never raises for Airflow's sake."""
        began = self._clock.monotonic()
        left_open = ""
        try:
            await self._check_version()
            tasks = {task.key: task for task in await self._pages([("state", each) for each in ACTIVE])}
            first = AirflowAnswer(tasks=tasks, complete=True, began_at=began, now=self._airflow_now())
            wanted = ask(first)
            if wanted.oldest_age:
                ended, left_open = await self._ended(first.now, wanted.oldest_age)
                # Between the two lists it may have ended or begun; the later answer is the true one.
                tasks |= {task.key: task for task in ended}
            looked = await self._look_all(wanted.tasks - tasks.keys())
            retries = {each: await self._retries(*each) for each in sorted(wanted.retries_of)}
        except AirflowApiError as error:
            return AirflowAnswer(trouble=str(error), began_at=began)
        tasks |= {key: task for key, task in looked.items() if task is not None}
        absent = frozenset(key for key, task in looked.items() if task is None)
        return AirflowAnswer(
            tasks=tasks,
            absent=absent,
            complete=True,
            left_open=left_open,
            retries={each: count for each, count in retries.items() if count is not None},
            began_at=began,
            now=self._airflow_now(),
        )

    async def _ended(self, now: datetime, age: float) -> tuple[list[TaskInstance], str]:
        """All that were changed since a pod of that age was made, or why they are not told."""
        moment = self._clock.monotonic()
        if age < self._too_old or moment >= self._too_old_until:
            try:
                return await self.changed_since(now - timedelta(seconds=age) - _MARGIN), ""
            except _TooManyError:
                # A thousand requests for nothing, each round: it gets no shorter soon.
                self._too_old, self._too_old_until = age, moment + _TOO_OLD_SECONDS
        return [], f"Airflow has more than {PAGES * PAGE:,} task instances since the oldest of them was made"

    async def look(self, key: TaskKey) -> TaskInstance | None:
        """One task instance; None when Airflow says that there is none. Raises AirflowApiError otherwise."""
        answer = await self._call("GET", _path(key))
        if answer.status == 200:
            return _task(answer.body)
        detail = answer.body.get("detail") if isinstance(answer.body, dict) else None
        if answer.status == 404 and isinstance(detail, str) and _ABSENT.match(detail):
            return None
        raise AirflowApiError(f"Airflow does not tell of task {key}: {_said(answer)}")

    async def changed_since(self, time: datetime) -> list[TaskInstance]:
        """All task instances that were made or changed since then, by Airflow's clock. Raises AirflowApiError."""
        return await self._pages([("updated_at_gte", time.isoformat())])

    async def fail(self, key: TaskKey, note: str) -> None:
        """Set a task instance to failed. Raises AirflowApiError."""
        body = {"new_state": "failed", "note": note[:NOTE_MAX]}
        answer = await self._call("PATCH", _path(key), body)
        if answer.status != 200:
            raise AirflowApiError(f"Airflow does not set task {key} to failed: {_said(answer)}")

    async def retry(self, key: TaskKey) -> None:
        """Give a task instance another try, as clearing it by hand does. Raises AirflowApiError."""
        one: list[Any] = [key.task_id, key.map_index] if key.map_index >= 0 else [key.task_id]
        body = {
            "dry_run": False,
            "only_failed": False,
            "dag_run_id": key.run_id,
            "task_ids": [one] if key.map_index >= 0 else one,
        }
        answer = await self._call(
            "POST", f"/api/v2/dags/{quote(key.dag_id, safe='')}/clearTaskInstances", body
        )
        if answer.status != 200:
            raise AirflowApiError(f"Airflow does not give task {key} another try: {_said(answer)}")

    async def note(self, key: TaskKey, text: str) -> None:
        """Add a line to the note of a task instance, after what others have written there. Raises AirflowApiError.

        What does not fit any more is left out: the note is people's.
        """
        found = await self._call("GET", _path(key))
        if found.status != 200 or not isinstance(found.body, dict):
            raise AirflowApiError(f"Airflow does not tell of task {key}: {_said(found)}")
        before = found.body.get("note") or ""
        after = f"{before}\n{text}" if before else text
        if len(after) > NOTE_MAX:
            return
        answer = await self._call("PATCH", _path(key), {"note": after})
        if answer.status != 200:
            raise AirflowApiError(f"Airflow does not take a note of task {key}: {_said(answer)}")

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of any other request. Raises AirflowApiError when there is no answer."""
        answer = await self._call(method, path, body)
        return answer.status, answer.body

    async def _look_all(self, keys: Iterable[TaskKey]) -> dict[TaskKey, TaskInstance | None]:
        slots = asyncio.Semaphore(LOOKUPS)
        found: dict[TaskKey, TaskInstance | None] = {}

        async def one(key: TaskKey) -> None:
            async with slots:
                answer = await self._call("GET", _path(key))
            if answer.status >= 500 or answer.status == 401:
                raise AirflowApiError(f"Airflow does not tell of task {key}: {_said(answer)}")
            detail = answer.body.get("detail") if isinstance(answer.body, dict) else None
            if answer.status == 200:
                task = _task(answer.body)
                if task.key != key:
                    raise AirflowApiError(f"Airflow tells of task {task.key} when asked for {key}")
                found[key] = task
            elif answer.status == 404 and isinstance(detail, str) and _ABSENT.match(detail):
                found[key] = None
            # Anything else leaves it open, and its pod alone.

        try:
            async with asyncio.TaskGroup() as group:
                for key in keys:
                    group.create_task(one(key))
        except BaseExceptionGroup as errors:
            # The first one ended the others; several may have failed at once, for the same reason. In `except*` the error
            # would come in a group of its own.
            known, others = errors.split(AirflowApiError)
            if known is None or others is not None:
                raise
            raise known.exceptions[0] from None
        return found

    async def _retries(self, dag_id: str, task_id: str) -> int | None:
        """Of a task in the latest version of its DAG; None where that is not told."""
        path = f"/api/v2/dags/{quote(dag_id, safe='')}/tasks/{quote(task_id, safe='')}"
        answer = await self._call("GET", path)
        retries = answer.body.get("retries") if isinstance(answer.body, dict) else None
        return int(retries) if answer.status == 200 and isinstance(retries, int | float) else None

    async def _pages(self, query: list[tuple[str, str]]) -> list[TaskInstance]:
        found: list[TaskInstance] = []
        cursor = ""
        for _ in range(PAGES):
            # By id, which no task instance changes while it is at the same try.
            asked = urlencode([*query, ("order_by", "id"), ("limit", str(PAGE)), ("cursor", cursor)])
            answer = await self._call("GET", f"/api/v2/dags/~/dagRuns/~/taskInstances?{asked}")
            if answer.status != 200:
                raise AirflowApiError(f"Airflow does not list task instances: {_said(answer)}")
            body = answer.body
            if not isinstance(body, dict) or "next_cursor" not in body or "task_instances" not in body:
                raise AirflowApiError("Airflow's list of task instances has no cursor; Airflow 3.3 is needed")
            if not isinstance(body["task_instances"], list):
                raise AirflowApiError("Airflow's list of task instances is none")
            found += [_task(each) for each in body["task_instances"]]
            following = body["next_cursor"]
            if following is None:
                return found
            if not isinstance(following, str) or following == cursor:
                raise AirflowApiError("Airflow's list of task instances does not end")
            cursor = following
        raise _TooManyError(f"Airflow has more than {PAGES * PAGE:,} task instances to look at")

    async def _check_version(self) -> None:
        answer = await self._call("GET", "/api/v2/version")
        version = answer.body.get("version") if isinstance(answer.body, dict) else None
        if answer.status != 200 or not isinstance(version, str):
            raise AirflowApiError(
                f"{self._base} does not answer as an Airflow 3: {_said(answer)}. --airflow-url names it"
            )
        if not version.startswith("3."):
            raise AirflowApiError(f"{self._base} is Airflow {version[:40]}; the healer knows 3 alone")

    def _airflow_now(self) -> datetime:
        if self._now is None:
            raise AirflowApiError("Airflow's answers carry no Date; ages of its task instances mean nothing")
        return self._now

    async def _call(self, method: str, path: str, body: Any = None) -> _Answer:
        if not self._token:
            await self._log_in()
        answer = await self._send(method, path, body, self._token)
        if answer.status == 401 and not self._login.token:
            # Tokens end after a day; a new one costs a request.
            await self._log_in()
            answer = await self._send(method, path, body, self._token)
        self._now = answer.date
        return answer

    async def _log_in(self) -> None:
        login = self._login
        if login.username:
            body = {"username": login.username, "password": login.password}
            answer = await self._send("POST", "/auth/token", body, "")
        else:
            answer = await self._send("GET", "/auth/token", None, "")
        token = answer.body.get("access_token") if isinstance(answer.body, Mapping) else None
        if answer.status not in (200, 201) or not isinstance(token, str):
            refused = answer.status in (401, 403)
            said = "refuses the login" if refused else "gives no token: status"
            # What it said besides may repeat the password.
            raise AirflowApiError(
                f"{self._base} {said} {f'({answer.status})' if refused else answer.status}. "
                "Check --airflow-user and PODBAY_AIRFLOW_PASSWORD, or give PODBAY_AIRFLOW_TOKEN"
            )
        self._token = token

    async def _send(self, method: str, path: str, body: Any, token: str) -> _Answer:
        if self._session is None:
            raise ClosedError("AirflowApi is used outside its `async with` block")
        headers = {"Accept": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = orjson.dumps(body)
        url = URL(self._base + path, encoded=True)
        try:
            async with self._session.request(
                method, url, data=data, headers=headers, allow_redirects=False
            ) as response:
                raw = await response.read()
                return _Answer(response.status, _json(raw), _date(response.headers.get("Date")))
        except TimeoutError:
            raise AirflowApiError(f"Airflow at {self._base} took more than {self._seconds:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise AirflowApiError(
                f"Airflow at {self._base} cannot be reached: {type(error).__name__}"
            ) from None


def _path(key: TaskKey) -> str:
    parts = [quote(each, safe="") for each in (key.dag_id, key.run_id, key.task_id)]
    path = f"/api/v2/dags/{parts[0]}/dagRuns/{parts[1]}/taskInstances/{parts[2]}"
    return f"{path}/{key.map_index}" if key.map_index >= 0 else path


def _task(body: Any) -> TaskInstance:
    try:
        ids = (body["dag_id"], body["dag_run_id"], body["task_id"])
        state, number, index = body["state"], body["try_number"], body["map_index"]
        if not (all(isinstance(each, str) for each in ids) and isinstance(state, str | None)):
            raise TypeError
        ended = body.get("end_date")
        return TaskInstance(
            key=TaskKey(*ids, int(index)),
            state=state,
            try_number=int(number),
            ended_at=_aware(parse_time(ended)),
            has_trigger=body.get("trigger") is not None,
            max_tries=int(body.get("max_tries") or 0),
        )
    except (KeyError, TypeError, ValueError):
        raise AirflowApiError("Airflow tells of a task instance in a shape that is not known here") from None


def _aware(time: datetime | None) -> datetime | None:
    return time if time is not None and time.tzinfo is not None else None


def _json(raw: bytes) -> Any:
    try:
        return orjson.loads(raw) if raw else None
    except orjson.JSONDecodeError:
        return None


def _date(text: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(text) if text else None
    except ValueError:
        return None


def _said(answer: _Answer) -> str:
    detail = answer.body.get("detail") if isinstance(answer.body, dict) else None
    return f"status {answer.status}" + (f", {detail[:200]}" if isinstance(detail, str) else "")
