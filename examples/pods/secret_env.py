"""One key of a Secret as an environment variable. The Secret is in the pod's namespace:

    kubectl create secret generic env-secrets --from-literal=MY_SECRET=king-george

With podbay.yaml `podbay secrets set MY_SECRET` keeps it there.
"""

from __future__ import annotations

import pendulum
from airflow.configuration import conf
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.secret import Secret
from airflow.sdk import DAG

# The variable's name is put into upper case.
MY_SECRET = Secret(deploy_type="env", deploy_target="MY_SECRET", secret="env-secrets", key="MY_SECRET")

START = pendulum.datetime(2026, 1, 1, tz="UTC")

with DAG("secret_env", schedule="@once", start_date=START):
    KubernetesPodOperator(
        task_id="read_secret",
        namespace=conf.get("kubernetes_executor", "namespace"),
        image="ubuntu:24.04",
        cmds=["bash", "-c"],
        # Its length and not its value: what a pod prints is in the task's log. Bash's own ${#MY_SECRET} would begin a
        # comment of Jinja, for arguments are templates.
        arguments=['echo "secret has $(printf %s "$MY_SECRET" | wc -m) characters"'],
        secrets=[MY_SECRET],
        in_cluster=True,
    )
