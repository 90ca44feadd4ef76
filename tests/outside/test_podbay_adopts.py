"""Our operator beside Airflow, without a scheduler: its signature, what a DAG file costs, rendering, policies, adoption."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import textwrap
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator as UpstreamOperator
from airflow.sdk import DAG, BaseOperator, Param

from podbay import KubernetesPodOperator
from podbay.airflow.parameters import OURS, PARAMETERS, TEMPLATE_FIELDS
from podbay.errors import InvalidInputError


def signature(operator: type) -> dict[str, Any]:
    found = inspect.signature(operator.__init__).parameters
    return {name: each.default for name, each in found.items() if name not in ("self", "kwargs")}


def test_every_upstream_parameter_has_a_row_and_its_default() -> None:
    upstream, ours = signature(UpstreamOperator), signature(KubernetesPodOperator)
    assert set(ours) == set(PARAMETERS)
    assert set(ours) - set(upstream) == set(OURS)
    assert set(upstream) <= set(ours)
    other = {name for name in upstream if upstream[name] != ours[name]}
    assert other == {"deferrable"}
    assert all(ours[name] == PARAMETERS[name].default for name in ours)


def test_template_fields_are_upstreams() -> None:
    assert tuple(UpstreamOperator.template_fields) == TEMPLATE_FIELDS
    assert UpstreamOperator.template_fields_renderers == KubernetesPodOperator.template_fields_renderers


def test_parameters_of_airflow_itself_are_taken() -> None:
    known = set(inspect.signature(BaseOperator.__init__).parameters) - {"self", "kwargs"}
    given = {"retries": 3, "pool": "p", "execution_timeout": None, "priority_weight": 2}
    assert set(given) <= known
    assert KubernetesPodOperator(task_id="t", image="i", **given).retries == 3
    with pytest.raises(InvalidInputError, match="imagee: no such parameter; did you mean image"):
        KubernetesPodOperator(task_id="t", imagee="i")


def python(code: str, tmp_path: Path, **env: str) -> str:
    """What a fresh interpreter prints; its Airflow has a home of its own."""
    settings = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "PYTHONWARNINGS": "ignore",
        **env,
    }
    outside = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        env=outside | settings,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.strip().splitlines()[-1]


def test_a_dag_file_imports_nothing_heavy(tmp_path: Path) -> None:
    found = python(
        """
        import sys
        from airflow.sdk import DAG
        before = set(sys.modules)
        from podbay import KubernetesPodOperator
        with DAG("d"):
            KubernetesPodOperator(task_id="t", image="i", cmds=["true"])
        print(sorted({name.split(".")[0] for name in set(sys.modules) - before}))
        """,
        tmp_path,
    )
    heavy = {"kubernetes", "kubernetes_asyncio", "aiohttp", "cryptography", "rich", "typer", "pandas"}
    assert not heavy & set(json.loads(found.replace("'", '"')))


ADOPTED = """
import json, sys
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
from podbay.airflow.policy import task_policy

class Own(KubernetesPodOperator):
    pass

with DAG("d") as dag:
    KubernetesPodOperator(task_id="plain", image="i", cmds=["{{ ds }}"], env_vars={"A": "b"})
    KubernetesPodOperator(task_id="on-worker", image="i", deferrable=False)
    KubernetesPodOperator(task_id="by-default-args", image="i", default_args={"deferrable": False})
    KubernetesPodOperator.partial(task_id="mapped-on-worker", image="i", deferrable=False).expand(arguments=[["a"]])
    KubernetesPodOperator.partial(task_id="mapped", image="i").expand(arguments=[["a"], ["b"]])
    KubernetesPodOperator(
        task_id="called", image="i", on_success_callback=print, max_active_tis_per_dag=2, priority_weight=7
    )
    KubernetesPodOperator(task_id="pooled", image="i", pool="narrow")
    Own(task_id="subclass", image="i")
for task in dag.tasks:
    task_policy(task)
data = DagSerialization.to_dict(dag)
tasks = {each["__var"]["task_id"]: each["__var"] for each in data["dag"]["tasks"]}
print(json.dumps({
    name: [task["task_type"], bool(task.get("start_from_trigger")),
           json.loads(task["start_trigger_args"]["trigger_kwargs"]["__var"]["spec"]) if task.get("start_trigger_args") else None,
           task.get("_operator_extra_links")]
    for name, task in tasks.items()
}))
"""


def test_upstreams_tasks_are_adopted_only_if_the_deployment_says_so(tmp_path: Path) -> None:
    left = json.loads(python(ADOPTED, tmp_path))
    assert {name: started for name, (_, started, _, _) in left.items()} == dict.fromkeys(left, False)
    assert {name for name, (_, _, _, links) in left.items() if links} == set()
    taken = json.loads(python(ADOPTED, tmp_path, AIRFLOW__PODBAY__ADOPT_UPSTREAM_OPERATORS="True"))
    assert {name: started for name, (_, started, _, _) in taken.items()} == {
        "plain": True,
        "on-worker": False,
        "by-default-args": False,
        "mapped-on-worker": False,
        "mapped": True,
        "called": True,
        # Airflow checks no pool for what starts in the triggerer.
        "pooled": False,
        "subclass": False,
    }
    assert {kind for kind, _, _, _ in taken.values()} == {"KubernetesPodOperator", "Own"}
    assert {name for name, (_, _, _, links) in taken.items() if links == {"Pod": "_link_PodLink"}} == {
        *taken
    } - {"subclass"}
    assert taken["plain"][2]["parameters"]["cmds"] == ["{{ ds }}"]
    assert taken["mapped"][2]["expansion"] == {
        "kind": "dict-of-lists",
        "value": {"arguments": [["a"], ["b"]]},
    }
    called = taken["called"][2]
    assert (called["finish"], called["priority"]) == ("success", 7)
    assert called["limits"] == {"max_active_tis_per_dag": 2, "max_active_tasks": 16}


CHANGED = """
import json
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator, OnFinishAction
from airflow.sdk import DAG
from kubernetes.client import models as k8s
from podbay.airflow.adoption import adopt
from podbay.airflow.carried import Carried
from podbay.airflow.portable import plain, revive

def carried(task):
    adopt(task)
    spec = Carried.from_text(task.start_trigger_args.trigger_kwargs["spec"])
    return {name: plain(revive(value)) for name, value in spec.parameters.items()}

GIVEN = dict(tolerations=[{"key": "a", "nosuch": "b"}], affinity={"nodeAffinity": {}}, image_pull_secrets="a,b")
with DAG("d"):
    left = KubernetesPodOperator(task_id="left", image="i")
    given = KubernetesPodOperator(task_id="given", image="i", on_finish_action="keep_pod", **GIVEN)
    changed = KubernetesPodOperator(
        task_id="changed", image="i", tolerations=[{"key": "a"}], on_finish_action="keep_pod", durable=True
    )
    # As a cluster policy does.
    changed.tolerations.append(k8s.V1Toleration(key="batch", operator="Exists"))
    changed.service_account_name = "restricted"
    changed.automount_service_account_token = False
    changed.security_context = {"runAsNonRoot": True}
    changed.on_finish_action = OnFinishAction.DELETE_SUCCEEDED_POD
    changed.image_pull_secrets = [k8s.V1LocalObjectReference("pull")]
    changed.schedule_timeout_seconds = 7
    changed.container_logs = True
    changed.durable = False
print(json.dumps([carried(task) for task in (left, given, changed)]))
"""


def test_what_policies_have_set_on_an_upstream_task_is_taken_over(tmp_path: Path) -> None:
    left, given, changed = json.loads(
        python(CHANGED, tmp_path, AIRFLOW__PODBAY__ADOPT_UPSTREAM_OPERATORS="True")
    )
    assert left == {"image": "i", "base_container_name": "base"}
    # What was given stands as it was given: upstream drops the unknown field, which is refused here.
    assert given == left | {
        "tolerations": [{"key": "a", "nosuch": "b"}],
        "affinity": {"nodeAffinity": {}},
        "image_pull_secrets": "a,b",
        "on_finish_action": "keep_pod",
    }
    assert changed == left | {
        "tolerations": [{"key": "a"}, {"key": "batch", "operator": "Exists"}],
        "service_account_name": "restricted",
        "automount_service_account_token": False,
        "security_context": {"runAsNonRoot": True},
        "on_finish_action": "delete_succeeded_pod",
        "image_pull_secrets": [{"name": "pull"}],
        "schedule_timeout_seconds": 7,
        "container_logs": True,
        "durable": False,
    }


RENDERED = """
import asyncio, greenback, json
from types import SimpleNamespace
from airflow.sdk import DAG, Param
from kubernetes.client import models as k8s
from podbay import KubernetesPodOperator
from podbay.airflow.calls import TaskKey
from podbay.airflow.portable import encode, plain, revive
from podbay.airflow.rendering import render_parameters

VALUES = dict(
    image="i:{{ params.tag }}",
    cmds=["a {{ ds }}", "{{ [1, 2] }}", "{{ macros.ds_add(ds, 1) }}", "{{ ts | ts_nodash }}"],
    arguments=["{% for x in range(3) %}{{ x }}{% endfor %}", "no template"],
    env_vars={"{{ params.tag }}": "{{ run_id }}", "PLAIN": "x"},
    labels={"a": "{{ ti.task_id }}", "{{ not }}": "rendered keys are not"},
    container_resources=k8s.V1ResourceRequirements(limits={"memory": "{{ 16 }}Mi"}),
    volumes=[k8s.V1Volume(name="{{ ds }}", host_path=k8s.V1HostPathVolumeSource(path="{{ not_rendered }}"))],
    volume_mounts=[k8s.V1VolumeMount(name="{{ ds }}", mount_path="/{{ neither }}")],
    env_from=[k8s.V1EnvFromSource(config_map_ref=k8s.V1ConfigMapEnvSource(name="{{ ds }}"))],
    trigger_kwargs={"n": "{{ 1 + 1 }}"},
)
NATIVE = GIVEN

with DAG("d", render_template_as_native_obj=NATIVE, params={"tag": "v1"}) as dag:
    task = KubernetesPodOperator(task_id="t", **{k: v for k, v in VALUES.items() if k != "labels"} | {"labels": {"a": "{{ ti.task_id }}"}})

context = {"params": {"tag": "v1"}, "ds": "2026-01-02", "ts": "2026-01-02T03:04:05+00:00", "run_id": "manual",
           "dag": dag, "task": task}
from airflow.sdk.execution_time.context import MacrosAccessor
context["macros"] = MacrosAccessor()
import datetime
context["ts"] = datetime.datetime(2026, 1, 2, 3, 4, 5)
ti = SimpleNamespace(task_id="t", task=SimpleNamespace(dag=dag), get_template_context=lambda: context)
context["ti"] = ti
fields = {name: encode(getattr(task, name)) for name in task.template_fields}
fields["env_vars"] = [{"name": k, "value": v} for k, v in VALUES["env_vars"].items()]

async def ours():
    key = TaskKey(dag_id="d", run_id="manual", task_id="t", map_index=-1, try_number=1)
    return await render_parameters(fields, expansion=None, native=NATIVE, ti=ti, key=key, calls=None)

mine = asyncio.run(ours())
copy = task.prepare_for_execution()
copy.render_template_fields(context, dag.get_template_env())
theirs = {name: plain(revive(encode(getattr(copy, name)))) for name in task.template_fields}
print(json.dumps([mine, theirs], default=str))
"""


WANTED = """
import json
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG
from podbay.airflow.adoption import adopt

with DAG("d"):
    tasks = [
        KubernetesPodOperator(task_id=f"t{n}", image="i", **given)
        for n, given in enumerate(({}, {"deferrable": False}, {"deferrable": True}, {}, {}))
    ]
# As a cluster policy does.
tasks[3].deferrable = True
tasks[4].deferrable = not tasks[4].deferrable
for task in tasks:
    adopt(task)
print(json.dumps([task.podbay_parameters()["deferrable"] for task in tasks]))
"""


@pytest.mark.parametrize(
    ("default", "wanted"),
    [("False", [None, False, True, True, True]), ("True", [None, False, True, None, False])],
)
def test_what_an_author_says_of_the_place_counts_and_a_default_does_not(
    tmp_path: Path, default: str, wanted: list[bool | None]
) -> None:
    env = {
        "AIRFLOW__PODBAY__ADOPT_UPSTREAM_OPERATORS": "True",
        "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": default,
    }
    assert json.loads(python(WANTED, tmp_path, **env)) == wanted


@pytest.mark.parametrize("native", [False, True])
def test_templates_are_rendered_as_a_worker_renders_them(tmp_path: Path, native: bool) -> None:
    mine, theirs = json.loads(python(RENDERED.replace("GIVEN", str(native)), tmp_path))
    assert mine == theirs
    assert mine["cmds"][0] == "a 2026-01-02"
    assert mine["env_vars"][0] == {"name": "v1", "value": "manual"}
    assert mine["cmds"][1] == ([1, 2] if native else "[1, 2]")


def test_the_class_does_not_start_from_a_trigger() -> None:
    """The scheduler would start mapped tasks with the class's unexpanded arguments."""
    assert KubernetesPodOperator.start_from_trigger is False
    assert KubernetesPodOperator.start_trigger_args is None


def test_params_that_a_run_could_contradict_are_looked_at_by_a_worker() -> None:
    """Airflow reads them before a trigger is made, and an error there ends the whole triggerer."""
    with DAG("d", params={"of_dag": Param(1, type="integer")}):
        plain = KubernetesPodOperator(task_id="plain", image="i")
        own = KubernetesPodOperator(task_id="own", image="i", params={"x": Param(1, type="integer")})
    assert plain.podbay_description().placement().where == "triggerer"
    assert plain.start_from_trigger
    placement = own.podbay_description().placement()
    assert placement.where == "worker start"
    assert placement.reason.startswith("its own param x has a schema")


def test_the_time_limit_is_taken_over_and_told_to_the_scheduler_with_a_grace() -> None:
    with DAG("d"):
        task = KubernetesPodOperator(
            task_id="t", image="i", deferrable=True, execution_timeout=timedelta(seconds=30)
        )
    assert task.execution_timeout is None
    assert task.start_trigger_args.timeout == timedelta(seconds=90)


def test_a_subclass_with_its_own_execute_runs_on_a_worker() -> None:
    class Own(KubernetesPodOperator):
        def execute(self, context: Any) -> Any:
            return 1

    with DAG("d"):
        task = Own(task_id="t", image="i")
    assert task.podbay_description().placement().where == "worker"


def test_a_dry_run_prints_the_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    KubernetesPodOperator(
        task_id="t", image="i", env_vars={"PASSWORD": "hidden"}, do_xcom_push=True
    ).dry_run()
    said = capsys.readouterr().out
    assert "image: i" in said
    assert "hidden" not in said
    assert "dag_id" not in said
