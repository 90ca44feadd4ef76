"""The DAGs of examples/pods as they stand, all in one `podbay run`, with images of their names made on this machine."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import until
from podbay_programs import Programs
from sidecar_image import PGREP

from podbay.testing.requests import Requests

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples" / "pods").glob("*.py"))
IMAGES = [
    "docker.io/apache/airflow:3.3.2",
    "docker.io/library/busybox:1.36",
    "docker.io/library/python:3.12",
    "docker.io/library/python:3.12-slim",
    "docker.io/library/ubuntu:24.04",
    "registry.example.com/team/tool:1.4.2",
]
FILES = {
    "/app/run": "#!/bin/sh\necho the tool has run\n",
    "/bin/pgrep": PGREP,
    "/bin/python": '#!/bin/sh\nPYTHONPATH=/opt exec python3 "$@"\n',
    "/opt/airflow.py": "__version__ = '3.3.2'\n",
}
SAID = {
    "minimum.say_hello": r"\[base\] hello from say-hello-",
    "private_image.private_image": r"\[base\] the tool has run",
    "same_image.same_image_as_deployment": r"\[base\] 3\.3\.2",
    "scratch.use_scratch": r"67108864 .*blob",
    "secret_env.read_secret": r"\[base\] secret has 11 characters",
    "sized.sized_task": r"\[base\] sized",
    "taskflow.extract": "",
    "taskflow.load": r"161",
    "taskflow.transform": r"\[base\] \+ python /tmp/script\.py",
}
ALL_IN_ONE = """
import runpy
from unittest.mock import patch

import airflow.sdk
from airflow.sdk import DAG, TaskGroup


def in_group(group):
    def decorate(function):
        def call():
            with group:
                function()
        return call
    return decorate


with DAG("examples"):
    for file in FILES:
        with TaskGroup(file.rpartition("/")[2].removesuffix(".py")) as group:
            pass
        with (
            patch.object(airflow.sdk, "DAG", lambda *_, group=group, **__: group),
            patch.object(airflow.sdk, "dag", lambda *_, group=group, **__: in_group(group)),
        ):
            runpy.run_path(file)
"""
"""Their DAGs as groups of one: a run of its own for each takes Airflow longer than all their pods together."""


@pytest.fixture(scope="module")
def podbay(containers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    from airflow.providers.cncf.kubernetes.utils.xcom_sidecar import PodDefaults

    programs = Programs(tmp_path_factory.mktemp("examples"))
    # As an administrator decides; @task.kubernetes stays upstream's all the same.
    programs.more["AIRFLOW__PODBAY__ADOPT_UPSTREAM_OPERATORS"] = "True"
    words = [sys.executable, f"{ROOT}/script/demo-image", f"{programs.home}/image.tar", *IMAGES]
    words += [
        f"docker.io/library/{PodDefaults.SIDECAR_CONTAINER.image}",
        "--python",
        "--program",
        "/bin/bash",
    ]
    for place, text in FILES.items():
        source = Path(programs.file(place.strip("/"), text))
        source.chmod(0o755)
        words += ["--file", f"{source}:{place}"]
    subprocess.run(words, check=True)
    programs("cluster", "start")
    programs("cluster", "load", f"{programs.home}/image.tar")
    yield programs
    programs("cluster", "reset", "--yes")
    until(lambda: not programs.processes(), tell=programs.processes)


def test_all_of_them(podbay: Programs) -> None:
    with Requests(podbay.home / "podbay" / "clusters" / "podbay" / "kubeconfig") as kube:
        for name, kind, data in (
            ("env-secrets", "Opaque", {"MY_SECRET": "king-george"}),
            ("team-registry-creds", "kubernetes.io/dockerconfigjson", {".dockerconfigjson": '{"auths": {}}'}),
        ):
            body = {"metadata": {"name": name}, "type": kind, "stringData": data}
            code, answer = kube.call("POST", "/api/v1/namespaces/default/secrets", body)
            assert code == 201, answer
    file = podbay.file("examples.py", ALL_IN_ONE.replace("FILES", repr([str(each) for each in EXAMPLES])))
    found = podbay("run", file, "-o", "json").json()
    assert {each["task"]: each["state"] for each in found["tasks"]} == dict.fromkeys(SAID, "success")
    assert {task.partition(".")[0] for task in SAID} == {each.stem for each in EXAMPLES}
    for task, said in SAID.items():
        files = Path(found["logs"]).rglob(f"task_id={task}/attempt=1.log*")
        log = "".join(each.read_text() for each in files)
        assert re.search(said, log), log


def test_each_is_a_dag_of_its_own() -> None:
    from podbay.airflow.running.dagfile import load

    for file in EXAMPLES:
        _, dag = load(file, file.parent, None)
        assert dag.dag_id == file.stem
        assert {f"{dag.dag_id}.{task}" for task in dag.task_ids} <= SAID.keys()
