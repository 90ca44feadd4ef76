"""Pod templates and full pod specs: read from YAML text, a mapping or a client's V1Pod, and checked field by field.

Text comes from the caller (`pod_template_file` is read by whoever may read files); here it gets its positions, so that
every complaint names file, line and field path. Stricter than the upstream provider, which drops unknown fields and
words of the wrong type without a sound. Not for combining layers (merge.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from podbay.errors import InvalidInputError
from podbay.objects.meta import Object
from podbay.pods.fields import convert
from podbay.pods.problems import Problem, refuse

__all__ = ["load_template", "template_of"]

_Loader: Any = getattr(yaml, "CSafeLoader", None) or yaml.SafeLoader


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
    root, value = _parse(text, source)
    problems = list(_repeated_keys(root, ""))
    pod = _pod(value, problems)
    placed = [
        Problem(f"line {_line(root, each.path)}: {each.path}".rstrip(": "), each.message) for each in problems
    ]
    refuse(source, placed)
    return pod


def _parse(text: str | bytes, source: str) -> tuple[yaml.Node, Any]:
    try:
        loader = _Loader(text)
        try:
            nodes = []
            while loader.check_node():
                nodes.append(loader.get_node())
            documents = [node for node in nodes if node.tag != "tag:yaml.org,2002:null"]
            values = [loader.construct_document(node) for node in documents]
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as err:
        # The mark itself would quote the line, which may hold a secret.
        line = f":{err.problem_mark.line + 1}" if err.problem_mark else ""
        raise InvalidInputError(f"{source}{line}: not valid YAML: {err.problem or err.context}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise InvalidInputError(f"{source}: not valid YAML: {type(err).__name__}") from None
    if len(documents) != 1:
        found = f"{len(documents)} documents" if documents else "nothing"
        raise InvalidInputError(f"{source}: expected one Pod, found {found}")
    return documents[0], values[0]


def _pod(value: Any, problems: list[Problem]) -> Object:
    pod = convert(value, "Pod", "", problems) or {}
    kind = pod.get("kind")
    if kind not in (None, "", "Pod"):
        problems.append(Problem("kind", f"must be Pod, not {kind}"))
    if pod.get("apiVersion") not in (None, "", "v1"):
        problems.append(Problem("apiVersion", f"must be v1, not {pod['apiVersion']}"))
    return pod


def _repeated_keys(node: yaml.Node, path: str) -> Iterator[Problem]:
    """YAML keeps the last of two equal keys; in a pod that is a slip which hides half of what was written."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, child in node.value:
            name = str(key.value)
            if name in seen and name != "<<":
                yield Problem(_join(path, name), "stands here twice")
            seen.add(name)
            yield from _repeated_keys(child, _join(path, name))
    elif isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            yield from _repeated_keys(child, f"{path}[{index}]")


def _line(root: yaml.Node, path: str) -> int:
    """The line, counted from 1, of the deepest part of the path that the document has."""
    return _deepest(root, _steps(path)).start_mark.line + 1


def _steps(path: str) -> Sequence[str | int]:
    steps: list[str | int] = []
    for part in path.replace("]", "").replace("[", ".[").split("."):
        if part.startswith("["):
            steps.append(int(part[1:]) if part[1:].isdigit() else part[1:])
        elif part:
            steps.append(part)
    return steps


def _deepest(node: yaml.Node, steps: Sequence[str | int]) -> yaml.Node:
    if not steps:
        return node
    step, rest = steps[0], steps[1:]
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return _deepest(node.value[step], rest)
    if isinstance(node, yaml.MappingNode):
        # The last of equal keys: the first is what the complaint about repetition is not about.
        for key, child in reversed(node.value):
            if _same_name(str(key.value), str(step)):
                found = _deepest(child, rest)
                return key if found is child else found
    return node


def _same_name(written: str, wanted: str) -> bool:
    return written == wanted or written.replace("_", "").lower() == wanted.replace("_", "").lower()


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
