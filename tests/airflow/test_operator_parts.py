"""The operator's deciding parts, which know no Airflow: table, checks, placement, values on their way, ends."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbay.airflow.carried import Carried
from podbay.airflow.checking import check_names, check_parameters
from podbay.airflow.ending import TaskEnd, end_of, needs_worker
from podbay.airflow.expansion import pick
from podbay.airflow.parameters import PARAMETERS, TEMPLATE_FIELDS, parameters_of
from podbay.airflow.placement import TaskFacts, place, unsupported_in_templates
from podbay.airflow.portable import Literal, encode, plain, revive
from podbay.airflow.reference import updated
from podbay.airflow.request import Surroundings, deadlines, pod_request, retention, wanted_logs
from podbay.errors import InvalidInputError
from podbay.lifecycle.outcome import Outcome, Receipt
from podbay.pods.build import build_pod
from podbay.pods.identity import TaskIdentity
from podbay.pods.request import PodRequest

HOUR = timedelta(hours=1)
TASK = TaskIdentity(deployment="d", dag_id="dag", run_id="run", task_id="task")


class Model:
    """As the official client's models are."""

    def __init__(self, **fields: Any) -> None:
        self.attribute_map = {name: name.replace("_n", "N") for name in fields}
        self.__dict__.update(fields)


class V1EnvVar(Model):
    pass


# -- the table


def test_rows_of_the_pod_go_to_fields_of_the_request() -> None:
    fields = {each.name for each in dataclasses.fields(PodRequest)}
    assert {row.target for row in parameters_of("pod")} <= fields
    assert set(TEMPLATE_FIELDS) <= set(PARAMETERS)
    assert all(row.doc.endswith(".") for row in PARAMETERS.values())


def test_what_is_false_says_nothing_unless_it_has_a_meaning() -> None:
    template = {
        "spec": {
            "automountServiceAccountToken": True,
            "hostNetwork": True,
            "containers": [{"name": "base", "image": "i", "command": ["a"]}],
        }
    }
    found = build_pod(
        pod_request(
            {
                "pod_template_dict": template,
                "cmds": [],
                "hostnetwork": False,
                "automount_service_account_token": False,
                "labels": {},
            },
            Surroundings(identity=TASK, default_namespace="n"),
        )
    )
    assert found["spec"]["containers"][0]["command"] == ["a"]
    assert found["spec"]["hostNetwork"] is True
    assert found["spec"]["automountServiceAccountToken"] is False
    assert found["metadata"]["namespace"] == "n"


def test_env_secrets_become_references() -> None:
    found = pod_request({"env_secrets": {"A": "s/k"}}, Surroundings()).secrets
    assert [(each.deploy_target, each.secret, each.key) for each in found] == [("A", "s", "k")]
    found = pod_request({"env_secrets": ["B"]}, Surroundings()).secrets
    assert [(each.deploy_target, each.secret, each.key) for each in found] == [("B", "env-secrets", "B")]
    with pytest.raises(InvalidInputError, match=r"env_secrets\[A\]: must be SECRET/KEY"):
        pod_request({"env_secrets": {"A": "only-a-name"}}, Surroundings())


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        ({}, {"base"}),
        ({"get_logs": False}, set()),
        ({"container_logs": True}, {"base", "side"}),
        ({"container_logs": ["side"]}, {"side"}),
        ({"get_logs": False, "init_container_logs": "first"}, {"first"}),
        ({"init_container_logs": True}, {"base", "first", "second"}),
    ],
)
def test_the_containers_whose_logs_are_shown(chosen: dict[str, Any], names: set[str]) -> None:
    pod = {
        "metadata": {},
        "spec": {
            "containers": [{"name": "base"}, {"name": "side"}],
            "initContainers": [{"name": "first"}, {"name": "second"}],
        },
    }
    wanted = wanted_logs(chosen, pod)
    assert {name for name in ("base", "side", "first", "second") if wanted(name)} == names


def test_deadlines_are_upstreams_but_for_waiting_for_a_node() -> None:
    found = deadlines({}, run=None)
    assert (found.start, found.schedule, found.run) == (120, 600, None)
    assert deadlines({"schedule_timeout_seconds": 5, "startup_timeout_seconds": 7}, run=9.0).schedule == 5


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({}, ("never", None)),
        ({"on_finish_action": "delete_succeeded_pod"}, ("on_failure", None)),
        ({"on_finish_action": "keep_pod"}, ("always", None)),
        ({"hold_on_failure": HOUR}, ("on_failure", 3600)),
        ({"hold_on_failure": HOUR, "on_finish_action": "delete_succeeded_pod"}, ("on_failure", 3600)),
    ],
)
def test_which_pods_stay_and_how_long(said: dict[str, Any], found: tuple[str, float | None]) -> None:
    check_parameters("T", {"image": "i", **said})
    assert retention(said) == found


# -- what is refused


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"on_finish_action": "delete"}, "on_finish_action: must be one of delete_pod"),
        ({"on_kill_action": "delete_active_pod"}, "on_kill_action: must be one of delete_pod, keep_pod"),
        ({"startup_timeout_seconds": -1}, "startup_timeout_seconds: must be a number of seconds"),
        ({"skip_on_exit_code": 0}, "skip_on_exit_code: cannot hold 0"),
        ({"skip_on_exit_code": "99"}, "skip_on_exit_code: must be an exit code"),
        ({"in_cluster": True, "config_file": "x"}, "in_cluster: cannot be True together with config_file"),
        ({"pod_template_file": "a", "pod_template_dict": {"kind": "Pod"}}, "together with pod_template_dict"),
        ({"result_transport": "sidecar"}, "result_transport: has nothing to transport"),
        ({"hold_on_failure": 600}, "hold_on_failure: must be a timedelta, not an integer"),
        ({"hold_on_failure": timedelta(0)}, "hold_on_failure: must be more than nothing"),
        ({"hold_on_failure": timedelta(days=8)}, "at most 7 days"),
        (
            {"hold_on_failure": HOUR, "on_finish_action": "keep_pod"},
            "has no end with on_finish_action=keep_pod",
        ),
        ({"hold_on_failure": HOUR, "name": "a", "random_name_suffix": False}, "would find its name taken"),
        ({"image_pull_policy": "Sometimes"}, "T: image_pull_policy: must be one of Always"),
        ({"env_vars": [{"nmae": "A"}]}, "T: env_vars[0].nmae: unknown field; did you mean name?"),
        ({"env_vars": {"A": 5}}, "T: env_vars[A]: must be a string, not an integer"),
        ({"env_vars": {"A": "b"}, "pod_runtime_info_envs": [{"value": 1}]}, "pod_runtime_info_envs[0].value"),
        ({"container_resources": {"limits": {"memory": "lots"}}}, "T: container_resources.limits[memory]: "),
        ({"container_resources": {"limit": {}}}, "container_resources.limit: unknown field; did you mean"),
        ({"cmds": "echo"}, 'T: cmds: must be a list: cmds=["echo"]'),
        ({"cmds": "echo hi"}, 'T: cmds: must be a list: cmds=["echo", "…"]'),
        ({"arguments": "--password s3cret"}, 'T: arguments: must be a list: arguments=["…"]'),
        ({"image": None}, "T: image is missing"),
        ({"image": 3}, "T: image: must be a string"),
        ({"name": 3}, "T: name: must be a string, not an integer"),
        ({"schedulername": 3}, "T: schedulername: must be a string"),
        ({"labels": {"a b": "c"}}, "T: labels[a b]: "),
        ({"secrets": [{"secret": 3, "deploy_type": "env"}]}, "T: secrets[0].secret: must be a string"),
        ({"env_secrets": {"A=": "s/k"}, "env_vars": {"B": "b"}}, "T: spec.containers[0].env[1].name: "),
        ({"full_pod_spec": {"spec": {"nosuch": 1}}}, "T: full_pod_spec.spec.nosuch: unknown field"),
        (
            {"image_pull_policy": "x", "pod_template_dict": {"spec": {"containers": [{}, {"name": "base"}]}}},
            "spec.containers[0].imagePullPolicy: must be one of",
        ),
        ({"do_xcom_push": True, "volumes": [{"name": "A"}]}, "T: spec.volumes[1].name: "),
    ],
)
def test_impossible_parameters_are_refused_by_name(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_parameters("T", {"image": "i", **parameters})
    assert said in str(caught.value)
    assert str(caught.value).startswith("T: ")


def test_an_image_is_needed_unless_it_comes_later() -> None:
    with pytest.raises(InvalidInputError, match="image"):
        check_parameters("T", {"cmds": ["true"]})
    check_parameters("T", {"image": "{{ params.image }}"})
    check_parameters("T", {"cmds": ["true"]}, whole=False)
    check_parameters("T", {"pod_template_file": "/not/here/{{ ds }}.yaml"})


def test_templates_are_not_judged_before_they_are_rendered() -> None:
    check_parameters("T", {"image": "i", "container_resources": {"limits": {"memory": "{{ x }}Mi"}}})
    check_parameters("T", {"image": "i", "env_vars": "{{ x }}"})


def test_unknown_parameters_are_refused_with_the_nearest_one() -> None:
    with pytest.raises(InvalidInputError, match="imagee: no such parameter; did you mean image"):
        check_names("T", ["imagee"], ["retries"])
    check_names("T", ["retries"], ["retries"])


# -- where it runs


@pytest.mark.parametrize(
    ("facts", "where", "finish"),
    [
        ({}, "triggerer", "never"),
        ({"deferrable": True}, "triggerer", "never"),
        ({"deferrable": False}, "worker", "never"),
        ({"code": ("callbacks",)}, "worker", "never"),
        ({"deferrable": True, "code": ("callbacks",)}, "worker", "never"),
        ({"unportable": "x"}, "worker start", "never"),
        ({"templates": "x"}, "worker start", "never"),
        ({"before": ("on_execute_callback",)}, "worker start", "never"),
        ({"after_success": ("outlets",)}, "triggerer", "success"),
        ({"after_failure": ("on_failure_callback",)}, "triggerer", "failure"),
        ({"after_success": ("listeners",), "after_failure": ("listeners",)}, "triggerer", "always"),
        ({"pool": "own"}, "worker", "never"),
        ({"pool": "own", "deferrable": True}, "worker start", "never"),
        ({"pool": "own", "pools_count_deferred": True}, "worker start", "never"),
    ],
)
def test_where_a_task_runs(facts: dict[str, Any], where: str, finish: str) -> None:
    found = place(TaskFacts(**facts))
    assert (found.where, found.finish if where != "worker" else "never") == (where, finish)
    assert found.reason
    assert found.sentence().endswith(f"{found.reason}.")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("{{ ti.xcom_pull(task_ids='x') }} {{ ds }} {{ ti.try_number }}", ""),
        ("plain ti.start_date", ""),
        ("{{ prev_start_date_success }}", "prev_start_date_success"),
        ("{{ ti.start_date }}", "ti.start_date"),
        ("{{ task_instance . hostname }}", "ti.hostname"),
        ("{% if task_state_store.get('x') %}{% endif %}", "task_state_store"),
        ("{{ ti.xcom_pull('x', include_prior_dates=True) }}", "include_prior_dates"),
        (["a", {"b": "{{ inlet_events }}"}], "inlet_events"),
        ("{{ ti['start_date'] }}", "all of ti"),
        ("{{ ti | attr('hostname') }}", "all of ti"),
        ("{% set own = task_instance %}{{ own.hostname }}", "all of ti"),
        ("{% include 'job.sh' %}", "the file of {% include %}"),
        ("{%- include ['a.sh', 'b.sh'] ignore missing -%}", "the file of {% include %}"),
        ("{%+ import 'lib.j2' as lib %}{{ lib.f() }}", "the file of {% import %}"),
        ("{%from 'lib.j2' import f%}", "the file of {% from %}"),
        ({"a": ["{% extends 'base.sh' %}"]}, "the file of {% extends %}"),
        ("{% set from = 'include' %}{% if from %}{{ from }} import{% endif %}", ""),
        ("{% for each in important %}{% endfor %}{% set included = 1 %}", ""),
        ("ti {{ ti.xcom_pull(task_ids='ti') }} of {{ task_instance_key_str }} {{ params.ti }}", ""),
    ],
)
def test_templates_that_only_a_worker_can_render_are_known(text: Any, name: str) -> None:
    assert unsupported_in_templates(text) == name


# -- on the way

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False, max_value=1e15, min_value=-1e15)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("$podbay"), inner),
)


@given(JSON)
def test_values_arrive_as_they_were(value: Any) -> None:
    assert plain(revive(orjson.loads(orjson.dumps(encode(value))))) == value


def test_models_secrets_and_times_arrive() -> None:
    sent = encode(
        {
            "env": [V1EnvVar(name="A", value_name="{{ x }}")],
            "at": datetime(2026, 1, 2, tzinfo=UTC),
            "for": timedelta(1),
        }
    )
    found = revive(orjson.loads(orjson.dumps(sent)))
    assert found["env"][0].template_fields == ("name",)
    assert plain(found)["env"] == [{"name": "A", "valueName": "{{ x }}"}]
    assert (found["at"], found["for"]) == (datetime(2026, 1, 2, tzinfo=UTC), timedelta(1))


@pytest.mark.parametrize("value", [object(), lambda: 1, {1: 2}, [b"x"], float("inf"), 1 << 63])
def test_what_cannot_travel_is_told(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="cannot be carried to the triggerer"):
        encode(value)


def test_the_cross_product_counts_like_airflow() -> None:
    value = {"a": ["x", "y"], "b": Literal([1, 2, 3])}
    found = [
        (pick("dict-of-lists", value, i)["a"], pick("dict-of-lists", value, i)["b"].value) for i in range(6)
    ]
    assert found == [("x", 1), ("x", 2), ("x", 3), ("y", 1), ("y", 2), ("y", 3)]
    assert pick("list-of-dicts", Literal([{"a": 1}]), 0)["a"].value == 1
    with pytest.raises(InvalidInputError, match="no item 1"):
        pick("list-of-dicts", [{"a": 1}], 1)
    with pytest.raises(InvalidInputError, match="cannot map over a int"):
        pick("dict-of-lists", {"a": Literal(3)}, 0)


def test_what_is_carried_is_one_text_and_versioned() -> None:
    sent = Carried(parameters={"image": "i"}, finish="success", timeout=3.0, limits={"max_active_tasks": 2})
    assert Carried.from_text(sent.to_text()) == sent
    for text in (None, "", "[]", "{}", '{"version": 1, "what": 2}'):
        with pytest.raises(InvalidInputError, match="not those of a podbay task"):
            Carried.from_text(text)
    with pytest.raises(InvalidInputError, match="another version"):
        Carried.from_text('{"version": 99}')


# -- how it ends


def outcome(**fields: Any) -> Outcome:
    return Outcome(**{"kind": "succeeded", "message": "m", "pod": "p", **fields})


def test_ends_of_tasks() -> None:
    carried = Carried(parameters={})
    assert end_of(outcome(), {}, carried).state == "success"
    assert end_of(outcome(kind="failed", exit_code=3), {}, carried).state == "failed"
    assert end_of(outcome(kind="failed", exit_code=3), {"skip_on_exit_code": [3]}, carried).state == "skipped"
    assert end_of(outcome(kind="killed"), {"skip_on_exit_code": 3}, carried).state == "failed"


def test_the_image_that_ran_is_told_however_it_ended() -> None:
    carried, ran = Carried(parameters={}), Receipt(image_id="registry.test/tool@sha256:12")
    told = {"pod_image": "registry.test/tool@sha256:12"}
    assert end_of(outcome(receipt=ran), {}, carried).xcoms == told
    assert end_of(outcome(receipt=ran, kind="failed", exit_code=3), {}, carried).xcoms == told
    assert end_of(outcome(receipt=ran, exit_code=3), {"skip_on_exit_code": 3}, carried).xcoms == told
    damaged = outcome(receipt=ran, result=b"{")
    assert end_of(damaged, {"do_xcom_push": True}, carried).xcoms == told
    with_result = end_of(outcome(receipt=ran, result=b"7"), {"do_xcom_push": True}, carried)
    assert list(with_result.xcoms.items()) == [*told.items(), ("return_value", 7)]


def test_results_become_xcoms() -> None:
    asked = {"do_xcom_push": True}
    plainly, several = Carried(parameters={}), Carried(parameters={}, multiple_outputs=True)
    over = Carried(parameters={}, mapped_over=True)
    assert end_of(outcome(result=b'{"a": 1}'), asked, plainly).xcoms == {"return_value": {"a": 1}}
    assert end_of(outcome(result=b'{"a": 1}'), asked, several).xcoms == {"a": 1, "return_value": {"a": 1}}
    assert end_of(outcome(result=b'{"a": 1}'), {}, plainly).xcoms == {}
    assert "JSON object" in end_of(outcome(result=b"[1]"), asked, several).message
    assert end_of(outcome(result=b"7"), asked, over).state == "failed"
    assert end_of(outcome(), asked, over).state == "failed"
    assert end_of(outcome(result=b"[7]"), asked, over).state == "success"


@pytest.mark.parametrize(
    ("state", "finish", "worker"),
    [
        ("success", "never", False),
        ("success", "success", True),
        ("skipped", "success", True),
        ("failed", "success", False),
        ("failed", "failure", True),
        ("failed", "always", True),
    ],
)
def test_a_worker_finishes_only_what_only_it_can(state: Any, finish: Any, worker: bool) -> None:
    carried = Carried(parameters={}, finish=finish)
    assert needs_worker(TaskEnd(state=state, message=""), carried, try_number=1) is worker
    assert needs_worker(TaskEnd(state=state, message=""), carried, try_number=2)


def test_the_reference_is_that_of_the_tables() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operator.md").read_text()
    assert page == updated(page), "run: python -m podbay.airflow.reference docs/operator.md"
    assert all(f"`{name}`" in page for name in PARAMETERS)
