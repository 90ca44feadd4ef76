"""The configuration of the tiny Airflow that these tests run: everything in one directory, loopback only.

Environment variables and no file, because worker pods get the same ones.
"""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

__all__ = ["AirflowHome"]

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class AirflowHome:
    """An empty directory for Airflow, the port of its API server and the cluster that it talks to."""

    directory: Path
    port: int
    kubeconfig: Path
    sidecar_image: str
    """What upstream's operator runs beside the task to hand its result out."""
    worker_image: tuple[str, str]
    """Repository and tag of what KubernetesExecutor's pods run."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def dags(self) -> Path:
        return HERE / "dags"

    @property
    def pod_template(self) -> Path:
        return self.directory / "pod_template.json"

    def log(self, component: str) -> Path:
        return self.directory / f"{component}.log"

    def settings(self) -> dict[str, str]:
        """Environment variables. Each call makes new secrets."""
        return self._core() | self._quiet() | self._executor()

    def _core(self) -> dict[str, str]:
        extra = {"kube_config_path": str(self.kubeconfig), "xcom_sidecar_container_image": self.sidecar_image}
        return {
            "AIRFLOW_HOME": str(self.directory),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps({"conn_type": "kubernetes", "extra": extra}),
            "AIRFLOW_CONN_IN_CLUSTER": json.dumps({"conn_type": "kubernetes", "extra": {"in_cluster": True}}),
        }

    def _quiet(self) -> dict[str, str]:
        return {
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
            "AIRFLOW__API__WORKERS": "1",
            # Airflow's own limits of time are for machines that do nothing else.
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "120",
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",
            "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "300",
            "PYTHONWARNINGS": "ignore",
            # Of all pods of a process at once; what they use is asked for while they run (test_usage_report.py).
            "AIRFLOW__PODBAY__USAGE_SECONDS": "1",
        }

    def _executor(self) -> dict[str, str]:
        section = "AIRFLOW__KUBERNETES_EXECUTOR__"
        return {
            # Both in one scheduler; each DAG says which one it wants, LocalExecutor being the default.
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor,KubernetesExecutor",
            f"{section}NAMESPACE": "workers",
            f"{section}POD_TEMPLATE_FILE": str(self.pod_template),
            f"{section}WORKER_CONTAINER_REPOSITORY": self.worker_image[0],
            f"{section}WORKER_CONTAINER_TAG": self.worker_image[1],
            f"{section}WORKER_PODS_CREATION_BATCH_SIZE": "8",
            f"{section}DELETE_WORKER_PODS_ON_FAILURE": "True",
            f"{section}IN_CLUSTER": "False",
            f"{section}CONFIG_FILE": str(self.kubeconfig),
        }
