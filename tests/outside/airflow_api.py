"""Airflow's public REST API, as far as tests look at it: start a run, wait for a task, read its log and result."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

__all__ = ["AirflowApi", "Run", "Task"]

FINAL = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


@dataclass(frozen=True)
class Task:
    """A task that has ended."""

    state: str
    tries: int
    log: str
    """The log of its last try, one event a line."""
    result: Any
    """Its XCom `return_value`; None without one."""
    fields: dict[str, Any]


class AirflowApi:
    """The API server of one deployment, as its administrator."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._token = ""

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The parsed answer; None for 404 and for an empty one. Raises HTTPError for other refusals, OSError when it cannot be reached."""
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Accept", "application/json")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                text = response.read()
                return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def log_in(self) -> None:
        self._token = self.call("GET", "/auth/token")["access_token"]

    def healthy(self) -> bool:
        """Whether every component of the deployment has reported."""
        try:
            found = self.call("GET", "/api/v2/monitor/health")
        except OSError:
            return False
        return all(found[part]["status"] == "healthy" for part in ("scheduler", "triggerer", "dag_processor"))

    def has_dag(self, dag_id: str) -> bool:
        return self.call("GET", f"/api/v2/dags/{dag_id}") is not None

    def trigger(self, dag_id: str, **conf: Any) -> Run:
        answer = self.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf})
        return Run(self, dag_id, answer["dag_run_id"])


class Run:
    """One run of a DAG."""

    def __init__(self, api: AirflowApi, dag_id: str, run_id: str) -> None:
        self._api = api
        self.dag_id = dag_id
        self.run_id = run_id
        self._path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}"

    def states(self) -> dict[str, str | None]:
        """The state of each task by its id."""
        found = self._api.call("GET", f"{self._path}/taskInstances")["task_instances"]
        return {task["task_id"]: task["state"] for task in found}

    def wait_for(
        self, task_id: str, states: set[str] | frozenset[str], *, seconds: float = 400, map_index: int = -1
    ) -> str:
        """Wait until the task is in one of the states; which one. Raises TimeoutError with all states."""
        deadline = time.monotonic() + seconds
        while True:
            if map_index < 0:
                now = self.states()
                state = now.get(task_id)
            else:
                found = self._api.call("GET", self._instance(task_id, map_index))
                now = {task_id: found and found["state"]}
                state = now[task_id]
            if state in states:
                return str(state)
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{self.dag_id}.{task_id} is {state!r} after {seconds:.0f} s, not one of {sorted(states)}; "
                    f"all: {now}; its log:\n{self.log(task_id, 1, map_index=map_index)}"
                )
            time.sleep(0.3)

    def task(self, task_id: str, *, seconds: float = 400, map_index: int = -1) -> Task:
        """Wait for a task's end."""
        self.wait_for(task_id, FINAL, seconds=seconds, map_index=map_index)
        fields = self.fields(task_id, map_index=map_index)
        tries = fields["try_number"]
        result = self.xcom(task_id, "return_value", map_index=map_index)
        return Task(fields["state"], tries, self.log(task_id, tries, map_index=map_index), result, fields)

    def fields(self, task_id: str, *, map_index: int = -1) -> dict[str, Any]:
        """The task instance as the API shows it now."""
        found: dict[str, Any] = self._api.call("GET", self._instance(task_id, map_index))
        return found

    def xcom(self, task_id: str, key: str, *, map_index: int = -1) -> Any:
        """The value of an XCom; None when there is none."""
        path = f"{self._path}/taskInstances/{task_id}/xcomEntries/{key}?map_index={map_index}"
        found = self._api.call("GET", path)
        return found["value"] if found else None

    def _instance(self, task_id: str, map_index: int) -> str:
        return f"{self._path}/taskInstances/{task_id}" + (f"/{map_index}" if map_index >= 0 else "")

    def mark(self, task_id: str, state: str) -> None:
        """Do what the button of the same name does."""
        self._api.call("PATCH", f"{self._path}/taskInstances/{task_id}", {"new_state": state})

    def clear(self, *task_ids: str) -> None:
        """Have tasks run again, whatever their states."""
        body = {"dry_run": False, "only_failed": False, "dag_run_id": self.run_id, "task_ids": task_ids}
        self._api.call("POST", f"/api/v2/dags/{self.dag_id}/clearTaskInstances", body)

    def log(self, task_id: str, number: int, *, map_index: int = -1) -> str:
        """The log of one try."""
        path = f"{self._path}/taskInstances/{task_id}/logs/{number}?full_content=true&map_index={map_index}"
        found = self._api.call("GET", path)
        events = found["content"] if found else []
        return "\n".join(_line(event) for event in events)


def _line(event: Any) -> str:
    if not isinstance(event, dict):
        return str(event)
    line = str(event.get("event", ""))
    for detail in event.get("error_detail") or ():
        line += f"\n{detail.get('exc_type')}: {detail.get('exc_value')}"
    return line
