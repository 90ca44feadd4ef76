"""A pod made to fit its deployment: defaults, labels, sizes, nodes; and what cannot be mended. Pure.

For pods of any operator: Airflow's policy entry points call it last, after mutation hooks, so that the platform's word
wins (spec 17-19, 28-40, 43, 53). Rules for the deployment's own cluster only (spec 93): a pod for another cluster is given
its labels and aliases and is otherwise left alone.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Final

from podbay.deployment.check import check_pod
from podbay.deployment.image_patterns import secrets_for
from podbay.deployment.model import Deployment
from podbay.objects.meta import Object, metadata_of
from podbay.objects.quantity import Quantity
from podbay.pods.problems import Problem
from podbay.pods.request import PodDefaults, SidecarOptions
from podbay.pods.resources import all_containers, raise_requests, with_default_size
from podbay.pods.sidecar import SIDECAR_NAME

__all__ = ["Enforced", "enforce", "pod_defaults"]

ARCHITECTURE: Final = "kubernetes.io/arch"
UPSTREAM_SIDECAR: Final = "airflow-xcom-sidecar"
_SIDECAR_SIZE: Final = {
    "requests": {"cpu": "50m", "memory": "32Mi"},
    "limits": {"cpu": "50m", "memory": "32Mi"},
}


@dataclass(frozen=True, slots=True)
class Enforced:
    """The pod, what was changed in words for the task's log, and what forbids it to start."""

    pod: Object
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def pod_defaults(deployment: Deployment, *, in_cluster: bool = True) -> PodDefaults:
    """The deployment as the lowest layer of pods that Podbay builds itself; for another cluster its labels alone."""
    rules = deployment.pods
    labels = {"metadata": {"labels": dict(rules.protected_labels)}}
    if not in_cluster:
        return PodDefaults(template=labels)
    spec: dict[str, Any] = {"serviceAccountName": deployment.service_account}
    if rules.pull_secrets:
        spec["imagePullSecrets"] = [{"name": each} for each in rules.pull_secrets]
    if deployment.task_priority_class:
        spec["priorityClassName"] = deployment.task_priority_class
    default = rules.default.to_json()
    follows = rules.requests == "follow-limits"
    return PodDefaults(
        template={**labels, "spec": spec},
        resources={"requests": default, "limits": default} if default else None,
        raise_requests_to_limits=follows,
        sidecar=SidecarOptions(resources=_sidecar_size(deployment) if follows else None),
    )


def enforce(
    pod: Object,
    deployment: Deployment,
    *,
    queue: str | None = None,
    airflow_image: str | None = None,
    in_cluster: bool = True,
) -> Enforced:
    """A changed copy of the pod. `queue` is the task's Airflow queue, `airflow_image` what alias `airflow` stands for.

    Never raises for what a user wrote: problems say why the pod may not start, by field path.
    """
    made = copy.deepcopy(pod)
    notes = _aliases(made, deployment, airflow_image)
    notes += _labels(made, deployment)
    if not in_cluster:
        return Enforced(made, tuple(notes))
    spec = made.setdefault("spec", {})
    _accounts(spec, deployment)
    _pull_secrets(made, deployment)
    notes += _nodes(spec, deployment, queue)
    _sizes(made, deployment)
    if deployment.pods.requests == "follow-limits":
        notes += raise_requests(made)
    return Enforced(made, tuple(notes), tuple(check_pod(made, deployment)))


def _aliases(pod: Object, deployment: Deployment, airflow_image: str | None) -> list[str]:
    aliases = {**({"airflow": airflow_image} if airflow_image else {}), **deployment.images}
    notes = []
    for path, container in all_containers(pod):
        image = container.get("image")
        if image in aliases:
            container["image"] = aliases[image]
            notes.append(f"{path}.image: {image} is {aliases[image]}")
    return notes


def _labels(pod: Object, deployment: Deployment) -> list[str]:
    metadata = metadata_of(pod)
    labels = metadata["labels"] = dict(metadata.get("labels") or {})
    notes = []
    for name, value in deployment.pods.protected_labels.items():
        if labels.get(name, value) != value:
            notes.append(
                f"metadata.labels[{name}]: {labels[name]} gives way to {value}, which the deployment protects"
            )
        labels[name] = value
    if not labels:
        del metadata["labels"]
    return notes


def _accounts(spec: dict[str, Any], deployment: Deployment) -> None:
    # "default" is what Airflow's own pod templates say when nobody has chosen.
    if (
        spec.get("serviceAccountName") in (None, "", "default")
        and "default" not in deployment.service_accounts
    ):
        spec["serviceAccountName"] = deployment.service_account
        spec.pop("serviceAccount", None)
    if deployment.task_priority_class and (
        deployment.airflow.in_namespace or not spec.get("priorityClassName")
    ):
        spec["priorityClassName"] = deployment.task_priority_class


def _pull_secrets(pod: Object, deployment: Deployment) -> None:
    """Those of every pod, and those for the images that this one has; its own come first."""
    spec, rules = pod["spec"], deployment.pods
    images = [str(container.get("image") or "") for _, container in all_containers(pod)]
    wanted = [*rules.pull_secrets, *secrets_for(images, rules.pull_secrets_by_image)]
    secrets = spec.get("imagePullSecrets") or []
    missing = [each for each in dict.fromkeys(wanted) if {"name": each} not in secrets]
    if missing:
        spec["imagePullSecrets"] = [*secrets, *({"name": each} for each in missing)]


def _nodes(spec: dict[str, Any], deployment: Deployment, queue: str | None) -> list[str]:
    notes = []
    place = deployment.queues.get(queue or "")
    if place is not None:
        selector = dict(spec.get("nodeSelector") or {})
        # What the task says itself is narrower and wins.
        for key, value in place.node_selector.items():
            if selector.setdefault(key, value) != value:
                notes.append(
                    f"spec.nodeSelector[{key}]: {selector[key]} of the task wins over {value} of queue {queue}"
                )
        if selector:
            spec["nodeSelector"] = selector
        tolerations = list(spec.get("tolerations") or [])
        tolerations += [dict(each) for each in place.tolerations if dict(each) not in tolerations]
        if tolerations:
            spec["tolerations"] = tolerations
    _architecture(spec, deployment)
    return notes


def _architecture(spec: dict[str, Any], deployment: Deployment) -> None:
    """One architecture is a node selector, several are required node affinity; what the task says itself stays."""
    allowed = list(deployment.pods.architectures)
    if not allowed or ARCHITECTURE in (spec.get("nodeSelector") or {}):
        return
    if len(allowed) == 1:
        spec["nodeSelector"] = {**(spec.get("nodeSelector") or {}), ARCHITECTURE: allowed[0]}
        return
    expression = {"key": ARCHITECTURE, "operator": "In", "values": allowed}
    affinity = spec["affinity"] = dict(spec.get("affinity") or {})
    node = affinity["nodeAffinity"] = dict(affinity.get("nodeAffinity") or {})
    required = node.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = [dict(each) for each in required.get("nodeSelectorTerms") or [{}]]
    # Terms are alternatives, so each of them must carry the demand.
    for term in terms:
        expressions = list(term.get("matchExpressions") or [])
        if all(each.get("key") != ARCHITECTURE for each in expressions):
            term["matchExpressions"] = [*expressions, expression]
    node["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}


def _sizes(pod: Object, deployment: Deployment) -> None:
    default = deployment.pods.default.to_json()
    for _, container in all_containers(pod):
        if container.get("name") in (UPSTREAM_SIDECAR, SIDECAR_NAME):
            _size_sidecar(container, deployment)
        _close_gaps(container)
        with_default_size(container, {"requests": default, "limits": default})


def _size_sidecar(container: dict[str, Any], deployment: Deployment) -> None:
    """Upstream's says one tiny request and no limit; either would be given a whole default size besides (spec 36)."""
    given = container.get("resources") or {}
    if not given.get("limits"):
        container["resources"] = _sidecar_size(deployment)


def _sidecar_size(deployment: Deployment) -> dict[str, Any]:
    size = copy.deepcopy(_SIDECAR_SIZE)
    storage = deployment.pods.default.to_json().get("ephemeral-storage")
    if storage:
        for part in size.values():
            part["ephemeral-storage"] = storage
    return size


def _close_gaps(container: dict[str, Any]) -> None:
    """A request without its limit gets one of its own size: the LimitRange's default may be below it (spec 38)."""
    resources = container.get("resources") or {}
    requests, limits = resources.get("requests") or {}, dict(resources.get("limits") or {})
    for name in ("cpu", "memory", "ephemeral-storage"):
        if name in requests and name not in limits and _readable(requests[name]):
            limits[name] = requests[name]
    if limits:
        container["resources"] = {**resources, "limits": limits}


def _readable(value: Any) -> bool:
    try:
        Quantity.from_json(value)
    except ValueError:
        return False
    return True
