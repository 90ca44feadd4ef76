"""Ties tasks to nodes: selector, toleration, GPUs, connection. For our operator and upstream's, mapped or not.

The selector is a template, because the nodes' label is only known once they have been made.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from podbay.aws.nodegroup import GPU, NODE_LABEL
from podbay.errors import InvalidInputError

__all__ = ["Nodes", "confine", "is_pod_task"]

_DEFAULT: Final = "kubernetes_default"
_MANAGED: Final = ("node_selector", "tolerations", "kubernetes_conn_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """What pods must say to run on them."""

    connection: str
    taint: str
    gpus: int


def is_pod_task(task: Any) -> bool:
    """Ours, upstream's, and what is derived from them."""
    kind = task.operator_class if task.is_mapped else type(task)
    return any(each.__name__ == "KubernetesPodOperator" for each in kind.__mro__)


def confine(task: Any, nodes: Nodes, setup_id: str) -> None:
    """Change the task so that its pod can only run there. Raises InvalidInputError for one that wants another place."""
    _refuse_others(task, nodes)
    label = f"{{{{ ti.xcom_pull(task_ids='{setup_id}') }}}}"
    selector = _given(task, "node_selector") or {}
    if not isinstance(selector, Mapping):
        raise InvalidInputError(
            f"task {task.task_id}: node_selector: must be a mapping inside of an EksNodegroup"
        )
    _set(task, "kubernetes_conn_id", nodes.connection)
    _set(task, "node_selector", {**selector, NODE_LABEL: label})
    _set(task, "tolerations", [*(_given(task, "tolerations") or ()), _toleration(task, nodes.taint)])
    if nodes.gpus:
        _set(task, "container_resources", _with_gpus(task, nodes.gpus))


def _refuse_others(task: Any, nodes: Nodes) -> None:
    connection = _given(task, "kubernetes_conn_id")
    if connection not in (None, _DEFAULT, nodes.connection):
        raise InvalidInputError(
            f"task {task.task_id}: kubernetes_conn_id: is {connection!r}, but the nodes of its EksNodegroup are of "
            f"{nodes.connection!r}"
        )
    for name in ("in_cluster", "config_file", "overflow_kubernetes_conn_id"):
        if _given(task, name):
            raise InvalidInputError(
                f"task {task.task_id}: {name}: means another cluster than its EksNodegroup; leave it out"
            )
    expanded = getattr(getattr(task, "expand_input", None), "value", None) if task.is_mapped else None
    for name in (*_MANAGED, "container_resources") if nodes.gpus else _MANAGED:
        if isinstance(expanded, Mapping) and name in expanded:
            raise InvalidInputError(
                f"task {task.task_id}: {name}: is set by its EksNodegroup, so not by expand()"
            )


def _given(task: Any, name: str) -> Any:
    return task.partial_kwargs.get(name) if task.is_mapped else getattr(task, name, None)


def _set(task: Any, name: str, value: Any) -> None:
    if task.is_mapped:
        task.partial_kwargs[name] = value
        return
    setattr(task, name, value)
    # From there a task of upstream's is read when it is taken over (adoption.py).
    task._BaseOperator__init_kwargs[name] = value


def _is_ours(task: Any) -> bool:
    return hasattr(task.operator_class if task.is_mapped else type(task), "podbay_start")


def _toleration(task: Any, key: str) -> Any:
    if _is_ours(task):
        return {"key": key, "operator": "Exists", "effect": "NoSchedule"}
    from kubernetes.client import models as k8s

    return k8s.V1Toleration(key=key, operator="Exists", effect="NoSchedule")


def _with_gpus(task: Any, gpus: int) -> Any:
    """What the task asks for besides stays; so does its own number of GPUs."""
    said = copy.copy(_given(task, "container_resources"))
    if said is None and not _is_ours(task):
        from kubernetes.client import models as k8s

        said = k8s.V1ResourceRequirements()
    if said is None or isinstance(said, Mapping):
        whole = dict(said or {})
        return {**whole, "limits": {GPU: str(gpus), **(whole.get("limits") or {})}}
    said.limits = {GPU: str(gpus), **(said.limits or {})}
    return said
