"""What a task takes along to the triggerer: one JSON text in the trigger's arguments, and nothing else.

One text, because Airflow's own encodings of arguments change values on the way (airflow.md T3; models become their repr);
it stands in the serialized DAG in clear, so no secret may be in it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import orjson

from podbay.airflow.placement import Finish
from podbay.errors import InvalidInputError

__all__ = ["CARRIED_VERSION", "Carried"]

CARRIED_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Of one task; of one task instance once `rendered`."""

    parameters: Mapping[str, Any]
    """By name, encoded (portable.py); those that say nothing are left out."""
    rendered: bool = False
    """A worker has rendered them."""
    expansion: Mapping[str, Any] | None = None
    """Mapped arguments: kind and value."""
    native: bool = False
    """Templates give Python values, not texts."""
    timeout: float | None = None
    """Seconds of execution_timeout."""
    deadline: float | None = None
    """The same as seconds since the epoch, once a worker has begun the task; else counted from Airflow's record."""
    used: float = 0.0
    """Seconds of `timeout` that a worker has used before it handed the task over, where there is no deadline."""
    counted: bool = False
    """The scheduler counts `timeout`, too: what it calls the trigger's timeout is the end of it and a grace."""
    allowance: float | None = None
    """Seconds from the hand-over to the trigger's timeout, which tells when the hand-over was."""
    since: float | None = None
    """The hand-over, as seconds since the epoch, where a worker has begun the task."""
    former: Mapping[str, Any] | None = None
    """What is known of the memory of the try before (keeping.py), where a worker has begun the task."""
    finish: Finish = "never"
    reason: str = ""
    """Where it runs and why: the first line of the log."""
    multiple_outputs: bool = False
    mapped_over: bool = False
    """A task after this one is mapped over its result."""
    template_text: str | None = None
    """The content of `pod_template_file`, read where the DAG file is."""
    templated: Sequence[str] | None = None
    """Parameters that are templates, where the operator's class says other ones than upstream's."""
    function: Mapping[str, Any] | None = None
    """Of `@task.pod`: source and the like (function.py)."""
    limits: Mapping[str, int] | None = None
    """max_active_tis_per_dag, max_active_tis_per_dagrun, max_active_tasks, where set."""
    priority: int = 1
    """The task's own; what it has by its `weight_rule` is known where it runs."""
    queue: str = ""
    """The task's Airflow queue, by which a deployment chooses nodes."""

    @property
    def counts_itself(self) -> bool:
        """How much of `timeout` is over only the run knows."""
        return self.timeout is not None and self.deadline is None and not self.counted

    def to_text(self) -> str:
        said = {each.name: getattr(self, each.name) for each in fields(self)}
        data = {name: value for name, value in said.items() if value not in (None, False, "")}
        return orjson.dumps({"version": CARRIED_VERSION, **data}).decode()

    @classmethod
    def from_text(cls, text: Any) -> Carried:
        """Raises InvalidInputError for another version, and for what is none."""
        try:
            data = orjson.loads(text)
            version = data.pop("version")
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
            raise InvalidInputError("the trigger's arguments are not those of a podbay task") from None
        if version != CARRIED_VERSION:
            raise InvalidInputError(
                f"the task was written by another version of podbay (its form is {version}, known here is "
                f"{CARRIED_VERSION}); install the same version for all of Airflow, then clear the task"
            )
        try:
            return cls(**data)
        except TypeError as err:
            raise InvalidInputError(
                f"the trigger's arguments are not those of a podbay task: {err}"
            ) from None
