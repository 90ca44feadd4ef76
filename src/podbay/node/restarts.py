"""How long to wait before the next attempt: 10 s, 20 s, 40 s … 5 min, forgotten after 10 quiet minutes.

For containers that crash and for images that cannot be pulled. Clock-free: callers pass the time in seconds.
Source: client-go/util/flowcontrol/backoff.go, pkg/kubelet/kuberuntime/kuberuntime_manager.go (doBackOff).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RestartBackoff", "go_duration"]

INITIAL_SECONDS = 10.0
MAXIMUM_SECONDS = 300.0


@dataclass(slots=True)
class _Entry:
    seconds: float
    updated: float


class RestartBackoff:
    """Delays by key. The first attempt after the first failure comes at once for containers: `next` is called then."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def seconds(self, key: str) -> float:
        """The present delay of key; 0 when it has none."""
        entry = self._entries.get(key)
        return entry.seconds if entry else 0.0

    def wait_since(self, key: str, event: float, now: float) -> float:
        """Seconds still to wait when the delay counts from `event` (a container's end)."""
        entry = self._entries.get(key)
        if entry is None or event - entry.updated > 2 * MAXIMUM_SECONDS:
            return 0.0
        return max(0.0, event + entry.seconds - now)

    def wait_since_update(self, key: str, now: float) -> float:
        """Seconds still to wait when the delay counts from the last `next` (an image's failed pull)."""
        entry = self._entries.get(key)
        if entry is None or now - entry.updated > 2 * MAXIMUM_SECONDS:
            return 0.0
        return max(0.0, entry.updated + entry.seconds - now)

    def next(self, key: str, event: float, now: float) -> None:
        """Another failure (at `event`): the delay doubles, or starts when there was none for long."""
        entry = self._entries.get(key)
        if entry is None or event - entry.updated > 2 * MAXIMUM_SECONDS:
            self._entries[key] = _Entry(INITIAL_SECONDS, now)
        else:
            entry.seconds = min(entry.seconds * 2, MAXIMUM_SECONDS)
            entry.updated = now

    def forget(self, key: str) -> None:
        self._entries.pop(key, None)


def go_duration(seconds: float) -> str:
    """Whole seconds as Go prints a time.Duration: "10s", "1m20s", "5m0s", "1h0m0s"."""
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
