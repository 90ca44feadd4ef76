"""Upstream's operator against pods that live by a script: each task one outcome."""

from __future__ import annotations

import datetime

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG

SCRIPT = "scripted.podbay.dev/"
SHARED = {
    "namespace": "scripted",
    "image": "example.com/task:1",
    "node_selector": {"podbay.dev/scripted": "true"},
    "tolerations": [{"key": "podbay.dev/scripted", "operator": "Exists"}],
    "schedule_timeout_seconds": 120,
    "startup_check_interval_seconds": 1,
    "poll_interval": 1,
    "retries": 0,
}


def task(name: str, script: dict[str, str], **parameters: object) -> None:
    annotations = {SCRIPT + key: value for key, value in script.items()}
    KubernetesPodOperator(task_id=name, name=name, annotations=annotations, **(SHARED | parameters))


def outcomes() -> None:
    """The same pods for the synchronous and the deferrable operator."""
    task("succeeds", {"log": "first line\nsecond line", "run-seconds": "2"}, on_finish_action="keep_pod")
    task("fails", {"log": "about to fail", "exit-code": "3"}, on_finish_action="keep_pod")
    task("deletes", {})
    task("deletes-failed", {"exit-code": "1"})
    task("keeps-failed", {"exit-code": "1"}, on_finish_action="delete_succeeded_pod")
    task("skips", {"exit-code": "99"}, skip_on_exit_code=99)
    task("silent", {"log": "unread line"}, get_logs=False)
    task("killed", {"signal": "9", "reason": "OOMKilled"})
    task(
        "no-image",
        {"waiting-reason": "ErrImagePull", "waiting-message": "no such image"},
        startup_timeout_seconds=5,
    )


# See deferral.py.
GATED = {
    "spec": {"schedulingGates": [{"name": "test.podbay.dev/deferred"}], "containers": [{"name": "base"}]}
}

for mode, parameters in {"sync": {}, "deferrable": {"deferrable": True, "pod_template_dict": GATED}}.items():
    with DAG(
        f"scripted_{mode}",
        schedule=None,
        start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        default_args=parameters,
    ):
        outcomes()
