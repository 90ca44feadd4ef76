"""How patient the healer is, and how much it may do (spec 23). Seconds everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["DEFAULT_DEPLOYMENT", "Rules"]

DEFAULT_DEPLOYMENT: Final = "airflow"
"""The name that an Airflow has when nobody has given it one; two of them may share it, so it proves nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """One deployment's healer."""

    deployment: str
    only_airflow: bool = False
    """No other Airflow launches pods in this namespace, and the login sees all DAGs. Pods that do not carry the
    deployment's name (the upstream operator's) are only reported without it."""
    fail_lost: bool = False
    """Fail a task whose pod has vanished. Else it is reported."""
    retry_lost: bool = False
    """Give it another try instead, as long as its task's own retries reach."""
    young: float = 120.0
    """A younger pod is never touched."""
    finished: float = 300.0
    """After the task's end: its process may still read results and clean up by itself."""
    ended: float = 3600.0
    """As `finished`, for a pod that has ended: it costs little, and a person may look at it."""
    absent: float = 600.0
    """For a pod whose task Airflow does not know."""
    cleared: float = 900.0
    """A scheduler that restarts clears tasks for a moment, and the next try may take the pod over."""
    superseded: float = 300.0
    """For the pod of an older try, or of an earlier one of the same try, once its successor is this old."""
    terminating: float = 300.0
    """Beyond the pod's own grace period."""
    leftover: float = 600.0
    """For a Secret whose pod is gone; the cluster's garbage collector comes first."""
    pending: float = 900.0
    sidecar: float = 900.0
    unknown: float = 300.0
    trigger: float = 300.0
    lost: float = 600.0
    per_minute: int = 30
    """Actions; the rest waits for the next minute."""
    stop_share: float = 0.3
    """Deleting more than this share of the live pods (running or yet to run) in one round looks like a mistake: nothing is deleted."""
    stop_floor: int = 3
    """So many may always go."""

    @property
    def name_proves(self) -> bool:
        """The deployment's name on a pod proves that it is ours."""
        return self.only_airflow or self.deployment != DEFAULT_DEPLOYMENT
