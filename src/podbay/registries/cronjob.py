"""Renders what refreshes logins inside of a cluster: a CronJob in a namespace of its own, with the rights that it needs.

Of its own, because pods of the deployment may mount every Secret of theirs: a cloud's credentials do not belong there. It
may read and change the named Secrets of the deployment and nothing else. Several deployments share that namespace, so job
and service account are named after the deployment's: each has rights and an identity of its own. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from podbay.errors import InvalidInputError
from podbay.objects.meta import Object
from podbay.objects.names import dns1123_label_errors

__all__ = ["RefreshJob", "refresh_objects", "schedule_for"]

_NAME: Final = "podbay-registry-refresh"
_NAME_MAX: Final = 52
"""Of a CronJob: its Jobs' names are eleven characters longer, and end at 63."""
_DIGEST: Final = 8
_RBAC: Final = "rbac.authorization.k8s.io"
_SCHEDULES: Final = {"google": "*/4 * * * *", "azure": "*/10 * * * *", "ecr": "17 */2 * * *"}
"""By the source of a login, the most frequent first. Amazon's live for twelve hours and Azure's for three; Google's live
for one, and a metadata server has a new one for the last five minutes only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshJob:
    """What to refresh, by which image (Podbay with the cloud's extra), and when (cron, in the cluster's time zone)."""

    namespace: str
    """Of the deployment, where the Secrets are."""
    secrets: Sequence[str]
    image: str
    own_namespace: str = "podbay-registry"
    schedule: str = "17 */2 * * *"
    cloud_secret: str = ""
    """Secret in `own_namespace` whose keys become environment variables, such as AWS_ACCESS_KEY_ID. Empty: an identity of
    the service account or node is enough."""
    role_arn: str = ""
    """AWS role of the service account (IRSA)."""
    google_account: str = ""
    """Google service account of the service account (workload identity)."""
    azure_client: str = ""
    """Client id of the service account's identity in Azure (workload identity)."""


def schedule_for(sources: Iterable[str]) -> str:
    """How often to look, so that every login is renewed before its end."""
    wanted = set(sources)
    found = [schedule for source, schedule in _SCHEDULES.items() if source in wanted]
    return found[0] if found else _SCHEDULES["google"]


def refresh_objects(job: RefreshJob) -> list[Object]:
    """Namespace, ServiceAccount, Role, RoleBinding, CronJob. Raises InvalidInputError."""
    if not job.secrets:
        raise InvalidInputError("no Secret to refresh: add one first, podbay registry add REGISTRY --cloud")
    if job.own_namespace == job.namespace or dns1123_label_errors(job.own_namespace):
        raise InvalidInputError(
            f"--job-namespace {job.own_namespace}: give another namespace than the pods', where a cloud's credentials are safe"
        )
    if len(job.schedule.split()) != 5:
        raise InvalidInputError(f'--schedule "{job.schedule}": five fields, such as "17 */2 * * *"')
    role = f"{_NAME}-{job.own_namespace}"
    account = {"kind": "ServiceAccount", "name": _name_for(job.namespace), "namespace": job.own_namespace}
    return [
        _namespace(job),
        _account(job),
        _object(f"{_RBAC}/v1", "Role", role, job.namespace, rules=_rules(job)),
        _object(
            f"{_RBAC}/v1",
            "RoleBinding",
            role,
            job.namespace,
            roleRef={"apiGroup": _RBAC, "kind": "Role", "name": role},
            subjects=[account],
        ),
        _object(
            "batch/v1",
            "CronJob",
            _name_for(job.namespace),
            job.own_namespace,
            spec=_spec(job),
        ),
    ]


def _name_for(namespace: str) -> str:
    """One for each deployment's namespace, however long that is."""
    name = f"{_NAME}-{namespace}"
    if len(name) <= _NAME_MAX:
        return name
    digest = hashlib.sha256(namespace.encode()).hexdigest()[:_DIGEST]
    return f"{name[: _NAME_MAX - _DIGEST - 1].rstrip('-')}-{digest}"


def _namespace(job: RefreshJob) -> Object:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": job.own_namespace, "labels": labels},
    }


def _account(job: RefreshJob) -> Object:
    account = _object("v1", "ServiceAccount", _name_for(job.namespace), job.own_namespace)
    annotations = {}
    if job.role_arn:
        annotations["eks.amazonaws.com/role-arn"] = job.role_arn
    if job.google_account:
        annotations["iam.gke.io/gcp-service-account"] = job.google_account
    if job.azure_client:
        annotations["azure.workload.identity/client-id"] = job.azure_client
    if annotations:
        account["metadata"]["annotations"] = annotations
    return account


def _rules(job: RefreshJob) -> list[dict[str, Any]]:
    return [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": list(job.secrets),
            "verbs": ["get", "patch"],
        }
    ]


def _container(job: RefreshJob) -> dict[str, Any]:
    arguments = [
        "registry",
        "refresh",
        "--once",
        "--cluster",
        "in-cluster",
        "--namespace",
        job.namespace,
        *job.secrets,
    ]
    container: dict[str, Any] = {
        "name": "refresh",
        "image": job.image,
        "command": ["podbay"],
        "args": arguments,
        "env": [{"name": "HOME", "value": "/tmp"}],
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    if job.cloud_secret:
        container["envFrom"] = [{"secretRef": {"name": job.cloud_secret}}]
    return container


def _spec(job: RefreshJob) -> dict[str, Any]:
    pod = {
        "serviceAccountName": _name_for(job.namespace),
        "restartPolicy": "OnFailure",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(job)],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    template: dict[str, Any] = {"spec": pod}
    if job.azure_client:
        # Azure's webhook mounts the token into pods that ask for it.
        template["metadata"] = {"labels": {"azure.workload.identity/use": "true"}}
    return {
        "schedule": job.schedule,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 600,
        "successfulJobsHistoryLimit": 1,
        "failedJobsHistoryLimit": 3,
        "jobTemplate": {"spec": {"backoffLimit": 4, "activeDeadlineSeconds": 300, "template": template}},
    }


def _object(version: str, kind: str, name: str, namespace: str, **fields: Any) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/managed-by": "podbay"}}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}
