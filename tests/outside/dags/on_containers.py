"""Upstream's operator against real containers: each task one outcome or one part of a pod."""

from __future__ import annotations

import datetime

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.secret import Secret
from airflow.sdk import DAG
from kubernetes.client import models as k8s

SHARED = {
    "namespace": "containers",
    "image": "localhost/bb:1",
    "cmds": ["sh", "-c"],
    "schedule_timeout_seconds": 120,
    "startup_check_interval_seconds": 1,
    "poll_interval": 1,
    "termination_grace_period": 1,
    "retries": 0,
}


def task(name: str, script: str, **parameters: object) -> None:
    KubernetesPodOperator(task_id=name, name=name, arguments=[script], **(SHARED | parameters))


def outcomes() -> None:
    task("succeeds", "echo first line; sleep 1; echo second line >&2", on_finish_action="keep_pod")
    task("fails", "echo about to fail; exit 3", on_finish_action="keep_pod")
    task(
        "runs-out-of-memory",
        "tail /dev/zero",
        container_resources=k8s.V1ResourceRequirements(limits={"memory": "16Mi"}),
    )
    task("no-such-image", "true", image="127.0.0.1:1/absent:1", startup_timeout_seconds=30)
    task("runs-long", "trap 'echo told to stop; exit 0' TERM; echo started; sleep 600 & wait")
    task("is-deleted", "echo started; sleep 600")


def results() -> None:
    write = "mkdir -p /airflow/xcom; echo '{}' > /airflow/xcom/return.json"
    task("returns", write.format('{"answer": [42, "ü"]}'), do_xcom_push=True)
    task(
        "returns-much",
        "yes 123456789 | head -c 600000 | tr -d '\\n' | sed 's/.*/\"&\"/' > /airflow/xcom/return.json",
        do_xcom_push=True,
    )
    task("returns-nothing", "echo no result", do_xcom_push=True)


def parts() -> None:
    shared = k8s.V1VolumeMount(name="shared", mount_path="/shared")
    task(
        "prepared",
        "cat /shared/prepared",
        init_containers=[
            k8s.V1Container(
                name="prepare",
                image="localhost/bb:1",
                command=["sh", "-c", "echo preparing; echo by init > /shared/prepared"],
                volume_mounts=[shared],
            )
        ],
        init_container_logs=True,
        volumes=[k8s.V1Volume(name="shared", empty_dir=k8s.V1EmptyDirVolumeSource())],
        volume_mounts=[shared],
    )
    task(
        "configured",
        'echo "$TOKEN $COLOUR $PLAIN $POD"; cat /secret/token; echo; id -u',
        secrets=[Secret("env", "TOKEN", "keys", "token"), Secret("volume", "/secret", "keys")],
        configmaps=["colours"],
        env_vars={"PLAIN": "plain"},
        pod_runtime_info_envs=[
            k8s.V1EnvVar(
                name="POD",
                value_from=k8s.V1EnvVarSource(
                    field_ref=k8s.V1ObjectFieldSelector(field_path="metadata.namespace")
                ),
            )
        ],
        security_context=k8s.V1PodSecurityContext(run_as_user=1000),
    )


# See deferral.py.
GATED = {
    "spec": {"schedulingGates": [{"name": "test.podbay.dev/deferred"}], "containers": [{"name": "base"}]}
}

for mode, parameters in {"sync": {}, "deferrable": {"deferrable": True, "pod_template_dict": GATED}}.items():
    with DAG(
        f"containers_{mode}",
        schedule=None,
        start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        default_args=parameters,
    ):
        outcomes()
        results()
        parts()
