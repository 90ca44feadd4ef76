"""`podbay usage` after a real run: every try counts, from what Airflow keeps, when the pods are long gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow_api import AirflowApi
from podbay_programs import Programs

FILE = """\
version: 1
name: used
namespace: used-up-1234
prices: {cpu_hour: 36.0, memory_gib_hour: 4.0, currency: EUR}
"""


@pytest.fixture(scope="module")
def home(airflow: AirflowApi, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a podbay.yaml, once all tasks have ended."""
    run = airflow.trigger("podbay_used")
    states = {task_id: run.task(task_id).state for task_id in ("steady", "worker", "twice", "never")}
    assert states == {"steady": "success", "worker": "success", "twice": "failed", "never": "failed"}
    path = tmp_path_factory.mktemp("usage")
    (path / "podbay.yaml").write_text(FILE)
    return path


def usage(home: Path, airflow: AirflowApi, *words: str) -> str:
    podbay = Programs(home, {"PODBAY_AIRFLOW_URL": airflow.url})
    return podbay("usage", "--dag", "podbay_used", *words).out


def test_tasks_have_what_they_requested_while_it_was_kept_for_them(home: Path, airflow: AirflowApi) -> None:
    found: dict[str, Any] = {each["task"]: each for each in json.loads(usage(home, airflow, "-o", "json"))}
    assert set(found) == {"steady", "worker", "twice", "never"}
    assert {name: each["pods"] for name, each in found.items()} == {
        "steady": 1,
        "worker": 1,
        "twice": 2,
        "never": 1,
    }
    # Four and two, of which a pod's stamps may lose almost one: they are of whole seconds.
    assert found["steady"]["seconds"] > 3
    assert found["never"]["seconds"] > 1
    steady = found["steady"]
    assert (steady["measuredPods"], steady["peakMemoryBytes"]) == (1, 64 << 20)
    assert steady["usedCpuHours"] == pytest.approx(steady["cpuHours"] / 5, rel=0.01, abs=2e-6)
    assert steady["usedMemoryGiBHours"] == pytest.approx(steady["memoryGiBHours"] / 4, rel=0.01, abs=2e-6)
    assert found["never"]["usedCpuHours"] is None
    for each in found.values():
        assert each["cpuHours"] == pytest.approx(each["seconds"] / 3600 * 0.5, abs=1e-5)
        assert each["memoryGiBHours"] == pytest.approx(each["seconds"] / 3600 * 0.25, abs=1e-5)
        price = each["cpuHours"] * 36 + each["memoryGiBHours"] * 4
        assert (each["price"], each["currency"]) == (pytest.approx(price, abs=1e-4), "EUR")


def test_a_dag_is_the_sum_of_its_tasks_as_table_and_as_chart(home: Path, airflow: AirflowApi) -> None:
    (whole,) = json.loads(usage(home, airflow, "-o", "json", "--by", "dag"))
    assert (whole["dag"], whole["task"], whole["pods"]) == ("podbay_used", None, 5)
    lines = usage(home, airflow, "--chart", "usage.svg").splitlines()
    columns = "TASK PODS HOURS VCPU-HOURS GIB-HOURS USED VCPU-HOURS USED GIB-HOURS PEAK MIB PRICE (EUR)"
    assert lines[0].split() == columns.split()
    assert lines[1].startswith("podbay_used.steady"), "the dearest is the first"
    chart = (home / "usage.svg").read_text()
    assert "podbay_used.twice" in chart


def test_sizes_are_proposed_by_what_was_measured(home: Path, airflow: AirflowApi) -> None:
    words = ("--propose", "--runs", "1")
    found: dict[str, Any] = {
        each["task"]: each for each in json.loads(usage(home, airflow, *words, "-o", "json"))
    }
    steady = found["steady"]
    assert steady["now"] == {"requests": {"cpu": "500m", "memory": "256Mi"}}
    assert steady["proposed"] == {"requests": {"cpu": "130m", "memory": "80Mi"}}
    assert (steady["peakCpu"], steady["peakMemoryBytes"]) == (0.1, 64 << 20)
    assert found["twice"]["proposed"] is None
    assert found["twice"]["reasons"] == ["0 of 1 runs that tell what it needs"]
    lines = usage(home, airflow, *words, "--diff").splitlines()
    assert lines[:2] == ["# cpu: at most 100m in 1 runs", "# memory: at most 64Mi in 1 runs"]
    assert [each for each in lines if each[:2] == "+ "] == ["+    cpu: 130m", "+    memory: 80Mi"]
    rows = [line.split() for line in usage(home, airflow, *words).splitlines()]
    assert rows[0] == ["TASK", "RESOURCE", "NOW", "PROPOSED", "RUNS"]
    assert ["podbay_used.steady", "requests.memory", "256Mi", "80Mi", "1"] in rows
    refused = Programs(home, {"PODBAY_AIRFLOW_URL": airflow.url}).refused("usage", "--diff")
    assert refused == "--diff and --runs go with --propose"
