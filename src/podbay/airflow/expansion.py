"""Which values a mapped task instance gets: Airflow's arithmetic over `expand` and `expand_kwargs`. Pure.

Source: airflow.sdk.definitions._internal.expandinput (DictOfListsExpandInput, ListOfDictsExpandInput). Values that came
out of an XCom are Literal and stay so: Airflow does not render them, but does render what stands in the DAG file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podbay.airflow.portable import Literal
from podbay.errors import InvalidInputError

__all__ = ["pick"]


def pick(kind: str, value: Any, index: int) -> dict[str, Any]:
    """The arguments of the instance at `index`. Raises InvalidInputError for what cannot be mapped over."""
    if kind == "list-of-dicts":
        return _row(value, index)
    return _product(value, index)


def _open(value: Any) -> tuple[Any, bool]:
    return (value.value, True) if isinstance(value, Literal) else (value, False)


def _row(value: Any, index: int) -> dict[str, Any]:
    rows, literal = _open(value)
    if not isinstance(rows, list):
        raise InvalidInputError(f"expand_kwargs() expects a list of mappings, not {type(rows).__name__}")
    if index >= len(rows):
        raise InvalidInputError(f"expand_kwargs(): there is no item {index}, only {len(rows)}")
    row, row_is_literal = _open(rows[index])
    if not isinstance(row, Mapping):
        raise InvalidInputError(f"expand_kwargs() expects mappings, item {index} is a {type(row).__name__}")
    if literal or row_is_literal:
        return {key: Literal(each) for key, each in row.items()}
    return dict(row)


def _product(value: Mapping[str, Any], index: int) -> dict[str, Any]:
    """The last argument varies fastest."""
    found: dict[str, Any] = {}
    for key in reversed(list(value)):
        items, literal = _open(value[key])
        if not isinstance(items, list | Mapping):
            raise InvalidInputError(f"expand({key}=…): cannot map over a {type(items).__name__}")
        if not items:
            raise InvalidInputError(f"expand({key}=…): there is nothing to map over")
        index, place = divmod(index, len(items))
        item = list(items.items())[place] if isinstance(items, Mapping) else items[place]
        found[key] = Literal(item) if literal else item
    return {key: found[key] for key in value}
