"""Who writes to a SQLite file waits for the others, in components of a private Airflow that do one thing at a time.

The scheduler writes 10,000 mapped tasks in one transaction; after the 5 s as delivered triggerers ended with "database is
locked". In an API server the short wait stays: its event loop waits there, too, for sessions that only it can end, and a
DAG of 100 tasks on workers stood still for two minutes.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

__all__ = ["LOCK_SECONDS", "wait_for_writers"]

LOCK_SECONDS: Final = 120


def wait_for_writers() -> None:
    """For each connection that is opened in this process from now on."""
    from sqlalchemy import event
    from sqlalchemy.pool import Pool

    event.listen(Pool, "connect", _wait)


def _wait(connection: Any, _: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute(f"PRAGMA busy_timeout = {LOCK_SECONDS * 1000}").close()
