"""Our operator against pods that live by a script: each task one outcome, in the triggerer and on workers."""

from __future__ import annotations

import datetime
from typing import Any

from airflow.sdk import DAG

from podbay import KubernetesPodOperator

SCRIPT = "scripted.podbay.dev/"
SHARED: dict[str, Any] = {
    "namespace": "scripted",
    "image": "example.com/task:1",
    "node_selector": {"podbay.dev/scripted": "true"},
    "tolerations": [{"key": "podbay.dev/scripted", "operator": "Exists"}],
    "retries": 0,
}


def task(name: str, script: dict[str, str], **parameters: Any) -> None:
    annotations = {SCRIPT + key: value for key, value in script.items()}
    KubernetesPodOperator(task_id=name, annotations=annotations, **(SHARED | parameters))


def outcomes() -> None:
    task("succeeds", {"log": "first line\nsecond line", "run-seconds": "1"}, on_finish_action="keep_pod")
    task("fails", {"log": "about to fail", "exit-code": "3"}, on_finish_action="keep_pod")
    task("deletes", {})
    task("deletes-failed", {"exit-code": "1"})
    task("keeps-failed", {"exit-code": "1"}, on_finish_action="delete_succeeded_pod")
    task("held", {"exit-code": "1"}, hold_on_failure=datetime.timedelta(hours=1))
    task(
        "skips", {"exit-code": "99"}, skip_on_exit_code=[98, 99], hold_on_failure=datetime.timedelta(hours=1)
    )
    task("silent", {"log": "unread line"}, get_logs=False)
    task("out-of-memory", {"signal": "9", "reason": "OOMKilled"})
    task(
        "no-image",
        {"waiting-reason": "ErrImagePull", "waiting-message": "not there"},
        startup_timeout_seconds=3,
    )
    task("too-long", {"run-seconds": "600"}, execution_timeout=datetime.timedelta(seconds=6))


for mode, parameters in {"triggerer": {}, "worker": {"deferrable": False}}.items():
    with DAG(
        f"podbay_outcomes_{mode}",
        schedule=None,
        start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        default_args=parameters,
    ):
        outcomes()

with DAG(
    "podbay_killed",
    schedule=None,
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    params={"x": 1},
):
    for where, parameters in {"triggerer": {}, "worker": {"deferrable": False}}.items():
        task(f"marked-{where}", {"run-seconds": "600"}, **parameters)
        task(f"kept-{where}", {"run-seconds": "600"}, on_kill_action="keep_pod", **parameters)
    task("worker-dies", {"run-seconds": "600"}, deferrable=False)

with DAG(
    "podbay_limits",
    schedule=None,
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    max_active_tasks=3,
):
    for number in range(6):
        task(f"pod-{number}", {"run-seconds": "1"}, priority_weight=number + 1)
    KubernetesPodOperator.partial(
        task_id="mapped", max_active_tis_per_dag=1, annotations={SCRIPT + "run-seconds": "1"}, **SHARED
    ).expand(name=["a", "b", "c"])

with DAG("podbay_pool", schedule=None, start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)):
    for number in range(3):
        task(f"pod-{number}", {"run-seconds": "2"}, pool="narrow")
