"""Other people's words made fit to show: one line, short, without values of environment variables or logins in URLs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from podbay.lifecycle.diagnosis.model import Diagnosis
from podbay.lifecycle.diagnosis.reading import as_list, as_map, as_text

__all__ = ["cleaner", "env_values", "host_of", "polish", "tag_of"]

_MASK: Final = "***"
_LINE_MAX: Final = 300
_TAIL: Final = 150
"""Of a text that is cut: parts wrap each other's words, so the reason stands at the end."""
_CAUSE_MAX: Final = 500
_EVIDENCE_MAX: Final = 6
_VALUE_MIN: Final = 4
"""Shorter values ("1", "on") are parts of ordinary words and give nothing away."""
_PLAIN: Final = frozenset({"true", "false", "none", "null", "info", "debug", "warn", "warning", "error"})

_URL_LOGIN: Final = re.compile(r"(?<=://)[^/\s@\"']+@")
_URL_QUERY: Final = re.compile(r"(\b\w+://[^\s?\"']+)\?[^\s\"']+")
_BEARER: Final = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE)


def env_values(pod: Mapping[str, Any]) -> list[str]:
    """Every literal value of an environment variable in the pod that must not be shown, the longest first.

    What the pod says openly about itself (its name, image, namespace) stays readable even if a variable repeats it.
    """
    spec = as_map(pod.get("spec"))
    found: set[str] = set()
    public = _public_words(pod)
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in as_list(spec.get(field)):
            public |= {as_text(as_map(container).get("name")), as_text(as_map(container).get("image"))}
            for entry in as_list(as_map(container).get("env")):
                value = as_map(entry).get("value")
                if isinstance(value, str):
                    found |= {value, value.strip(), *value.splitlines()}
    hidden = {v for v in found if len(v.strip()) >= _VALUE_MIN and v.lower() not in _PLAIN}
    return sorted(hidden - public, key=lambda value: (-len(value), value))


def _public_words(pod: Mapping[str, Any]) -> set[str]:
    metadata, spec = as_map(pod.get("metadata")), as_map(pod.get("spec"))
    told = (
        metadata.get("name"),
        metadata.get("namespace"),
        spec.get("nodeName"),
        spec.get("serviceAccountName"),
    )
    return {as_text(word) for word in told}


def cleaner(hidden: Iterable[str]) -> Callable[[str], str]:
    """A function that makes a text one line and masks what must not be seen."""
    values = tuple(hidden)
    # A value that a message quotes may have been escaped on the way.
    escaped = [each for value in values for each in (value, value.replace("\\", "\\\\").replace('"', '\\"'))]
    secret = re.compile("|".join(re.escape(value) for value in dict.fromkeys(escaped))) if values else None

    def clean(text: str) -> str:
        if secret is not None:
            text = secret.sub(_MASK, text)
        text = _URL_LOGIN.sub(f"{_MASK}@", text)
        text = _URL_QUERY.sub(r"\1?…", text)
        text = _BEARER.sub(rf"\1 {_MASK}", text)
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        # Blanks that were made one may have put a value together again.
        return secret.sub(_MASK, text) if secret is not None else text

    return clean


def polish(diagnosis: Diagnosis, clean: Callable[[str], str]) -> Diagnosis:
    """The diagnosis as it may be shown: everything cleaned and shortened in its middle, no line of evidence twice."""
    lines = dict.fromkeys(_cut(clean(line), _LINE_MAX) for line in diagnosis.evidence)
    return replace(
        diagnosis,
        cause=_cut(clean(diagnosis.cause), _CAUSE_MAX).rstrip(". "),
        fix=_cut(clean(diagnosis.fix), _CAUSE_MAX),
        evidence=tuple(line for line in lines if line)[:_EVIDENCE_MAX],
        container=None if diagnosis.container is None else clean(diagnosis.container),
    )


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return f"{text[: limit - _TAIL - 1].rstrip()}…{text[-_TAIL:].lstrip()}"


def host_of(image: str) -> str:
    """The registry an image name means."""
    first, slash, _ = image.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return first if is_host else "docker.io"


def tag_of(image: str) -> str:
    """What of a repository an image name means: `tag "1.2"` or `digest sha256:…`."""
    name, at, digest = image.partition("@")
    if at:
        return f"digest {digest[:19]}…" if len(digest) > 19 else f"digest {digest}"
    _, colon, tag = name.rpartition("/")[2].partition(":")
    return f'tag "{tag}"' if colon else 'tag "latest"'
