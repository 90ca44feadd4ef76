"""Components that write to one SQLite file wait for each other, by real locks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import Pool

from podbay.airflow.running import patient_sqlite
from podbay.airflow.running.patient_sqlite import LOCK_SECONDS, wait_for_writers

HELD_SECONDS = 1.0


@pytest.fixture
def patient() -> Iterator[None]:
    wait_for_writers()
    yield
    event.remove(Pool, "connect", patient_sqlite._wait)


def engine(path: Path) -> Engine:
    # What it waits at first is so short that only the patient outlast the other's transaction.
    return create_engine(f"sqlite:///{path}?timeout=0.05")


def write_while_another_writes(path: Path) -> None:
    """Raises OperationalError if it does not wait."""
    holder = engine(path)
    with holder.begin() as connection:
        connection.execute(text("CREATE TABLE birds (name TEXT)"))
    held = threading.Event()

    def hold() -> None:
        with holder.begin() as connection:
            connection.execute(text("INSERT INTO birds VALUES ('wren')"))
            held.set()
            time.sleep(HELD_SECONDS)

    holding = threading.Thread(target=hold)
    holding.start()
    try:
        assert held.wait(30)
        with engine(path).begin() as connection:
            connection.execute(text("INSERT INTO birds VALUES ('robin')"))
    finally:
        holding.join()
    with holder.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM birds")).scalar() == 2


def test_they_wait(patient: None, tmp_path: Path) -> None:
    write_while_another_writes(tmp_path / "a.db")


def test_others_do_not(tmp_path: Path) -> None:
    with pytest.raises(OperationalError, match="locked"):
        write_while_another_writes(tmp_path / "a.db")


def test_how_long(patient: None, tmp_path: Path) -> None:
    with engine(tmp_path / "a.db").connect() as connection:
        assert connection.execute(text("PRAGMA busy_timeout")).scalar() == LOCK_SECONDS * 1000
