"""The chosen cluster for the tasks of a private Airflow: a kubeconfig of its own, and the connection that names it.

A file and not a connection's content: processes carry its path in their environment, never a key.
"""

from __future__ import annotations

from pathlib import Path

import orjson

from podbay.kube.kubeconfig_text import kubeconfig_of

__all__ = ["airflow_connection", "kubeconfig_of"]


def airflow_connection(kubeconfig: Path, namespace: str) -> str:
    """The value of AIRFLOW_CONN_KUBERNETES_DEFAULT."""
    extra = {"kube_config_path": str(kubeconfig), "namespace": namespace}
    return orjson.dumps({"conn_type": "kubernetes", "extra": extra}).decode()
