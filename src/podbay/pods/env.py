"""Environment variables: every way to write them as EnvVars, and how two lists become one.

Source of the order rules: the kubelet expands `$(NAME)` in a value from the variables that stand before it
(pkg/kubelet/kubelet_pods.go, makeEnvironmentVariables); a later variable of the same name wins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["env_from_config_maps", "env_list", "merge_env"]

_REFERENCE = re.compile(r"\$\$|\$\(([^)]+)\)")


def env_list(given: Any) -> Any:
    """Names to values as a list of EnvVars; anything else as it is, to be converted as such."""
    if isinstance(given, Mapping):
        return [{"name": name, "value": value} for name, value in given.items()]
    return given


def env_from_config_maps(names: Sequence[str]) -> list[dict[str, Any]]:
    """All keys of these ConfigMaps as variables."""
    return [{"configMapRef": {"name": name}} for name in names]


def merge_env(lower: Sequence[dict[str, Any]], upper: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One list without two variables of one name: the upper's value at the lower's place, the upper's own at the end.

    In place, because variables that stand after it may be built from it. Except when the new value is built from
    variables that stand after the old place: then it moves to the end, where they are known.
    """
    merged = list(lower)
    for variable in upper:
        name = variable.get("name")
        places = [index for index, each in enumerate(merged) if each.get("name") == name]
        first = places[0] if places else None
        for index in reversed(places):
            del merged[index]
        if first is None or _references(variable) & {each.get("name") for each in merged[first:]}:
            merged.append(variable)
        else:
            merged.insert(first, variable)
    return merged


def _references(variable: Mapping[str, Any]) -> set[str | None]:
    value = variable.get("value")
    if not isinstance(value, str):
        return set()
    return {match[1] for match in _REFERENCE.finditer(value) if match[1]}
