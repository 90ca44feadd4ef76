"""What `podbay pod run` can say of its options before there is a pod, in words of the command line. Pure."""

from __future__ import annotations

import re
from typing import Final

from podbay.errors import InvalidInputError
from podbay.objects.quantity import Quantity

__all__ = ["check_count", "check_name", "check_quantity"]

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?\Z")
_NAME_MAX: Final = 253
_EXAMPLES: Final = {"cpu": "500m or 2", "memory": "512Mi or 2Gi"}
_MEMORY_MIN: Final = Quantity.from_value(2**20)
"""Bytes that no container starts in; who writes less has forgotten the unit."""
_WORD: Final = re.compile(r"(\d+(?:\.\d+)?) ?([kmgt])i?b?\Z", re.IGNORECASE)
_NUMBER: Final = re.compile(r"\d+\Z")


def check_name(name: str) -> None:
    """Raises InvalidInputError for what cannot be a pod's name."""
    if _NAME.match(name) and len(name) <= _NAME_MAX:
        return
    better = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_NAME_MAX] or "my-pod"
    raise InvalidInputError(
        f"--name {name}: lower-case letters, digits and '-' only, at most {_NAME_MAX}; for example {better}"
    )


def check_quantity(resource: str, word: str, value: str, *, is_limit: bool) -> None:
    """Raises InvalidInputError for a value of --cpu or --memory that is none. word is the option as it was written."""
    try:
        found = Quantity.parse(value)
    except (ValueError, OverflowError):
        example = _meant(resource, value) or _EXAMPLES[resource]
        raise InvalidInputError(
            f"--{resource} {word}: {_which(word, value)}not a quantity; write one such as {example}"
        ) from None
    if found.sign < 0:
        raise InvalidInputError(f"--{resource} {word}: {_which(word, value)}less than nothing")
    if is_limit and resource == "memory" and not found.is_zero and found < _MEMORY_MIN:
        better = f"{value}Mi" if value.isdecimal() and int(value) else _EXAMPLES["memory"]
        raise InvalidInputError(
            f"--memory {word}: {found.value()} bytes are too little to start a container. Write a unit: {better}"
        )


def _which(word: str, value: str) -> str:
    return "" if word == value else f"{value} is "


def _meant(resource: str, value: str) -> str:
    """512MB for 512Mi is the commonest slip."""
    slip = _WORD.match(value) if resource == "memory" else None
    return "" if slip is None else f"{slip[1]}{slip[2].upper()}i"


def check_count(word: str, count: str) -> None:
    """Raises InvalidInputError for a number of devices that is none."""
    if not _NUMBER.match(count):
        raise InvalidInputError(
            f"--gpu {word}: not a whole number; write one such as 1, or RESOURCE=N such as amd.com/gpu=1"
        )
