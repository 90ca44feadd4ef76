"""Values of parameters that Python allows and JSON does not know, as upstream takes them: what is carried of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator as UpstreamOperator
from airflow.sdk import DAG

from podbay import KubernetesPodOperator
from podbay.airflow import adoption
from podbay.airflow.carried import Carried
from podbay.airflow.policy import task_policy
from podbay.airflow.request import skip_codes
from podbay.airflow.settings import read_settings
from podbay.errors import InvalidInputError

Make = Callable[..., Any]


class Above:
    """Says of a code whether it is one, and no more: a Container."""

    def __contains__(self, code: object) -> bool:
        return isinstance(code, int) and code > 200


def ours(**given: Any) -> Any:
    return KubernetesPodOperator(task_id="t", image="i", **given)


def adopted(**given: Any) -> Any:
    return UpstreamOperator(task_id="t", image="i", **given)


def mapped(**given: Any) -> Any:
    return KubernetesPodOperator.partial(task_id="t", image="i", **given).expand(arguments=[["a"], ["b"]])


def mapped_adopted(**given: Any) -> Any:
    return UpstreamOperator.partial(task_id="t", image="i", **given).expand(arguments=[["a"], ["b"]])


@pytest.fixture(autouse=True)
def _adopting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "settings", lambda: replace(read_settings(), adopt_upstream_operators=True))


@pytest.fixture(params=[ours, adopted, mapped, mapped_adopted])
def made(request: pytest.FixtureRequest) -> Make:
    """A task as the scheduler gets it."""

    def make(**given: Any) -> Any:
        with DAG("values"):
            task = request.param(**given)
        task_policy(task)
        return task

    return make


def carried(task: Any) -> dict[str, Any]:
    assert task.start_from_trigger
    # Airflow asks more than once.
    texts = [task.start_trigger_args.trigger_kwargs["spec"] for _ in range(2)]
    assert texts[0] == texts[1]
    return dict(Carried.from_text(texts[0]).parameters)


@pytest.mark.parametrize(
    ("codes", "meant"),
    [
        (range(10, 20), set(range(10, 20))),
        ({7: "moved", 9: "gone"}.keys(), {7, 9}),
        (Above(), set(range(201, 256))),
    ],
)
def test_any_container_says_which_codes_are_skips(made: Make, codes: Any, meant: set[int]) -> None:
    assert skip_codes(carried(made(skip_on_exit_code=codes))["skip_on_exit_code"]) == meant


def test_iterators_are_read_once_for_all(made: Make) -> None:
    found = carried(
        made(
            container_logs=(name for name in ("base", "side")),
            init_container_logs=iter(["first"]),
            cmds=["sh"],
        )
    )
    assert (found["container_logs"], found["init_container_logs"]) == (["base", "side"], ["first"])


def test_what_is_without_effect_is_no_hindrance(made: Make) -> None:
    found = carried(made(trigger_kwargs={"pick": lambda pod: pod}))
    assert "trigger_kwargs" not in found


def test_other_codes_are_refused() -> None:
    for codes in (range(3), (code for code in (1, 0))):
        with DAG("values"), pytest.raises(InvalidInputError, match="cannot hold 0"):
            ours(skip_on_exit_code=codes)
    with DAG("values"), pytest.raises(InvalidInputError, match="must be an exit code"):
        ours(skip_on_exit_code=object())


class Own:
    """Nothing that a pod could have."""


WRONG = [
    ({"affinity": Own()}, r"affinity: a Python object \(.*Own\) cannot be carried"),
    ({"tolerations": [{"key": Own()}]}, "tolerations: a Python object"),
    ({"labels": {1: "one"}}, "labels: a mapping with an integer as key"),
    ({"arguments": [b"raw"]}, "arguments: "),
    ({"cmds": [Path("/bin/true")]}, "cmds: a Python object"),
    ({"priority_class_name": lambda: "high"}, "priority_class_name: "),
]


@pytest.mark.parametrize(("given", "said"), WRONG)
@pytest.mark.parametrize("make", [ours, mapped])
def test_what_could_never_run_is_refused(make: Make, given: dict[str, Any], said: str) -> None:
    if make is mapped and "arguments" in given:
        given = {"cmds": given["arguments"]}
        said = "cmds: "
    with pytest.raises(InvalidInputError, match=said), DAG("values"):
        task_policy(make(**given))


def test_what_rendering_may_still_change_is_not() -> None:
    class Resolved:
        def resolve(self, context: Any) -> Any:
            return ["a"]

    with DAG("values"):
        before = KubernetesPodOperator(task_id="before", image="i", do_xcom_push=True)
        for number, given in enumerate(
            (
                {"cmds": Resolved()},
                {"labels": {"a": Resolved()}},
                {"env_vars": lambda context, jinja_env: {"a": "b"}},
                {"volumes": [Own()]},
                {"env_vars": {1: "one"}},
                {"arguments": before.output.map(str)},
            )
        ):
            task = KubernetesPodOperator(task_id=f"t{number}", image="i", **given)
            assert task.podbay_description().placement().where in ("triggerer", "worker start")


@pytest.mark.parametrize("name", ["execute", "pre_execute", "render_template_fields"])
def test_what_a_subclass_may_still_change_is_not(name: str) -> None:
    made = type("Changing", (KubernetesPodOperator,), {name: lambda self, *_: None})
    with DAG("values"):
        made(task_id="t", image="i", affinity=Own())
        task_policy(made.partial(task_id="m", image="i", affinity=Own()).expand(cmds=[["a"]]))


@pytest.mark.parametrize("make", [adopted, mapped_adopted])
def test_adopted_tasks_do_not_break_their_dag(make: Make) -> None:
    with DAG("values"):
        task_policy(make(node_selector={1: "one"}))
