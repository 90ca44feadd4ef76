"""How a scripted node is declared.

nodes:
  - name: big
    count: 2                     # big-0, big-1
    labels: {zone: a}
    annotations: {}
    taints: [{key: gpu, value: "true", effect: NoSchedule}]
    capacity: {cpu: "64", memory: 256Gi, pods: "500", nvidia.com/gpu: "8"}
    allocatable: {cpu: "63"}
    unschedulable: false
    ready: true
    failures: [{after: 60, for: 120}]
script: {rules: […]}             # see script.py
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from podbay.embedded.scripted.script import Script, duration
from podbay.errors import InvalidInputError
from podbay.objects.names import dns1123_subdomain_errors
from podbay.objects.quantity import Quantity

__all__ = ["SCRIPTED_LABEL", "Failure", "NodesFile", "ScriptedNode", "load_nodes_file", "read_nodes"]

SCRIPTED_LABEL = "podbay.dev/scripted"
"""Marks nodes whose pods run no containers."""

_KNOWN = frozenset(
    [
        "name",
        "count",
        "labels",
        "annotations",
        "taints",
        "capacity",
        "allocatable",
        "unschedulable",
        "ready",
        "failures",
    ]
)


@dataclass(frozen=True, slots=True)
class Failure:
    """The node is lost for `seconds`, beginning `after` seconds from its start."""

    after: float
    seconds: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedNode:
    """One node; capacity adds to the defaults of objects.nodes.node_object."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Mapping[str, Any]] = ()
    capacity: Mapping[str, str] = field(default_factory=dict)
    allocatable: Mapping[str, str] = field(default_factory=dict)
    unschedulable: bool = False
    ready: bool = True
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class NodesFile:
    """What a nodes file declares."""

    nodes: tuple[ScriptedNode, ...]
    script: Script


def load_nodes_file(path: Path) -> NodesFile:
    """Read a YAML file. Raises InvalidInputError naming the file and the field."""
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InvalidInputError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    return read_nodes(data, str(path))


def read_nodes(data: Any, where: str = "nodes") -> NodesFile:
    """Read the parsed file. Raises InvalidInputError naming the field."""
    if not isinstance(data, Mapping) or not isinstance(data.get("nodes"), Sequence):
        raise InvalidInputError(f"{where}: expected a list under `nodes`")
    unknown = sorted(set(data) - {"nodes", "script"})
    if unknown:
        raise InvalidInputError(f"{where}: unknown field {unknown[0]!r}; known are nodes and script")
    nodes = [n for i, d in enumerate(data["nodes"]) for n in _read_node(d, f"{where}: nodes[{i}]")]
    names = [n.name for n in nodes]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInputError(f"{where}: two nodes are called {name!r}")
    script = Script.from_data(data.get("script") or (), f"{where}: script")
    return NodesFile(tuple(nodes), script)


def _read_node(data: Any, where: str) -> list[ScriptedNode]:
    if not isinstance(data, Mapping) or not data.get("name"):
        raise InvalidInputError(f"{where}.name: required")
    unknown = sorted(set(data) - _KNOWN)
    if unknown:
        raise InvalidInputError(f"{where}.{unknown[0]}: unknown field; known are {', '.join(sorted(_KNOWN))}")
    fields = {k: v for k, v in data.items() if k not in ("name", "count", "failures") and v is not None}
    for name in ("capacity", "allocatable", "labels", "annotations"):
        if name in fields:
            if not isinstance(fields[name], Mapping):
                raise InvalidInputError(f"{where}.{name}: expected fields")
            # YAML reads `cpu: 4` as a number and `zone: on` as a truth value; the API wants text.
            fields[name] = {str(k): _text(v) for k, v in fields[name].items()}
    fields["failures"] = tuple(
        _read_failure(f, f"{where}.failures[{i}]") for i, f in enumerate(data.get("failures") or ())
    )
    name, count = str(data["name"]), data.get("count")
    _check_words(name, fields, where)
    if count is None:
        return [ScriptedNode(name=name, **fields)]
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise InvalidInputError(f"{where}.count: {count!r} is not a number of nodes")
    return [ScriptedNode(name=f"{name}-{i}", **fields) for i in range(count)]


def _check_words(name: str, fields: Mapping[str, Any], where: str) -> None:
    """What the API would refuse anyhow, said with its place in the file."""
    faults = [(f"{where}.name", message) for message in dns1123_subdomain_errors(name)]
    for group in ("capacity", "allocatable"):
        for resource, amount in fields.get(group, {}).items():
            try:
                Quantity.parse(amount)
            except ValueError as error:
                faults.append((f"{where}.{group}.{resource}", f"{amount!r}: {error}"))
    for i, taint in enumerate(fields.get("taints") or ()):
        if not isinstance(taint, Mapping) or not taint.get("key"):
            faults.append((f"{where}.taints[{i}].key", "required"))
        elif taint.get("effect") not in _EFFECTS:
            known = ", ".join(_EFFECTS)
            faults.append((f"{where}.taints[{i}].effect", f"{taint.get('effect')!r} is not one of {known}"))
    if faults:
        raise InvalidInputError(": ".join(faults[0]))


_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read_failure(data: Any, where: str) -> Failure:
    if not isinstance(data, Mapping) or set(data) - {"after", "for"}:
        raise InvalidInputError(f"{where}: expected `after` and `for`")
    return Failure(
        duration(data.get("after", 0), f"{where}.after"), duration(data.get("for", "forever"), f"{where}.for")
    )
