"""`podbay check` of DAG files as people run it: both operators, what is wrong by file, DAG, task and field, and the cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.nodes import one_scripted_node
from podbay.testing import Environment

PROGRAM = Path(sys.executable).with_name("podbay")
SECRET = "hunter2-and-more"
FILE = """\
version: 1
name: {name}
namespace: {name}
pods: {{maximum: {{cpu: 4, memory: 8Gi}}}}
quota: {{cpu: 2}}
secrets: [WAREHOUSE]
queues: {{gpu: {{node_selector: {{kind: gpu}}}}}}
"""
GOOD = """\
from airflow.configuration import conf
from airflow.sdk import DAG, task
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator as Upstream
from airflow.providers.standard.operators.empty import EmptyOperator

from podbay import KubernetesPodOperator

print("DAG files may print")
NAMESPACE = conf.get("kubernetes", "NAMESPACE")
with DAG("good"):
    KubernetesPodOperator(task_id="ours", image="busybox", namespace=NAMESPACE, do_xcom_push=True)
    Upstream(task_id="theirs", image="busybox", namespace=NAMESPACE, do_xcom_push=True)
    KubernetesPodOperator(task_id="later", image="{{ params.x }}", container_resources={"limits": {"cpu": "{{ 1 }}"}})
    KubernetesPodOperator.partial(task_id="mapped", image="busybox").expand(arguments=[["a"], ["b"]])
    KubernetesPodOperator(task_id="abroad", image="busybox", namespace="elsewhere")
    EmptyOperator(task_id="no-pod")

    @task.pod(image="python:3.12")
    def function() -> int:
        return 1

    function()
"""
BAD = f"""\
from airflow.sdk import DAG
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator as Upstream
from kubernetes.client import models as k8s

from podbay import KubernetesPodOperator

with DAG("bad"):
    KubernetesPodOperator(task_id="large", image="busybox", container_resources={{"limits": {{"memory": "16Gi"}}}})
    Upstream(
        task_id="starved",
        image="busybox",
        container_resources=k8s.V1ResourceRequirements(limits={{"cpu": "3"}}),
        env_vars={{"DAY": "{{{{ ds }}}}", "DB_PASSWORD": "{SECRET}"}},
    )
    KubernetesPodOperator(task_id="misspelt", image="busybox", env_secrets=["WAREHOUS"])
    KubernetesPodOperator(task_id="told", image="busybox", arguments=["--token={SECRET}", "{{{{ ds }}}}"])
    KubernetesPodOperator.partial(task_id="mapped", image="busybox", service_account_name="root").expand(
        arguments=[["a"]]
    )
    Upstream(task_id="unbuildable", image="busybox", labels={{"no label": "x"}})
"""


@dataclass
class Place:
    directory: Path
    name: str

    def write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def podbay(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [PROGRAM, *words],
            capture_output=True,
            text=True,
            cwd=self.directory,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.directory),
                "PODBAY_HOME": str(self.directory / "home"),
            },
            timeout=400,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert SECRET not in done.stdout + done.stderr, "a value is never shown"
        return done.stdout + done.stderr

    def report(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.podbay("check", *words, "-o", "json", code=code))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    name = f"check-{uuid.uuid4().hex[:8]}"
    (tmp_path / "podbay.yaml").write_text(FILE.format(name=name))
    return Place(tmp_path, name)


def problems(file: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {(each.get("task", ""), each["path"]): each["message"] for each in file["problems"]}


def test_what_is_right_is_ok_and_says_what_is_not_known_yet(place: Place) -> None:
    place.write("dags/good.py", GOOD)
    said = place.podbay("check", "dags", "--offline")
    assert "dags/good.py: ok (good: 6 pod tasks, 2 of them known in part)" in said
    assert "note: good.abroad: runs in namespace elsewhere" in said
    [file] = place.report("dags/good.py", "--offline")["files"]
    assert (file["source"], file["dags"], file["problems"]) == ("dags/good.py", ["good"], [])
    later = {each["task"]: each["later"] for each in file["tasks"]}
    assert later["later"] == ["container_resources", "image"]
    assert later["mapped"] == ["*"]
    assert later["ours"] == later["theirs"] == []
    assert set(later) == {"ours", "theirs", "later", "mapped", "abroad", "function"}


def test_what_is_wrong_is_named_by_file_task_and_field(place: Place) -> None:
    place.write("dags/bad.py", BAD)
    report = place.report("dags", "--offline", code=1)
    assert report["ok"] is False
    [file] = report["files"]
    found = problems(file)
    assert all(each["dag"] == "bad" for each in file["problems"])
    assert "is 16Gi, more than 8Gi (pods.maximum.memory)" in found["large", "container_resources"]
    assert "it could never start" in found["starved", "container_resources"]
    assert found["starved", "env_vars[DB_PASSWORD]"].startswith("DB_PASSWORD is a credential")
    assert "WAREHOUS is not a secret variable" in found["misspelt", "env_secrets"]
    assert "is the value of --token" in found["told", "arguments[0]"]
    assert "root is not allowed" in found["mapped", "service_account_name"]
    assert "no label" in found["unbuildable", ""]
    assert len(found) == 7
    said = place.podbay("check", "dags/bad.py", "--offline", code=1)
    assert "dags/bad.py: 7 problems (bad: 6 pod tasks" in said
    assert "  bad.large: container_resources: memory of all containers together is 16Gi" in said


def test_files_that_are_no_dag_files(place: Place) -> None:
    place.write("dags/broken.py", "from airflow.sdk import DAG\nraise ValueError('no such table')\n")
    place.write("dags/library.py", "def add(a, b):\n    return a + b\n")
    place.write("dags/exits.py", "from airflow.sdk import DAG\nDAG('d')\nraise SystemExit(3)\n")
    found = {each["source"]: each for each in place.report("dags", "--offline", code=1)["files"]}
    assert set(found) == {"dags/broken.py", "dags/exits.py"}
    assert "no such table" in found["dags/broken.py"]["problems"][0]["message"]
    assert found["dags/exits.py"]["problems"]
    assert "defines no DAG" in place.podbay("check", "dags/library.py", "--offline", code=1)
    assert "dags/none.py does not exist" in place.podbay("check", "dags/none.py", "--offline", code=1)


def test_a_parameter_that_the_operator_refuses_is_a_problem_of_the_file(place: Place) -> None:
    place.write(
        "dags/unknown.py",
        "from airflow.sdk import DAG\nfrom podbay import KubernetesPodOperator\n"
        "with DAG('d'):\n    KubernetesPodOperator(task_id='t', imagee='busybox')\n",
    )
    said = place.podbay("check", "dags", "--offline", code=1)
    assert "imagee: no such parameter; did you mean image?" in said


@pytest.fixture(scope="module")
def embedded() -> Iterator[Environment]:
    with Environment.start(ClusterOptions(nodes=one_scripted_node())) as found:
        yield found


def test_the_cluster_is_asked_too(place: Place, embedded: Environment) -> None:
    place.write(
        "dags/etl.py",
        "from airflow.sdk import DAG\nfrom podbay import KubernetesPodOperator\nwith DAG('etl'):\n"
        "    KubernetesPodOperator(task_id='reads', image='busybox', env_secrets=['WAREHOUSE'])\n"
        "    KubernetesPodOperator(task_id='plain', image='busybox')\n"
        "    KubernetesPodOperator(task_id='later', image='busybox', env_secrets=['WAREHOUSE'],\n"
        "        container_resources={'limits': {'cpu': '{{ 1 }}'}})\n",
    )
    where = ("--cluster", str(embedded.kubeconfig))
    place.podbay("apply", *where)
    [file] = place.report("dags", *where, code=1)["files"]
    found = problems(file)
    assert set(found) == {("reads", "env_secrets"), ("later", "env_secrets")}
    assert "podbay secrets set WAREHOUSE" in found["reads", "env_secrets"]
    (place.directory / "value").write_text(SECRET)
    place.podbay("secrets", "set", "WAREHOUSE", "--from-file", "value", *where)
    assert place.report("dags", *where)["ok"] is True
    place.podbay("destroy", "--yes", *where)
