"""What a try leaves for the next one: read, raised, passed on, and never a reason to fail."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from podbay.airflow.building import Builder, Job
from podbay.airflow.calls import TaskKey
from podbay.airflow.carried import Carried
from podbay.airflow.connection import ClusterChoice
from podbay.airflow.ending import TaskEnd, needs_worker
from podbay.airflow.enforcing import current_deployment, enforcement
from podbay.airflow.keeping import (
    former_of,
    former_of_kept,
    kept_of,
    memory_of,
    store_memory,
    stored_memory,
    wants_memory,
)
from podbay.airflow.settings import Settings
from podbay.deployment.raising import FormerTry
from podbay.kube.config import ClusterConfig
from podbay.lifecycle.outcome import Kind, Outcome
from podbay.objects.meta import Object

MIB = 1 << 20
FILE = """\
version: 1
name: team-a
namespace: team-a-1234
pods:
  default: {cpu: 250m, memory: 64Mi}
  maximum: {cpu: "2", memory: 512Mi}
  retry_memory_factor: 2
"""
KILLED = FormerTry(number=1, limit=64 * MIB, base=64 * MIB, killed=True)


@pytest.fixture(autouse=True)
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "podbay.yaml"
    file.write_text(FILE)
    monkeypatch.setenv("PODBAY_FILE", str(file))
    return file


def job(number: int = 2, former: FormerTry | None = None, **given: Any) -> Job:
    return Job(
        key=TaskKey(dag_id="etl", run_id="r", task_id="load", map_index=-1, try_number=number),
        carried=Carried(parameters={}),
        given={"image": "busybox", **given},
        owner="me",
        settings=Settings(),
        airflow_version="3.3.2",
        mutate=enforcement(),
        deployment=current_deployment(),
        former=former,
    )


def built(wanted: Job, namespace: str = "team-a-1234") -> tuple[Object, str]:
    choice = ClusterChoice(config=ClusterConfig(server="https://k"), in_cluster=True, namespace=namespace)
    builder = Builder(wanted, choice)
    pod = builder.build(0)
    assert Builder(wanted, choice).build(0) == pod, "same number, same manifest, also in another life"
    return pod, builder.note


def test_each_pod_is_made_once_and_given_away_as_a_copy() -> None:
    """A hook that counts, or makes a name by chance, must not make two manifests of one pod."""
    hooked: list[str] = []

    def mutate(pod: Object) -> Object:
        hooked.append(pod["metadata"]["name"])
        pod["metadata"]["labels"]["times"] = str(len(hooked))
        return pod

    choice = ClusterChoice(config=ClusterConfig(server="https://k"), in_cluster=True, namespace="team-a-1234")
    builder = Builder(replace(job(), mutate=mutate), choice)
    first = builder.build(0)
    first["metadata"]["labels"]["times"] = "changed by who got it"
    assert builder.build(0)["metadata"]["labels"]["times"] == "1"
    assert builder.build(1)["metadata"]["labels"]["times"] == "2"
    # One of an earlier try that is taken over.
    builder.identity = replace(builder.identity, try_number=7)
    assert builder.build(0)["metadata"]["labels"]["times"] == "3"
    assert len(set(hooked)) == 3


def memory(pod: Object) -> Any:
    return pod["spec"]["containers"][0].get("resources", {}).get("limits", {}).get("memory")


def outcome(kind: Kind) -> Outcome:
    return Outcome(kind=kind, message="m", uid="u")


def test_a_pod_after_a_kill_is_built_larger_after_all_hooks() -> None:
    pod, note = built(job(former=KILLED))
    assert memory(pod) == "128Mi"
    assert note.startswith("Memory of container base is raised from 64Mi to 128Mi, because try 1 was killed")
    assert built(job())[1] == ""


def test_a_pod_for_elsewhere_is_its_authors_affair() -> None:
    sized = {"container_resources": {"limits": {"memory": "64Mi"}}}
    pod, note = built(job(former=KILLED, **sized), "elsewhere")
    assert (memory(pod), note) == ("64Mi", "")


def test_a_kill_is_kept_and_so_is_what_was_raised() -> None:
    pod, _ = built(job(1))
    kept = kept_of(job(1), pod, outcome("oom_killed"), {"samples": 1})
    assert former_of_kept(kept) == KILLED
    assert kept["used"] == {"samples": 1}
    size = {"cpu": "250m", "memory": "64Mi"}
    assert kept["made"] == {"requests": size, "limits": size}
    larger, _ = built(job(2, KILLED))
    again = kept_of(job(2, KILLED), larger, outcome("failed"), None)
    assert former_of_kept(again) == FormerTry(number=2, limit=128 * MIB, base=64 * MIB, killed=False)
    assert again["made"]["written"] == "64Mi"


def test_a_try_that_never_had_a_pod_forgets_nothing() -> None:
    assert former_of_kept(kept_of(job(2, KILLED), None, outcome("refused"), None)) == KILLED


def test_a_usual_failure_leaves_nothing() -> None:
    pod, _ = built(job(1))
    assert memory_of(job(1), pod, outcome("failed")) is None
    assert "memory" not in kept_of(job(1), pod, outcome("succeeded"), None)


def test_without_the_factor_nothing_is_kept(deployment: Path) -> None:
    deployment.write_text(FILE.replace("  retry_memory_factor: 2\n", ""))
    assert not wants_memory(current_deployment())
    pod, _ = built(job(1))
    assert memory_of(job(1), pod, outcome("oom_killed")) is None


@pytest.mark.parametrize("kept", [None, "text", {}, {"memory": "text"}, {"memory": {"try": "1"}}])
def test_what_is_no_such_thing_is_no_hint(kept: Any) -> None:
    assert former_of_kept(kept) is None
    assert former_of(kept) is None


def test_a_worker_is_taken_where_only_it_can_keep_the_hint() -> None:
    end = TaskEnd(state="failed", message="killed", memory=KILLED.to_json())
    carried = Carried(parameters={}, rendered=True)
    assert needs_worker(end, carried, try_number=1)
    assert not needs_worker(TaskEnd(state="failed", message="killed"), carried, try_number=1)


def test_it_travels_with_what_a_worker_hands_over() -> None:
    carried = Carried(parameters={}, rendered=True, former=KILLED.to_json())
    assert former_of(Carried.from_text(carried.to_text()).former) == KILLED


class Store(dict[str, Any]):
    """Of Airflow's state store what is used of it."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


class Broken:
    def get(self, key: str) -> Any:
        raise OSError("gone")

    def set(self, key: str, value: Any) -> None:
        raise OSError("gone")


def context(store: Any, number: int = 2) -> dict[str, Any]:
    return {"ti": SimpleNamespace(try_number=number), "task_state_store": store}


def test_a_worker_keeps_it_in_the_state_store() -> None:
    store = Store()
    store_memory(context(store, 1), None)
    assert not store
    store_memory(context(store, 1), KILLED.to_json())
    assert former_of(stored_memory(context(store))) == KILLED
    assert stored_memory(context(store, 1)) is None, "a first try has no former one"


def test_a_store_that_does_not_answer_costs_the_hint_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert stored_memory(context(Broken())) is None
        store_memory(context(Broken()), KILLED.to_json())
    assert [each.message.count("gone") for each in caplog.records] == [1, 1]
