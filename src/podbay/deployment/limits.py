"""Sizes: the LimitRange with default and maximum, the ResourceQuota over all task pods, the class that marks them. Pure.

What they can and cannot do is spec 38: a LimitRange fills in defaults and refuses pods above the maximum, but raises no
request; for that see enforce.py and, in the cluster, admission.py.
"""

from __future__ import annotations

from typing import Any

from podbay.deployment.model import Deployment, canonical
from podbay.objects.meta import Object

__all__ = ["limit_objects", "quota_name"]


def quota_name(deployment: Deployment) -> str:
    """The name of LimitRange and ResourceQuota; Astro's, which stands in its error texts (spec 33)."""
    return f"{deployment.namespace}-default"


def limit_objects(deployment: Deployment) -> list[Object]:
    """PriorityClass, LimitRange and ResourceQuota, as far as podbay.yaml asks for them."""
    return [*_priority_class(deployment), *_limit_range(deployment), *_quota(deployment)]


def _limit_range(deployment: Deployment) -> list[Object]:
    rules = deployment.pods
    limits: list[dict[str, Any]] = []
    default, maximum = rules.default.to_json(), rules.maximum.to_json()
    if default:
        limits.append({"type": "Container", "default": default, "defaultRequest": default})
    if maximum:
        limits.append({"type": "Pod", "max": maximum})
    if not limits:
        return []
    return [
        {
            "apiVersion": "v1",
            "kind": "LimitRange",
            "metadata": {"name": quota_name(deployment), "namespace": deployment.namespace},
            "spec": {"limits": limits},
        }
    ]


def _quota(deployment: Deployment) -> list[Object]:
    ceiling = deployment.quota
    hard = {
        name: canonical(value) for name, value in (("cpu", ceiling.cpu), ("memory", ceiling.memory)) if value
    }
    if ceiling.pods is not None:
        hard["pods"] = str(ceiling.pods)
    if not hard:
        return []
    spec: dict[str, Any] = {"hard": hard}
    if deployment.airflow.in_namespace:
        expression = {
            "scopeName": "PriorityClass",
            "operator": "In",
            "values": [deployment.task_priority_class],
        }
        spec["scopeSelector"] = {"matchExpressions": [expression]}
    return [
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": quota_name(deployment), "namespace": deployment.namespace},
            "spec": spec,
        }
    ]


def _priority_class(deployment: Deployment) -> list[Object]:
    """Only where Airflow's own pods are in the namespace, and then only if podbay.yaml names no class."""
    if not deployment.airflow.in_namespace or deployment.pods.priority_class:
        return []
    return [
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": deployment.task_priority_class},
            "value": 0,
            "description": f"Task pods of deployment {deployment.name}: counted by its quota.",
        }
    ]
