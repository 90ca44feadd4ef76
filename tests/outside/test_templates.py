"""Templates rendered in the triggerer, with no Airflow around: which parameters are templates, and what is told when one fails."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator as UpstreamOperator
from airflow.sdk import DAG
from airflow.sdk.definitions._internal.templater import create_template_env
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType, TaskDeferred
from airflow.sdk.execution_time.comms import ErrorResponse
from kubernetes.client import models as k8s

from podbay import KubernetesPodOperator
from podbay.airflow import rendering
from podbay.airflow.adoption import adopted_class
from podbay.airflow.calls import TaskKey
from podbay.airflow.carried import Carried
from podbay.airflow.mapping import mapped_description
from podbay.airflow.policy import task_policy
from podbay.airflow.portable import plain, revive
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


class Query(KubernetesPodOperator):
    def __init__(self, *, sql: str, **kwargs: Any) -> None:
        super().__init__(arguments=[sql], **kwargs)


def mapped(task: Any) -> Any:
    task_policy(task)
    return task


def test_a_class_that_makes_parameters_of_its_own_makes_them_where_it_is_unmapped() -> None:
    """Its mapped task has only what was given to it."""
    with DAG("d"):
        task = mapped(Query.partial(task_id="t", image="i", sql="select").expand(env_vars=[{"A": "1"}]))
    assert not task.start_from_trigger
    reason = mapped_description(task).placement().reason
    assert reason.startswith("Query.__init__ says parameters of the pod")


def test_arguments_that_are_none_of_the_pods_are_for_a_worker() -> None:
    with DAG("d"):
        rows = [{"image": "a"}, {"image": "b", "priority_weight": 4}]
        task = mapped(KubernetesPodOperator.partial(task_id="t").expand_kwargs(rows))
    assert not task.start_from_trigger


async def test_mapped_arguments_are_judged_before_there_is_a_pod() -> None:
    with DAG("d"):
        task = mapped(
            KubernetesPodOperator.partial(task_id="t", image="i").expand(
                on_finish_action=["keep_pod", "keep"]
            )
        )
    given = await rendered(task, carried(task), index=0)
    assert given["on_finish_action"] == "keep_pod"
    with pytest.raises(
        InvalidInputError, match=r"^task t\[1\]: on_finish_action: must be one of delete_pod,"
    ):
        await rendered(task, carried(task), index=1)


async def test_rows_of_a_result_say_nothing_but_parameters_of_the_pod() -> None:
    with DAG("d"):
        rows = KubernetesPodOperator(task_id="rows", image="i", do_xcom_push=True).output
        task = mapped(KubernetesPodOperator.partial(task_id="t", image="i").expand_kwargs(rows))
    xcoms = {"rows": [{"name": "a"}, {"retries": 4}]}
    assert (await rendered(task, carried(task), index=0, xcoms=xcoms))["name"] == "a"
    with pytest.raises(InvalidInputError, match=r"^task t\[1\]: expand_kwargs\(\) got retries, .* partial"):
        await rendered(task, carried(task), index=1, xcoms=xcoms)


NAMED = {"{{ ds }}": "of {{ ds }}", "B": "b"}


@pytest.mark.parametrize("operator", [KubernetesPodOperator, UpstreamOperator])
@pytest.mark.parametrize("rows", [{"env_vars": [NAMED]}, [{"env_vars": NAMED}]])
async def test_names_of_mapped_variables_are_templates(
    operator: Any, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a worker renders them, which sees them as the task's own."""
    monkeypatch.setattr("podbay.airflow.task.stored_memory", lambda context: None)
    with DAG("d"):
        partial = operator.partial(task_id="t", image="i")
        task = partial.expand_kwargs(rows) if isinstance(rows, list) else partial.expand(**rows)
    task.operator_class = operator if operator is KubernetesPodOperator else adopted_class(operator)
    expected = [{"name": "2026-01-02", "value": "of 2026-01-02"}, {"name": "B", "value": "b"}]
    assert (await rendered(task, carried(mapped(task)), index=0))["env_vars"] == expected
    by_worker = begun_on_a_worker(task).parameters["env_vars"]
    assert [plain(revive(each)) for each in by_worker] == expected


def test_a_name_of_a_mapped_variable_can_need_a_worker() -> None:
    with DAG("d", user_defined_macros={"ours": 1}):
        of_class = mapped(
            KubernetesPodOperator.partial(task_id="t", image="i").expand(env_vars=[{"{{ ours }}": "x"}])
        )
        of_start = mapped(
            KubernetesPodOperator.partial(task_id="u", image="i").expand_kwargs(
                [{"env_vars": {"{{ ti.hostname }}": "x"}}]
            )
        )
    assert "user_defined_macros" in mapped_description(of_class).placement().reason
    assert "only a worker knows ti.hostname" in mapped_description(of_start).placement().reason


async def test_what_a_task_is_mapped_over_is_no_template_when_it_is_a_result() -> None:
    with DAG("d"):
        rows = KubernetesPodOperator(task_id="rows", image="i", do_xcom_push=True).output
        task = mapped(KubernetesPodOperator.partial(task_id="t", image="i").expand(env_vars=rows))
    given = await rendered(task, carried(task), index=0, xcoms={"rows": [{"{{ ds }}": "{{ ds }}"}]})
    assert given["env_vars"] == {"{{ ds }}": "{{ ds }}"}


@pytest.mark.parametrize(
    ("pulled", "found"),
    [
        ([[1, 2]], "['A', [1, 2]]"),
        ([[1, 2], [3]], "['A', [1, 2], [3]]"),
        ([None], "['A', None]"),
    ],
)
async def test_results_of_mapped_tasks_stand_one_beside_the_other(pulled: list[Any], found: str) -> None:
    """As `xcom_pull` of several tasks gives them on a worker; that of one instance is no list of instances."""
    with DAG("d"):
        KubernetesPodOperator(task_id="single", image="i")
        KubernetesPodOperator.partial(task_id="many", image="i").expand(arguments=[["a"]])
        pull = "{{ ti.xcom_pull(task_ids=['single', 'many']) }}"
        task = KubernetesPodOperator(task_id="t", image="i", arguments=[pull])
    given = await rendered(task, carried(task), xcoms={"single": "A", "many": pulled})
    assert given["arguments"] == [found]


def begun_on_a_worker(task: Any) -> Carried:
    """What a worker hands over that has rendered the parameters."""
    copy = task.prepare_for_execution()
    ti = SimpleNamespace(task_id=task.task_id, start_date=None, map_index=0, task=copy)
    run = SimpleNamespace(conf={})
    context = {
        "ti": ti,
        "task": copy,
        "dag": task.dag,
        "dag_run": run,
        "params": {},
        "prev_start_date_success": 1,
        "ds": "2026-01-02",
    }
    copy.render_template_fields(context)
    with pytest.raises(TaskDeferred) as deferred:
        ti.task.execute(context)
    return Carried.from_text(deferred.value.trigger.serialize()[1]["spec"])


def test_why_a_worker_has_begun_a_task_is_what_its_dag_file_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is rendered needs nothing of a worker."""
    monkeypatch.setattr("podbay.airflow.task.stored_memory", lambda context: None)
    template = "{{ prev_start_date_success }}"
    with DAG("d"):
        task = KubernetesPodOperator(task_id="t", image="i", arguments=[template])
        many = mapped(KubernetesPodOperator.partial(task_id="m", image=template).expand(arguments=[["a"]]))
        own = mapped(Query.partial(task_id="q", image="i").expand(sql=["a"]))
    start = "Starts on a worker and goes on in the triggerer"
    for each in (task, many):
        found = begun_on_a_worker(each)
        assert found.reason.startswith(start)
        assert "only a worker knows prev_start_date_success" in found.reason
    assert "Query.__init__ says parameters of the pod" in begun_on_a_worker(own).reason


@pytest.mark.parametrize("operator", [KubernetesPodOperator, UpstreamOperator])
def test_templates_of_other_files_are_rendered_where_those_are(
    operator: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podbay.airflow.task.stored_memory", lambda context: None)
    (tmp_path / "job.sh").write_text("echo {{ ds }}")
    (tmp_path / "lib.j2").write_text("{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}")
    (tmp_path / "base.sh").write_text("set -e; {% block work %}{% endblock %}")
    texts = [
        "{% include 'job.sh' %}",
        "{%- import 'lib.j2' as lib %}{{ lib.twice('a') }}",
        "{% from 'lib.j2' import twice %}{{ twice('b') }}",
        "{% extends 'base.sh' %}{% block work %}true{% endblock %}",
    ]
    expected = ["echo 2026-01-02", "aa", "bb", "set -e; true"]
    with DAG("d", template_searchpath=[str(tmp_path)]):
        tasks = [operator(task_id=f"t{n}", image="i", cmds=["sh", text]) for n, text in enumerate(texts)]
        many = operator.partial(task_id="m", image="i").expand(cmds=[["sh", text] for text in texts[:1]])
    for task in tasks:
        if operator is UpstreamOperator:
            task.__class__ = adopted_class(operator)
    if operator is UpstreamOperator:
        many.operator_class = adopted_class(operator)
    for task, text in zip([*tasks, mapped(many)], [*expected, expected[0]], strict=True):
        assert not task.start_from_trigger
        found = begun_on_a_worker(task)
        assert found.parameters["cmds"] == ["sh", text]
        assert "only a worker knows the file of {% " in found.reason


class Undefined:
    """Variables of an Airflow that has none."""

    def __getattr__(self, name: str) -> Any:
        raise AirflowRuntimeError(
            ErrorResponse(
                error=ErrorType.VARIABLE_NOT_FOUND, detail={"message": f"Variable {name} not found"}
            )
        )


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (
            {"cmds": ["echo", "{{ foo.bar }}"]},
            "The template of cmds[1] cannot be rendered: '{{ foo.bar }}': 'foo' is undefined.",
        ),
        (
            {"env_vars": {"A": "b", "B": "{{ foo }}"}},
            "The template of env_vars[B] cannot be rendered: '{{ foo }}': 'foo' is undefined.",
        ),
        (
            {"volumes": [k8s.V1Volume(name="{{ foo }}")]},
            "The template of volumes[0].name cannot be rendered: '{{ foo }}': 'foo' is undefined.",
        ),
        (
            {"labels": {"a": "{{ 1 / 0 }}"}},
            "of labels[a] cannot be rendered: '{{ 1 / 0 }}': ZeroDivisionError:",
        ),
        (
            {"image": "{{ foo"},
            "The template of image cannot be rendered: '{{ foo': unexpected end of template",
        ),
        (
            {"arguments": ["{{ params.nosuch }}"]},
            "'{{ params.nosuch }}': 'dict object' has no attribute 'nosuch'. The DAG has the params tag, rows.",
        ),
        (
            {"arguments": ["{{ var.value.nosuch }}"]},
            "There is no Airflow Variable nosuch. Create it, or set AIRFLOW_VAR_NOSUCH.",
        ),
        (
            {"arguments": ["{{ ti.xcom_pull(task_ids='make')['rows'] }}"]},
            "xcom_pull(task_ids='make', key='return_value') found nothing: no such result has been pushed.",
        ),
    ],
)
async def test_a_template_that_fails_is_told_with_its_place(parameters: dict[str, Any], said: str) -> None:
    with DAG("d"):
        task = KubernetesPodOperator(task_id="t", **{"image": "i", **parameters})
    context = {"params": {"tag": 1, "rows": 2}, "var": {"value": Undefined()}}
    with pytest.raises(InvalidInputError) as caught:
        await rendered(task, carried(task), **context)
    assert said in str(caught.value)
    assert str(caught.value).startswith("The template of ")


async def test_params_of_a_dag_without_any() -> None:
    with DAG("d"):
        task = KubernetesPodOperator(task_id="t", image="{{ params.tag }}")
    with pytest.raises(InvalidInputError, match=r"'tag'\. The DAG has no params\.$"):
        await rendered(task, carried(task), params={})


@pytest.mark.parametrize("text", ["", "plain", "a {b} }} %} #}", "{", "{ {x} }", "é {", '{"a": {"b": 1}}'])
def test_texts_that_jinja_leaves_alone_are_left_to_themselves(text: str) -> None:
    assert rendering._PLAIN.fullmatch(text)
    assert create_template_env(native=False).from_string(text).render() == text


@pytest.mark.parametrize(
    "text", ["{{", "a {% x", "b {# c", "{{ ds }}", "{{{ ds }}}", "a\n", "a\r\nb", "a\rb"]
)
def test_texts_with_something_for_jinja_are_not(text: str) -> None:
    assert not rendering._PLAIN.fullmatch(text)


async def test_texts_without_templates_stay_and_become_objects_where_the_dag_says_so() -> None:
    for native, expected in ((False, ["1", "a\n b", "x"]), (True, [1, "a\n b", "x"])):
        with DAG("d", schedule=None, render_template_as_native_obj=native):
            task = KubernetesPodOperator(task_id="t", image="a:1", arguments=["1", "a\n b\n", "x"])
        assert (await rendered(task, carried(task)))["arguments"] == expected
