"""Counters and gauges in Prometheus' text format. Source: Prometheus, "Exposition formats"."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from podbay.healer.reconciler import Round

__all__ = ["Metrics"]

_HELP: Final = {
    "podbay_healer_actions_total": ("counter", "Actions by check, deed and result."),
    "podbay_healer_rounds_total": ("counter", "Rounds by result: done, stopped or failed."),
    "podbay_healer_round_seconds": ("gauge", "How long the last round took."),
    "podbay_healer_pods": ("gauge", "Task pods that the last round saw."),
    "podbay_healer_waiting": ("gauge", "Actions whose time has not come."),
    "podbay_healer_leading": ("gauge", "1 in the process that acts."),
}


@dataclass(slots=True)
class Metrics:
    """Of one process."""

    _values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = field(default_factory=dict)

    def add(self, name: str, **labels: str) -> None:
        key = (name, tuple(sorted(labels.items())))
        self._values[key] = self._values.get(key, 0.0) + 1

    def put(self, name: str, value: float) -> None:
        self._values[name, ()] = value

    def count(self, last: Round) -> None:
        """Take a round into account."""
        self.add("podbay_healer_rounds_total", result="stopped" if last.decision.stopped else "done")
        self.put("podbay_healer_round_seconds", last.seconds)
        self.put("podbay_healer_pods", last.pods)
        self.put("podbay_healer_waiting", len(last.decision.waiting))
        for done in last.done:
            action = done.action
            self.add("podbay_healer_actions_total", check=action.check, deed=action.deed, result=done.result)

    def text(self) -> str:
        """As a scrape reads it."""
        lines = []
        for name, (kind, help_text) in _HELP.items():
            lines += [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]
            for (found, labels), value in sorted(self._values.items()):
                if found == name:
                    # Label values are our own words: nothing in them needs escaping.
                    inside = ",".join(f'{key}="{text}"' for key, text in labels)
                    lines.append(f"{name}{{{inside}}} {value:g}" if inside else f"{name} {value:g}")
        return "\n".join(lines) + "\n"
