"""Runs that use an embedded cluster, counted: one that was started for a run ends with the last run that uses it.

A cluster that somebody started by hand stays. Counting is by shared locks, so a killed run does not count on.
"""

from __future__ import annotations

import contextlib
import fcntl
from pathlib import Path
from typing import IO

from podbay.embedded import process
from podbay.embedded.home import ClusterHome, cluster_home, cluster_names
from podbay.errors import PodbayError, StateError
from podbay.kube.config import ClusterConfig

__all__ = ["ClusterUse", "embedded_home", "users_lock"]

_MARK = "started-for-runs"


def users_lock(home: ClusterHome) -> Path:
    """Held, shared, by whoever uses the cluster."""
    return home.directory / "users.lock"


def embedded_home(config: ClusterConfig) -> ClusterHome | None:
    """The embedded cluster that a configuration was read from; None for any other cluster."""
    path = Path(config.origin)
    for name in cluster_names():
        if cluster_home(name).kubeconfig == path:
            return cluster_home(name)
    return None


class ClusterUse:
    """One run's use of an embedded cluster."""

    def __init__(self, home: ClusterHome) -> None:
        home.create()
        self._home = home
        self._lock: IO[bytes] = users_lock(home).open("ab")
        fcntl.flock(self._lock, fcntl.LOCK_SH)

    @property
    def _mark(self) -> Path:
        return self._home.directory / _MARK

    def start(self) -> None:
        """Start the cluster, for runs. Raises StateError when it does not start."""
        try:
            words = process.to_arguments(host="127.0.0.1", port=0, nodes=None, runtime="auto")
            facts = process.start_background(self._home, words)
        except PodbayError:
            # Somebody else was faster.
            if not self._home.is_running():
                raise
            return
        self._mark.write_text(str(facts["pid"]))

    def close(self) -> None:
        """Stop counting; the cluster goes on."""
        self._lock.close()

    def release(self) -> bool:
        """Stop the cluster if it was started for runs and this was the last one; whether it was stopped."""
        with contextlib.closing(self._lock):
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            if self._marked_pid() != self._home.read_process().get("pid"):
                return False
            with contextlib.suppress(StateError):
                process.stop(self._home)
            self._mark.unlink(missing_ok=True)
            return True

    def _marked_pid(self) -> int:
        """The server that was started for runs; a later one of the same home is somebody else's."""
        try:
            return int(self._mark.read_text())
        except (FileNotFoundError, ValueError):
            return -1
