"""What podbay.yaml forbids about a task's pod, said where the DAG file is read, of as much of the pod as is known there.

The same rules as right before the pod is made (enforcing.py), which has the last word: a pod is judged here only if it is
certain that it goes to the deployment's namespace and that nobody else changes it on its way.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from podbay.airflow.checking import KnownPod
from podbay.airflow.enforcing import FILE_VARIABLE, current_deployment
from podbay.errors import InvalidInputError
from podbay.objects.meta import Object, namespace_of
from podbay.pods.problems import Problem, refuse
from podbay.pods.sidecar import SIDECAR_NAME

if TYPE_CHECKING:
    from podbay.deployment.enforce import Enforced
    from podbay.deployment.model import Deployment

__all__ = ["SIZED_BY", "foresee", "judge", "named"]

SIZED_BY: Final = frozenset(
    ["container_resources", "pod_template_file", "pod_template_dict", "full_pod_spec", "init_containers", "*"]
)
"""Parameters that say or may say how large the pod is; "*" are those of mapped tasks."""
_PLACED_BY: Final = frozenset(
    ["namespace", "pod_template_file", "pod_template_dict", "full_pod_spec", "kubernetes_conn_id", "*"]
)
_FIELDS: Final[Mapping[str, str]] = {
    "metadata.namespace": "namespace",
    "spec.containers": "container_resources",
    "spec.nodeSelector": "node_selector",
    "spec.priorityClassName": "priority_class_name",
    "spec.serviceAccountName": "service_account_name",
    "spec.volumes": "volumes",
}
"""Fields of the pod to the parameters that usually say them."""


def foresee(subject: str, given: Mapping[str, Any], known: KnownPod) -> None:
    """Refuse a pod that the deployment would refuse when it is made. Costs one stat where there is a deployment.

    A podbay.yaml that cannot be read is not the DAG's fault: it is said when a task starts. Raises InvalidInputError.
    """
    if not os.environ.get(FILE_VARIABLE):
        return
    try:
        deployment = current_deployment()
    except InvalidInputError as error:
        logging.getLogger(__name__).warning("Pods are not judged before they are made: %s", error)
        return
    if deployment is None or not _goes_there(given, known, deployment) or _is_changed_by_others():
        return
    problems = judge(known, deployment).problems
    refuse(
        f"{subject} against {deployment.source}",
        [named(each, [name for name in given if given[name]]) for each in problems],
    )


def judge(known: KnownPod, deployment: Deployment, *, queue: str | None = None) -> Enforced:
    """The pod as it would be made. What comes later is taken to be as small as can be."""
    from podbay.deployment.enforce import enforce
    from podbay.deployment.model import PodSize

    if known.later & SIZED_BY:
        nothing = PodSize(cpu=None, memory=None, ephemeral_storage=None)
        deployment = replace(deployment, pods=replace(deployment.pods, default=nothing))
    return enforce(
        _without_sidecar_size(known.pod),
        deployment,
        queue=queue,
        in_cluster=namespace_of(known.pod) in ("", deployment.namespace),
    )


def _without_sidecar_size(pod: Object) -> Object:
    """The result sidecar's size is the deployment's, as it is when the pod is made; not the one for pods without any."""
    containers = pod["spec"].get("initContainers")
    if not containers:
        return pod
    found = [
        {key: value for key, value in each.items() if key != "resources" or each["name"] != SIDECAR_NAME}
        for each in containers
    ]
    return {**pod, "spec": {**pod["spec"], "initContainers": found}}


def named(problem: Problem, given: Collection[str]) -> Problem:
    """The same problem under the name of the operator's parameter, where one of those given has said it."""
    if ".valueFrom.secretKeyRef" in problem.path:
        ways = [name for name in ("env_secrets", "env_vars", "secrets") if name in given]
        return Problem(ways[0], problem.message) if len(ways) == 1 else problem
    for path, name in _FIELDS.items():
        if name in given and (problem.path == path or problem.path.startswith((f"{path}[", f"{path}."))):
            # Of containers, only their sizes are told as a whole.
            if name == "container_resources" and problem.path != path:
                return problem
            return Problem(name, problem.message)
    return problem


def _goes_there(given: Mapping[str, Any], known: KnownPod, deployment: Deployment) -> bool:
    """The pod goes to the deployment's namespace: itself says so, or the environment's connection, which every process has."""
    if not deployment.namespace:
        return False
    said = namespace_of(known.pod)
    if said:
        return said == deployment.namespace
    if known.later & _PLACED_BY:
        return False
    return _namespace_of_connection(str(given.get("kubernetes_conn_id") or "")) == deployment.namespace


def _namespace_of_connection(name: str) -> str:
    """Of a connection in the environment, in JSON as `podbay manifests` writes it; empty for any other."""
    try:
        extra = orjson.loads(os.environ.get(f"AIRFLOW_CONN_{name.upper()}", ""))["extra"]
        found = (orjson.loads(extra) if isinstance(extra, str) else extra)["namespace"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""
    return str(found)


def _is_changed_by_others() -> bool:
    """Before the pod is made: the task by policies, the pod by hooks."""
    from podbay.airflow.mutation import has_hooks

    return has_hooks("task_policy", "pod_mutation_hook")
