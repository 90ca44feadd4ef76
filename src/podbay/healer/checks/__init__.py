"""What can be wrong with a task pod: one pure file for each, and the order in which they are asked.

A check gives at most one finding for a pod. The first that wants to do something wins; reports are all told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from podbay.healer.checks import (
    duplicate,
    hold_ended,
    labels,
    no_owner,
    older_try,
    owner_finished,
    pending,
    sidecar,
    terminating,
    trigger,
    unknown_phase,
)
from podbay.healer.facts import Case, Finding

__all__ = ["CHECKS", "Check"]

Check: TypeAlias = Callable[[Case], Finding | None]

CHECKS: Final[tuple[Check, ...]] = (
    terminating.check,
    hold_ended.check,
    owner_finished.check,
    no_owner.check,
    older_try.check,
    duplicate.check,
    labels.check,
    unknown_phase.check,
    sidecar.check,
    pending.check,
    trigger.check,
)
