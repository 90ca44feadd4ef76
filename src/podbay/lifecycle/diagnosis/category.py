"""A cause that can be told apart: its stable word, what it means, whose it is, whether waiting helps, what to do.

The words are a promise (docs/diagnosis.md is made from them): new ones may come, none changes its meaning or its `heals`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from podbay.lifecycle.diagnosis.model import Blame, Diagnosis, Heals

__all__ = ["Category", "Rule", "first_rule", "rule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """One row of docs/diagnosis.md."""

    word: str
    meaning: str
    fix: str
    """What to do, when nothing more exact is known."""
    blame: Blame
    heals: Heals

    @property
    def anchor(self) -> str:
        """The fragment of a link to its row in docs/diagnosis.md."""
        return self.word.lower()

    def found(
        self, cause: str, *, fix: str = "", evidence: Iterable[str] = (), container: str | None = None
    ) -> Diagnosis:
        return Diagnosis(
            category=self.word,
            cause=cause,
            fix=fix or self.fix,
            blame=self.blame,
            heals=self.heals,
            evidence=tuple(line for line in evidence if line),
            container=container,
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """Words that prove a category. cause and fix are formats over the pattern's groups and the names a caller gives."""

    category: Category
    pattern: re.Pattern[str]
    cause: str
    fix: str = ""

    def told(self, match: re.Match[str], names: Mapping[str, Any]) -> tuple[str, str]:
        """Cause and fix with everything filled in; the fix is empty when the category's own is meant."""
        groups = match.groupdict()
        values = {
            **dict.fromkeys(groups, ""),
            **names,
            **{key: value for key, value in groups.items() if value},
        }
        return self.cause.format(**values), self.fix.format(**values)


def rule(category: Category, pattern: str, cause: str, fix: str = "") -> Rule:
    """A Rule from the pattern's text; case does not count, runtimes differ in it."""
    return Rule(category, re.compile(pattern, re.IGNORECASE | re.DOTALL), cause, fix)


def first_rule(rules: Iterable[Rule], texts: Iterable[str]) -> tuple[Rule, re.Match[str]] | None:
    """The first text that any rule knows, by the first rule that knows it: texts by weight, rules by exactness."""
    known = tuple(rules)
    for text in texts:
        for each in known:
            match = each.pattern.search(text)
            if match is not None:
                return each, match
    return None
