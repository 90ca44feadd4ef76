"""Templates rendered in the triggerer, with no Airflow around: which parameters are templates, and what is told when one fails."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG

from podbay import KubernetesPodOperator
from podbay.airflow.calls import TaskKey
from podbay.airflow.carried import Carried
from podbay.airflow.rendering import render_parameters
from podbay.errors import InvalidInputError


class Calls:
    """XComs by task and key; of a mapped task a list of them."""

    def __init__(self, xcoms: dict[str, Any]) -> None:
        self.xcoms = xcoms

    async def pull(self, key: TaskKey, task_id: str, name: str, map_index: int | None = None) -> Any:
        found = self.xcoms.get(task_id)
        return found if map_index is None or found is None else found[map_index]

    async def count(self, dag_id: str, *, task_ids: list[str], run_ids: list[str]) -> int:
        return len(self.xcoms[task_ids[0]])


def carried(task: Any) -> Carried:
    assert task.start_from_trigger
    return Carried.from_text(task.start_trigger_args.trigger_kwargs["spec"])


async def rendered(
    task: Any, spec: Carried, *, index: int = -1, xcoms: dict[str, Any] | None = None, **context: Any
) -> dict[str, Any]:
    """What the triggerer makes of the parameters of a task."""
    key = TaskKey(dag_id="d", run_id="r", task_id=task.task_id, map_index=index, try_number=1)
    ti = SimpleNamespace(
        task_id=task.task_id,
        task=SimpleNamespace(dag=task.get_dag()),
        get_template_context=lambda: {"ds": "2026-01-02", **context},
    )
    return await render_parameters(
        spec.parameters,
        expansion=spec.expansion,
        native=spec.native,
        ti=ti,
        key=key,
        calls=Calls(xcoms or {}),  # type: ignore[arg-type]
        templated=spec.templated,
    )


class Wider(KubernetesPodOperator):
    template_fields = (
        *KubernetesPodOperator.template_fields,
        "service_account_name",
        "tolerations",
        "init_containers",
        "on_finish_action",
    )


class Narrower(KubernetesPodOperator):
    template_fields = ("arguments",)


async def test_template_fields_of_a_subclass_are_rendered_like_upstreams() -> None:
    with DAG("d"):
        task = Wider(
            task_id="t",
            image="i",
            service_account_name="of-{{ ds }}",
            tolerations=[{"key": "{{ pool }}", "operator": "Exists"}],
            init_containers=[{"name": "i", "image": "busybox:{{ ds }}"}],
        )
    given = await rendered(task, carried(task), pool="batch")
    assert given["service_account_name"] == "of-2026-01-02"
    assert given["tolerations"] == [{"key": "batch", "operator": "Exists"}]
    assert given["init_containers"] == [{"name": "i", "image": "busybox:2026-01-02"}]


async def test_what_a_subclass_does_not_call_a_template_stays_as_it_is() -> None:
    with DAG("d"):
        task = Narrower(task_id="t", image="i", cmds=["echo", "{{ ds }}"], arguments=["{{ ds }}"])
    given = await rendered(task, carried(task))
    assert (given["cmds"], given["arguments"]) == (["echo", "{{ ds }}"], ["2026-01-02"])


def test_usual_template_fields_are_not_carried() -> None:
    with DAG("d"):
        task = KubernetesPodOperator(task_id="t", image="i", arguments=["{{ ds }}"])
    assert carried(task).templated is None


async def test_a_choice_is_judged_when_it_is_rendered() -> None:
    with DAG("d"):
        task = Wider(task_id="t", image="i", on_finish_action="{{ what }}")
    assert (await rendered(task, carried(task), what="keep_pod"))["on_finish_action"] == "keep_pod"
    with pytest.raises(InvalidInputError, match=r"^task t: on_finish_action: must be one of delete_pod,"):
        await rendered(task, carried(task), what="keep")
    task.on_finish_action = "keep"
    with pytest.raises(InvalidInputError, match="on_finish_action: must be one of delete_pod,"):
        task.podbay_description().rendered(task.podbay_description().placement(), deadline=None)
