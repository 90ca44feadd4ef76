"""Pods of a run that has had the same name before: deleted and made anew, or of an Airflow whose database was emptied. Pure.

Such a run's tasks begin at try 1 again, so a pod that was kept has the identity of the new try. Its end is the end of
another run: taken for this one's it would make a task green that nothing was run for. A kept pod is marked once its outcome
is written down, so whoever has it for his own has a checkpoint that knows it. The new run takes the next incarnation.
"""

from __future__ import annotations

from collections.abc import Sequence

from podbay.lifecycle.hold import is_checked
from podbay.objects.meta import Object, name_of, uid_of
from podbay.pods.identity import identity_of

__all__ = ["incarnation_number", "is_of_former_run", "of_this_run"]


def is_of_former_run(pod: Object, *, uid: str, name: str = "") -> bool:
    """uid, name: of the pod that this run is known to have; name also where nothing else of it was written down."""
    return is_checked(pod) and uid_of(pod) != uid and not (name and name_of(pod) == name)


def of_this_run(pods: Sequence[Object], *, uid: str, name: str) -> tuple[list[Object], int]:
    """Those of a try's pods with which a run may go on, and the number of its first incarnation."""
    former = [pod for pod in pods if is_of_former_run(pod, uid=uid, name=name)]
    own = [pod for pod in pods if pod not in former]
    return own, max(map(incarnation_number, former), default=-1) + 1


def incarnation_number(pod: Object) -> int:
    identity = identity_of(pod)
    return identity.incarnation if identity is not None else 0
