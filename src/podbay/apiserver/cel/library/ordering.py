"""Semantic versions, and the comparisons that they and quantities have.

Source: k8s.io/apiserver/pkg/cel/library/{semverlib,quantity}.go, github.com/blang/semver for what a version is.
"""

from __future__ import annotations

import re
from functools import cmp_to_key
from typing import Any

from podbay.apiserver.cel.library.declare import Function, Overload, opaque, payload, tag_of
from podbay.apiserver.cel.library.quantities import quantity_of

__all__ = ["FUNCTIONS"]

_NUMBER = r"(0|[1-9]\d*)"
_IDENTIFIERS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_IDENTIFIERS}))?(?:\+{_IDENTIFIERS})?\Z")


def _tolerant(text: str) -> str:
    """Spaces, a leading v, leading zeros and missing numbers are let pass."""
    text = text.strip().removeprefix("v")
    cut = min((i for i in (text.find("-"), text.find("+")) if i >= 0), default=len(text))
    numbers = [n.lstrip("0") or "0" for n in text[:cut].split(".")]
    while len(numbers) < 3:
        numbers.append("0")
    return ".".join(numbers) + text[cut:]


def _match(text: str, normalize: bool) -> re.Match[str] | None:
    return _VERSION.match(_tolerant(text) if normalize else text)


def _parse(text: str, normalize: bool = False) -> dict[str, Any]:
    found = _match(text, normalize)
    if found is None:
        raise ValueError("invalid semantic version")
    numbers = ".".join(found.group(1, 2, 3))
    return opaque("semver", f"{numbers}-{found[4]}" if found[4] else numbers)


def _is_semver(text: str, normalize: bool = False) -> bool:
    return _match(text, normalize) is not None


def _parts(value: Any) -> tuple[tuple[int, ...], list[str]]:
    numbers, _, release = payload(value, "semver").partition("-")
    return tuple(int(n) for n in numbers.split(".")), release.split(".") if release else []


def _compare_identifiers(one: str, other: str) -> int:
    if one.isdigit() and other.isdigit():
        return (int(one) > int(other)) - (int(one) < int(other))
    if one.isdigit() != other.isdigit():
        return -1 if one.isdigit() else 1
    return (one > other) - (one < other)


def _compare_versions(one: Any, other: Any) -> int:
    numbers, release = _parts(one)
    other_numbers, other_release = _parts(other)
    if numbers != other_numbers:
        return 1 if numbers > other_numbers else -1
    if not release or not other_release:
        # A version without pre-release comes after those with one.
        return bool(other_release) - bool(release)
    order = cmp_to_key(_compare_identifiers)
    keys, other_keys = [order(r) for r in release], [order(r) for r in other_release]
    return (keys > other_keys) - (keys < other_keys)


def _compare(one: Any, other: Any) -> int:
    if tag_of(one) == "semver":
        return _compare_versions(one, other)
    left, right = quantity_of(one), quantity_of(other)
    return (left > right) - (left < right)


def _both(quantity_id: str, semver_id: str, result: str) -> tuple[Overload, ...]:
    return (
        Overload(quantity_id, ("quantity", "quantity"), result),
        Overload(semver_id, ("semver", "semver"), result),
    )


def _number(index: int) -> Any:
    return lambda value: _parts(value)[0][index]


FUNCTIONS = (
    Function(
        "semver",
        _parse,
        (
            Overload("string_to_semver", ("string",), "semver"),
            Overload("string_bool_to_semver", ("string", "bool"), "semver"),
        ),
        member=False,
    ),
    Function(
        "isSemver",
        _is_semver,
        (
            Overload("is_semver_string", ("string",), "bool"),
            Overload("is_semver_string_bool", ("string", "bool"), "bool"),
        ),
        member=False,
    ),
    Function("major", _number(0), (Overload("semver_major", ("semver",), "int"),)),
    Function("minor", _number(1), (Overload("semver_minor", ("semver",), "int"),)),
    Function("patch", _number(2), (Overload("semver_patch", ("semver",), "int"),)),
    Function("compareTo", _compare, _both("quantity_compare_to", "semver_compare_to", "int")),
    Function(
        "isGreaterThan",
        lambda one, other: _compare(one, other) > 0,
        _both("quantity_is_greater_than", "semver_is_greater_than", "bool"),
    ),
    Function(
        "isLessThan",
        lambda one, other: _compare(one, other) < 0,
        _both("quantity_is_less_than", "semver_is_less_than", "bool"),
    ),
)
