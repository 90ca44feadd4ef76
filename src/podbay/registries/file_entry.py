"""Edits a podbay.yaml: a Secret under pods.pull_secrets, the digest of an alias. Comments and all else stay. Pure."""

from __future__ import annotations

from typing import Any

import yaml

from podbay.deployment.reading import parse_deployment
from podbay.errors import InvalidInputError, PodbayError

__all__ = ["with_image", "with_pull_secret", "without_pull_secret"]


def with_pull_secret(text: str, name: str) -> str:
    """The text with the name added at the end. Raises InvalidInputError when the file is written in a way this cannot edit."""
    pods = _child(yaml.compose(text), "pods")
    secrets = _child(pods, "pull_secrets")
    if pods is None:
        changed = f"{text.rstrip()}\n\npods:\n  pull_secrets: [{name}]\n"
    elif not isinstance(pods, yaml.MappingNode) or pods.flow_style or not pods.value:
        changed = text
    elif secrets is None:
        first = pods.value[0][0].start_mark
        start = first.index - first.column
        changed = f"{text[:start]}{' ' * first.column}pull_secrets: [{name}]\n{text[start:]}"
    elif not isinstance(secrets, yaml.SequenceNode):
        changed = text
    elif secrets.flow_style:
        changed = _flow(text, secrets, [*_names(secrets), name])
    else:
        last = secrets.value[-1].end_mark.index
        changed = f"{text[:last]}\n{' ' * secrets.start_mark.column}- {name}{text[last:]}"
    return _checked(changed, name, there=True)


def without_pull_secret(text: str, name: str) -> str:
    """The text without the name. Raises InvalidInputError as with_pull_secret."""
    secrets = _child(_child(yaml.compose(text), "pods"), "pull_secrets")
    if not isinstance(secrets, yaml.SequenceNode) or name not in _names(secrets):
        return text
    left = [each for each in _names(secrets) if each != name]
    if secrets.flow_style or not left:
        changed = _flow(text, secrets, left)
    else:
        lines = text.splitlines(keepends=True)
        gone = {each.start_mark.line for each in secrets.value if each.value == name}
        changed = "".join(line for number, line in enumerate(lines) if number not in gone)
    return _checked(changed, name, there=False)


def with_image(text: str, alias: str, image: str) -> str:
    """The text with another image for an alias of `images`. Raises InvalidInputError as with_pull_secret."""
    there = _child(_child(yaml.compose(text), "images"), alias)
    changed = text
    if isinstance(there, yaml.ScalarNode) and there.style not in ("|", ">"):
        quote = there.style or ""
        start, end = there.start_mark.index, there.end_mark.index
        changed = f"{text[:start]}{quote}{image}{quote}{text[end:]}"
    try:
        read = parse_deployment(changed).images.get(alias)
    except PodbayError:
        read = None
    if read != image:
        raise InvalidInputError(
            f"write `{alias}: {image}` under images yourself: the file is not written line by line"
        )
    return changed


def _child(node: Any, key: str) -> Any:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for found, value in node.value if found.value == key), None)


def _names(sequence: yaml.SequenceNode) -> list[str]:
    return [str(each.value) for each in sequence.value]


def _flow(text: str, sequence: yaml.SequenceNode, names: list[str]) -> str:
    start, end = sequence.start_mark.index, sequence.end_mark.index
    if not sequence.flow_style:
        # A block sequence begins on a line of its own; what replaces it belongs behind the colon.
        start = text.rindex(":", 0, start) + 1
        last = sequence.value[-1].end_mark.index
        return f"{text[:start]} [{', '.join(names)}]{text[last:]}"
    return f"{text[:start]}[{', '.join(names)}]{text[end:]}"


def _checked(text: str, name: str, *, there: bool) -> str:
    try:
        read = parse_deployment(text).pods.pull_secrets
    except PodbayError:
        read = None
    if read is None or (name in read) != there:
        verb = "add" if there else "remove"
        raise InvalidInputError(
            f"{verb} `{name}` under pods.pull_secrets yourself: the file is not written line by line"
        )
    return text
