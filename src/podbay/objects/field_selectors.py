"""Field selectors: parsing, printing and matching, with the API's error texts.

Not for telling which fields a resource lets select on (ResourceType.fields does).
Source: k8s.io/apimachinery/pkg/fields/selector.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["FieldRequirement", "FieldSelector"]


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """One condition on one field; operator is "=" or "!=", value is unescaped."""

    field: str
    operator: Literal["=", "!="]
    value: str

    def matches(self, fields: Mapping[str, str]) -> bool:
        return (fields.get(self.field, "") == self.value) == (self.operator == "=")

    def __str__(self) -> str:
        return f"{self.field}{self.operator}{_escape(self.value)}"


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """All requirements must hold; a field that is absent has the empty value."""

    requirements: tuple[FieldRequirement, ...] = ()

    @classmethod
    def parse(cls, text: str) -> FieldSelector:
        """Read `metadata.name=a,status.phase!=Running`; raises ValueError with the API's words."""
        return cls(tuple(_parse_term(text, term) for term in sorted(_split_terms(text)) if term))

    @property
    def empty(self) -> bool:
        return not self.requirements

    def exact(self, field: str) -> str | None:
        """The one value the selector requires of field, or None."""
        return next((r.value for r in self.requirements if r.field == field and r.operator == "="), None)

    def matches(self, fields: Mapping[str, str]) -> bool:
        return all(r.matches(fields) for r in self.requirements)

    def __str__(self) -> str:
        return ",".join(str(r) for r in self.requirements)


def _split_terms(text: str) -> list[str]:
    """Cut at commas that no backslash protects; backslashes stay."""
    terms: list[str] = []
    start = 0
    protected = False
    for i, ch in enumerate(text):
        if protected:
            protected = False
        elif ch == "\\":
            protected = True
        elif ch == ",":
            terms.append(text[start:i])
            start = i + 1
    terms.append(text[start:])
    return terms


def _parse_term(selector: str, term: str) -> FieldRequirement:
    for i in range(len(term)):
        for sign in ("!=", "==", "="):
            if term.startswith(sign, i):
                value = _unescape(term[i + len(sign) :])
                return FieldRequirement(term[:i], "!=" if sign == "!=" else "=", value)
    raise ValueError(f"invalid selector: '{selector}'; can't understand '{term}'")


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


def _unescape(value: str) -> str:
    out: list[str] = []
    protected = False
    for ch in value:
        if protected:
            if ch not in "\\,=":
                raise ValueError(f"invalid field selector: invalid escape sequence: \\{ch}")
            out.append(ch)
            protected = False
        elif ch == "\\":
            protected = True
        elif ch in ",=":
            raise ValueError(f"invalid field selector: unescaped character in value: {ord(ch)}")
        else:
            out.append(ch)
    if protected:
        raise ValueError("invalid field selector: invalid escape sequence: \\")
    return "".join(out)
