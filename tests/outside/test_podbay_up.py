"""`podbay up` and `down`: UI and API with the login that is printed, a component that dies, a second `up`, nothing left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from airflow_api import AirflowApi
from images import busybox
from patience import until
from podbay_programs import IMAGE, Programs

RUNS = Path(__file__).parent / "runs"


@pytest.fixture(scope="module")
def podbay(containers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    programs = Programs(tmp_path_factory.mktemp("up"))
    yield programs
    programs("down")
    until(lambda: not programs.processes(), tell=programs.processes)
    programs("cluster", "reset", "--yes")


def status(podbay: Programs) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(podbay("up", "--status", "-o", "json").out)
    return found


def log_in(url: str, user: str, password: str) -> AirflowApi:
    api = AirflowApi(url)
    answer = api.call("POST", "/auth/token", {"username": user, "password": password})
    api._token = answer["access_token"]
    return api


def test_up_and_down(podbay: Programs) -> None:
    assert "Airflow is not running" in podbay("up", "--status", code=3).out
    assert "name the directory with your DAG files" in podbay.refused("up")
    assert "--dags absent: no such directory" in podbay.refused("up", "--dags", "absent")
    # Nothing was started for what cannot be.
    assert podbay("cluster", "status", "-o", "json").json() == []
    started = podbay("up", "--dags", str(RUNS), "-o", "json").json()

    with urllib.request.urlopen(started["url"], timeout=30) as page:
        assert b"<title>Airflow</title>" in page.read()
    api = log_in(started["url"], started["user"], started["password"])
    until(lambda: api.has_dag("outcomes"))
    with pytest.raises(urllib.error.HTTPError, match="401"):
        AirflowApi(started["url"]).call("GET", "/api/v2/dags")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        log_in(started["url"], started["user"], "wrong")
    assert listening(podbay) and all(address.startswith("127.") for address in listening(podbay))

    # What task pods have used is asked of it without a word about where it is and who asks.
    assert podbay("usage").out == "no task pod has ended in the last 24h\n"

    # A component that dies is started again, and nothing else is.
    before = status(podbay)["components"]
    os.kill(before["triggerer"]["pid"], signal.SIGKILL)
    until(lambda: status(podbay)["components"]["triggerer"]["starts"] == 2)
    after = status(podbay)["components"]
    assert after["triggerer"]["pid"] != before["triggerer"]["pid"]
    assert {name: part["pid"] for name, part in after.items() if name != "triggerer"} == {
        name: part["pid"] for name, part in before.items() if name != "triggerer"
    }

    # A second `up` finds the first; another directory is not taken in silence.
    again = podbay("up", "-o", "json").json()
    assert (again["url"], again["password"]) == (started["url"], started["password"])
    assert "Stop it: podbay down" in podbay.refused("up", "--dags", str(podbay.home))
    found = podbay("up").out
    assert found.startswith(f"Airflow was running already at {started['url']}\n")
    assert "For the DAGs here: podbay down, then podbay up --dags DIR\n" in found

    # Of a host that is killed nothing stays, and the next start has the same address, login and DAGs.
    # Its workers write their titles over the environment by which others are found.
    host = psutil.Process(status(podbay)["pid"])
    below = host.children(recursive=True)
    assert any("LocalExecutor" in " ".join(each.cmdline()) for each in below), below
    host.kill()
    until(lambda: not [each for each in below if each.is_running()], tell=lambda: below)
    until(lambda: not [words for words in podbay.processes().values() if "embedded.serve" not in words])
    once_more = podbay("up", "-o", "json").json()
    assert (once_more["url"], once_more["password"]) == (started["url"], started["password"])
    assert log_in(once_more["url"], "admin", once_more["password"]).has_dag("outcomes")
    assert podbay("down").out == "Airflow is stopped.\nThe embedded cluster podbay is stopped.\n"
    assert podbay("down").out == "Airflow was not running.\n"


def test_its_healer_knows_pods_and_airflow(podbay: Programs) -> None:
    # Of a shell that has been made one of another Airflow, on the same cluster perhaps.
    podbay.more["AIRFLOW__PODBAY__DEPLOYMENT"] = "production"
    said = podbay("up", "--dags", str(RUNS), "-o", "json")
    assert "note: AIRFLOW__PODBAY__DEPLOYMENT of the environment is left out" in said.err
    started = said.json()
    podbay("cluster", "load", str(busybox().archive(podbay.home / "bb.tar", IMAGE)))
    api = log_in(started["url"], started["user"], started["password"])
    until(lambda: api.has_dag("watched"))
    api.call("PATCH", "/api/v2/dags/watched", {"is_paused": False})
    run = api.trigger("watched")
    until(lambda: run.states().get("endless") == "deferred", tell=run.states)
    until(podbay.pods, tell=run.states)

    # It asks Airflow only when there are pods, and logs a round only when Airflow has answered.
    log = podbay.home / "podbay" / "airflow" / "up" / "healer.log"
    until(lambda: "1 task pods, 0 actions" in log.read_text(), tell=log.read_text)
    deployment = podbay.pods()[0]["metadata"]["labels"]["podbay.dev/deployment"]
    assert deployment.startswith("up-") and f"deployment {deployment}, namespace default" in log.read_text()

    # Killed, it is started again and takes the lead when that of its former life is over.
    os.kill(status(podbay)["components"]["healer"]["pid"], signal.SIGKILL)
    until(lambda: log.read_text().count("1 task pods, 0 actions") == 2, tell=log.read_text)
    assert (
        "Nothing is on record" in podbay("heal", "history", "--deployment", deployment, "-n", "default").err
    )

    # `down` gives the lead away, so that the next one begins at once.
    assert podbay("down").out.startswith("Airflow is stopped.")
    assert "Traceback" not in log.read_text()


def listening(podbay: Programs) -> list[str]:
    """Local addresses of this home's listening TCP sockets."""
    inodes = set()
    for pid in podbay.processes():
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                inodes.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in inodes:
            found.append(socket.inet_ntoa(bytes.fromhex(fields[1].split(":")[0])[::-1]))
    return found
