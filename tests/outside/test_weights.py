"""What a waiting task weighs in the triggerer: what Airflow's scheduler would order it by."""

from __future__ import annotations

import logging
import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.models.taskinstance import TaskInstance
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
from airflow.task.priority_strategy import PriorityWeightStrategy
from stored_dags import instance_of, stored_form

from podbay import KubernetesPodOperator
from podbay.airflow.carried import Carried
from podbay.airflow.limits import weight_of
from podbay.airflow.work import TriggerWork


def form() -> dict[str, Any]:
    """As a triggerer gets it."""
    with DAG("weighed", schedule=None) as dag:
        first = KubernetesPodOperator(task_id="first", image="i", priority_weight=2)
        absolute = KubernetesPodOperator(task_id="absolute", image="i", weight_rule="absolute")
        upstream = KubernetesPodOperator(task_id="upstream", image="i", weight_rule="upstream")
        many = KubernetesPodOperator.partial(task_id="many", image="i", priority_weight=10).expand(
            arguments=[["a"], ["b"]]
        )
        last = KubernetesPodOperator(task_id="last", image="i", priority_weight=100)
        first >> absolute >> upstream >> many >> last
    return stored_form(dag)


def stored(task_id: str, dag: dict[str, Any]) -> int:
    """What the scheduler writes into the database for it."""
    task = DagSerialization.from_dict(dag).get_task(task_id)
    run: Any = SimpleNamespace(context_carrier={})
    found = TaskInstance.insert_mapping("one", task, map_index=-1, dag_version_id=uuid.uuid4(), dag_run=run)
    return int(found["priority_weight"])


@pytest.mark.parametrize(
    ("task_id", "weight"), [("first", 114), ("absolute", 1), ("upstream", 4), ("many", 110), ("last", 100)]
)
async def test_a_task_weighs_what_the_scheduler_says(task_id: str, weight: int) -> None:
    dag = form()
    instance = instance_of(dag, task_id, map_index=0 if task_id == "many" else -1, priority_weight=7)
    assert weight_of(instance, 0) == weight == stored(task_id, dag)
    carried = Carried(parameters={}, priority=0)
    work = TriggerWork(carried, instance, owner="o", log=logging.getLogger("t"), timeout_after=None)
    assert work.carried.priority == weight


def test_what_the_database_has_is_what_counts() -> None:
    """A trigger gets it with a task that a worker has begun, and no DAG."""
    assert weight_of(SimpleNamespace(priority_weight=7), 1) == 7


class Odd(PriorityWeightStrategy):
    def get_weight(self, ti: Any) -> int:
        raise LookupError("no database")


def test_where_nothing_is_known_a_task_weighs_its_own() -> None:
    odd = SimpleNamespace(weight_rule=Odd(), priority_weight=3)
    for instance in (SimpleNamespace(task=odd), SimpleNamespace(task=None), SimpleNamespace()):
        assert weight_of(instance, 3) == 3
