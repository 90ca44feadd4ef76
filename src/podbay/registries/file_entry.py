"""Edits a podbay.yaml: a Secret for every pod or by image, the digest of an alias. Comments and all else stay. Pure."""

from __future__ import annotations

from typing import Any, Final

import yaml

from podbay.deployment.reading import parse_deployment
from podbay.errors import InvalidInputError, PodbayError

__all__ = ["with_image", "with_pull_secret", "with_secret_for_images", "without_pull_secret"]

_BY_IMAGE: Final = "pull_secrets_by_image"


def with_pull_secret(text: str, name: str) -> str:
    """The text with the name added at the end. Raises InvalidInputError when the file is written in a way this cannot edit."""
    pods = _child(yaml.compose(text), "pods")
    secrets = _child(pods, "pull_secrets")
    if pods is None:
        changed = f"{text.rstrip()}\n\npods:\n  pull_secrets: [{name}]\n"
    elif secrets is None:
        changed = _line_before(text, pods, f"pull_secrets: [{name}]")
    else:
        changed = _with(text, secrets, name)
    return _checked(changed, name, there=True)


def with_secret_for_images(text: str, name: str, pattern: str) -> str:
    """The text with the name for images of the pattern. Raises InvalidInputError as with_pull_secret."""
    pods = _child(yaml.compose(text), "pods")
    by_image = _child(pods, _BY_IMAGE)
    secrets = _child(by_image, pattern)
    entry = f'"{pattern}": [{name}]'
    if pods is None:
        changed = f"{text.rstrip()}\n\npods:\n  {_BY_IMAGE}:\n    {entry}\n"
    elif by_image is None:
        changed = _line_before(text, pods, f"{_BY_IMAGE}:", f"  {entry}")
    elif secrets is None:
        changed = _line_before(text, by_image, entry)
    else:
        changed = _with(text, secrets, name)
    try:
        read = parse_deployment(changed).pods.pull_secrets_by_image.get(pattern, ())
    except PodbayError:
        read = ()
    if name not in read:
        raise InvalidInputError(
            f"add `{entry}` under pods.{_BY_IMAGE} yourself: the file is not written line by line"
        )
    return changed


def without_pull_secret(text: str, name: str) -> str:
    """The text without the name, for every pod and for images. Raises InvalidInputError as with_pull_secret."""
    pods = _child(yaml.compose(text), "pods")
    changed = _without(text, _child(pods, "pull_secrets"), name)
    by_image = _child(pods, _BY_IMAGE)
    for key in [key.value for key, _ in by_image.value] if isinstance(by_image, yaml.MappingNode) else ():
        now = _child(_child(yaml.compose(changed), "pods"), _BY_IMAGE)
        changed = _without(changed, _child(now, key), name)
    return changed if changed == text else _checked(changed, name, there=False)


def _with(text: str, secrets: Any, name: str) -> str:
    if not isinstance(secrets, yaml.SequenceNode):
        return text
    if secrets.flow_style:
        return _flow(text, secrets, [*_names(secrets), name])
    last = secrets.value[-1].end_mark.index
    return f"{text[:last]}\n{' ' * secrets.start_mark.column}- {name}{text[last:]}"


def _without(text: str, secrets: Any, name: str) -> str:
    if not isinstance(secrets, yaml.SequenceNode) or name not in _names(secrets):
        return text
    left = [each for each in _names(secrets) if each != name]
    if secrets.flow_style or not left:
        return _flow(text, secrets, left)
    lines = text.splitlines(keepends=True)
    gone = {each.start_mark.line for each in secrets.value if each.value == name}
    return "".join(line for number, line in enumerate(lines) if number not in gone)


def _line_before(text: str, mapping: Any, *lines: str) -> str:
    """The text with lines in front of a mapping's first entry, as far to the right; as it was where that has no line."""
    if not isinstance(mapping, yaml.MappingNode) or mapping.flow_style or not mapping.value:
        return text
    first = mapping.value[0][0].start_mark
    start, indent = first.index - first.column, " " * first.column
    # A comment above the entry is about it.
    while text[:start].rpartition("\n")[0].rpartition("\n")[2].lstrip().startswith("#"):
        start = text.rindex("\n", 0, start - 1) + 1
    return f"{text[:start]}{''.join(f'{indent}{each}{chr(10)}' for each in lines)}{text[start:]}"


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
        pods = parse_deployment(text).pods
        read = pods.pull_secrets if there else pods.all_pull_secrets
    except PodbayError:
        read = None
    if read is None or (name in read) != there:
        verb = "add" if there else "remove"
        raise InvalidInputError(
            f"{verb} `{name}` under pods.pull_secrets yourself: the file is not written line by line"
        )
    return text
