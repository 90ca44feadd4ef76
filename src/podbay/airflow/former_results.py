"""The results of a task's former run, which a new one must not leave to the tasks after it.

Airflow clears them where a worker begins a try, and not where the scheduler starts a trigger: a cleared task that then
fails, is skipped or writes less would leave the old ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podbay.airflow.building import Job
from podbay.airflow.calls import AirflowCalls
from podbay.airflow.ending import RETURN_VALUE
from podbay.airflow.keeping import checkpoint_key
from podbay.airflow.tasklog import TaskLog

__all__ = ["PUSHED", "delete_former_results"]

PUSHED = "pushed"
"""In a try's checkpoint: the XComs that its result became, where that is not `return_value` alone."""


async def delete_former_results(job: Job, calls: AirflowCalls, log: TaskLog) -> None:
    """Before a try makes its pod. Each question costs a triggerer's supervisor 20 ms, so first tries ask none."""
    if job.key.try_number == 1 or job.kept_by_worker:
        return
    try:
        for name in await _names(job, calls):
            await calls.delete(job.key, name)
    except Exception as error:  # noqa: BLE001 - whatever Airflow raises; most runs write their result anew
        log.warning(
            "Airflow does not delete the result of the task's former run, which tasks after it may get if this run has none: "
            f"{str(error) or type(error).__name__}"
        )


async def _names(job: Job, calls: AirflowCalls) -> list[str]:
    if not job.carried.multiple_outputs:
        return [RETURN_VALUE]
    key = job.key
    index = key.map_index if key.map_index >= 0 else None
    for number in range(key.try_number - 1, 0, -1):
        # A try that never had a pod has none.
        kept = await calls.pull(key, key.task_id, checkpoint_key(number), index)
        if kept is not None:
            return [*_pushed(kept), RETURN_VALUE]
    return [RETURN_VALUE]


def _pushed(kept: Any) -> list[str]:
    found = kept.get(PUSHED) if isinstance(kept, Mapping) else None
    return [name for name in found or () if isinstance(name, str) and name != RETURN_VALUE]
