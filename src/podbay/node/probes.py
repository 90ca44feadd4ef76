"""When a probe's results change what is thought of a container: thresholds, and which probe runs when. Pure.

Source: pkg/kubelet/prober/worker.go (doProbe), pkg/kubelet/prober/prober.go (words of events).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from podbay.objects.meta import Object

__all__ = ["PROBE_KINDS", "Answer", "ProbeKind", "Tally", "failure_text", "probe_of"]

ProbeKind: TypeAlias = Literal["startup", "liveness", "readiness"]

PROBE_KINDS: tuple[ProbeKind, ...] = ("startup", "liveness", "readiness")
_WORDS: dict[ProbeKind, str] = {"startup": "Startup", "liveness": "Liveness", "readiness": "Readiness"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What one probe found. errored: the probe itself could not be carried out, which counts for nothing."""

    healthy: bool
    text: str = ""
    errored: bool = False


def probe_of(container: Object, kind: ProbeKind) -> Object | None:
    """The container's probe of that kind."""
    found: Object | None = container.get(f"{kind}Probe")
    return found


def failure_text(kind: ProbeKind, answer: Answer) -> str:
    """The message of the Unhealthy event."""
    if answer.errored:
        return f"{_WORDS[kind]} probe errored and resulted in unknown state: {answer.text}"
    return f"{_WORDS[kind]} probe failed: {answer.text}"


class Tally:
    """Counts results in a row; `result` is what holds now, None while nothing has been decided."""

    def __init__(self, probe: Object, kind: ProbeKind) -> None:
        self._success = int(probe.get("successThreshold") or 1)
        self._failure = int(probe.get("failureThreshold") or 3)
        self._last: bool | None = None
        self._run = 0
        self.result: bool | None = None
        if kind == "readiness":
            self.result = False
        elif kind == "liveness":
            self.result = True

    def add(self, healthy: bool) -> bool:
        """Count one result; True when `result` has changed."""
        self._run = self._run + 1 if healthy == self._last else 1
        self._last = healthy
        if self._run < (self._success if healthy else self._failure):
            return False
        changed = self.result is not healthy
        self.result = healthy
        return changed
