"""Tasks that get a secret value in every way there is, of our operator and of upstream's; some of them fail.

Each shows a digest of the value it got. CONTROL is no secret: the scan must find it wherever it looks.
"""

from __future__ import annotations

import datetime
from typing import Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator as UpstreamOperator
from airflow.providers.cncf.kubernetes.secret import Secret
from airflow.sdk import DAG

from podbay import KubernetesPodOperator

CONTROL = "control-5d1f0c2e77aa"
SHARED: dict[str, Any] = {
    "namespace": "scanned",
    "image": "localhost/bb:1",
    "cmds": ["sh", "-c"],
    "env_vars": {"CONTROL": CONTROL, "LAST": "1"},
    "retries": 0,
}
SHOW = "printf %s $PASSWORD | md5sum; echo $CONTROL; sleep $LAST"
RESULT = "mkdir -p /airflow/xcom; printf '{\"length\": %d}' $(printf %s $PASSWORD | wc -c) > /airflow/xcom/return.json"
VARIABLE = Secret("env", "PASSWORD", "env-secrets", "PASSWORD")


def of(operator: type[Any], **all_of: Any) -> None:
    shared = SHARED | all_of
    operator(
        task_id="succeeds", arguments=[f"{SHOW}; {RESULT}"], secrets=[VARIABLE], do_xcom_push=True, **shared
    )
    operator(
        task_id="fails",
        arguments=[f"{SHOW} && : {CONTROL}; exit 3"],
        secrets=[VARIABLE, Secret("volume", "/secrets", "env-secrets")],
        on_finish_action="keep_pod",
        **shared,
    )
    operator(
        task_id="whole", arguments=[f"{SHOW}; exit 4"], secrets=[Secret("env", None, "env-secrets")], **shared
    )
    operator(
        task_id="cannot-start",
        secrets=[VARIABLE],
        startup_timeout_seconds=60,
        **(shared | {"cmds": ["/no/such/program"]}),
    )
    # Reads a variable of a Secret that does not have it, beside one that it has.
    operator(
        task_id="no-such-key",
        arguments=["true"],
        secrets=[VARIABLE, Secret("env", "OTHER", "env-secrets", "OTHER")],
        **(shared | {"startup_timeout_seconds": 15}),
    )


def lent(name: str, **parameters: Any) -> None:
    KubernetesPodOperator(
        task_id=name,
        arguments=[
            "printf %s $AIRFLOW_VAR_SCAN_KEY | md5sum; echo $AIRFLOW_CONN_SCAN_DB | grep -c $AIRFLOW_VAR_SCAN_KEY;"
            " sleep 2; exit 6"
        ],
        lend_connections=["scan_db"],
        lend_variables=["scan_key"],
        **(SHARED | parameters),
    )


def dag(name: str) -> DAG:
    return DAG(name, schedule=None, start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))


with dag("scan_ours"):
    of(KubernetesPodOperator)
    KubernetesPodOperator(task_id="short", arguments=[f"{SHOW}; exit 5"], env_secrets=["PASSWORD"], **SHARED)
    lent("lent")
with dag("scan_ours_worker"):
    of(KubernetesPodOperator, deferrable=False)
    lent("lent", deferrable=False)
    KubernetesPodOperator(task_id="nothing-to-lend", lend_connections=["no_such_db"], **SHARED)
with dag("scan_upstream"):
    of(UpstreamOperator, startup_check_interval_seconds=1)
with dag("scan_upstream_deferred"):
    # Airflow fails a task whose trigger fires before its scheduler has seen the end of the process that deferred it.
    slow = SHARED["env_vars"] | {"LAST": "15"}
    of(UpstreamOperator, env_vars=slow, deferrable=True, startup_check_interval_seconds=1, poll_interval=1)
