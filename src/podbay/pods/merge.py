"""Layers of pods into one: a lower pod and an upper one, by one rule for each kind of field.

The layers, lowest first: the deployment's defaults, the pod template, the full pod spec, the parameters. The rules, all
in the tables below (anything not named there is `replace`):

| rule        | fields                                          | result                                                     |
| ----------- | ----------------------------------------------- | ---------------------------------------------------------- |
| by key      | labels, annotations                             | keys of both, the upper's value for a key of both          |
| appended    | envFrom                                         | the lower's, then the upper's; equal entries once          |
| by name     | containers, initContainers                      | same name: merged field by field; others appended          |
| item by key | volumes (name), volumeMounts (mountPath),       | same key: the upper's whole item at the lower's place;     |
|             | volumeDevices (devicePath),                     | others appended                                            |
|             | ports (containerPort, protocol)                 |                                                            |
| env         | env                                             | as item by name; see env.merge_env for order               |
| replace     | all others: command, args, resources, affinity, | the upper's whole value                                    |
|             | tolerations, nodeSelector, securityContext,     |                                                            |
|             | imagePullSecrets, hostAliases, probes, scalars, |                                                            |
|             | finalizers, ownerReferences                     |                                                            |

These give what the upstream provider 10.25 gives (its PodGenerator.reconcile_pods), with three differences, each where
upstream's pod is refused or loses what was said: containers beside the main one meet by name and not by position; items
with the same key replace each other instead of standing there twice; and a value that is false, zero or empty is a value
and overrides, where upstream lets the lower layer's stand. The main container is the one of the agreed name, else the
first of its layer, and stands first in the result, where pod mutation hooks look for it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from podbay.objects.meta import Object
from podbay.pods.env import merge_env

__all__ = ["REMOVED", "Removed", "main_container", "merge_containers", "merge_pods", "name_main_container"]


class Removed:
    """The type of REMOVED: an upper layer's word that a field has no value, whatever lower layers say."""

    def __repr__(self) -> str:
        return "REMOVED"

    def __deepcopy__(self, memo: dict[int, Any]) -> Removed:
        return self


REMOVED: Final = Removed()


@dataclass(frozen=True, slots=True)
class _Rule:
    """How two values of one field become one. `keys` tell list items apart; `fields` are rules inside of a struct."""

    kind: Literal["replace", "by key", "appended", "items", "struct", "env"] = "replace"
    keys: tuple[str, ...] = ()
    fields: Mapping[str, _Rule] = field(default_factory=dict)


_REPLACE = _Rule()
_CONTAINER: Final[Mapping[str, _Rule]] = {
    "env": _Rule("env"),
    "envFrom": _Rule("appended"),
    "ports": _Rule("items", ("containerPort", "protocol")),
    "volumeDevices": _Rule("items", ("devicePath",)),
    "volumeMounts": _Rule("items", ("mountPath",)),
}
_CONTAINERS = _Rule("items", ("name",), _CONTAINER)
_METADATA = _Rule(
    "struct",
    fields={
        "annotations": _Rule("by key"),
        "labels": _Rule("by key"),
    },
)
_SPEC = _Rule(
    "struct",
    fields={"containers": _CONTAINERS, "initContainers": _CONTAINERS, "volumes": _Rule("items", ("name",))},
)
_POD = _Rule("struct", fields={"metadata": _METADATA, "spec": _SPEC})
_KEY_DEFAULTS: Final = {"protocol": "TCP"}


def merge_pods(lower: Object, upper: Object) -> Object:
    """`upper` over `lower`, by the rules above. Neither is changed; the result shares nothing with them."""
    merged: Object = _merge(_POD, copy.deepcopy(lower), copy.deepcopy(upper))
    return merged


def merge_containers(lower: Object, upper: Object) -> Object:
    """One container over another."""
    merged: Object = _merge(_Rule("struct", fields=_CONTAINER), copy.deepcopy(lower), copy.deepcopy(upper))
    return merged


def name_main_container(pod: Object, name: str) -> None:
    """Give the layer's main container its agreed name and put it first, so that layers meet in it."""
    containers = (pod.get("spec") or {}).get("containers")
    if not containers:
        return
    found = next((each for each in containers if each.get("name") == name), containers[0])
    found["name"] = name
    containers.sort(key=lambda each: each is not found)


def main_container(pod: Object, name: str) -> Object:
    """The container of that name; KeyError when there is none."""
    for container in (pod.get("spec") or {}).get("containers") or ():
        if container.get("name") == name:
            found: Object = container
            return found
    raise KeyError(name)


def _merge(rule: _Rule, lower: Any, upper: Any) -> Any:
    if isinstance(upper, Removed) or rule.kind == "replace":
        return upper
    if rule.kind == "by key":
        return (lower or {}) | upper
    if rule.kind == "appended":
        return (lower or []) + [each for each in upper if each not in (lower or [])]
    if rule.kind == "env":
        return merge_env(lower or [], upper)
    if rule.kind == "items":
        return _merge_items(rule, lower or [], upper)
    return _merge_struct(rule, lower or {}, upper)


def _merge_struct(rule: _Rule, lower: dict[str, Any], upper: dict[str, Any]) -> dict[str, Any]:
    merged = dict(lower)
    for name, value in upper.items():
        value = _merge(rule.fields.get(name, _REPLACE), merged.get(name), value)
        if isinstance(value, Removed):
            merged.pop(name, None)
        else:
            merged[name] = value
    return merged


def _merge_items(rule: _Rule, lower: list[Any], upper: list[Any]) -> list[Any]:
    """Items of one layer never meet each other: two of one key there are a slip that validation must see."""
    merged = list(lower)
    for item in upper:
        place = next((n for n, each in enumerate(lower) if _key(rule, each) == _key(rule, item)), None)
        if place is None:
            merged.append(_merge_struct(rule, {}, item) if rule.fields else item)
        elif rule.fields:
            merged[place] = _merge_struct(rule, merged[place], item)
        else:
            merged[place] = item
    return merged


def _key(rule: _Rule, item: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(item.get(key) or _KEY_DEFAULTS.get(key) for key in rule.keys)
