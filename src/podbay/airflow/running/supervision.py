"""When a component that died is started again, purely: soon at first, ever later, and when to call it a crash loop."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Supervision"]

FIRST_SECONDS = 0.5
LAST_SECONDS = 30.0
LOOP_DEATHS = 4
"""So many deaths ..."""
LOOP_SECONDS = 60.0
"""... within so many seconds are a crash loop."""


@dataclass(slots=True)
class Supervision:
    """One component. Times are seconds of any clock that only goes forward."""

    deaths: list[float] = field(default_factory=list)

    def died(self, now: float) -> float:
        """Note a death; how many seconds to wait before the next start."""
        self.deaths = [at for at in self.deaths if now - at < LOOP_SECONDS] + [now]
        return float(min(LAST_SECONDS, FIRST_SECONDS * 4 ** (len(self.deaths) - 1)))

    def loops(self, now: float) -> bool:
        """It keeps dying."""
        return sum(now - at < LOOP_SECONDS for at in self.deaths) >= LOOP_DEATHS
