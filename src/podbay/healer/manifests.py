"""What the healer needs in a cluster, and no more: a service account, its rights, and one pod that runs it. Pure."""

from __future__ import annotations

from typing import Any, Final

from podbay.objects.meta import Object

__all__ = ["METRICS_PORT", "healer_objects"]

METRICS_PORT: Final = 9100
_RULES: Final[list[dict[str, Any]]] = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "patch", "delete"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "get", "list", "patch"]},
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["create", "get", "update"],
    },
]
_SECRET_RULES: Final[list[dict[str, Any]]] = [
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list", "delete"]},
]
_NODE_RULES: Final[list[dict[str, Any]]] = [
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]},
]
_RBAC: Final = "rbac.authorization.k8s.io"


def healer_objects(
    *,
    deployment: str,
    namespace: str,
    image: str,
    airflow_url: str,
    login: str,
    with_secrets: bool = False,
) -> list[Object]:
    """login: the Secret with PODBAY_AIRFLOW_USER and PODBAY_AIRFLOW_PASSWORD, or PODBAY_AIRFLOW_TOKEN.

    with_secrets: also look for leftover Secrets and logins near their end. Who may list Secrets may read them.
    """
    name = "podbay-healer"
    wide = f"{namespace}-{name}"
    subjects = [{"kind": "ServiceAccount", "namespace": namespace, "name": name}]
    return [
        _object("v1", "ServiceAccount", name, namespace),
        _object(
            f"{_RBAC}/v1", "Role", name, namespace, rules=[*_RULES, *(_SECRET_RULES if with_secrets else ())]
        ),
        _object(
            f"{_RBAC}/v1",
            "RoleBinding",
            name,
            namespace,
            roleRef={"apiGroup": _RBAC, "kind": "Role", "name": name},
            subjects=subjects,
        ),
        # Only the list of nodes proves that a node is gone; without it stuck pods are reported, not removed.
        _object(f"{_RBAC}/v1", "ClusterRole", wide, rules=_NODE_RULES),
        _object(
            f"{_RBAC}/v1",
            "ClusterRoleBinding",
            wide,
            roleRef={"apiGroup": _RBAC, "kind": "ClusterRole", "name": wide},
            subjects=subjects,
        ),
        _deployment(name, deployment, namespace, image, airflow_url, login),
    ]


def _deployment(
    name: str, deployment: str, namespace: str, image: str, airflow_url: str, login: str
) -> Object:
    labels = {"app.kubernetes.io/name": name}
    arguments = ["heal", "--cluster", "in-cluster", "--deployment", deployment, "--namespace", namespace]
    container = {
        "name": "healer",
        "image": image,
        "command": ["podbay"],
        # The kubelet asks the pod's address, of whatever family it is.
        "args": [
            *arguments,
            "--airflow-url",
            airflow_url,
            "--metrics-port",
            str(METRICS_PORT),
            "--metrics-address",
            "$(POD_IP)",
        ],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "envFrom": [{"secretRef": {"name": login}}],
        "ports": [{"name": "metrics", "containerPort": METRICS_PORT}],
        # Not /healthz: an Airflow that does not answer is no reason for a new process, which knows less.
        "livenessProbe": {
            "httpGet": {"path": "/livez", "port": "metrics"},
            "initialDelaySeconds": 60,
            "periodSeconds": 30,
            "timeoutSeconds": 5,
            "failureThreshold": 4,
        },
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    pod = {
        "serviceAccountName": name,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return _object("apps/v1", "Deployment", name, namespace, spec=spec)


def _object(version: str, kind: str, name: str, namespace: str = "", **fields: Any) -> Object:
    metadata = {"name": name, "labels": {"app.kubernetes.io/managed-by": "podbay"}}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}
