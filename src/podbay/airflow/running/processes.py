"""The end of processes that are not children of whoever ends them: tasks, their own children, orphans.

Runs in the host (psutil comes with Airflow). Synchronous, as the host is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

import psutil

__all__ = ["ON_KILL_SECONDS", "end_tasks", "kill_descendants", "wait_for_children"]

ON_KILL_SECONDS = 5.0
"""For `on_kill` of tasks that are ended, before their processes are killed."""
DEFERRED_SECONDS = 3.5
"""For `on_kill` of triggers: the triggerer looks once a second, twice (airflow.md 3)."""
CALLBACK_SECONDS = 30.0
"""For callbacks of a run that has ended: the DAG processor runs them."""
KILL_SECONDS = 5.0
"""For killed processes to be gone."""


def end_tasks(scheduler: int, *, deferred: int) -> None:
    """Tell the tasks of a scheduler's workers to end, and wait for that, and for deferred ones."""
    tasks: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        if scheduler:
            # Scheduler, worker, and the process that the worker has forked for the task.
            workers = psutil.Process(scheduler).children()
            tasks = [task for worker in workers for task in worker.children()]
    for task in tasks:
        with contextlib.suppress(psutil.Error):
            task.send_signal(signal.SIGTERM)
    started = time.monotonic()
    psutil.wait_procs(tasks, timeout=ON_KILL_SECONDS)
    if deferred:
        time.sleep(max(0.0, DEFERRED_SECONDS - (time.monotonic() - started)))


def kill_descendants() -> None:
    """Kill everything below this process, and see it gone."""
    me = psutil.Process()
    deadline = time.monotonic() + KILL_SECONDS
    # Again until none is left: what is killed may have been forking.
    while (found := me.children(recursive=True)) and time.monotonic() < deadline:
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        # Orphans come to this process, and are there until it has asked for their end.
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


def wait_for_children(pid: int) -> None:
    """Until a process has no children any more: the DAG processor has one for each callback that it runs."""
    deadline = time.monotonic() + CALLBACK_SECONDS
    with contextlib.suppress(psutil.Error):
        while pid and psutil.Process(pid).children() and time.monotonic() < deadline:
            time.sleep(0.1)
