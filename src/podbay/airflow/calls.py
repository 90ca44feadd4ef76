"""What a run asks of Airflow while it goes on: connections, XComs, counts. One interface, two ways to ask.

In the triggerer every question goes to the supervisor over an asynchronous channel, one after the other (about 17 ms
each, airflow.md T10), and kinds it does not know are never answered (T1); only those it knows are here. On a worker, and
in `dag.test()`, the channel is synchronous; a task there has its loop to itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from podbay.airflow.connection import DEFAULT_CONNECTION
from podbay.aws.place import AwsLogin, read_aws_login
from podbay.errors import InvalidInputError

__all__ = ["AirflowCalls", "TaskKey", "TriggererCalls", "WorkerCalls", "key_of"]

CONNECTION_SECONDS: Final = 60.0
"""How long a connection's fields are kept; a changed one counts after that."""
ANSWER_SECONDS: Final = 600.0
"""A supervisor that has not answered by then never will. It may have hundreds of questions to answer before this one, and
wait two minutes for a SQLite file that another process writes to; a task that only waits has not failed."""
STATE_SECONDS: Final = 20.0
"""Asked while a task is ended, for which Airflow gives half a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskKey:
    """One try of one task instance."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int


def key_of(ti: Any) -> TaskKey:
    """From any of Airflow's task instance classes."""
    index = ti.map_index
    return TaskKey(
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        task_id=ti.task_id,
        map_index=-1 if index is None else index,
        try_number=ti.try_number,
    )


class AirflowCalls(Protocol):
    """Raises InvalidInputError where the answer cannot be used, TimeoutError where none comes."""

    async def extras(self, connection: str | None) -> Mapping[str, Any]:
        """The extra fields of a connection; empty for none, and for the default one if it is missing."""
        ...

    async def aws_login(self, connection: str) -> AwsLogin:
        """An AWS connection, asked for anew each time."""
        ...

    async def push(self, key: TaskKey, name: str, value: Any) -> None:
        """Store an XCom of the task itself."""
        ...

    async def pull(self, key: TaskKey, task_id: str, name: str, map_index: int | None = None) -> Any:
        """An XCom of a task of the same run; None when there is none. No index: of a task that is not mapped."""
        ...

    async def delete(self, key: TaskKey, name: str) -> None:
        """Delete an XCom of the task itself, if there is one."""
        ...

    async def count(self, dag_id: str, **conditions: Sequence[str]) -> int:
        """Task instances of a DAG: task_ids, run_ids, states."""
        ...


def _mapped_length(name: str, value: Any) -> int | None:
    return len(value) if name == "return_value" and isinstance(value, list | dict) else None


class TriggererCalls:
    """Inside a triggerer. One for a process."""

    def __init__(self) -> None:
        self._connections: dict[str, tuple[float, Mapping[str, Any]]] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    async def extras(self, connection: str | None) -> Mapping[str, Any]:
        if not connection:
            return {}
        async with self._asking.setdefault(connection, asyncio.Lock()):
            known = self._connections.get(connection)
            if known is not None and time.monotonic() - known[0] < CONNECTION_SECONDS:
                return known[1]
            async with asyncio.timeout(ANSWER_SECONDS):
                found = await _aconnection(connection)
            extras = _missing(connection) if found is None else dict(found.extra_dejson)
            self._connections[connection] = (time.monotonic(), extras)
            return extras

    async def aws_login(self, connection: str) -> AwsLogin:
        async with asyncio.timeout(ANSWER_SECONDS):
            found = await _aconnection(connection)
        if found is None:
            raise _no_aws(connection)
        return _aws_login(connection, found)

    async def push(self, key: TaskKey, name: str, value: Any) -> None:
        from airflow.sdk.execution_time.xcom import XCom

        async with asyncio.timeout(ANSWER_SECONDS):
            await XCom.aset(
                key=name,
                value=value,
                dag_id=key.dag_id,
                task_id=key.task_id,
                run_id=key.run_id,
                map_index=key.map_index,
                _mapped_length=_mapped_length(name, value),
            )

    async def pull(self, key: TaskKey, task_id: str, name: str, map_index: int | None = None) -> Any:
        from airflow.sdk.execution_time.xcom import XCom

        async with asyncio.timeout(ANSWER_SECONDS):
            return await XCom.aget_one(
                key=name, dag_id=key.dag_id, task_id=task_id, run_id=key.run_id, map_index=map_index
            )

    async def delete(self, key: TaskKey, name: str) -> None:
        from airflow.sdk.execution_time import task_runner
        from airflow.sdk.execution_time.comms import DeleteXCom

        message = DeleteXCom(
            key=name, dag_id=key.dag_id, run_id=key.run_id, task_id=key.task_id, map_index=key.map_index
        )
        async with asyncio.timeout(ANSWER_SECONDS):
            await task_runner.SUPERVISOR_COMMS.asend(message)

    async def count(self, dag_id: str, **conditions: Sequence[str]) -> int:
        from airflow.sdk.execution_time import task_runner
        from airflow.sdk.execution_time.comms import GetTICount

        message = GetTICount(dag_id=dag_id, **{name: list(value) for name, value in conditions.items()})
        async with asyncio.timeout(ANSWER_SECONDS):
            answer = await task_runner.SUPERVISOR_COMMS.asend(message)
        return int(answer.count)

    async def state_of(self, key: TaskKey) -> str | None:
        """Of the task instance now; None for one that has none yet."""
        from airflow.sdk.execution_time import task_runner
        from airflow.sdk.execution_time.comms import GetTaskStates

        index = key.map_index if key.map_index >= 0 else None
        message = GetTaskStates(
            dag_id=key.dag_id, task_ids=[key.task_id], run_ids=[key.run_id], map_index=index
        )
        async with asyncio.timeout(STATE_SECONDS):
            answer = await task_runner.SUPERVISOR_COMMS.asend(message)
        name = key.task_id if index is None else f"{key.task_id}_{index}"
        state = answer.task_states.get(key.run_id, {}).get(name)
        return None if state is None else str(state)


async def _aconnection(connection: str) -> Any:
    """None if it does not exist. Airflow's own way of asking says so, too, if nobody answers; then this raises."""
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return await BaseHook.aget_connection(connection)
    except AirflowNotFoundException:
        if await _is_missing(connection):
            return None
        return await BaseHook.aget_connection(connection)


async def _is_missing(connection: str) -> bool:
    from airflow.sdk.exceptions import ErrorType
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import ErrorResponse, GetConnection

    answer = await task_runner.SUPERVISOR_COMMS.asend(GetConnection(conn_id=connection))
    return isinstance(answer, ErrorResponse) and answer.error == ErrorType.CONNECTION_NOT_FOUND


def _aws_login(connection: str, found: Any) -> AwsLogin:
    return read_aws_login(connection, login=found.login, password=found.password, extra=found.extra_dejson)


def _no_aws(connection: str) -> InvalidInputError:
    return InvalidInputError(
        f"connection {connection} does not exist; create it (type: Amazon Web Services), or take aws_conn_id out of "
        "the cluster's connection"
    )


def _missing(connection: str) -> Mapping[str, Any]:
    if connection == DEFAULT_CONNECTION:
        return {}
    raise InvalidInputError(
        f"connection {connection} does not exist; create it (type: Kubernetes Cluster Connection), or correct "
        "kubernetes_conn_id"
    )


class WorkerCalls:
    """On a worker, in `airflow tasks test` and in `dag.test()`."""

    async def extras(self, connection: str | None) -> Mapping[str, Any]:
        from airflow.sdk import BaseHook
        from airflow.sdk.exceptions import AirflowNotFoundException

        if not connection:
            return {}
        try:
            return dict(BaseHook.get_connection(connection).extra_dejson)
        except AirflowNotFoundException:
            return _missing(connection)

    async def aws_login(self, connection: str) -> AwsLogin:
        from airflow.sdk import BaseHook
        from airflow.sdk.exceptions import AirflowNotFoundException

        try:
            return _aws_login(connection, BaseHook.get_connection(connection))
        except AirflowNotFoundException:
            raise _no_aws(connection) from None

    async def push(self, key: TaskKey, name: str, value: Any) -> None:
        from airflow.sdk.execution_time.xcom import XCom

        XCom.set(
            key=name,
            value=value,
            dag_id=key.dag_id,
            task_id=key.task_id,
            run_id=key.run_id,
            map_index=key.map_index,
            _mapped_length=_mapped_length(name, value),
        )

    async def pull(self, key: TaskKey, task_id: str, name: str, map_index: int | None = None) -> Any:
        from airflow.sdk.execution_time.xcom import XCom

        return XCom.get_one(
            key=name, dag_id=key.dag_id, task_id=task_id, run_id=key.run_id, map_index=map_index
        )

    async def delete(self, key: TaskKey, name: str) -> None:
        from airflow.sdk.execution_time.xcom import XCom

        XCom.delete(
            key=name, dag_id=key.dag_id, task_id=key.task_id, run_id=key.run_id, map_index=key.map_index
        )

    async def count(self, dag_id: str, **conditions: Sequence[str]) -> int:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        return int(
            RuntimeTaskInstance.get_ti_count(
                dag_id, **{name: list(each) for name, each in conditions.items()}
            )
        )
