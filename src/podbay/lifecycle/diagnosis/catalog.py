"""All categories by family, and docs/diagnosis.md made from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from podbay.lifecycle.diagnosis import (
    admission_rules,
    cluster,
    configuration,
    deadlines,
    disruptions,
    endings,
    exits,
    images,
    leftovers,
    quota,
    results,
    scheduling,
    starting,
    volumes,
)
from podbay.lifecycle.diagnosis.category import Category

__all__ = ["FAMILIES", "as_markdown", "by_word", "link_of"]

FAMILIES: Final[Sequence[tuple[str, Sequence[Category]]]] = (
    ("Refused by the API server", (*quota.CATEGORIES, *admission_rules.CATEGORIES)),
    ("Waiting for a node", scheduling.CATEGORIES),
    ("Images", images.CATEGORIES),
    ("What the pod refers to", configuration.CATEGORIES),
    ("Volumes", volumes.CATEGORIES),
    ("Starting containers", starting.CATEGORIES),
    ("How containers ended", (*exits.CATEGORIES, *endings.CATEGORIES)),
    ("Ended from outside", disruptions.CATEGORIES),
    ("Results", results.CATEGORIES),
    ("Deadlines", deadlines.CATEGORIES),
    ("Reaching the cluster", cluster.CATEGORIES),
    ("Not known more exactly", leftovers.CATEGORIES),
)

_HEAD: Final = """\
# Diagnosis

Why a pod does not start, go on or end well. Each cause has one word that never changes its meaning; programs may compare
it. A diagnosis also names the object concerned, the evidence and the change to make; it never shows the value of an
environment variable. `diagnose(facts)` in `podbay.lifecycle.diagnosis.diagnose` makes it from the pod, its events, its
nodes and what the API server said.

- **mend**: who can mend it. *user*: who wrote the task. *platform*: who runs cluster, registry and quota.
  *infrastructure*: nobody, try again.
- **heals**: whether waiting helps. *never*: fail at once, somebody must change something. *maybe*: wait as long as the
  deadlines allow. *itself*: a queue, with its own, longer clock.

A Secret or ConfigMap that does not exist counts as *never*, like a key that is missing from it: the pod cannot start
before a person acts. Requirements that no node meets count as *maybe*, because an autoscaler may bring such a node.

This page is generated: `script/update-diagnosis` writes it.
"""


def by_word() -> dict[str, Category]:
    """Every category by its word. Families share none."""
    return {each.word: each for _, categories in FAMILIES for each in categories}


def link_of(category: str) -> str:
    """Where the documentation speaks of a category, relative to docs/."""
    return f"diagnosis.md#{category.lower()}"


def as_markdown() -> str:
    """The whole page."""
    parts = [_HEAD]
    for title, categories in FAMILIES:
        rows = [
            f'| <a id="{each.anchor}"></a>`{each.word}` | {each.meaning} | {each.blame} | {each.heals} | {each.fix} |'
            for each in categories
        ]
        table = "\n".join(
            ["| category | meaning | mend | heals | what to do |", "|---|---|---|---|---|", *rows]
        )
        parts.append(f"## {title}\n\n{table}\n")
    return "\n".join(parts)
