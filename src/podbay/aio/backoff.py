"""How long to wait before trying again: exponential delays, with optional jitter.

Pure arithmetic; whoever waits does it on its own clock. Numbers of callers follow client-go's defaults.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["Backoff"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays of initial * factor**n seconds, never above maximum; jitter is the share (0..1) added at random."""

    initial: float = 0.005
    """Seconds before the second attempt (client-go's per-item limiter starts at 5 ms)."""
    factor: float = 2.0
    maximum: float = 1000.0
    """Seconds; client-go stops growing at 1,000."""
    jitter: float = 0.0

    def delay(self, failures: int, rng: random.Random | None = None) -> float:
        """Seconds to wait after `failures` failures in a row (0 means none yet: the initial delay)."""
        # 2.0**1024 overflows a float; the cap is reached long before.
        seconds = min(self.maximum, self.initial * self.factor ** min(failures, 64))
        if self.jitter and rng is not None:
            seconds += seconds * self.jitter * rng.random()
        return seconds
