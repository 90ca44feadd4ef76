"""From anything that describes a part of a pod to plain JSON in the API's own field names.

Accepted are mappings and lists, objects of any Kubernetes client by duck typing (`attribute_map` as the official client
has it, else `to_dict()`; `to_k8s_client_obj()` of older Airflow classes), and field names as the API writes them
(imagePullPolicy) or as the Python client does (image_pull_policy). None means "not said" and is dropped. Not for rules
about values (validate.py): this module knows names and types only.

The table is `fields.json`, made by script/update-pod-fields: a struct's name to its fields, each with a type out of
string, integer, boolean, time, quantity, intOrString, any, `[]TYPE`, `map[TYPE]` or the name of another struct.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib import resources
from typing import Any

import orjson

from podbay.pods.problems import Problem, kind_of

__all__ = ["convert", "field_type", "plain_mapping"]

# Read and written by the server alone. People hand over pods as `kubectl get -o yaml` prints them; a create that carries
# these is refused (resourceVersion) or means something else (uid), so they are left out.
_SERVER_METADATA = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "generation",
        "managedFields",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)


@cache
def _structs() -> dict[str, dict[str, str]]:
    table: dict[str, dict[str, str]] = orjson.loads(
        resources.files("podbay.pods").joinpath("fields.json").read_bytes()
    )
    return table


@cache
def _by_spelling(struct: str) -> dict[str, str]:
    """Field names by their spelling without case and underscores: the Python client's names lead to the API's."""
    return {name.replace("_", "").lower(): name for name in _structs()[struct]}


def field_type(struct: str, name: str) -> str:
    """The type of one field of the table; KeyError for an unknown one."""
    return _structs()[struct][name]


def convert(value: Any, type_name: str, path: str, problems: list[Problem]) -> Any:
    """`value` as JSON of that type; None when nothing is said. What is wrong goes to `problems` and is left out."""
    if value is None:
        return None
    if type_name.startswith("[]"):
        return _list(value, type_name[2:], path, problems)
    if type_name.startswith("map["):
        return _map(value, type_name[4:-1], path, problems)
    if type_name in _structs():
        return _struct(value, type_name, path, problems)
    return _scalar(value, type_name, path, problems)


def plain_mapping(value: Any) -> dict[str, Any] | None:
    """The fields of a mapping or of a client's object, unconverted; None when it is neither."""
    to_client = getattr(value, "to_k8s_client_obj", None)
    if callable(to_client):
        value = to_client()
    if isinstance(value, Mapping):
        return {str(key): each for key, each in value.items()}
    names = getattr(value, "attribute_map", None)
    if isinstance(names, Mapping):
        return {json_name: getattr(value, attribute) for attribute, json_name in names.items()}
    to_dict = getattr(value, "to_dict", None)
    if callable(to_dict):
        return plain_mapping(to_dict())
    return None


def _list(value: Any, element: str, path: str, problems: list[Problem]) -> list[Any] | None:
    if not isinstance(value, list | tuple):
        problems.append(Problem(path, f"must be a list, not {kind_of(value)}"))
        return None
    found = [convert(each, element, f"{path}[{index}]", problems) for index, each in enumerate(value)]
    return [each for each in found if each is not None]


def _map(value: Any, element: str, path: str, problems: list[Problem]) -> dict[str, Any] | None:
    if not isinstance(value, Mapping):
        problems.append(Problem(path, f"must be a mapping, not {kind_of(value)}"))
        return None
    found = {}
    for key, each in value.items():
        if not isinstance(key, str):
            problems.append(
                Problem(path, f"every key must be a string, not {kind_of(key)}; put it in quotes")
            )
            continue
        found[key] = convert(each, element, f"{path}[{key}]", problems)
    # A label or annotation without a value is one with an empty value (spec 19); a quantity of nothing is none.
    empty = "" if element == "string" else None
    kept = {key: empty if each is None else each for key, each in found.items()}
    return {key: each for key, each in kept.items() if each is not None}


def _struct(value: Any, struct: str, path: str, problems: list[Problem]) -> dict[str, Any] | None:
    given = plain_mapping(value)
    if given is None:
        problems.append(Problem(path, f"must be a mapping with the fields of {struct}, not {kind_of(value)}"))
        return None
    fields = _structs()[struct]
    found: dict[str, Any] = {}
    for key, each in given.items():
        name = key if key in fields else _by_spelling(struct).get(key.strip("_").replace("_", "").lower())
        if name is None:
            problems.append(Problem(_join(path, key), _unknown(key, struct)))
        elif not _is_server_side(struct, name) and each is not None:
            converted = convert(each, fields[name], _join(path, name), problems)
            if converted is not None:
                found[name] = converted
    return found


def _is_server_side(struct: str, name: str) -> bool:
    return name in _SERVER_METADATA if struct == "ObjectMeta" else (struct, name) == ("Pod", "status")


def _unknown(key: str, struct: str) -> str:
    near = difflib.get_close_matches(key, _structs()[struct], n=1, cutoff=0.75)
    if near:
        return f"unknown field; did you mean {near[0]}?"
    return f"unknown field of {struct}"


def _scalar(value: Any, type_name: str, path: str, problems: list[Problem]) -> Any:
    if type_name == "quantity":
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return str(value).strip()
        problems.append(Problem(path, f"must be a quantity such as 500m or 1Gi, not {kind_of(value)}"))
    elif type_name == "string":
        if isinstance(value, str):
            return str(value)
        problems.append(Problem(path, f"must be a string, not {kind_of(value)}; put it in quotes"))
    elif type_name == "boolean":
        if isinstance(value, bool):
            return value
        problems.append(Problem(path, f"must be true or false, not {kind_of(value)}"))
    elif type_name == "integer":
        return _integer(value, path, problems)
    elif type_name == "intOrString":
        if isinstance(value, int | str) and not isinstance(value, bool):
            return value
        problems.append(Problem(path, f"must be an integer or a string, not {kind_of(value)}"))
    elif type_name == "time":
        return value.isoformat() if isinstance(value, date) else str(value)
    else:
        return value
    return None


def _integer(value: Any, path: str, problems: list[Problem]) -> int | None:
    """Whole numbers; also digits in a string, which is what a rendered template gives."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().removeprefix("-").isascii():
        try:
            return int(value)
        except ValueError:
            pass
    problems.append(Problem(path, f"must be an integer, not {kind_of(value)}"))
    return None


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
