"""find() and findAll(). Source: k8s.io/apiserver/pkg/cel/library/regex.go."""

from __future__ import annotations

import re

from podbay.apiserver.cel.library.declare import Function, Overload

__all__ = ["FUNCTIONS"]


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as err:
        raise ValueError(f"Illegal regex: {err}") from None


def _find(text: str, pattern: str) -> str:
    found = _compiled(pattern).search(text)
    return found[0] if found else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = [m[0] for m in _compiled(pattern).finditer(text)]
    return found if limit < 0 else found[:limit]


FUNCTIONS = (
    Function("find", _find, (Overload("string_find_string", ("string", "string"), "string"),)),
    Function(
        "findAll",
        _find_all,
        (
            Overload("string_find_all_string", ("string", "string"), "list<string>"),
            Overload("string_find_all_string_int", ("string", "string", "int"), "list<string>"),
        ),
    ),
)
