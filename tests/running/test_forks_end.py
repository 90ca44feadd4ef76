"""Forks of forks that end with the process above them, and those that do not."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from patience import until

PROGRAM = """
import os, sys, time
from podbay.airflow.running.forking import end_with_parent

end_with_parent(2)
for generation in range(3):
    if os.fork():
        break
    print(os.getpid(), flush=True)
while True:
    time.sleep(60)
"""


def is_alive(pid: int) -> bool:
    """Whether it runs; one that has ended and was not waited for does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_workers_and_their_tasks_end_with_the_scheduler_and_nothing_else_does() -> None:
    scheduler = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    assert scheduler.stdout is not None
    with scheduler.stdout:
        worker, task, child_of_task = (int(scheduler.stdout.readline()) for _ in range(3))
        try:
            scheduler.kill()
            scheduler.wait()
            until(lambda: not is_alive(worker) and not is_alive(task))
            assert is_alive(child_of_task)
        finally:
            os.kill(child_of_task, signal.SIGKILL)
