"""`podbay up` and `podbay run` with PostgreSQL instead of SQLite; run by script/test-postgresql."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from behaviour import end_of_run
from images import busybox
from patience import until
from podbay_programs import IMAGE, Programs
from postgres_server import new_database
from test_podbay_up import log_in

DAG_FILE = """
from airflow.sdk import DAG, task
from podbay import KubernetesPodOperator

with DAG("greets"):
    shared = {"image": "localhost/bb:1", "image_pull_policy": "Never", "cmds": ["sh", "-c"]}
    said = KubernetesPodOperator(
        task_id="say", arguments=["echo '[1, 2]' > /airflow/xcom/return.json"], do_xcom_push=True, **shared
    )
    KubernetesPodOperator.partial(task_id="each", **shared).expand(arguments=[["echo a"], ["echo b"]])

    @task
    def total(numbers):
        return sum(numbers)

    total(said.output)
"""


@pytest.fixture
def podbay(containers: None, postgresql: str, tmp_path: Path) -> Iterator[Programs]:
    """With databases of its own. URLs with passwords belong into the environment."""
    database = new_database(postgresql)
    programs = Programs(tmp_path, {"PODBAY_DATABASE": database, "AIRFLOW__PODBAY__RESULT_IMAGE": IMAGE})
    programs("cluster", "start")
    programs("cluster", "load", str(busybox().archive(tmp_path / "image.tar", IMAGE)))
    yield programs
    programs("down")
    programs("cluster", "reset", "--yes")
    until(lambda: not programs.processes(), tell=programs.processes)


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    with connection, connection.cursor() as cursor:
        cursor.execute(query)
        found = cursor.fetchall()
    connection.close()
    return list(found)


def test_up_and_run_keep_their_runs_in_it(podbay: Programs, postgresql: str) -> None:
    file = podbay.file("dags/greets.py", DAG_FILE)
    started = podbay("up", "--dags", str(Path(file).parent), "-o", "json").json()
    api = log_in(started["url"], started["user"], started["password"])
    until(lambda: api.has_dag("greets"))
    api.call("PATCH", "/api/v2/dags/greets", {"is_paused": False})
    run = api.trigger("greets")
    assert end_of_run(api, run) == "success", run.states()
    assert run.xcom("total", "return_value") == 3
    secret = podbay.more["PODBAY_DATABASE"].partition("airflow:")[2].partition("@")[0]
    assert secret and not [words for words in podbay.processes().values() if secret in words]
    podbay("down")

    # The URL is kept for the next time, and so is all that stands behind it.
    url = podbay.more.pop("PODBAY_DATABASE")
    again = podbay("up", "-o", "json").json()
    api = log_in(again["url"], again["user"], again["password"])
    found = api.call("GET", f"/api/v2/dags/greets/dagRuns/{run.run_id}")
    assert found["state"] == "success"
    assert rows(url, "SELECT run_id, state FROM dag_run") == [(run.run_id, "success")]
    assert not list((podbay.home / "podbay" / "airflow" / "up").glob("*.db"))
    podbay("down")

    podbay.more["PODBAY_DATABASE"] = url = new_database(postgresql)
    ended = podbay("run", file, "-o", "json").json()
    assert ended["state"] == "success", ended
    assert rows(url, "SELECT dag_id, state FROM dag_run") == [("greets", "success")]


def test_a_database_that_cannot_be_used_is_said(podbay: Programs) -> None:
    file = podbay.file("dags/greets.py", DAG_FILE)
    podbay.more["PODBAY_DATABASE"] = "postgresql+psycopg2://airflow:wrong@127.0.0.1:1/absent"
    said = podbay.refused("up", "--dags", str(Path(file).parent))
    assert "Airflow's database cannot be used" in said
    assert "Connection refused" in said
