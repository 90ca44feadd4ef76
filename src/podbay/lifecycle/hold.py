"""How a pod says that it is kept, and until when: marks that the engine, `podbay hold` and the healer share. Pure.

A hold ends by itself, as times do; it takes somebody else, the healer, to remove the pod then. The engine's own holds
carry both annotations, so that the healer knows that nobody wants the pod beyond its time.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from podbay.objects.meta import Object, annotations_of, labels_of
from podbay.pods.identity import ALREADY_CHECKED_LABEL

__all__ = [
    "HEALED",
    "HELD_SINCE",
    "HELD_UNTIL",
    "KEEP",
    "LONGEST",
    "held_until",
    "hold_annotations",
    "hold_end",
    "is_checked",
]

HELD_UNTIL: Final = "podbay.dev/held-until"
"""Annotation: until then (RFC 3339) the healer leaves the pod alone."""
HELD_SINCE: Final = "podbay.dev/held-since"
"""Annotation: the run that made the pod was over then and left it for a while; after its hold it is to be removed."""
KEEP: Final = "podbay.dev/keep"
"""Annotation of people, "true": nobody but them removes the pod."""
HEALED: Final = "podbay.dev/healed"
"""Annotation of the healer, right before it ends a pod: why. Whoever waits for the pod tells it in the task's log."""
LONGEST: Final = timedelta(days=7)
"""No hold is longer: a pod that is forgotten for a week is looked at by nobody."""


def hold_end(now: datetime, seconds: float) -> str:
    """The value of HELD_UNTIL."""
    return _stamp(now + timedelta(seconds=seconds))


def hold_annotations(now: datetime, seconds: float) -> dict[str, str]:
    """Of a pod whose run is over and that stays for so long."""
    return {HELD_SINCE: _stamp(now), HELD_UNTIL: hold_end(now, seconds)}


def held_until(pod: Object) -> str:
    """What the pod says about its hold, which may have ended; empty when it says nothing."""
    return annotations_of(pod).get(HELD_UNTIL, "")


def is_checked(pod: Object) -> bool:
    """Its run is over, and has left it."""
    return labels_of(pod).get(ALREADY_CHECKED_LABEL) == "True"


def _stamp(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
