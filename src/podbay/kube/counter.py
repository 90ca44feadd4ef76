"""How many requests each object has cost: the number that must not grow with a task's run time (P6)."""

from __future__ import annotations

from collections import Counter, OrderedDict

__all__ = ["RequestCounter"]

OBJECTS = 20_000
"""Objects remembered; the oldest go first."""


class RequestCounter:
    """Counts attempts on the wire, repeated ones too. Watches and lists count for the process, not for an object."""

    def __init__(self) -> None:
        self.total: Counter[str] = Counter()
        """By verb, for the whole process."""
        self._objects: OrderedDict[tuple[str, str], Counter[str]] = OrderedDict()

    def count(self, verb: str, namespace: str | None, name: str | None) -> None:
        self.total[verb] += 1
        if not name:
            return
        key = (namespace or "", name)
        if key not in self._objects:
            self._objects[key] = Counter()
            if len(self._objects) > OBJECTS:
                self._objects.popitem(last=False)
        self._objects[key][verb] += 1

    def of(self, namespace: str, name: str) -> Counter[str]:
        """By verb, for one object (of whatever kind)."""
        return Counter(self._objects.get((namespace, name), Counter()))
