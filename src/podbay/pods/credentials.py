"""Credentials in plain text in a pod: found by the names they go by and by the shapes that issuers give them. Pure.

Whoever may read the pod, the serialized DAG or the file's history reads them. Places are named, values never: a message
about a secret must not be one. What is rendered later and what refers to somewhere else is no credential.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from podbay.objects.meta import Object
from podbay.pods.problems import Problem
from podbay.pods.resources import all_containers

__all__ = ["plain_credentials"]

_FIX: Final = "keep it in a Secret (podbay secrets set NAME) and refer to it, as env_secrets does"
_NAMED: Final = re.compile(
    r"(accesskey|accesstoken|apikey|authorization|credentials?|passphrase|passwd|password|privatekey|pwd|secret|secretkey"
    r"|token)\d*$"
)
_SHAPES: Final = (
    ("a private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")),
    ("a URL with a password", re.compile(r"://[^\s/:@{}$]*:[^\s/@{}$]+@")),
    ("an AWS access key", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("a GitHub token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22,})")),
    ("a GitLab token", re.compile(r"\bglpat-[A-Za-z0-9_-]{20}")),
    ("a Slack token", re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}")),
    ("a Stripe key", re.compile(r"\b[rs]k_live_[A-Za-z0-9]{16,}")),
    ("a Google API key", re.compile(r"\bAIza[A-Za-z0-9_-]{35}")),
    ("a JSON Web Token", re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}")),
)
# A template, a shell's or Kubernetes' variable, a path, a name in a store of secrets; and what is no value.
_ELSEWHERE: Final = re.compile(
    r"\s*(?:.*\{[{%].*|\$.*|/.*|arn:.*|projects/.*|vault:.*|true|false|none|null)?\s*", re.IGNORECASE
)


def plain_credentials(pod: Object) -> list[Problem]:
    """What looks like a credential, by field path of the pod; the messages say of what kind, and never quote it."""
    return [
        problem
        for path, container in all_containers(pod)
        for problem in (*_environment(path, container), *_command_line(path, container))
    ]


def _environment(path: str, container: Object) -> Iterator[Problem]:
    for index, variable in enumerate(container.get("env") or ()):
        name, value = str(variable.get("name") or ""), variable.get("value")
        if not isinstance(value, str):
            continue
        kind = _shape(value) or ("a credential, by its name" if _speaks(name) and _is_literal(value) else "")
        if kind:
            yield Problem(f"{path}.env[{index}].value", f"{name} is {kind}, in plain text; {_FIX}")


def _command_line(path: str, container: Object) -> Iterator[Problem]:
    for field in ("command", "args"):
        words: Sequence[Any] = container.get(field) or ()
        option = ""
        for index, word in enumerate(words):
            if not isinstance(word, str):
                continue
            name, equals, value = word.partition("=")
            is_option = word.startswith("-") and " " not in name and _speaks(name)
            kind = _shape(word)
            if not kind and is_option and equals and _is_literal(value):
                kind = f"the value of {name}"
            elif not kind and option and not word.startswith("-") and _is_literal(word):
                kind = f"the value of {option}"
            if kind:
                yield Problem(f"{path}.{field}[{index}]", f"is {kind}, in plain text; {_FIX}")
            option = name if is_option and not equals else ""


def _speaks(name: str) -> bool:
    return _NAMED.search(re.sub(r"[_\-.]", "", name).lower()) is not None


def _is_literal(value: str) -> bool:
    return _ELSEWHERE.fullmatch(value) is None


def _shape(value: str) -> str:
    return next((kind for kind, shape in _SHAPES if shape.search(value)), "")
