"""Our operator with real containers: what passes between tasks, and what surrounds them."""

from __future__ import annotations

import datetime
import json
from typing import Any

from airflow.providers.cncf.kubernetes.callbacks import KubernetesPodOperatorCallback
from airflow.providers.cncf.kubernetes.secret import Secret
from airflow.sdk import DAG, Asset, task, task_group
from kubernetes.client import models as k8s

from podbay import KubernetesPodOperator

RESULT = "/airflow/xcom/return.json"
SHARED: dict[str, Any] = {"namespace": "containers", "image": "localhost/bb:1", "retries": 0}
PYTHON: dict[str, Any] = {
    "namespace": "containers",
    "image": "localhost/python:1",
    "retries": 0,
}
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
MADE = Asset("podbay-made")


def sh(name: str, script: str, **parameters: Any) -> Any:
    return KubernetesPodOperator(task_id=name, cmds=["sh", "-c"], arguments=[script], **(SHARED | parameters))


def says(value: Any) -> str:
    return f"echo '{json.dumps(value)}' > {RESULT}"


with DAG("podbay_xcom", schedule=None, start_date=START):
    one = sh("one", says({"answer": [42, "ü"], "list": ["x", "y"]}), do_xcom_push=True, multiple_outputs=True)
    many = sh("many", says(["p", "q"]), do_xcom_push=True)
    pulls = sh(
        "pulls",
        "echo {{ ti.xcom_pull(task_ids='one')['answer'][0] }} {{ ti.xcom_pull(task_ids='one', key='list') }} $PLAIN"
        " {{ ti.xcom_pull(task_ids='mapped') | length }} {{ ti.xcom_pull(task_ids=['many']) }}",
        env_vars={"PLAIN": "{{ dag.dag_id }}-{{ params.get('x', 'none') }}"},
    )
    mapped = KubernetesPodOperator.partial(
        task_id="mapped",
        cmds=["sh", "-c", f"echo $0 $1 {{{{ ti.map_index }}}} $COLOUR; echo '\"'$0$COLOUR'\"' > {RESULT}"],
        do_xcom_push=True,
        **SHARED,
    ).expand(arguments=[["a", "1"], ["b", "2"]], env_vars=[{"COLOUR": "red"}, {"COLOUR": "{{ dag.dag_id }}"}])
    over = KubernetesPodOperator.partial(task_id="over", cmds=["echo", "got"], **SHARED).expand(
        arguments=many.output.map(lambda each: [each])
    )
    rows = KubernetesPodOperator.partial(task_id="rows", **SHARED).expand_kwargs(
        [
            {"cmds": ["echo", "row"], "arguments": ["{{ run_id[:6] }}"]},
            {"cmds": ["sh", "-c", "exit 7"], "skip_on_exit_code": 7},
        ]
    )

    @task_group
    def grouped(letter: str) -> None:
        inner = sh(
            "inner", f"echo '\"'$LETTER'\"' > {RESULT}", env_vars={"LETTER": letter}, do_xcom_push=True
        )
        sh("outer", "echo outer $FROM", env_vars={"FROM": inner.output})

    grouped.expand(letter=["k", "l"])
    mapped >> pulls
    sh(
        "again",
        "echo try {{ ti.try_number }}; exit $((2 - {{ ti.try_number }}))",
        do_xcom_push=True,
        retries=1,
        retry_delay=datetime.timedelta(seconds=0),
    )
    sh("not-json", f"echo '{{' > {RESULT}", do_xcom_push=True)
    sh("undefined", "echo {{ nothing_of_this_name }}")
    sh("bad-pod", "echo", env_vars="{{ [1] }}")


def shout(context: Any) -> None:
    print("callback of", context["ti"].task_id, type(context.get("exception")).__name__)


class Tells(KubernetesPodOperatorCallback):
    """Says each moment in the log, and labels the pod."""

    @staticmethod
    def on_sync_client_creation(**_: Any) -> None:
        print("told: client")

    @staticmethod
    def on_pod_manifest_created(*, pod_request: k8s.V1Pod, **_: Any) -> None:
        pod_request.metadata.labels["told"] = "manifest"

    @staticmethod
    def on_pod_creation(*, pod: k8s.V1Pod, **_: Any) -> None:
        print("told: creation", pod.metadata.labels["told"])

    @staticmethod
    def on_pod_completion(*, pod: k8s.V1Pod, **_: Any) -> None:
        print("told: completion", pod.status.phase)

    @staticmethod
    def on_pod_cleanup(**_: Any) -> None:
        print("told: cleanup")

    @staticmethod
    def progress_callback(*, line: str, container_name: str, **_: Any) -> None:
        print("told: progress", container_name, line)


with DAG("podbay_around", schedule=None, start_date=START, user_defined_macros={"ours": "of the DAG"}):
    sh("success-callback", "echo work", on_success_callback=shout)
    sh("failure-callback", "exit 4", on_failure_callback=shout)
    sh("skip-callback", "exit 5", skip_on_exit_code=5, on_skipped_callback=shout)
    sh("execute-callback", "echo work", on_execute_callback=shout)
    sh("outlet", says({"rows": 1}), outlets=[MADE], do_xcom_push=True)
    sh("macro", "echo {{ ours }}")
    sh(
        "retried",
        "echo try {{ ti.try_number }}; exit $((2 - {{ ti.try_number }}))",
        retries=1,
        retry_delay=datetime.timedelta(seconds=0),
    )
    sh("tells", "echo work", callbacks=Tells, deferrable=True)
    setup = sh("setup", "echo set up").as_setup()
    fails = sh("work", "exit 1")
    teardown = sh("teardown", "echo torn down").as_teardown(setups=setup)
    setup >> fails >> teardown
    sh(
        "secrets",
        "echo $ONE $TWO $THREE",
        secrets=[Secret("env", "ONE", "env-secrets", "one")],
        env_secrets={"TWO": "env-secrets/two"},
        pod_runtime_info_envs=[k8s.V1EnvVar(name="THREE", value="three")],
    )
    sh(
        "formatted",
        "echo line; echo ERROR bad",
        log_formatter=lambda container, line: f"<{container}> {line}",
    )
    sh("many-lines", "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done")

with DAG("podbay_functions", schedule=None, start_date=START):

    @task.pod(**PYTHON)
    def add(first: int, second: int, *, when: Any = None) -> dict[str, Any]:
        """Not for the pod."""
        import sys

        print("in", sys.argv, when)
        return {"sum": first + second, "when": str(when)}

    @task.pod(**PYTHON)
    def size(text: str) -> int:
        return len(text)

    @task.pod(multiple_outputs=True, **PYTHON)
    def two() -> dict[str, int]:
        return {"a": 1, "b": 2}

    @task.pod(**PYTHON)
    def raises() -> None:
        raise ValueError("on purpose")

    @task.pod(**PYTHON)
    def not_json() -> Any:
        return {1, 2}

    @task.pod(namespace="containers", image="localhost/bb:1", retries=0)
    def no_python() -> int:
        return 1

    @task.pod_cmd(**SHARED)
    def command(word: str, ti: Any = None) -> list[str]:
        return ["echo", word, ti.task_id, "{{ run_id[:6] }}"]

    total = add(1, two()["b"], when=datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))
    size("x" * 300_000)
    size.override(task_id="sizes").expand(text=["a", "bb"])
    add.override(task_id="add_more")(total["sum"], 10)
    raises()
    not_json()
    no_python()
    command("hello")

with DAG("podbay_native", schedule=None, start_date=START, render_template_as_native_obj=True):
    lists = sh("lists", says(["-c", "echo native $0 $1", "p", "q"]), do_xcom_push=True)
    native = KubernetesPodOperator(
        task_id="native",
        cmds=["sh"],
        arguments="{{ ti.xcom_pull(task_ids='lists') }}",
        container_resources=k8s.V1ResourceRequirements(limits={"memory": "{{ 32 }}Mi"}),
        **SHARED,
    )
    lists >> native
