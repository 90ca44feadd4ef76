"""Whether an applied object fits its type, in the words of server-side apply.

Source: sigs.k8s.io/structured-merge-diff/typed/validate.go and helpers.go. Not for the decoding of other requests
(apiserver/schema), which has words of its own.
"""

from __future__ import annotations

from typing import Any

from podbay.apiserver.patch.fieldset import printed
from podbay.apiserver.patch.govalues import go_sprint, go_syntax, go_type
from podbay.apiserver.patch.shapes import Shape
from podbay.apiserver.patch.typed import item_element

__all__ = ["misfits"]


def misfits(value: Any, shape: Shape) -> str:
    """Everything that does not fit, as one message; empty when all does."""
    errors: list[str] = []
    _check(value, shape, "", errors)
    if len(errors) <= 1:
        return "".join(errors)
    return "\n".join(["errors:", *("  " + e for e in errors)])


def _report(errors: list[str], path: str, message: str) -> None:
    errors.append(f"{path}: {message}" if path else message)


def _check(value: Any, shape: Shape, path: str, errors: list[str]) -> None:
    if value is None or shape.any:
        return
    if shape.is_scalar:
        message = _scalar_mistake(value, shape)
        if message:
            _report(errors, path, message)
    elif shape.is_map:
        _check_map(value, shape, path, errors)
    else:
        _check_list(value, shape, path, errors)


def _scalar_mistake(value: Any, shape: Shape) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if shape.scalar == "string":
        text = f"expected string, got &value.valueUnstructured{{Value:{go_syntax(value)}}}"
        return "" if isinstance(value, str) else text
    if shape.scalar == "numeric":
        return "" if number else f"expected numeric (int or float), got {go_type(value)}"
    if shape.scalar == "boolean":
        return "" if isinstance(value, bool) else f"expected boolean, got &{{{go_sprint(value)}}}"
    return f"expected any scalar, got &{{{go_sprint(value)}}}" if isinstance(value, dict | list) else ""


def _check_map(value: Any, shape: Shape, path: str, errors: list[str]) -> None:
    if not isinstance(value, dict):
        _report(errors, path, f"expected map, got &{{{go_sprint(value)}}}")
        return
    for key, item in value.items():
        inner = shape.member(key)
        if inner is None:
            _report(errors, f"{path}.{key}", "field not declared in schema")
            return
        _check(item, inner, f"{path}.{key}", errors)


def _check_list(value: Any, shape: Shape, path: str, errors: list[str]) -> None:
    if not isinstance(value, list):
        _report(errors, path, f"expected list, got &{{{go_sprint(value)}}}")
        return
    element = shape.element
    assert element is not None
    seen: set[str] = set()
    for i, item in enumerate(value):
        below = f"[{i}]"
        if not shape.leaf:
            try:
                name = item_element(item, shape)
            except ValueError as error:
                _report(errors, path, f"element {i}: {error}")
                return
            below = printed((name,))
            if name in seen:
                _report(errors, path, f"duplicate entries for key {below}")
            seen.add(name)
        _check(item, element, path + below, errors)
