"""NetworkPolicies of a deployment. Pure. In effect only where the cluster's network plugin enforces them."""

from __future__ import annotations

from typing import Any

from podbay.deployment.consistency import PLATFORM_LABELS
from podbay.deployment.model import Deployment
from podbay.objects.meta import Object

__all__ = ["network_objects"]

_DNS = [
    {"protocol": "UDP", "port": 53},
    {"protocol": "TCP", "port": 53},
]


def network_objects(deployment: Deployment) -> list[Object]:
    """One policy for task pods, or none when everything is allowed."""
    rules = deployment.network
    types = [
        name for name, value in (("Ingress", rules.ingress), ("Egress", rules.egress)) if value == "deny"
    ]
    if not types:
        return []
    spec: dict[str, Any] = {"podSelector": _task_pods(deployment), "policyTypes": types}
    if rules.egress == "deny":
        blocks = [{"ipBlock": {"cidr": each}} for each in rules.egress_to]
        spec["egress"] = [{"ports": _DNS}, *([{"to": blocks}] if blocks else [])]
    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": f"{deployment.namespace}-tasks", "namespace": deployment.namespace},
            "spec": spec,
        }
    ]


def _task_pods(deployment: Deployment) -> dict[str, Any]:
    """All pods of the namespace; where Airflow's own are among them, those with the label of tasks."""
    return {"matchLabels": {PLATFORM_LABELS[0]: "True"}} if deployment.airflow.in_namespace else {}
