"""What is wrong with a pod, by the names that its author has written: those of the operator's parameters. Pure.

Which parameter says which field of the request stands in the one table (parameters.py), and which field of the request
says which of the pod in pods/build.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from podbay.airflow.parameters import parameters_of
from podbay.airflow.request import Surroundings, pod_request, said
from podbay.errors import InvalidInputError
from podbay.pods.build import FULL_SPEC, REQUEST, TEMPLATE, BuiltPod, build, field_of_request
from podbay.pods.problems import Problem, refusal
from podbay.pods.request import PodDefaults

__all__ = ["build_named", "in_words_of_parameters"]

_LAYERS: Final = {TEMPLATE: "pod_template_dict", FULL_SPEC: "full_pod_spec"}
_BELOW: Final = ("pod_template_file", "pod_template_dict", "full_pod_spec")
_WORDS: Final = ("cmds", "arguments")
_PATH: Final = re.compile(r"(?P<field>\w+)(?P<place>\[(?P<key>[^\]]*)\])?(?P<rest>.*)", re.DOTALL)
_SHIFTED: Final = ("volumes[", "volume_mounts[")
"""The result's volume and mount stand before those that were given."""
_LONGEST_WORD: Final = 40


def build_named(
    given: Mapping[str, Any], around: Surroundings, defaults: PodDefaults | None = None
) -> BuiltPod:
    """The pod of rendered parameters. Raises InvalidInputError by parameter; who it is about is the caller's to say."""
    try:
        return build(pod_request(given, around), defaults)
    except InvalidInputError as error:
        below = defaults is not None and defaults.template is not None
        raise in_words_of_parameters(error, given, alone=not below) from None


def in_words_of_parameters(
    error: InvalidInputError, given: Mapping[str, Any], *, alone: bool = True
) -> InvalidInputError:
    """The same error. `alone`: nothing but the parameters says what is in the pod."""
    if not error.problems:
        return error
    if any(said(name, given.get(name)) for name in _BELOW):
        alone = False
    return refusal("", [_named(error.subject, Problem(*each), given, alone) for each in error.problems])


def _named(subject: str, problem: Problem, given: Mapping[str, Any], alone: bool) -> Problem:
    if subject in _LAYERS:
        return Problem(f"{_LAYERS[subject]}.{problem.path}", problem.message)
    if subject == REQUEST:
        path = problem.path
    elif alone:
        path = field_of_request(problem.path)
        if given.get("do_xcom_push") and path.startswith(_SHIFTED):
            return problem
        if path == "image" and not said("image", given.get("image")):
            return Problem("", "image is missing")
    else:
        return problem
    found = _parameter(path, given)
    if found is None:
        return problem
    if found in _WORDS and problem.message.startswith("must be a list,"):
        return Problem(found, f"must be a list: {found}={_as_list(found, given[found])}")
    return Problem(found, problem.message)


def _parameter(path: str, given: Mapping[str, Any]) -> str | None:
    """The path by the parameter that says it; None if none of those given does."""
    parts = _PATH.fullmatch(path)
    if parts is None:
        return None
    names = [
        row.name for row in parameters_of("pod") if row.target == parts["field"] and row.name not in _BELOW
    ]
    names = [name for name in names if said(name, given.get(name))]
    place, rest, key = parts["place"] or "", parts["rest"], parts["key"]
    if not names:
        return None
    if parts["field"] not in ("env", "secrets"):
        if key is not None and not _has(given[names[0]], key):
            return None
        inner = ".security_context" if parts["field"] == "sidecar" else ""
        return f"{names[0]}{place}{rest.removeprefix(inner)}" if rest.startswith(inner) else None
    # Two lists that became one.
    if key is None or not key.isdecimal():
        return f"{names[0]}{rest}" if len(names) == 1 else None
    number = int(key)
    for name in names:
        keys = list(given[name])
        if number < len(keys):
            if not isinstance(given[name], Mapping):
                return f"{name}[{number}]{rest}"
            return f"{name}[{keys[number]}]{rest.removesuffix('.value').removesuffix('.name')}"
        number -= len(keys)
    return None


def _has(value: Any, key: str) -> bool:
    """Whether it is of the parameter; others put labels and volumes beside it."""
    if isinstance(value, Mapping):
        return key in value
    return not isinstance(value, list | tuple) or (key.isdecimal() and int(key) < len(value))


def _as_list(name: str, value: Any) -> str:
    """How it is to be written; of arguments, which may hold a password, nothing is told."""
    words: Sequence[str] = value.split() if name == "cmds" and isinstance(value, str) else ()
    if not words or len(words[0]) > _LONGEST_WORD:
        return '["…"]'
    return json.dumps(words[0]).join("[]") if len(words) == 1 else f'[{json.dumps(words[0])}, "…"]'
