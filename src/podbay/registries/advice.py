"""What facts of an image mean for the nodes that are to run it, as sentences with the fix. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from podbay.registries.facts import ImageFacts

__all__ = ["Severity", "architecture_advice"]

Severity: TypeAlias = Literal["problem", "warning"]


def architecture_advice(facts: ImageFacts, wanted: Sequence[str]) -> tuple[Severity, str] | None:
    """Whether the image runs on nodes of these architectures (kubernetes.io/arch). None: on all of them.

    A problem when it runs on none, a warning when the scheduler may choose a node on which it does not.
    """
    lacking = [each for each in wanted if not _has(facts, each)]
    if not lacking:
        return None
    there = ", ".join(each.platform for each in facts.platforms) or "no platform at all"
    first = lacking[0]
    fix = (
        f"Build it for them: docker buildx build --platform={','.join(f'linux/{each}' for each in wanted)} …"
    )
    if len(lacking) == len(wanted):
        nodes = " or ".join(f"linux/{each}" for each in wanted)
        if len(wanted) == 1:
            fix = f"Build it for them: docker build --platform=linux/{first} …"
        return "problem", f"{facts.name} is for {there}; the nodes are {nodes}. {fix}"
    good = ", ".join(each for each in wanted if each not in lacking)
    return (
        "warning",
        f"{facts.name} is for {there}; nodes that are {', '.join(lacking)} cannot run it. {fix} "
        f"Or choose nodes by kubernetes.io/arch: {good}.",
    )


def _has(facts: ImageFacts, architecture: str) -> bool:
    return any(
        each.architecture == architecture and each.platform.startswith("linux/") for each in facts.platforms
    )
