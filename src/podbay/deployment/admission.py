"""The rules that LimitRange and ResourceQuota cannot express, as a ValidatingAdmissionPolicy with its binding. Pure.

For whoever goes round Airflow: `kubectl create`, another operator, a mutation hook. Rules about what a pod is hold when it
is made, not when it changes later: a deployment that became stricter must not keep old pods from being labelled, released
and deleted. Source of the language: kubernetes.io/docs/reference/using-api/cel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson

from podbay.deployment.consistency import PLATFORM_LABELS
from podbay.deployment.model import Deployment, canonical
from podbay.objects.meta import Object
from podbay.objects.quantity import Quantity

__all__ = ["admission_objects", "policy_name"]

ARCHITECTURE: Final = "kubernetes.io/arch"
_VERSION: Final = "admissionregistration.k8s.io/v1"
_PODS: Final = {
    "apiGroups": [""],
    "apiVersions": ["v1"],
    "operations": ["CREATE", "UPDATE"],
    "resources": ["pods"],
    "scope": "*",
}
_INIT: Final = "(has(object.spec.initContainers) ? object.spec.initContainers : [])"
_VARIABLES: Final = {
    "containers": f"object.spec.containers + {_INIT}",
    "beside": "object.spec.containers + "
    f"{_INIT}.filter(c, has(c.restartPolicy) && c.restartPolicy == 'Always')",
    "labels": "has(object.metadata.labels) ? object.metadata.labels : {}",
}
"""Every container; those that run at the same time; labels, also where there are none."""
_ALWAYS_THERE: Final = [each for each in PLATFORM_LABELS if each != "map_index"]
"""map_index stands on pods of mapped tasks alone (spec 17)."""


def policy_name(deployment: Deployment) -> str:
    """Of policy and binding, which live outside of namespaces."""
    return f"podbay-{deployment.namespace}"


def admission_objects(deployment: Deployment) -> list[Object]:
    """Policy and binding, or nothing where admission_policy is off."""
    if deployment.admission_policy == "off":
        return []
    name = policy_name(deployment)
    actions = ["Deny"] if deployment.admission_policy == "deny" else ["Warn", "Audit"]
    binding = {
        "apiVersion": _VERSION,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": actions,
            "matchResources": _pods_of(deployment),
        },
    }
    return [_policy(deployment, name), binding]


def _policy(deployment: Deployment, name: str) -> Object:
    spec: dict[str, Any] = {
        "failurePolicy": "Fail",
        "matchConstraints": {**_pods_of(deployment), "resourceRules": [_PODS]},
        "variables": [{"name": name, "expression": expression} for name, expression in _VARIABLES.items()],
        "validations": [
            {
                "expression": expression,
                "message": f"{message} ({deployment.name}, podbay.yaml)",
                "reason": "Forbidden",
            }
            for expression, message in _rules(deployment)
        ],
    }
    exempt = _airflow_accounts(deployment)
    if exempt:
        condition = f"!(object.spec.serviceAccountName in {_literal(exempt)})"
        spec["matchConditions"] = [{"name": "task-pods", "expression": condition}]
    return {
        "apiVersion": _VERSION,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }


def _pods_of(deployment: Deployment) -> dict[str, Any]:
    """What is in the namespace. With the server's defaults: the API owns this struct as a whole, so that leaving one out
    would be another value than the one that is there."""
    return {
        "matchPolicy": "Equivalent",
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": deployment.namespace}},
        "objectSelector": {},
    }


def _airflow_accounts(deployment: Deployment) -> list[str]:
    """Service accounts of Airflow's own pods in this namespace, for which rules of task pods do not hold."""
    if not deployment.airflow.in_namespace:
        return []
    return [
        name for namespace, name in deployment.airflow.service_accounts if namespace == deployment.namespace
    ]


def _rules(deployment: Deployment) -> Iterator[tuple[str, str]]:
    """CEL expressions that must hold, and what to say when they do not."""
    for expression, message in _rules_of_new_pods(deployment):
        yield f"request.operation != 'CREATE' || ({expression})", message
    kept = [*PLATFORM_LABELS, *deployment.pods.protected_labels]
    yield (
        "request.operation != 'UPDATE' || !has(oldObject.metadata.labels) || "
        f"{_literal(kept)}.all(l, !(l in oldObject.metadata.labels) || "
        "(l in variables.labels && variables.labels[l] == oldObject.metadata.labels[l]))",
        f"the labels {', '.join(kept)} may not be changed or removed",
    )


def _rules_of_new_pods(deployment: Deployment) -> Iterator[tuple[str, str]]:
    rules = deployment.pods
    accounts = list(deployment.service_accounts)
    yield (
        f"object.spec.serviceAccountName in {_literal(accounts)}",
        f"pods may run as service account {' or '.join(accounts)} only",
    )
    if not rules.persistent_volumes:
        yield (
            "!has(object.spec.volumes) || "
            "object.spec.volumes.all(v, !has(v.persistentVolumeClaim) && !has(v.ephemeral))",
            "pods may not use persistent volumes; use an emptyDir, or set pods.persistent_volumes",
        )
    for name, limit in rules.maximum.quantities().items():
        yield (
            _maximum(name, limit),
            f"pods may have at most {canonical(limit)} of {name}, all containers together",
        )
    if rules.requests == "follow-limits":
        yield (_FOLLOW_LIMITS, "every container's requests of CPU and memory must equal its limits")
    if rules.architectures:
        yield (
            _architectures(list(rules.architectures)),
            f"pods must ask for a node of architecture {' or '.join(rules.architectures)}, "
            f"by nodeSelector {ARCHITECTURE} or required node affinity",
        )
    yield from _rules_of_labels(deployment)
    yield from _rules_of_priority(deployment)


def _rules_of_labels(deployment: Deployment) -> Iterator[tuple[str, str]]:
    for label, value in deployment.pods.protected_labels.items():
        key = _literal(label)
        yield (
            f"{key} in variables.labels && variables.labels[{key}] == {_literal(value)}",
            f"pods must have the label {label}={value}",
        )
    yield (
        "!('kubernetes_pod_operator' in variables.labels) || "
        f"{_literal(_ALWAYS_THERE)}.all(l, l in variables.labels)",
        f"pods of tasks must keep the labels {', '.join(_ALWAYS_THERE)}; a mutation hook may not remove them",
    )


def _rules_of_priority(deployment: Deployment) -> Iterator[tuple[str, str]]:
    yield (
        "!has(object.spec.priorityClassName) || !object.spec.priorityClassName.startsWith('system-')",
        "tasks may not push the system's own pods aside; choose a priority class that does not begin with system-",
    )
    if deployment.airflow.in_namespace:
        wanted = deployment.task_priority_class
        yield (
            f"has(object.spec.priorityClassName) && object.spec.priorityClassName == {_literal(wanted)}",
            f"task pods must have the priority class {wanted}, by which the quota counts them",
        )


_FOLLOW_LIMITS: Final = (
    "variables.containers.all(c, has(c.resources) && has(c.resources.requests) && has(c.resources.limits) && "
    "['cpu', 'memory'].all(r, r in c.resources.requests && r in c.resources.limits && "
    "quantity(c.resources.requests[r]).compareTo(quantity(c.resources.limits[r])) == 0))"
)


def _maximum(name: str, limit: Quantity) -> str:
    """The sum over containers and sidecars, as the scheduler counts; every other init container runs alone.

    CEL cannot add up quantities over a list, only numbers; a double is exact to 15 digits.
    """
    amount = f"quantity(c.resources.limits[{_literal(name)}]).asApproximateFloat()"
    said = f"has(c.resources) && has(c.resources.limits) && {_literal(name)} in c.resources.limits"
    beside = f"variables.beside.filter(c, {said}).map(c, {amount})"
    alone = f"variables.containers.filter(c, {said}).all(c, {amount} <= {limit.as_float()!r})"
    return f"({beside}).sum() <= {limit.as_float()!r} && {alone}"


def _architectures(allowed: Sequence[str]) -> str:
    words = _literal(list(allowed))
    key = _literal(ARCHITECTURE)
    selector = f"(has(object.spec.nodeSelector) && {key} in object.spec.nodeSelector && object.spec.nodeSelector[{key}] in {words})"
    required = "object.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
    affinity = (
        "(has(object.spec.affinity) && has(object.spec.affinity.nodeAffinity) && "
        f"has({required}) && {required}.nodeSelectorTerms.all(t, has(t.matchExpressions) && "
        f"t.matchExpressions.exists(e, e.key == {key} && e.operator == 'In' && e.values.all(v, v in {words}))))"
    )
    return f"{selector} || {affinity}"


def _literal(value: Any) -> str:
    """A CEL literal: strings and lists are written as in JSON."""
    return orjson.dumps(value).decode()
