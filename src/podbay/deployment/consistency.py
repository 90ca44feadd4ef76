"""Fields of podbay.yaml that contradict each other: each fine alone, together a deployment in which no pod could start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from podbay.deployment.model import RESOURCES, Deployment, canonical
from podbay.objects.quantity import Quantity
from podbay.pods.identity import ALREADY_CHECKED_LABEL, DEPLOYMENT_LABEL
from podbay.pods.problems import Problem

__all__ = ["PLATFORM_LABELS", "contradictions"]

PLATFORM_LABELS: Final = (
    "kubernetes_pod_operator",
    "dag_id",
    "task_id",
    "run_id",
    "map_index",
    "try_number",
)
"""By these the platform knows whose pod it is (spec 17)."""
_BYTES_FLOOR: Final = Quantity.parse("4Mi")


def contradictions(deployment: Deployment) -> list[Problem]:
    """Everything that cannot be meant, by field path."""
    return [
        *_sizes(deployment),
        *_quota(deployment),
        *_ratio(deployment),
        *_names(deployment),
        *_network(deployment),
    ]


def _sizes(deployment: Deployment) -> Iterator[Problem]:
    rules = deployment.pods
    for name in RESOURCES:
        default, maximum = getattr(rules.default, name), getattr(rules.maximum, name)
        if default is not None and maximum is not None and default > maximum:
            message = (
                f"{default} is above pods.maximum.{name} ({maximum}): no pod of the default size could start"
            )
            yield Problem(f"pods.default.{name}", message)
        if name != "cpu" and default is not None and default < _BYTES_FLOOR:
            yield Problem(
                f"pods.default.{name}", f"{default} is too little for any container; is the unit right?"
            )
    if rules.priority_class.startswith("system-"):
        yield Problem("pods.priority_class", "classes of the system are not for tasks")


def _quota(deployment: Deployment) -> Iterator[Problem]:
    for name in ("cpu", "memory"):
        ceiling = getattr(deployment.quota, name)
        default = getattr(deployment.pods.default, name)
        if ceiling is not None and default is not None and ceiling < default:
            message = (
                f"{ceiling} is below pods.default.{name} ({default}): no pod of the default size could start"
            )
            yield Problem(f"quota.{name}", message)
        if ceiling is not None and default is None:
            message = "a quota needs a default size, or pods that say nothing would be refused"
            yield Problem(f"quota.{name}", message)


def _ratio(deployment: Deployment) -> Iterator[Problem]:
    """Spec 30: memory is exactly so much for each CPU; of settings, not of single tasks."""
    each = deployment.pods.memory_per_cpu
    if each is None:
        return
    for path, cpu, memory in (
        ("pods.default", deployment.pods.default.cpu, deployment.pods.default.memory),
        ("quota", deployment.quota.cpu, deployment.quota.memory),
    ):
        if cpu is None or memory is None:
            continue
        wanted = Quantity(cpu.nanos * each.nanos // 10**9, "BinarySI")
        if memory != wanted:
            message = (
                f"must be {canonical(wanted)}: {cpu} CPU times pods.memory_per_cpu ({each}), not {memory}"
            )
            yield Problem(f"{path}.memory", message)


def _names(deployment: Deployment) -> Iterator[Problem]:
    reserved = (
        *PLATFORM_LABELS,
        DEPLOYMENT_LABEL,
        ALREADY_CHECKED_LABEL,
        "airflow_version",
        "airflow_kpo_in_cluster",
    )
    for label in deployment.pods.protected_labels:
        if label in reserved:
            yield Problem(f"pods.protected_labels[{label}]", "is written by the platform itself")
    if deployment.airflow.in_namespace:
        for namespace, name in deployment.airflow.service_accounts:
            if namespace == deployment.namespace and name in deployment.service_accounts:
                message = f"{name} is a service account of task pods; Airflow's own pods need another one"
                yield Problem("airflow.service_accounts", message)


def _network(deployment: Deployment) -> Iterator[Problem]:
    if deployment.network.egress_to and deployment.network.egress == "allow":
        yield Problem("network.egress_to", "has a meaning only with network.egress: deny")
