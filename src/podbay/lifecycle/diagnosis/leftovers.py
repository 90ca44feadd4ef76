"""What is certain when nothing more exact is: an unknown reason for waiting, a pod that failed without saying why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from podbay.lifecycle.diagnosis.category import Category
from podbay.lifecycle.diagnosis.model import Diagnosis
from podbay.lifecycle.diagnosis.sight import Sight

__all__ = ["CATEGORIES", "find_leftovers"]

WAITING: Final = Category(
    word="ContainerWaiting",
    meaning="A container waits for a reason that is not known here.",
    fix="Read the evidence; `kubectl describe pod` shows what the node says.",
    blame="platform",
    heals="maybe",
)
FAILED: Final = Category(
    word="PodFailed",
    meaning="The pod failed, and nothing in it says why.",
    fix="Read the evidence; the kubelet's log on the node may say more.",
    blame="infrastructure",
    heals="never",
)

CATEGORIES: Final = (WAITING, FAILED)

_ORDINARY: Final = frozenset({"", "ContainerCreating", "PodInitializing", "ContainersNotInitialized"})
_WARNINGS: Final = 2


def find_leftovers(sight: Sight) -> Iterator[Diagnosis]:
    """Said only when nothing else was found."""
    for each in sight.containers:
        if each.waiting is not None and each.waiting.reason not in _ORDINARY:
            cause = f"Container {each.name} of {sight.name} waits: {each.waiting.reason}"
            yield WAITING.found(cause, evidence=[each.line()], container=each.name)
    if sight.phase == "Failed":
        said = f" ({sight.reason})" if sight.reason else ""
        evidence = [f"status.message: {sight.message}" if sight.message else ""]
        evidence += [told.line() for told in reversed(sight.events[-_WARNINGS:])]
        yield FAILED.found(f"{sight.name[:1].upper()}{sight.name[1:]} failed{said}", evidence=evidence)
