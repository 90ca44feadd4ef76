"""What is wrong with a finished pod by the rules of its deployment, before any cluster is asked. Pure.

The same rules as the cluster's own (limits.py, admission.py), said early and with the field of podbay.yaml to change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from podbay.deployment.model import ENV_SECRETS, Deployment, canonical
from podbay.objects.meta import Object, labels_of
from podbay.objects.quantity import Quantity
from podbay.pods.problems import Problem
from podbay.pods.resources import all_containers

__all__ = ["ceilings", "check_pod", "pod_totals"]

_ARCHITECTURE: Final = "kubernetes.io/arch"
_ZERO: Final = Quantity(0)


def check_pod(pod: Object, deployment: Deployment) -> list[Problem]:
    """Everything that the deployment forbids about the pod, by field path of the pod."""
    spec = pod.get("spec") or {}
    return [
        *_namespace(pod, deployment),
        *_sizes(pod, deployment),
        *_accounts(spec, deployment),
        *_volumes(spec, deployment),
        *_labels(pod, deployment),
        *_architecture(spec, deployment),
        *_secrets(pod, deployment),
    ]


def _namespace(pod: Object, deployment: Deployment) -> Iterator[Problem]:
    namespace = (pod.get("metadata") or {}).get("namespace")
    if namespace and namespace != deployment.namespace:
        message = f"pods of {deployment.name} belong in {deployment.namespace}, not {namespace}"
        yield Problem("metadata.namespace", message)


def pod_totals(pod: Object, part: str = "limits") -> dict[str, Quantity]:
    """What the pod takes of CPU, memory and ephemeral storage, as the scheduler counts it.

    Containers and sidecars together; each plain init container alone, with the sidecars before it. Quantities that cannot
    be read count as nothing: validation names them.
    """
    names = ("cpu", "memory", "ephemeral-storage")
    spec = pod.get("spec") or {}
    total = dict.fromkeys(names, _ZERO)
    for container in spec.get("containers") or ():
        for name in names:
            total[name] += _amount(container, part, name)
    sidecars = dict.fromkeys(names, _ZERO)
    alone = dict.fromkeys(names, _ZERO)
    for container in spec.get("initContainers") or ():
        for name in names:
            amount = _amount(container, part, name)
            if container.get("restartPolicy") == "Always":
                sidecars[name] += amount
                amount = _ZERO
            alone[name] = max(alone[name], sidecars[name] + amount)
    return {name: max(total[name] + sidecars[name], alone[name]) for name in names}


def ceilings(deployment: Deployment, resource: str) -> list[tuple[Quantity, str]]:
    """What no pod may have more of, each with the field that says so: the maximum, and the whole quota."""
    found = [
        (deployment.pods.maximum.quantities().get(resource), "pods.maximum"),
        (getattr(deployment.quota, resource, None), "quota"),
    ]
    return [
        (bound, f"{field}.{resource} ({canonical(bound)})") for bound, field in found if bound is not None
    ]


def _amount(container: Mapping[str, Any], part: str, name: str) -> Quantity:
    try:
        return Quantity.from_json(((container.get("resources") or {}).get(part) or {}).get(name))
    except ValueError:
        return _ZERO


def _sizes(pod: Object, deployment: Deployment) -> Iterator[Problem]:
    totals = pod_totals(pod)
    for name, maximum in deployment.pods.maximum.quantities().items():
        if totals[name] > maximum:
            field = f"pods.maximum.{name.replace('-', '_')}"
            message = f"{name} of all containers together is {totals[name]}, more than {canonical(maximum)} ({field})"
            yield Problem("spec.containers", message)
    for name in ("cpu", "memory"):
        ceiling = getattr(deployment.quota, name)
        if ceiling is not None and totals[name] > ceiling:
            message = f"{name} of {totals[name]} is more than the whole quota, {canonical(ceiling)} (quota.{name}): it could never start"
            yield Problem("spec.containers", message)
    if deployment.pods.requests == "follow-limits":
        yield from _unequal(pod)


def _unequal(pod: Object) -> Iterator[Problem]:
    for path, container in all_containers(pod):
        for name in ("cpu", "memory"):
            request, limit = _amount(container, "requests", name), _amount(container, "limits", name)
            if request != limit:
                message = f"must equal the limit, {limit}, not {request} (pods.requests: follow-limits)"
                yield Problem(f"{path}.resources.requests[{name}]", message)


def _accounts(spec: Mapping[str, Any], deployment: Deployment) -> Iterator[Problem]:
    name, allowed = spec.get("serviceAccountName") or "default", deployment.service_accounts
    if name not in allowed:
        message = (
            f"{name} is not allowed; pods may run as {' or '.join(allowed)} (pods.allowed_service_accounts)"
        )
        yield Problem("spec.serviceAccountName", message)
    if str(spec.get("priorityClassName") or "").startswith("system-"):
        message = f"{spec['priorityClassName']} is for the system's own pods, which tasks may not push aside"
        yield Problem("spec.priorityClassName", message)
    wanted = deployment.task_priority_class
    if deployment.airflow.in_namespace and spec.get("priorityClassName") != wanted:
        yield Problem("spec.priorityClassName", f"must be {wanted}, by which the quota counts task pods")


def _volumes(spec: Mapping[str, Any], deployment: Deployment) -> Iterator[Problem]:
    if deployment.pods.persistent_volumes:
        return
    for index, volume in enumerate(spec.get("volumes") or ()):
        for source in ("persistentVolumeClaim", "ephemeral"):
            if source in volume:
                message = (
                    "persistent volumes are not for tasks here; use an emptyDir (pods.persistent_volumes)"
                )
                yield Problem(f"spec.volumes[{index}].{source}", message)


def _labels(pod: Object, deployment: Deployment) -> Iterator[Problem]:
    found = labels_of(pod)
    for name, value in deployment.pods.protected_labels.items():
        if found.get(name) != value:
            yield Problem(f"metadata.labels[{name}]", f"must be {value} (pods.protected_labels)")
    if "kubernetes_pod_operator" in found:
        for name in ("dag_id", "task_id", "run_id", "try_number"):
            if name not in found:
                message = "is missing: by it the platform knows whose pod this is; a mutation hook may have removed it"
                yield Problem(f"metadata.labels[{name}]", message)


def _architecture(spec: Mapping[str, Any], deployment: Deployment) -> Iterator[Problem]:
    allowed = deployment.pods.architectures
    if not allowed:
        return
    chosen = (spec.get("nodeSelector") or {}).get(_ARCHITECTURE)
    if chosen is not None and chosen not in allowed:
        message = f"{chosen} is not one of {', '.join(allowed)} (pods.architectures)"
        yield Problem(f"spec.nodeSelector[{_ARCHITECTURE}]", message)
    elif chosen is None and not _affine(spec, allowed):
        message = f"must say {' or '.join(allowed)}, here or by required node affinity (pods.architectures)"
        yield Problem(f"spec.nodeSelector[{_ARCHITECTURE}]", message)


def _affine(spec: Mapping[str, Any], allowed: tuple[str, ...]) -> bool:
    node = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = node.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = required.get("nodeSelectorTerms") or ()
    return bool(terms) and all(
        any(
            each.get("key") == _ARCHITECTURE
            and each.get("operator") == "In"
            and set(each.get("values") or ()) <= set(allowed)
            for each in term.get("matchExpressions") or ()
        )
        for term in terms
    )


def _secrets(pod: Object, deployment: Deployment) -> Iterator[Problem]:
    """Keys of env-secrets that podbay.yaml does not name, where it names any: a slip that costs a start time-out."""
    if not deployment.secrets:
        return
    for path, container in all_containers(pod):
        for index, variable in enumerate(container.get("env") or ()):
            reference = (variable.get("valueFrom") or {}).get("secretKeyRef") or {}
            key = reference.get("key")
            if (
                reference.get("name") == ENV_SECRETS
                and key not in deployment.secrets
                and not reference.get("optional")
            ):
                message = f"{key} is not a secret variable of this deployment (secrets)"
                yield Problem(f"{path}.env[{index}].valueFrom.secretKeyRef.key", message)
