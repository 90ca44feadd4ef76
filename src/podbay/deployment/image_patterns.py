"""Images by pattern: which of the Secrets under pods.pull_secrets_by_image a pod is given. Pure.

A pattern is that of a shell over the complete name, REGISTRY/PATH or REGISTRY/PATH:TAG, with docker.io spelled out.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence

__all__ = ["complete_name", "pattern_errors", "secrets_for"]


def secrets_for(images: Iterable[str], by_image: Mapping[str, Sequence[str]]) -> list[str]:
    """The Secrets for these images, each once, in the order of the file."""
    names = [complete_name(each) for each in images]
    return list(
        dict.fromkeys(
            secret
            for pattern, secrets in by_image.items()
            if any(_fits(repository, tag, pattern) for repository, tag in names)
            for secret in secrets
        )
    )


def _fits(repository: str, tag: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(repository, pattern) or fnmatch.fnmatchcase(f"{repository}:{tag}", pattern)


def complete_name(image: str) -> tuple[str, str]:
    """(REGISTRY/PATH, tag) as engines complete short names; a digest alone has no tag."""
    name, _, digest = image.partition("@")
    head, slash, last = name.rpartition("/")
    base, _, tag = last.partition(":")
    path = f"{head}{slash}{base}"
    first, has_host, rest = path.partition("/")
    if not (has_host and ("." in first or ":" in first or first == "localhost")):
        first, rest = "docker.io", path
    if first in ("docker.io", "index.docker.io"):
        first, rest = "docker.io", rest if "/" in rest else f"library/{rest}"
    return f"{first}/{rest}", tag or ("" if digest else "latest")


def pattern_errors(text: str) -> Sequence[str]:
    """What is wrong with a pattern, as a person would want to know before no pod ever fits it."""
    host, slash, path = text.partition("/")
    if any(each.isspace() for each in text) or not slash or not path:
        return ["must be REGISTRY/PATH with * for whatever, such as ghcr.io/team/*"]
    if not any(each in host for each in ".:*") and host != "localhost":
        return [f"must begin with a registry; on Docker Hub: docker.io/{text}"]
    return []
