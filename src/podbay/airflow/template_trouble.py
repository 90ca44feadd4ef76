"""A template that cannot be rendered, in one sentence: which one, what it says, what is wrong, what to do. Pure; Airflow's
errors by duck typing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from podbay.airflow.portable import Model
from podbay.errors import InvalidInputError

__all__ = ["template_trouble"]

_LONGEST: Final = 200
_PARAMS: Final = re.compile(r"\bparams\s*[.\[|]")
_VARIABLE: Final = re.compile(r"\bvar\s*\.\s*(?:value|json)\s*(?:\.\s*(\w+)|\[\s*['\"]([^'\"]+))")
_NOT_FOUND: Final = re.compile(r"Variable (\S+) not found")


def template_trouble(
    name: str,
    given: Any,
    failed: str | None,
    error: Exception,
    *,
    params: Sequence[str] = (),
    missed: Sequence[str] = (),
) -> str:
    """The sentences. `given` is the parameter, `failed` the text in it that failed; `params` are those of the DAG, and
    `missed` the pulls of the text that found nothing.
    """
    if failed is None:
        return f"{name}: {_words(error)}"
    place = next(_places(given, failed, name), name)
    found = f"The template of {place} cannot be rendered: {_shown(failed)}: {_reason(error, failed)}"
    if not found.endswith("."):
        found += "."
    if missed:
        found += f" {' and '.join(dict.fromkeys(missed))} found nothing: no such result has been pushed."
    elif _PARAMS.search(failed) and type(error).__name__ == "UndefinedError":
        found += f" The DAG has the params {', '.join(params)}." if params else " The DAG has no params."
    return found


def _places(value: Any, text: str, path: str) -> Iterator[str]:
    """Where in the parameter the text stands."""
    if isinstance(value, str):
        if value == text:
            yield path
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _places(each, text, f"{path}[{key}]")
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            if isinstance(each, Mapping):
                for key, inner in each.items():
                    yield from _places(inner, text, _item(path, index, each, key))
            else:
                yield from _places(each, text, f"{path}[{index}]")
    elif isinstance(value, Model):
        for field in value.template_fields:
            yield from _places(getattr(value, field), text, f"{path}.{field}")


def _item(path: str, index: int, item: Mapping[str, Any], key: str) -> str:
    """Variables are mostly written as a mapping of names to values."""
    if path == "env_vars" and key == "value" and item.get("name"):
        return f"{path}[{item['name']}]"
    return f"{path}[{index}].{key}"


def _shown(text: str) -> str:
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return repr(text)


def _reason(error: Exception, text: str) -> str:
    answer = getattr(error, "error", None)
    if str(getattr(getattr(answer, "error", None), "value", "")) == "VARIABLE_NOT_FOUND":
        name = _variable(getattr(answer, "detail", None), text)
        return f"There is no Airflow Variable {name}. Create it, or set AIRFLOW_VAR_{name.upper()}."
    return _words(error)


def _variable(detail: Any, text: str) -> str:
    """Airflow says the name in one of two ways, or leaves it to the template."""
    said = detail if isinstance(detail, Mapping) else {}
    if said.get("key"):
        return str(said["key"])
    found = _NOT_FOUND.search(str(said.get("message") or ""))
    if found:
        return found[1]
    written = _VARIABLE.search(text)
    return next(filter(None, written.groups()), "of this template") if written else "of this template"


def _words(error: Exception) -> str:
    """Jinja's errors and ours are sentences; of others the kind says more than the text."""
    is_sentence = isinstance(error, InvalidInputError) or type(error).__module__.startswith("jinja2")
    return str(error) if is_sentence else f"{type(error).__name__}: {error}"
