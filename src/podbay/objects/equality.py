"""Equality as the Kubernetes API means it: what is absent, null or empty is the same.

Source: k8s.io/apimachinery/pkg/api/equality (Semantic.DeepEqual). Quantities are compared as written.
"""

from __future__ import annotations

from typing import Any

__all__ = ["semantically_equal"]


def semantically_equal(first: Any, second: Any) -> bool:
    """Whether two JSON values mean the same; zero and false differ from absent."""
    if isinstance(first, dict) and isinstance(second, dict):
        return all(semantically_equal(first.get(k), second.get(k)) for k in first.keys() | second.keys())
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(semantically_equal, first, second))
    if _empty(first) or _empty(second):
        return _empty(first) and _empty(second)
    return type(first) is type(second) and bool(first == second)


def _empty(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, dict | list) and not value)
