"""Airflow's pages as a person sees them, in Chromium, around `podbay up`: a task's log while its pod runs and after it is
gone, the link to the pod, the form of a connection.

With PODBAY_SCREENSHOTS=DIRECTORY the pictures for the documentation are stored there (script/screenshots).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from airflow_api import AirflowApi, Run
from browser import MISSING, Browser, open_browser, program
from patience import until
from podbay_programs import Programs

from podbay.testing.requests import Requests

ROOT = Path(__file__).parents[2]
PENGUINS = """species,island,bill_length_mm,bill_depth_mm,flipper_length_mm,body_mass_g,sex,year
Adelie,Torgersen,39.1,18.7,181,3750,male,2007
Adelie,Biscoe,37.8,18.3,174,3400,female,2007
Chinstrap,Dream,46.5,17.9,192,3500,female,2007
Chinstrap,Dream,50,19.5,196,3900,male,2007
Gentoo,Biscoe,46.1,13.2,211,4500,female,2007
Gentoo,Biscoe,50,16.3,230,5700,male,2007
"""
SLOW = """
from airflow.sdk import DAG
from podbay import KubernetesPodOperator

COUNT = "n=0; while [ ! -e /gate/open ]; do n=$((n + 1)); echo bird $n counted; sleep 1; done; echo all birds counted"

with DAG("colony", is_paused_upon_creation=False):
    KubernetesPodOperator(
        task_id="count",
        image="localhost/demo-awk:1",
        cmds=["sh", "-c", COUNT],
        volumes=[{{"name": "gate", "hostPath": {{"path": "{gate}"}}}}],
        volume_mounts=[{{"name": "gate", "mountPath": "/gate"}}],
    )
"""


class Dashboard:
    """What [podbay] pod_url leads to: a page for each pod."""

    def __init__(self) -> None:
        self.asked = asked = set[str]()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.add(self.path)
                page = f"<!DOCTYPE html><title>Dashboard</title><h1>Dashboard</h1><p>{self.path}</p>".encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def dashboard() -> Iterator[Dashboard]:
    dashboard = Dashboard()
    yield dashboard
    dashboard.close()


@pytest.fixture(scope="module")
def podbay(containers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    if program() is None:
        pytest.skip(MISSING)
    programs = Programs(tmp_path_factory.mktemp("page"))
    yield programs
    programs("down")
    programs("cluster", "reset", "--yes")
    until(lambda: not programs.processes(), tell=programs.processes)


@pytest.fixture(scope="module")
def airflow(podbay: Programs, dashboard: Dashboard) -> AirflowApi:
    """`podbay up` with the demo's DAG and one that takes its time."""
    home = podbay.home
    (home / "gate").mkdir()
    podbay.file("dags/colony.py", SLOW.format(gate=home / "gate"))
    shutil.copy(ROOT / "examples" / "demo" / "penguins.py", home / "dags")
    data = podbay.file("penguins.csv", PENGUINS) + ":/data/penguins.csv"
    podbay("cluster", "start")
    for name, words in {
        "python": ["--python", "--file", data],
        "awk": ["--file", data],
        "perl": ["--program", "/usr/bin/perl"],
    }.items():
        archive = home / f"{name}.tar"
        subprocess.run([ROOT / "script/demo-image", archive, f"localhost/demo-{name}:1", *words], check=True)
        podbay("cluster", "load", str(archive))
    secret = {"metadata": {"name": "env-secrets"}, "stringData": {"WITNESS_KEY": "king-george"}}
    with Requests(home / "podbay" / "clusters" / "podbay" / "kubeconfig") as requests:
        status, said = requests.call("POST", "/api/v1/namespaces/default/secrets", secret)
        assert status == 201, said
    podbay.more["AIRFLOW__PODBAY__POD_URL"] = f"{dashboard.url}/{{namespace}}/{{name}}"
    up = podbay("up", "--dags", str(home / "dags"), "-o", "json").json()
    api = AirflowApi(up["url"])
    api._token = api.call("POST", "/auth/token", {"username": up["user"], "password": up["password"]})[
        "access_token"
    ]
    until(lambda: api.has_dag("penguins") and api.has_dag("colony"))
    return api


@pytest.fixture(scope="module")
def page(
    airflow: AirflowApi, podbay: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    """A browser whose user has logged in by the login page, with what `podbay up` told."""
    facts = podbay("up", "-o", "json").json()
    with open_browser(tmp_path_factory.mktemp("browser")) as browser:
        browser.open(airflow.url)
        browser.fill("input[name=username]", facts["user"])
        browser.fill("input[name=password]", facts["password"])
        browser.click("button", "Sign in")
        browser.until("location.pathname == '/'")
        yield browser


def picture(page: Browser, name: str, height: int = 620) -> None:
    directory = os.environ.get("PODBAY_SCREENSHOTS")
    if directory:
        page.picture(Path(directory) / f"{name}.png", height)


def task_page(airflow: AirflowApi, run: Run, task: str) -> str:
    return f"{airflow.url}/dags/{run.dag_id}/runs/{quote(run.run_id)}/tasks/{task}"


def test_the_log_is_live_and_stays(airflow: AirflowApi, page: Browser, podbay: Programs) -> None:
    run = airflow.trigger("colony")
    page.open(task_page(airflow, run, "count"))
    page.until_text("Runs in the triggerer", "[base] bird 1 counted")
    # The page is not loaded again: new lines come by themselves while the pod runs.
    seen = page.text().count(" counted")
    page.until(f"document.body.innerText.split(' counted').length - 1 > {seen + 1}")
    assert run.states() == {"count": "deferred"}
    assert [pod["status"]["phase"] for pod in podbay.pods()] == ["Running"]
    picture(page, "log-live")
    (podbay.home / "gate" / "open").touch()
    page.until_text("[base] all birds counted", "Success")
    until(lambda: not podbay.pods(), tell=podbay.pods)
    page.open(task_page(airflow, run, "count"))
    page.until_text("[base] bird 1 counted", "[base] all birds counted", "succeeded")


def test_the_link_opens_the_pod(
    airflow: AirflowApi, page: Browser, dashboard: Dashboard, podbay: Programs
) -> None:
    (podbay.home / "gate" / "open").touch()
    run = airflow.trigger("colony")
    run.task("count")
    name = run.xcom("count", "pod_name")
    assert re.fullmatch(r"count-[a-z0-9]+", name)
    page.open(task_page(airflow, run, "count") + "/details")
    page.until_text("Extra Links")
    picture(page, "pod-link")
    page.click("a", "Pod")
    # In a tab of its own.
    until(lambda: f"/default/{name}" in dashboard.asked, tell=lambda: dashboard.asked)


def test_the_demo_comes_to_its_chart(airflow: AirflowApi, page: Browser, podbay: Programs) -> None:
    airflow.call("PATCH", "/api/v2/dags/penguins", {"is_paused": False})
    run = airflow.trigger("penguins", out=str(podbay.home))
    assert run.task("chart").state == "success"
    assert "Gentoo" in (podbay.home / "penguins.svg").read_text()
    page.open(f"{airflow.url}/dags/penguins/runs/{quote(run.run_id)}")
    page.until_text("species", "weigh", "witness", "chart", "6 Task Instances")
    page.until("!document.body.innerText.includes('Running')")
    picture(page, "run")


OPEN = """[...document.querySelectorAll("button")].some(
  each => each.innerText.trim() === "Extra Fields" && each.getAttribute("aria-expanded") === "true")"""
"""The attribute, for what closes beside it may never be drawn to its end where nothing is on a screen."""


def test_the_form_of_a_connection(airflow: AirflowApi, page: Browser) -> None:
    page.open(f"{airflow.url}/connections")
    page.click_until("button", "Add Connection", "!!document.querySelector('input[name=connection_id]')")
    page.fill("input[name=connection_id]", "my_cluster")
    page.click("[role=dialog] [role=combobox], [role=dialog] input[aria-autocomplete]")
    page.send("Input.insertText", text="Kubernetes")
    page.click("[role=option]", "Kubernetes Cluster Connection")
    page.until_text("Extra Fields")
    page.click_until("button", "Extra Fields", OPEN)
    page.until_text("Namespace")
    fields = ("in_cluster", "kube_config_path", "kube_config", "namespace", "cluster_context")
    for field in fields:
        page.until(f"!!document.querySelector('[name=element_{field}]')")
    picture(page, "connection", 860)
    # It is stored as the operator reads it.
    page.fill("input[name=element_namespace]", "birds")
    page.click("[role=dialog] button", "Save")
    until(lambda: airflow.call("GET", "/api/v2/connections/my_cluster") is not None)
    stored = airflow.call("GET", "/api/v2/connections/my_cluster")
    assert stored["conn_type"] == "kubernetes"
    assert json.loads(stored["extra"])["namespace"] == "birds"
