"""What is kept in Airflow of a try that has ended, for the try after it and for `podbay usage`.

Two places. A task that starts in the triggerer keeps its XComs, but for results, from one try to the next. Before a try
that begins on a worker Airflow clears them; there the task's state store keeps the little that the next try needs
(airflow.md T1: no trigger may ask it).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from podbay.airflow.enforcing import FILE_VARIABLE
from podbay.airflow.request import main_container_name
from podbay.lifecycle.outcome import Outcome
from podbay.objects.meta import Object, annotations_of, namespace_of
from podbay.pods.resources import MEMORY_RAISED_ANNOTATION, main_container

if TYPE_CHECKING:
    from podbay.airflow.building import Job
    from podbay.deployment.model import Deployment
    from podbay.deployment.raising import FormerTry

__all__ = [
    "CHECKPOINT_KEY",
    "checkpoint_key",
    "former_of",
    "former_of_kept",
    "kept_of",
    "memory_of",
    "store_memory",
    "stored_memory",
    "wants_memory",
]

CHECKPOINT_KEY: Final = "podbay_checkpoint"
MEMORY_KEY: Final = "podbay_memory"
_SIZES: Final = ("cpu", "memory")
_log: Final = logging.getLogger(__name__)


def checkpoint_key(try_number: int) -> str:
    """Of the XCom. Each try has its own, for what earlier ones have used is still asked for (`podbay usage`)."""
    return CHECKPOINT_KEY if try_number == 1 else f"{CHECKPOINT_KEY}_{try_number}"


def wants_memory(deployment: Deployment | None) -> bool:
    """The next try may get more memory than this one."""
    return deployment is not None and deployment.pods.retry_memory_factor > 1


def kept_of(job: Job, pod: Object | None, outcome: Outcome, used: Mapping[str, Any] | None) -> dict[str, Any]:
    """What goes into the try's XCom beside its checkpoint."""
    kept: dict[str, Any] = {} if used is None else {"used": used}
    if pod is not None:
        kept["made"] = _made(pod, main_container_name(job.given))
    memory = memory_of(job, pod, outcome)
    return kept if memory is None else {**kept, "memory": memory}


def _made(pod: Object, container: str) -> dict[str, Any]:
    """The main container's size, as the cluster has it."""
    resources = main_container(pod, container).get("resources") or {}
    made: dict[str, Any] = {
        part: {name: each for name, each in (resources.get(part) or {}).items() if name in _SIZES}
        for part in ("requests", "limits")
    }
    written = annotations_of(pod).get(MEMORY_RAISED_ANNOTATION)
    return {**made, "written": written} if written else made


def memory_of(job: Job, pod: Object | None, outcome: Outcome) -> Mapping[str, Any] | None:
    """What the next try is to know of this one's memory; None where that is nothing."""
    deployment = job.deployment
    if not wants_memory(deployment) or deployment is None:
        return None
    from podbay.deployment.raising import tried

    found = None
    if pod is not None and namespace_of(pod) == deployment.namespace:
        killed = outcome.kind == "oom_killed"
        found = tried(pod, main_container_name(job.given), job.key.try_number, killed=killed)
    if found is not None and (found.killed or found.limit > found.base):
        return found.to_json()
    # A try that never had a pod must not make the next one forget.
    return None if job.former is None else job.former.to_json()


def former_of(value: Any) -> FormerTry | None:
    """What `memory_of` gave; None for anything else."""
    if value is None:
        return None
    from podbay.deployment.raising import former_in

    return former_in(value)


def former_of_kept(kept: Any) -> FormerTry | None:
    """The same out of a try's XCom."""
    return former_of(kept.get("memory")) if isinstance(kept, Mapping) else None


def stored_memory(context: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """On a worker: what an earlier try has stored. A store that does not answer costs the hint and not the task."""
    if not os.environ.get(FILE_VARIABLE) or context["ti"].try_number < 2:
        return None
    try:
        found = context["task_state_store"].get(MEMORY_KEY)
    except Exception as error:  # noqa: BLE001 - whatever a state backend of somebody's raises
        _log.warning("Airflow's state store does not say what became of the try before: %s", error)
        return None
    return found if isinstance(found, Mapping) else None


def store_memory(context: Mapping[str, Any], memory: Mapping[str, Any] | None) -> None:
    """On a worker: keep it for the next try."""
    if memory is None:
        return
    try:
        context["task_state_store"].set(MEMORY_KEY, dict(memory))
    except Exception as error:  # noqa: BLE001 - whatever a state backend of somebody's raises
        _log.warning(
            "Airflow's state store does not take what became of this try, so the next gets no more: %s", error
        )
