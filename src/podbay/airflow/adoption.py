"""Tasks of upstream's KubernetesPodOperator on this engine, with no change to their DAGs (design D3b).

The instance (or the class that a mapped task will make) becomes one of a subclass of upstream's: everything that DAG code
and platform policies see of it stays, and where it starts, runs and ends is ours. Other classes, among them subclasses of
upstream's operator, are left alone: their authors rely on its methods.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from podbay.airflow.parameters import PARAMETERS, TEMPLATE_FIELDS
from podbay.airflow.task import PodTask, settings

__all__ = ["adopt", "adopted_class"]

_ENUMS = ("on_finish_action", "on_kill_action")


def adopt(task: Any) -> None:
    """Hand a task of upstream's own class over, if the deployment wants that."""
    if not settings().adopt_upstream_operators:
        return
    if task.is_mapped:
        task.operator_class = adopted_class(task.operator_class)
        return
    upstream: Any = type(task)
    task.__class__ = adopted_class(upstream)


@cache
def adopted_class(upstream: Any) -> Any:
    """The subclass of upstream's operator that runs on this engine. It looks like upstream's."""

    def podbay_parameters(self: Any) -> dict[str, Any]:
        return _parameters(self)

    def initialise(self: Any, **kwargs: Any) -> None:
        # Made by a mapped task; an instance of a DAG file is upstream's own until it is adopted.
        self._podbay_timeout = kwargs.pop("_podbay_timeout", None)
        upstream.__init__(self, **kwargs)

    body = {
        "__init__": initialise,
        "__module__": upstream.__module__,
        "__qualname__": upstream.__qualname__,
        "__doc__": upstream.__doc__,
        "podbay_parameters": podbay_parameters,
        "execute": PodTask.execute,
        "on_kill": PodTask.on_kill,
    }
    return type(upstream)(upstream.__name__, (PodTask, upstream), body)


def _parameters(task: Any) -> dict[str, Any]:
    """By the table's names: as they were given, and the templated ones as they are now."""
    given = task._BaseOperator__init_kwargs
    found = {name: given.get(name, row.default) for name, row in PARAMETERS.items()}
    for name in TEMPLATE_FIELDS:
        if hasattr(task, name):
            found[name] = getattr(task, name)
    for name in _ENUMS:
        found[name] = getattr(found[name], "value", found[name])
    if found["durable"] is None:
        found["durable"] = found["reattach_on_restart"]
    if found["deferrable"] is not True:
        # Upstream's default is False, and so says nothing of what its author wants.
        found["deferrable"] = None
    return found
