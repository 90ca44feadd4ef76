"""Children that are copies of this process: what it has imported they need not import again.

Airflow's imports take two to five seconds of a core in each process; a fork takes hundredths. The parent must have one
thread and no open database connection, which host.py sees to. Linux.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

__all__ = ["become_reaper", "end_with_parent", "fork"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def become_reaper() -> None:
    """Orphans among the descendants become children of this process, so that none is lost sight of."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def end_with_parent(generations: int) -> None:
    """From here on children that this process forks are killed when it dies, and so on for so many generations.

    For programs that fork by themselves and do not look after their children's lives. A parent must fork from a thread
    that lives as long as it does: the kernel takes that thread for the parent.
    """
    parent, left = 0, generations

    def before() -> None:
        nonlocal parent
        parent = os.getpid()

    def after() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            return
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    os.register_at_fork(before=before, after_in_child=after)


def fork(body: Callable[[], None], *, log: Path, close: Iterable[int]) -> int:
    """Run body in a child that prints to `log`; gives its process id. The child dies with this process.

    `close` are descriptors that are not the child's business.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    # Garbage collection in a child would otherwise copy every page that it looks at.
    gc.freeze()
    pid = os.fork()
    if not pid:
        _live(body, log, set(close), parent)
    gc.unfreeze()
    return pid


def _live(body: Callable[[], None], log: Path, close: set[int], parent: int) -> NoReturn:
    code = 1
    try:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        # A group of its own: nothing that is sent to the host's group reaches a component, which is asked by name.
        os.setpgid(0, 0)
        for descriptor in close:
            os.close(descriptor)
        _redirect(log)
        body()
        code = 0
    except SystemExit as err:
        code = err.code if isinstance(err.code, int) else int(err.code is not None)
    except BaseException:  # noqa: BLE001 - the end of a process; what it died of is in its log
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not the interpreter's own end: exit handlers of the parent are none of a child's.
        os._exit(code)


def _redirect(log: Path) -> None:
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for descriptor in (1, 2):
        os.dup2(target, descriptor)
    os.close(target)
    os.close(nothing)
