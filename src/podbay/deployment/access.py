"""Who may do what in the namespace: service accounts, the role of those who launch pods, and its binding. Pure.

The verbs are exactly those of spec 78: what the upstream operator and Podbay's engine need, and nothing else; only where
podbay.yaml says `airflow.lending` they may make Secrets, too, and only where it says `airflow.usage_every` they may see
what pods use, by a role of its own.
"""

from __future__ import annotations

from typing import Any, Final

from podbay.deployment.model import ENV_SECRETS, Deployment
from podbay.objects.meta import Object, metadata_of

__all__ = ["LAUNCHER_RULES", "access_objects", "launcher_account", "launcher_rules", "usage_rules"]

_RBAC: Final = "rbac.authorization.k8s.io"

LAUNCHER_RULES: Final[list[dict[str, Any]]] = [
    {
        "apiGroups": [""],
        "resources": ["pods"],
        "verbs": ["create", "get", "list", "watch", "patch", "delete"],
    },
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create", "get"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list", "watch"]},
]

LENDING_RULE: Final[dict[str, Any]] = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}
"""To make Secrets, and not to read any: `lend_connections` and `lend_variables`."""

USAGE_RULE: Final[dict[str, Any]] = {
    "apiGroups": ["metrics.k8s.io"],
    "resources": ["pods"],
    "verbs": ["list"],
}
"""One list for all pods of the namespace (airflow/sampling.py)."""


def launcher_rules(deployment: Deployment) -> list[dict[str, Any]]:
    """What those who launch pods may do."""
    return [*LAUNCHER_RULES, LENDING_RULE] if deployment.airflow.lending else LAUNCHER_RULES


def usage_rules(deployment: Deployment) -> list[dict[str, Any]]:
    """What they may do besides, to measure what pods use."""
    return [USAGE_RULE] if deployment.airflow.usage_every else []


def launcher_account(deployment: Deployment) -> str:
    """The service account for an Airflow that runs outside of the cluster; its token may launch pods."""
    return f"{deployment.namespace}-airflow"


def access_objects(deployment: Deployment) -> list[Object]:
    """Secret, ServiceAccounts, Roles and RoleBindings."""
    return [
        # Without data: values come from `podbay secrets set`, which is another field manager, so applying keeps them.
        _object("v1", "Secret", ENV_SECRETS, deployment, type="Opaque"),
        *(_task_account(each, deployment) for each in deployment.service_accounts),
        _object("v1", "ServiceAccount", launcher_account(deployment), deployment),
        *_granted("pod-launcher", launcher_rules(deployment), deployment),
        *_granted("usage-reader", usage_rules(deployment), deployment),
    ]


def _granted(name: str, rules: list[dict[str, Any]], deployment: Deployment) -> list[Object]:
    """A Role and its RoleBinding to those who launch pods; nothing without rules."""
    if not rules:
        return []
    name = f"{deployment.namespace}-{name}"
    return [
        _object(f"{_RBAC}/v1", "Role", name, deployment, rules=rules),
        _object(
            f"{_RBAC}/v1",
            "RoleBinding",
            name,
            deployment,
            roleRef={"apiGroup": _RBAC, "kind": "Role", "name": name},
            subjects=[
                {"kind": "ServiceAccount", "namespace": namespace, "name": account}
                for namespace, account in _launchers(deployment)
            ],
        ),
    ]


def _launchers(deployment: Deployment) -> list[tuple[str, str]]:
    own = (deployment.namespace, launcher_account(deployment))
    return list(dict.fromkeys([own, *deployment.airflow.service_accounts]))


def _task_account(name: str, deployment: Deployment) -> Object:
    account = _object("v1", "ServiceAccount", name, deployment)
    if deployment.pods.pull_secrets:
        # The service account admission gives them to every pod, whoever makes it.
        account["imagePullSecrets"] = [{"name": each} for each in deployment.pods.pull_secrets]
    annotations = dict(deployment.pods.service_account_annotations)
    if annotations and name == deployment.service_account:
        metadata_of(account)["annotations"] = annotations
    return account


def _object(version: str, kind: str, name: str, deployment: Deployment, **fields: Any) -> Object:
    metadata = {"name": name, "namespace": deployment.namespace}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}
