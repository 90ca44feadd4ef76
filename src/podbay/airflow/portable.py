"""Values of parameters as JSON: how a task travels to the triggerer, and back. Pure; Airflow's classes by duck typing.

What JSON has no word for travels under a marker: a Kubernetes model (with its class, because only some of its fields are
templates, as upstream has it), a literal, a reference to an XCom, an argument of a mapped task group. Python code cannot
travel; InvalidInputError says so, and the task then starts on a worker. References to Secrets travel, secrets do not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from datetime import datetime, timedelta
from typing import Any, Final

from podbay.errors import InvalidInputError
from podbay.pods.problems import kind_of

__all__ = ["MARK", "Literal", "Model", "encode", "encode_expansion", "plain", "revive"]

MARK: Final = "$podbay"

# Upstream renders these fields of a model and no others (operators/pod.py, _render_nested_template_fields).
_TEMPLATES: Final[Mapping[str, tuple[str, ...]]] = {
    "V1EnvVar": ("value", "name"),
    "V1ResourceRequirements": ("limits", "requests"),
    "V1Volume": ("name", "persistentVolumeClaim", "configMap"),
    "V1VolumeMount": ("name", "subPath"),
    "V1PersistentVolumeClaimVolumeSource": ("claimName",),
    "V1ConfigMapVolumeSource": ("name",),
    "V1EnvFromSource": ("configMapRef",),
    "V1ConfigMapEnvSource": ("name",),
}
_SECRET_FIELDS: Final = ("deploy_type", "deploy_target", "secret", "key", "items")


def encode(value: Any, *, task: Any = None) -> Any:
    """JSON for a value. `task` is the operator it belongs to: references within one mapped group mean the same index.

    Raises InvalidInputError with the kind of what cannot travel.
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int | float):
        if not math.isfinite(value) or abs(value) >= 1 << 63:
            raise InvalidInputError("a number that JSON has no word for cannot be carried to the triggerer")
        # The plain one, of one that has a class of its own.
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, Mapping):
        return _mapping(value, task)
    if isinstance(value, list | tuple | range):
        return [encode(each, task=task) for each in value]
    if isinstance(value, Set):
        return sorted((encode(each, task=task) for each in value), key=repr)
    special = _special(value, task)
    if special is not None:
        return special
    raise InvalidInputError(f"{kind_of(value)} cannot be carried to the triggerer")


def encode_expansion(expand_input: Any, *, task: Any = None) -> dict[str, Any]:
    """The mapped arguments of a task (`expand`, `expand_kwargs`), kind and value."""
    return {"kind": expand_input.EXPAND_INPUT_TYPE, "value": encode(expand_input.value, task=task)}


def _mapping(value: Mapping[Any, Any], task: Any) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str):
            raise InvalidInputError(
                f"a mapping with {kind_of(key)} as key cannot be carried to the triggerer"
            )
    # Keys, too, may be of a class of their own, such as a StrEnum's.
    found = {str.__str__(key): encode(each, task=task) for key, each in value.items()}
    return {MARK: "mapping", "value": found} if MARK in found else found


def _special(value: Any, task: Any) -> dict[str, Any] | None:
    kind = type(value).__name__
    if isinstance(value, datetime):
        return {MARK: "datetime", "value": value.isoformat()}
    if isinstance(value, timedelta):
        return {MARK: "timedelta", "value": value.total_seconds()}
    if hasattr(value, "to_k8s_client_obj"):
        value = value.to_k8s_client_obj()
        kind = type(value).__name__
    if isinstance(getattr(value, "attribute_map", None), Mapping):
        given = {json: getattr(value, name) for name, json in value.attribute_map.items()}
        fields = {json: encode(each, task=task) for json, each in given.items() if each is not None}
        return {MARK: "model", "type": kind, "value": fields}
    if hasattr(value, "deploy_type") and hasattr(value, "secret"):
        fields = {name: getattr(value, name, None) for name in _SECRET_FIELDS}
        fields["items"] = [encode(each, task=task) for each in fields["items"] or ()]
        return {MARK: "model", "type": "Secret", "value": fields}
    if kind == "LiteralValue":
        return {MARK: "literal", "value": encode(value.value, task=task)}
    if kind == "MappedArgument":
        return {MARK: "group", "key": value._key, **encode_expansion(value._input, task=task)}
    if hasattr(value, "iter_references") and hasattr(value, "resolve"):
        return _reference(value, kind, task)
    return None


def _reference(value: Any, kind: str, task: Any) -> dict[str, Any]:
    if kind != "PlainXComArg":
        raise InvalidInputError(
            "a result changed by map(), zip() or concat() cannot be carried to the triggerer"
        )
    source = value.operator
    group = source.get_closest_mapped_task_group()
    if source.is_mapped:
        index = "all"
    elif group is None:
        index = "none"
    else:
        own = task.get_closest_mapped_task_group() if task is not None else None
        index = "same" if own is group else "all"
    optional = value.key == "return_value" or bool(getattr(source, "multiple_outputs", False))
    return {MARK: "xcom", "task": source.task_id, "key": value.key, "index": index, "optional": optional}


class Literal:
    """A value that is never rendered. Airflow's Templater calls `resolve` of whatever has one."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def resolve(self, context: Any) -> Any:
        return self.value


class Model:
    """A Kubernetes model on its way: fields by their JSON names, rendered where upstream renders."""

    def __init__(self, kind: str, fields: Mapping[str, Any]) -> None:
        self.__dict__.update(fields)
        self._fields = tuple(fields)
        self.template_fields = tuple(name for name in _TEMPLATES.get(kind, ()) if name in fields)

    def json(self) -> dict[str, Any]:
        return {name: plain(getattr(self, name)) for name in self._fields}


def revive(value: Any) -> Any:
    """Out of JSON: models and literals as objects that Airflow's rendering understands.

    References must have been replaced before (they become Literal).
    """
    if isinstance(value, list):
        return [revive(each) for each in value]
    if not isinstance(value, dict):
        return value
    mark = value.get(MARK)
    if mark is None:
        return {key: revive(each) for key, each in value.items()}
    if mark == "mapping":
        return {key: revive(each) for key, each in value["value"].items()}
    if mark == "literal":
        return Literal(value["value"])
    if mark == "datetime":
        return datetime.fromisoformat(value["value"])
    if mark == "timedelta":
        return timedelta(seconds=value["value"])
    if mark == "model":
        return Model(value["type"], {name: revive(each) for name, each in value["value"].items()})
    raise InvalidInputError(f"parameter: a reference of kind {mark!r} was not resolved")


def plain(value: Any) -> Any:
    """The JSON a rendered value stands for."""
    if isinstance(value, Model):
        return value.json()
    if isinstance(value, Literal):
        return value.value
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value
