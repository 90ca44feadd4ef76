"""The scheduler of a private Airflow rests as long as it has worked, when it finds nothing to queue.

For each look at a run Airflow's reads all of its task instances: 10,000 mapped ones take it two seconds, in which SQLite
lets nobody else write, and it looks again at once. The triggerer, which has the news, waits for its turn all the time.
Should Airflow's parts not be as expected, only time is lost.
"""

from __future__ import annotations

import time
from typing import Any, Final

from podbay.airflow.running.airflows_parts import changes_airflow

__all__ = ["MOST_SECONDS", "rest_between_looks"]

MOST_SECONDS: Final = 5.0


@changes_airflow("the scheduler does not rest")
def rest_between_looks() -> None:
    """Must be called before a scheduler is made in this process."""
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner

    look = SchedulerJobRunner._do_scheduling

    def look_and_rest(self: Any, session: Any) -> Any:
        began = time.monotonic()
        least = vars(self).setdefault("_podbay_least", getattr(self, "_scheduler_idle_sleep_time", 0.0))
        try:
            return look(self, session)
        finally:
            # Airflow's loop sleeps so long, if there was nothing to queue and no timed event comes before.
            self._scheduler_idle_sleep_time = max(least, min(time.monotonic() - began, MOST_SECONDS))

    SchedulerJobRunner._do_scheduling = look_and_rest
