"""What is wrong with a pod somebody asked for: field paths and sentences, and the one error made of them.

Problems are collected, not raised one by one, so that a person sees all of them at once. A message never quotes a value
that may be secret (environment values, arguments); it says what kind of thing stands there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from podbay.errors import InvalidInputError

__all__ = ["Problem", "kind_of", "refusal", "refuse"]


class Problem(NamedTuple):
    """A field path as the Kubernetes API writes it ("spec.containers[0].env[1].name") and what is wrong there."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def refuse(subject: str, problems: Sequence[Problem]) -> None:
    """Raise InvalidInputError that lists the problems below `subject`; do nothing when there are none."""
    if problems:
        raise refusal(subject, problems)


def refusal(subject: str, problems: Sequence[Problem]) -> InvalidInputError:
    """The error; without a `subject` for one who puts it before."""
    unique = list(dict.fromkeys(problems))
    if len(unique) == 1:
        text = str(unique[0])
    else:
        text = f"{len(unique)} problems\n" + "\n".join(f"  {each}" for each in unique)
    message = f"{subject}: {text}" if subject else text
    return InvalidInputError(message, subject=subject, problems=unique)


def kind_of(value: object) -> str:
    """What stands there, for messages: its kind and never its content."""
    if value is None:
        return "nothing"
    for types, word in _KINDS:
        if isinstance(value, types):
            return word
    return f"a Python object ({type(value).__module__}.{type(value).__qualname__})"


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"),
    (int, "an integer"),
    (float, "a number"),
    (str, "a string"),
    (bytes, "bytes"),
    (dict, "a mapping"),
    ((list, tuple), "a list"),
)
