"""DAGs that change while their tasks run: there is a file of their name in Airflow's home, or none.

In a file of their own, because they are read again in the middle of a test.
"""

from __future__ import annotations

import datetime
from typing import Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator as UpstreamOperator
from airflow.sdk import DAG
from held import HELD, HOLDS, HOME

from podbay import KubernetesPodOperator


def before(context: Any) -> None:
    """A worker has to begin a task that has this."""


def dag_of(operator: Any, kind: str) -> None:
    name = f"changed_{kind}"
    changed = (HOME / name).exists()
    script = ["sh", "-c", HOLDS]
    words = {"new": f"new-{kind}"} if changed else {"old": f"reworded-{kind}"}
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    with DAG(name, schedule=None, start_date=start, params=words):
        moved = operator(
            task_id="moved",
            cmds=script,
            arguments=[f"moved-{kind}"],
            on_execute_callback=before if changed else None,
            **HELD,
        )
        moved >> operator(
            task_id="after",
            cmds=["echo", "version 2" if changed else "version 1"],
            **HELD | {"do_xcom_push": False},
        )
        operator(task_id="reworded", cmds=script, arguments=[f"{{{{ params.{next(iter(words))} }}}}"], **HELD)
        if not changed:
            operator(task_id="removed", cmds=script, arguments=[f"removed-{kind}"], **HELD)


for each_kind, each_operator in {"ours": KubernetesPodOperator, "adopted": UpstreamOperator}.items():
    dag_of(each_operator, each_kind)
