"""What the Airflow of a deployment must be told: environment, connection, Helm values. Pure; nothing here is secret.

For `podbay up` (as an environment), for any other Airflow (`podbay manifests --for env`) and for the official Helm chart
(`--for helm`), whose pods read podbay.yaml from a ConfigMap that the chart makes. Spec 9, 12-14, 79.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

import orjson

from podbay.deployment.model import Deployment
from podbay.pods.render import render

__all__ = ["FILE_VARIABLE", "airflow_environment", "helm_values"]

FILE_VARIABLE: Final = "PODBAY_FILE"
"""Where Airflow's policies find podbay.yaml."""
_MOUNT: Final = PurePosixPath("/opt/airflow/podbay")
_COMPONENTS: Final = ("scheduler", "dagProcessor", "triggerer", "workers", "apiServer")
_SIDECAR: Final = {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"cpu": "50m", "memory": "32Mi"}}
"""Of the upstream operator's XCom sidecar: said explicitly, else a default size would be put on it (spec B-14)."""


def airflow_environment(
    deployment: Deployment, file: str, *, in_cluster: bool, kubeconfig: str = "", context: str = ""
) -> dict[str, str]:
    """Environment variables for every Airflow process. `file` is podbay.yaml as those processes see it.

    in_cluster: they run in the cluster itself; else by the kubeconfig's path and context.
    """
    extra: dict[str, Any] = {
        "namespace": deployment.namespace,
        "xcom_sidecar_container_resources": orjson.dumps(_SIDECAR).decode(),
    }
    if in_cluster:
        extra["in_cluster"] = True
    else:
        extra["in_cluster"] = False
        extra |= {"kube_config_path": kubeconfig} if kubeconfig else {}
        extra |= {"cluster_context": context} if context else {}
    connection = {"conn_type": "kubernetes", "extra": extra}
    usage = {"AIRFLOW__PODBAY__USAGE_SECONDS": str(deployment.airflow.usage_every)}
    return {
        # What DAGs read with conf.get("kubernetes", "NAMESPACE"); stock Airflow has no such key.
        "AIRFLOW__KUBERNETES__NAMESPACE": deployment.namespace,
        "AIRFLOW__KUBERNETES_EXECUTOR__NAMESPACE": deployment.namespace,
        "AIRFLOW__PODBAY__DEPLOYMENT": deployment.name,
        "AIRFLOW__PODBAY__ADOPT_UPSTREAM_OPERATORS": str(deployment.airflow.take_over_upstream),
        "AIRFLOW_CONN_KUBERNETES_DEFAULT": orjson.dumps(connection).decode(),
        # Only where the file says so: else an administrator's own setting stays.
        **(usage if deployment.airflow.usage_every else {}),
        FILE_VARIABLE: file,
    }


def helm_values(deployment: Deployment, text: str) -> dict[str, Any]:
    """Values for the official Airflow chart; `text` is podbay.yaml itself."""
    file = str(_MOUNT / "podbay.yaml")
    environment = airflow_environment(deployment, file, in_cluster=True)
    volume = {"name": "podbay", "configMap": {"name": "podbay-deployment"}}
    mount = {"name": "podbay", "mountPath": str(_MOUNT), "readOnly": True}
    component: Mapping[str, Any] = {"extraVolumes": [volume], "extraVolumeMounts": [mount]}
    return {
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "extraConfigMaps": {
            "podbay-deployment": {"data": _templated(render({"podbay.yaml": text}, reveal=True))}
        },
        **{name: dict(component) for name in _COMPONENTS},
    }


def _templated(text: str) -> str:
    """The chart takes the data of a ConfigMap as one text, and as a template: what looks like one must come out as it is."""
    return text.replace("{{", '{{ "{{" }}')
