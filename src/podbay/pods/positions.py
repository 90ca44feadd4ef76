"""Where in a YAML text a field stands: one document read together with its nodes, so that complaints can name the line.

Used for pod templates and for podbay.yaml. Messages never quote the text itself, which may hold a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from podbay.errors import InvalidInputError
from podbay.pods.problems import Problem

__all__ = ["Document", "parse_document"]

_STEP = re.compile(r"\[([^\]]*)\]|([^.\[\]]+)")
_Loader: Any = getattr(yaml, "CSafeLoader", None) or yaml.SafeLoader


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document: its value and where each part of it was written."""

    root: yaml.Node
    value: Any

    def line(self, path: str) -> int:
        """The line, counted from 1, of the deepest part of the field path that the document has."""
        return _deepest(self.root, _steps(path)).start_mark.line + 1

    def repeated_keys(self) -> Iterator[Problem]:
        """YAML keeps the last of two equal keys, which hides half of what was written."""
        return _repeated_keys(self.root, "", set())

    def placed(self, problems: Iterable[Problem]) -> list[Problem]:
        """The problems with their lines before the field paths."""
        return [
            Problem(f"line {self.line(each.path)}: {each.path}".rstrip(": "), each.message)
            for each in problems
        ]


def parse_document(text: str | bytes, source: str, wanted: str) -> Document:
    """The one document of a text. `source` is the file's name, `wanted` what it should hold, for messages.

    Raises InvalidInputError for text that is not YAML, or no or several documents.
    """
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
        # The mark itself would quote the line.
        line = f":{err.problem_mark.line + 1}" if err.problem_mark else ""
        raise InvalidInputError(f"{source}{line}: not valid YAML: {err.problem or err.context}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise InvalidInputError(f"{source}: not valid YAML: {type(err).__name__}") from None
    except ValueError:
        # A date that no calendar has, an integer of a million digits.
        raise InvalidInputError(f"{source}: not valid YAML: a value cannot be read") from None
    if len(documents) != 1:
        found = f"{len(documents)} documents" if documents else "nothing"
        raise InvalidInputError(f"{source}: expected one {wanted}, found {found}")
    return Document(documents[0], values[0])


def _repeated_keys(node: yaml.Node, path: str, seen_nodes: set[int]) -> Iterator[Problem]:
    # An anchor may stand inside of what it names; its second appearance says nothing new.
    if id(node) in seen_nodes:
        return
    seen_nodes.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, child in node.value:
            name = str(key.value)
            if name in seen and name != "<<":
                yield Problem(_join(path, name), "stands here twice")
            seen.add(name)
            yield from _repeated_keys(child, _join(path, name), seen_nodes)
    elif isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            yield from _repeated_keys(child, f"{path}[{index}]", seen_nodes)


def _steps(path: str) -> Sequence[str | int]:
    return [
        int(bracketed) if bracketed.isascii() and bracketed.isdigit() else bracketed or plain
        for bracketed, plain in _STEP.findall(path)
    ]


def _deepest(node: yaml.Node, steps: Sequence[str | int]) -> yaml.Node:
    if not steps:
        return node
    step, rest = steps[0], steps[1:]
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        found: yaml.Node = node.value[step]
        return _deepest(found, rest)
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
