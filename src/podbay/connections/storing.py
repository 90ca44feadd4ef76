"""Connections by Airflow's REST API. Source: airflow.api_fastapi.core_api.routes.public.connections."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias
from urllib.parse import quote

from podbay.connections.entry import ConnectionEntry, read_entry
from podbay.errors import AirflowApiError, ConflictError, InvalidInputError
from podbay.healer.airflow_api import AirflowApi

__all__ = ["Stored", "fetch_connection", "store_connection"]

Stored: TypeAlias = Literal["made", "changed"]
_PATH: Final = "/api/v2/connections"


async def store_connection(api: AirflowApi, entry: ConnectionEntry, *, replace: bool) -> Stored:
    """Write it. Raises ConflictError for one that exists and may not be replaced, AirflowApiError."""
    body = entry.rest_body()
    status, said = await api.ask("POST", _PATH, body)
    if status in (200, 201):
        return "made"
    if status != 409:
        raise AirflowApiError(f"Airflow does not take connection {entry.name}: {_words(status, said)}")
    if not replace:
        raise ConflictError(f"connection {entry.name} exists in Airflow; change it with --replace")
    status, said = await api.ask("PATCH", f"{_PATH}/{quote(entry.name, safe='')}", body)
    if status != 200:
        raise AirflowApiError(f"Airflow does not change connection {entry.name}: {_words(status, said)}")
    return "changed"


async def fetch_connection(api: AirflowApi, name: str) -> ConnectionEntry:
    """As Airflow has it. Raises InvalidInputError when it has none, AirflowApiError."""
    status, said = await api.ask("GET", f"{_PATH}/{quote(name, safe='')}")
    if status == 404:
        raise InvalidInputError(f"Airflow has no connection {name}")
    if status != 200 or not isinstance(said, dict):
        raise AirflowApiError(f"Airflow does not give connection {name}: {_words(status, said)}")
    return read_entry(name, said)


def _words(status: int, body: object) -> str:
    detail = body.get("detail") if isinstance(body, dict) else None
    if status == 403:
        return "status 403: this login may not write connections; an Admin's or Op's may"
    # Details of a refused body repeat it, and it may hold secrets.
    return f"status {status}" + (f", {detail[:200]}" if isinstance(detail, str) else "")
