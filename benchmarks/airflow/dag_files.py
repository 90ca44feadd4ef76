"""The DAG files of the benchmark: the same tasks with either operator."""

from __future__ import annotations

from pprint import pformat
from typing import Any

__all__ = ["DEFERRABLE", "OURS", "SYNC", "dag_file", "pod"]

OURS, SYNC, DEFERRABLE = "ours", "upstream sync", "upstream deferrable"
UPSTREAM = "airflow.providers.cncf.kubernetes.operators.pod"
IMPORTS = {OURS: "podbay", SYNC: UPSTREAM, DEFERRABLE: UPSTREAM}
TEXT = '''"""Made by benchmarks/airflow."""

import datetime

from airflow.sdk import DAG
from {module} import KubernetesPodOperator

SHARED = {shared}

with DAG(
    "{dag}",
    schedule=None,
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    is_paused_upon_creation=False,
    max_active_tasks=10_000,
    default_args={{"retries": 0}},
):
    {tasks}
'''
SEPARATE = """for number in range({count}):
        KubernetesPodOperator(task_id=f"task-{{number}}", **SHARED)"""
MAPPED = """KubernetesPodOperator.partial(task_id="task", **SHARED).expand(
        arguments=[[str(number)] for number in range({count})]
    )"""


def pod(image: str, seconds: float, *, scripted: bool) -> dict[str, Any]:
    """Parameters of a pod that lives for so long and says two lines."""
    if not scripted:
        return {"image": image, "cmds": ["sh", "-c", f"echo first; sleep {seconds:g}; echo second"]}
    return {
        "image": image,
        "annotations": {
            "scripted.podbay.dev/run-seconds": f"{seconds:g}",
            "scripted.podbay.dev/log": "first\nsecond",
        },
        "node_selector": {"podbay.dev/scripted": "true"},
        "tolerations": [{"key": "podbay.dev/scripted", "operator": "Exists"}],
    }


def dag_file(who: str, dag: str, count: int, shared: dict[str, Any], *, mapped: bool = False) -> str:
    """The text of a DAG file; everything that is not said is the operator's default."""
    given = shared | ({"deferrable": True} if who == DEFERRABLE else {})
    return TEXT.format(
        module=IMPORTS[who],
        dag=dag,
        shared=pformat(given, width=100),
        tasks=(MAPPED if mapped else SEPARATE).format(count=count),
    )
