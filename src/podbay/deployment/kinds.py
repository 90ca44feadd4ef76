"""Kinds of values that podbay.yaml may hold: each reads a value, collects what is wrong, and describes itself as JSON schema.

One table of these (format.py) is both the reader and the published schema, so that the two cannot disagree.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol

from podbay.lifecycle.hold import LONGEST
from podbay.objects.quantity import Quantity
from podbay.pods.fields import convert
from podbay.pods.problems import Problem, kind_of

__all__ = [
    "Amount",
    "Choice",
    "Duration",
    "Entry",
    "Kind",
    "ListOf",
    "MapOf",
    "Number",
    "Part",
    "Struct",
    "Switch",
    "Text",
    "Whole",
]

_DURATION: Final = re.compile(r"([0-9]+)(s|m|h|d)\Z")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DIGITS: Final = len(str(LONGEST // timedelta(seconds=1)))
"""Of the longest time in seconds; a number of thousands of digits takes seconds to read, and Python refuses it."""


class Kind(Protocol):
    """Reads one kind of value."""

    def read(self, value: Any, path: str, problems: list[Problem]) -> Any:
        """The value as the model has it; None, with a problem, when it cannot be. Never called with None."""
        ...

    def schema(self) -> dict[str, Any]:
        """The same rule as JSON schema, as far as that can say it."""
        ...


@dataclass(frozen=True, slots=True)
class Text:
    """A string that keeps a rule: `errors` gives what is wrong with it."""

    errors: Callable[[str], Sequence[str]] = lambda _: ()
    pattern: str = ""

    def read(self, value: Any, path: str, problems: list[Problem]) -> str | None:
        if not isinstance(value, str):
            problems.append(Problem(path, f"must be a string, not {kind_of(value)}; put it in quotes"))
            return None
        wrong = list(self.errors(value))
        problems += [Problem(path, each) for each in wrong]
        return None if wrong else value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", **({"pattern": self.pattern} if self.pattern else {})}


@dataclass(frozen=True, slots=True)
class Amount:
    """A positive quantity. Bytes must be written with a unit: a bare 512 is a slip for 512Mi."""

    bytes: bool

    def read(self, value: Any, path: str, problems: list[Problem]) -> Quantity | None:
        example = "512Mi or 2Gi" if self.bytes else "250m or 0.5"
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            problems.append(Problem(path, f"must be a quantity such as {example}, not {kind_of(value)}"))
            return None
        try:
            quantity = Quantity.from_json(value)
        except ValueError:
            problems.append(Problem(path, f"{value} is not a quantity; write one such as {example}"))
            return None
        message = self._wrong(str(value).strip(), quantity)
        if message:
            problems.append(Problem(path, message))
            return None
        return quantity

    def _wrong(self, text: str, quantity: Quantity) -> str:
        if quantity.sign <= 0:
            return "must be above zero"
        if self.bytes and text[-1] == "m":
            return f"{text} is a thousandth of a byte; write {text[:-1]}Mi"
        if self.bytes and (text[-1].isdigit() or text[-1] == "."):
            return f"{text} has no unit; write {text}Mi or {text}Gi"
        if not self.bytes and text[-1].isalpha() and text[-1] != "m":
            return f"{text} has the unit of memory; write cores, such as 250m or 0.5"
        if not self.bytes and quantity.nanos % 1_000_000:
            return f"{text} is finer than a thousandth of a core, which Kubernetes rounds; write whole ones, such as 1m"
        return ""

    def schema(self) -> dict[str, Any]:
        if self.bytes:
            return {"type": "string", "pattern": r"^[0-9.]+(Ki|Mi|Gi|Ti|Pi|Ei|k|M|G|T|P|E)$"}
        return {"type": ["string", "number"], "pattern": r"^[0-9.]+m?$", "exclusiveMinimum": 0}


@dataclass(frozen=True, slots=True)
class Switch:
    """true or false."""

    def read(self, value: Any, path: str, problems: list[Problem]) -> bool | None:
        if isinstance(value, bool):
            return value
        problems.append(Problem(path, f"must be true or false, not {kind_of(value)}"))
        return None

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number of at least `least`."""

    least: int = 0

    def read(self, value: Any, path: str, problems: list[Problem]) -> int | None:
        if isinstance(value, bool) or not isinstance(value, int):
            problems.append(Problem(path, f"must be a whole number, not {kind_of(value)}"))
            return None
        if value < self.least:
            problems.append(Problem(path, f"must be at least {self.least}"))
            return None
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.least}


@dataclass(frozen=True, slots=True)
class Number:
    """A number within bounds; by default any that is not negative."""

    least: float = 0.0
    most: float | None = None

    def read(self, value: Any, path: str, problems: list[Problem]) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            problems.append(Problem(path, f"must be a number, not {kind_of(value)}"))
            return None
        if not _is_finite(value):
            problems.append(Problem(path, "must be a finite number"))
            return None
        if value < self.least or (self.most is not None and value > self.most):
            bounds = (
                f"be from {self.least:g} to {self.most:g}" if self.most is not None else "not be negative"
            )
            problems.append(Problem(path, f"must {bounds}"))
            return None
        return float(value)

    def schema(self) -> dict[str, Any]:
        most = {} if self.most is None else {"maximum": self.most}
        return {"type": "number", "minimum": self.least, **most}


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


@dataclass(frozen=True, slots=True)
class Duration:
    """A time with its unit, read as seconds; at most as long as a pod may be held."""

    def read(self, value: Any, path: str, problems: list[Problem]) -> int | None:
        found = _DURATION.match(value) if isinstance(value, str) else None
        if found is None:
            problems.append(Problem(path, "must be a time with its unit, such as 30m, 24h or 7d"))
            return None
        seconds = int(found[1]) * _SECONDS[found[2]] if len(found[1]) <= _DIGITS else None
        if seconds is None or seconds > LONGEST.total_seconds():
            problems.append(Problem(path, f"must be at most {LONGEST.days}d"))
            return None
        return seconds

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^[0-9]{{1,{_DIGITS}}}[smhd]$"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def read(self, value: Any, path: str, problems: list[Problem]) -> str | None:
        # YAML 1.1 reads a bare `off` as false; where that is one of the words, it is what was meant.
        if value is False and "off" in self.words:
            return "off"
        if isinstance(value, str) and value in self.words:
            return value
        near = difflib.get_close_matches(str(value), self.words, n=1)
        hint = f"; did you mean {near[0]}?" if near and isinstance(value, str) else ""
        problems.append(Problem(path, f"must be one of {', '.join(self.words)}{hint}"))
        return None

    def schema(self) -> dict[str, Any]:
        return {"enum": [*self.words, *([False] if "off" in self.words else [])]}


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list without repetitions, read as a tuple."""

    element: Kind

    def read(self, value: Any, path: str, problems: list[Problem]) -> tuple[Any, ...] | None:
        if not isinstance(value, list):
            problems.append(Problem(path, f"must be a list, not {kind_of(value)}"))
            return None
        found = []
        for index, each in enumerate(value):
            place = f"{path}[{index}]"
            if each is None:
                problems.append(Problem(place, "is empty"))
                continue
            if each in value[:index]:
                problems.append(Problem(place, "stands here twice"))
            found.append(self.element.read(each, place, problems))
        return tuple(each for each in found if each is not None)

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.element.schema(), "uniqueItems": True}


@dataclass(frozen=True, slots=True)
class MapOf:
    """A mapping with free keys that keep a rule."""

    value: Kind
    key_errors: Callable[[str], Sequence[str]] = lambda _: ()

    def read(self, value: Any, path: str, problems: list[Problem]) -> dict[str, Any] | None:
        if not isinstance(value, Mapping):
            problems.append(Problem(path, f"must be a mapping, not {kind_of(value)}"))
            return None
        found = {}
        for key, each in value.items():
            place = f"{path}[{key}]"
            if not isinstance(key, str):
                problems.append(Problem(path, f"the key {key} must be a string; put it in quotes"))
                continue
            problems += [Problem(place, f"as a key: {each}") for each in self.key_errors(key)]
            if each is None:
                problems.append(Problem(place, "is empty"))
                continue
            found[key] = self.value.read(each, place, problems)
        return {key: each for key, each in found.items() if each is not None}

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": self.value.schema()}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a pod in the Kubernetes API's words, such as a Toleration."""

    struct: str

    def read(self, value: Any, path: str, problems: list[Problem]) -> Any:
        return convert(value, self.struct, path, problems)

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "description": f"A {self.struct} of the Kubernetes API."}


@dataclass(frozen=True, slots=True)
class Entry:
    """A named field of a struct; `about` is its description in the schema."""

    name: str
    kind: Kind
    about: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Struct:
    """A mapping with known fields, read as keyword arguments of `make`. Absent and empty fields keep their defaults."""

    make: Callable[..., Any]
    entries: tuple[Entry, ...]

    def read(self, value: Any, path: str, problems: list[Problem]) -> Any:
        if not isinstance(value, Mapping):
            problems.append(Problem(path, f"must be a mapping, not {kind_of(value)}"))
            return None
        found = {}
        for entry in self.entries:
            given = value.get(entry.name)
            place = f"{path}.{entry.name}" if path else entry.name
            if given is not None:
                found[entry.name] = entry.kind.read(given, place, problems)
            elif entry.required:
                problems.append(Problem(place, "is required"))
        problems += self._unknown(value, path)
        if any(entry.required and found.get(entry.name) is None for entry in self.entries):
            return None
        return self.make(**{name: each for name, each in found.items() if each is not None})

    def _unknown(self, value: Mapping[Any, Any], path: str) -> list[Problem]:
        known = [entry.name for entry in self.entries]
        problems = []
        for key in value:
            if key not in known:
                near = difflib.get_close_matches(str(key).replace("-", "_").lower(), known, n=1, cutoff=0.6)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                problems.append(Problem(f"{path}.{key}" if path else str(key), f"unknown field; {hint}"))
        return problems

    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "additionalProperties": False,
            "required": [entry.name for entry in self.entries if entry.required],
            "properties": {
                entry.name: {"description": entry.about, **entry.kind.schema()} for entry in self.entries
            },
        }
