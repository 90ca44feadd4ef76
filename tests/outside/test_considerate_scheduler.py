"""The scheduler of a private Airflow rests as long as a look took it."""

from __future__ import annotations

import pytest
from airflow.jobs import scheduler_job_runner as module

from podbay.airflow.running import considerate_scheduler
from podbay.airflow.running.considerate_scheduler import MOST_SECONDS, rest_between_looks


class Scheduler(module.SchedulerJobRunner):  # type: ignore[misc]
    """Its looks take as long as they are told to."""

    def __init__(self) -> None:
        self._scheduler_idle_sleep_time = 0.2
        self.fails = False


@pytest.mark.parametrize(
    ("takes", "rests"), [(0.01, 0.2), (0.2, 0.2), (2.5, 2.5), (60.0, MOST_SECONDS), (0.01, 0.2)]
)
def test_it_rests_as_long_as_it_has_worked(
    monkeypatch: pytest.MonkeyPatch, takes: float, rests: float
) -> None:
    now = 1000.0

    def look(self: Scheduler, session: object) -> int:
        nonlocal now
        now += takes
        if self.fails:
            raise OSError("database is locked")
        return 7

    monkeypatch.setattr(module.SchedulerJobRunner, "_do_scheduling", look)
    monkeypatch.setattr(considerate_scheduler.time, "monotonic", lambda: now)
    assert rest_between_looks()
    scheduler = Scheduler()
    for _ in range(2):
        assert scheduler._do_scheduling(None) == 7
        assert scheduler._scheduler_idle_sleep_time == pytest.approx(rests)
    scheduler._scheduler_idle_sleep_time = 9.0
    scheduler.fails = True
    with pytest.raises(OSError, match="locked"):
        scheduler._do_scheduling(None)
    assert scheduler._scheduler_idle_sleep_time == pytest.approx(rests)


def test_the_loop_sleeps_by_that(monkeypatch: pytest.MonkeyPatch) -> None:
    names = module.SchedulerJobRunner._run_scheduler_loop.__code__.co_names
    assert {"_do_scheduling", "_scheduler_idle_sleep_time", "sleep"} <= set(names)


def test_an_unexpected_airflow_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(module, "SchedulerJobRunner")
    assert not rest_between_looks()
