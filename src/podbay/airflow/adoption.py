"""Tasks of upstream's KubernetesPodOperator on this engine, with no change to their DAGs (design D3b).

The instance (or the class that a mapped task will make) becomes one of a subclass of upstream's: everything that DAG code
and platform policies see of it stays, and where it starts, runs and ends is ours. Other classes, among them subclasses of
upstream's operator, are left alone: their authors rely on its methods.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from podbay.airflow.links import PodLink
from podbay.airflow.parameters import PARAMETERS
from podbay.airflow.request import taken
from podbay.airflow.task import PodTask, settings

__all__ = ["adopt", "adopted_class"]

_ENUMS: Final = ("on_finish_action", "on_kill_action")
_ATTRIBUTES: Final = {"container_logs": "_container_logs", "progress_callback": "_progress_callback"}
_CONVERTED: Final = {
    "affinity": "convert_affinity",
    "image_pull_secrets": "convert_image_pull_secrets",
    "pod_runtime_info_envs": "convert_pod_runtime_info_env",
    "ports": "convert_port",
    "tolerations": "convert_toleration",
}
_BY_ITEM: Final = ("pod_runtime_info_envs", "ports", "tolerations")


def adopt(task: Any) -> None:
    """Hand a task of upstream's own class over, if the deployment wants that."""
    if not settings().adopt_upstream_operators:
        return
    if task.is_mapped:
        task.operator_class = adopted_class(task.operator_class)
        task.operator_extra_links = task.operator_class.operator_extra_links
        return
    for name in PARAMETERS:
        attribute = _ATTRIBUTES.get(name, name)
        now = getattr(task, attribute, None)
        kept = taken(name, now)
        if kept is not now:
            setattr(task, attribute, kept)
    upstream: Any = type(task)
    task.__class__ = adopted_class(upstream)


@cache
def adopted_class(upstream: Any) -> Any:
    """The subclass of upstream's operator that runs on this engine. It looks like upstream's."""

    def podbay_parameters(self: Any) -> dict[str, Any]:
        return _parameters(self, upstream)

    def initialise(self: Any, **kwargs: Any) -> None:
        # Made by a mapped task; an instance of a DAG file is upstream's own until it is adopted.
        self._podbay_timeout = kwargs.pop("_podbay_timeout", None)
        upstream.__init__(self, **kwargs)

    body = {
        "__init__": initialise,
        "__module__": upstream.__module__,
        "__qualname__": upstream.__qualname__,
        "__doc__": upstream.__doc__,
        "operator_extra_links": (*upstream.operator_extra_links, PodLink()),
        "podbay_parameters": podbay_parameters,
        "execute": PodTask.execute,
        "on_kill": PodTask.on_kill,
    }
    return type(upstream)(upstream.__name__, (PodTask, upstream), body)


def _parameters(task: Any, upstream: type) -> dict[str, Any]:
    """By the table's names: as they were given, or as the DAG, a policy or rendering has left them on the task."""
    given = task._BaseOperator__init_kwargs
    found = {}
    for name, row in PARAMETERS.items():
        said = given.get(name, row.default)
        now = getattr(task, _ATTRIBUTES.get(name, name), getattr(task, name, said))
        found[name] = said if _is_as_made(name, said, now, given, upstream) else now
    for name in _ENUMS:
        found[name] = getattr(found[name], "value", found[name])
    found["durable"], found["reattach_on_restart"] = _durable(task, given), given.get("reattach_on_restart")
    if "deferrable" not in given and found["deferrable"] == _default(upstream):
        # Upstream's default says nothing of what its author wants.
        found["deferrable"] = None
    return found


def _is_as_made(name: str, said: Any, now: Any, given: Mapping[str, Any], upstream: type) -> bool:
    """Whether the attribute is what upstream's __init__ has made of the argument. The argument is the better of the two:
    of what upstream turns into a model, it drops fields that it does not know."""
    if now is said or (_is_nothing(now) and _is_nothing(said)):
        return True
    if name == "schedule_timeout_seconds":
        said = said or given.get("startup_timeout_seconds", PARAMETERS["startup_timeout_seconds"].default)
    elif name == "container_logs":
        said = said or given.get("base_container_name") or getattr(upstream, "BASE_CONTAINER_NAME", None)
    elif name in _CONVERTED and said:
        convert = getattr(sys.modules[upstream.__module__], _CONVERTED[name], None)
        if convert is not None:
            said = [convert(each) for each in said] if name in _BY_ITEM else convert(said)
    return bool(now == said)


def _is_nothing(value: Any) -> bool:
    """False and 0 may have a meaning."""
    return value is None or (isinstance(value, str | list | tuple | dict) and not value)


def _durable(task: Any, given: Mapping[str, Any]) -> Any:
    """Upstream fills it from reattach_on_restart, and where Airflow keeps no state of tasks, from that alone."""
    said, older = given.get("durable"), given.get("reattach_on_restart")
    for name in ("durable", "reattach_on_restart"):
        now = getattr(task, name, None)
        if now not in (None, said, True if older is None else older):
            return now
    return older if said is None else said


@cache
def _default(upstream: type) -> bool:
    """Whether the deployment makes tasks deferrable (`[operators] default_deferrable`)."""
    found = inspect.signature(upstream.__init__).parameters.get("deferrable")  # type: ignore[misc]
    return found is not None and found.default is True
