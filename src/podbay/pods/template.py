"""Pod templates and full pod specs: read from YAML text, a mapping or a client's V1Pod, and checked field by field.

Text comes from the caller (`pod_template_file` is read by whoever may read files); here it gets its positions, so that
every complaint names file, line and field path. Stricter than the upstream provider, which drops unknown fields and
words of the wrong type without a sound. Not for combining layers (merge.py).
"""

from __future__ import annotations

from typing import Any

from podbay.objects.meta import Object
from podbay.pods.fields import convert
from podbay.pods.positions import parse_document
from podbay.pods.problems import Problem, refuse

__all__ = ["load_template", "template_of"]


def template_of(value: Any, source: str = "template") -> Object:
    """A pod out of a mapping or a V1Pod-like object. `source` is the parameter's name for messages.

    Raises InvalidInputError with every problem and its field path.
    """
    problems: list[Problem] = []
    pod = _pod(value, problems)
    refuse(source, problems)
    return pod


def load_template(text: str | bytes, source: str) -> Object:
    """A pod out of YAML (or JSON) text. `source` is the file's name for messages.

    Raises InvalidInputError with file, line and field path of every problem.
    """
    document = parse_document(text, source, "Pod")
    problems = list(document.repeated_keys())
    pod = _pod(document.value, problems)
    refuse(source, document.placed(problems))
    return pod


def _pod(value: Any, problems: list[Problem]) -> Object:
    pod = convert(value, "Pod", "", problems) or {}
    kind = pod.get("kind")
    if kind not in (None, "", "Pod"):
        problems.append(Problem("kind", f"must be Pod, not {kind}"))
    if pod.get("apiVersion") not in (None, "", "v1"):
        problems.append(Problem("apiVersion", f"must be v1, not {pod['apiVersion']}"))
    return pod
