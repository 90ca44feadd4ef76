"""Label selectors: parsing, printing and matching, with the API's error texts. Field selectors are exported too.

Not for validating selectors inside objects with field paths (apiserver/label_selectors.py).
Source: k8s.io/apimachinery/pkg/labels/selector.go and pkg/apis/meta/v1/helpers.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from podbay.objects.field_selectors import FieldRequirement, FieldSelector
from podbay.objects.names import label_value_errors, qualified_name_errors
from podbay.objects.quoting import go_quote

__all__ = [
    "FieldRequirement",
    "FieldSelector",
    "LabelOperator",
    "LabelRequirement",
    "LabelSelector",
]

LabelOperator: TypeAlias = Literal["=", "==", "!=", "in", "notin", "exists", "!", "gt", "lt"]

_BINARY_OPERATORS = ("in", "notin", "=", "==", "!=", "gt", "lt")
_OBJECT_OPERATORS: dict[str, LabelOperator] = {
    "In": "in",
    "NotIn": "notin",
    "Exists": "exists",
    "DoesNotExist": "!",
}


@dataclass(frozen=True, slots=True)
class LabelRequirement:
    """One condition on one label; values are sorted when there is more than one."""

    key: str
    operator: LabelOperator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels satisfy this condition; a missing label satisfies the negative operators only."""
        value = labels.get(self.key)
        match self.operator:
            case "in" | "=" | "==":
                return value is not None and value in self.values
            case "notin" | "!=":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        number, bound = _int64(value), _int64(self.values[0])
        if number is None or bound is None:
            return False
        return number > bound if self.operator == "gt" else number < bound

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"
        sign = {"gt": ">", "lt": "<"}.get(self.operator, self.operator)
        return f"{self.key}{sign}{self.values[0]}"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements must hold; none select everything. `nothing` is the selector that selects nothing."""

    requirements: tuple[LabelRequirement, ...] = ()
    nothing: bool = False

    @classmethod
    def parse(cls, text: str) -> LabelSelector:
        """Read `a=b,c in (d,e),!f`; raises ValueError with the API's words."""
        if not text:
            return _EVERYTHING
        requirements = _LabelParser(text).parse()
        return cls(tuple(sorted(requirements, key=lambda r: r.key)))

    @classmethod
    def from_object(cls, selector: Mapping[str, Any] | None) -> LabelSelector:
        """Read a `metav1.LabelSelector` object: None selects nothing, an empty one everything.

        Raises ValueError for an unknown operator and for keys or values that cannot be labels.
        """
        if selector is None:
            return cls(nothing=True)
        requirements = [
            _requirement(key, "=", [value]) for key, value in (selector.get("matchLabels") or {}).items()
        ]
        for expression in selector.get("matchExpressions") or ():
            operator = _OBJECT_OPERATORS.get(expression.get("operator") or "")
            if operator is None:
                quoted = go_quote(expression.get("operator") or "")
                raise ValueError(f"{quoted} is not a valid label selector operator")
            requirements.append(
                _requirement(expression.get("key") or "", operator, expression.get("values") or [])
            )
        return cls(tuple(sorted(requirements, key=lambda r: r.key)))

    @classmethod
    def from_set(cls, labels: Mapping[str, str]) -> LabelSelector:
        """Equality with every given label, without validation; empty selects everything."""
        return cls(tuple(LabelRequirement(k, "=", (labels[k],)) for k in sorted(labels)))

    @property
    def empty(self) -> bool:
        """Whether everything is selected."""
        return not self.requirements and not self.nothing

    def matches(self, labels: Mapping[str, str]) -> bool:
        return not self.nothing and all(r.matches(labels) for r in self.requirements)

    def __str__(self) -> str:
        return ",".join(str(r) for r in self.requirements)


_EVERYTHING = LabelSelector()


def _int64(text: str | None) -> int | None:
    """Go's ParseInt(text, 10, 64), or None."""
    if not text or not text.isascii() or not text.removeprefix("-").removeprefix("+").isdigit():
        return None
    if text[0] in "+-" and not text[1].isdigit():
        return None
    number = int(text) if len(text) < 40 else 2**63
    return number if -(2**63) <= number < 2**63 else None


def _requirement(key: str, operator: LabelOperator, values: Iterable[str]) -> LabelRequirement:
    """A checked requirement (Go: NewRequirement)."""
    listed = list(values)
    errors = [
        f"key: Invalid value: {go_quote(key)}: {'; '.join(e)}" for e in [qualified_name_errors(key)] if e
    ]
    problem = _count_error(operator, len(listed))
    if problem:
        shown = "[" + ",".join(go_quote(v) for v in listed) + "]" if listed else "null"
        errors.append(f"values: Invalid value: {shown}: {problem}")
    if operator in ("gt", "lt"):
        for i, value in enumerate(listed):
            if _int64(value) is None:
                detail = "for 'Gt', 'Lt' operators, the value must be an integer"
                errors.append(f"values[{i}]: Invalid value: {go_quote(value)}: {detail}")
    for i, value in enumerate(listed):
        found = label_value_errors(value)
        if found:
            errors.append(f"values[{i}][{key}]: Invalid value: {go_quote(value)}: {'; '.join(found)}")
    if errors:
        unique = list(dict.fromkeys(errors))
        raise ValueError(unique[0] if len(unique) == 1 else "[" + ", ".join(unique) + "]")
    return LabelRequirement(key, operator, tuple(listed))


def _count_error(operator: LabelOperator, count: int) -> str:
    if operator in ("in", "notin"):
        return "for 'in', 'notin' operators, values set can't be empty" if count == 0 else ""
    if operator in ("exists", "!"):
        return "values set must be empty for exists and does not exist" if count else ""
    if count == 1:
        return ""
    if operator in ("gt", "lt"):
        return "for 'Gt', 'Lt' operators, exactly one value is required"
    return "exact-match compatibility requires one single value"


_SYMBOLS = "=!(),><"
_BLANKS = " \t\r\n"
_TOKENS = frozenset({")", ",", "!", "==", "=", ">", "in", "<", "!=", "notin", "("})
_IDENTIFIER = "identifier"
_END = ""
_ERROR = "error"
_Token: TypeAlias = tuple[str, str]
"""(type, literal): the type of a keyword or symbol is itself."""

_OPERATORS: dict[str, LabelOperator] = {
    "in": "in",
    "notin": "notin",
    "=": "=",
    "==": "==",
    "!=": "!=",
    ">": "gt",
    "<": "lt",
}


def _tokens(text: str) -> list[_Token]:
    """The lexer: symbols are read greedily, words may turn out to be keywords."""
    found: list[_Token] = []
    pos = 0
    text = text.split("\0", 1)[0]
    while True:
        while pos < len(text) and text[pos] in _BLANKS:
            pos += 1
        if pos == len(text):
            found.append((_END, ""))
            return found
        start = pos
        if text[pos] not in _SYMBOLS:
            while pos < len(text) and text[pos] not in _SYMBOLS and text[pos] not in _BLANKS:
                pos += 1
            word = text[start:pos]
            found.append((word if word in _TOKENS else _IDENTIFIER, word))
            continue
        pos, token = _symbol(text, start)
        found.append(token)


def _symbol(text: str, start: int) -> tuple[int, _Token]:
    last = ""
    pos = start
    while pos < len(text) and text[pos] in _SYMBOLS:
        pos += 1
        if text[start:pos] in _TOKENS:
            last = text[start:pos]
        elif last:
            pos -= 1
            break
    return pos, (last, last)


class _LabelParser:
    """Recursive descent over the tokens of one selector."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._position = 0

    def _look(self, *, as_value: bool = True) -> _Token:
        """The next token; where values may stand, `in` and `notin` are ordinary words."""
        kind, literal = self._tokens[min(self._position, len(self._tokens) - 1)]
        return (_IDENTIFIER, literal) if as_value and kind in ("in", "notin") else (kind, literal)

    def _take(self, *, as_value: bool = True) -> _Token:
        token = self._look(as_value=as_value)
        self._position += 1
        return token

    def parse(self) -> list[LabelRequirement]:
        requirements: list[LabelRequirement] = []
        while True:
            kind, literal = self._look()
            if kind == _END:
                return requirements
            if kind not in (_IDENTIFIER, "!"):
                raise ValueError(f"found '{literal}', expected: !, identifier, or 'end of string'")
            try:
                requirements.append(self._parse_requirement())
            except ValueError as error:
                raise ValueError(f"unable to parse requirement: {error}") from None
            kind, literal = self._take()
            if kind == _END:
                return requirements
            if kind != ",":
                raise ValueError(f"found '{literal}', expected: ',' or 'end of string'")
            kind, literal = self._look()
            if kind not in (_IDENTIFIER, "!"):
                raise ValueError(f"found '{literal}', expected: identifier after ','")

    def _parse_requirement(self) -> LabelRequirement:
        kind, key = self._take()
        negated = kind == "!"
        if negated:
            kind, key = self._take()
        if kind != _IDENTIFIER:
            raise ValueError(f"found '{key}', expected: identifier")
        errors = qualified_name_errors(key)
        if errors:
            raise ValueError(f"<nil>: Invalid value: {go_quote(key)}: {'; '.join(errors)}")
        if negated:
            return _requirement(key, "!", [])
        if self._look()[0] in (_END, ","):
            return _requirement(key, "exists", [])
        kind, literal = self._take(as_value=False)
        operator = _OPERATORS.get(kind)
        if operator is None:
            raise ValueError(f"found '{literal}', expected: {', '.join(_BINARY_OPERATORS)}")
        values = self._parse_values() if operator in ("in", "notin") else {self._parse_exact_value()}
        return _requirement(key, operator, sorted(values))

    def _parse_exact_value(self) -> str:
        kind, _ = self._look()
        if kind in (_END, ","):
            return ""
        kind, literal = self._take()
        if kind != _IDENTIFIER:
            raise ValueError(f"found '{literal}', expected: identifier")
        return literal

    def _parse_values(self) -> set[str]:
        kind, literal = self._take()
        if kind != "(":
            raise ValueError(f"found '{literal}' expected: '('")
        kind, literal = self._look()
        if kind == ")":
            self._take()
            return {""}
        if kind not in (_IDENTIFIER, ","):
            raise ValueError(f"found '{literal}', expected: ',', ')' or identifier")
        values = self._parse_identifiers()
        if self._take()[0] != ")":
            raise ValueError(f"found '{literal}', expected: ')'")
        return values

    def _parse_identifiers(self) -> set[str]:
        values: set[str] = set()
        while True:
            kind, literal = self._take()
            following, following_literal = self._look()
            if kind == _IDENTIFIER:
                values.add(literal)
                if following == ")":
                    return values
                if following != ",":
                    raise ValueError(f"found '{following_literal}', expected: ',' or ')'")
            elif kind == ",":
                if not values:
                    values.add("")
                if following in (")", ","):
                    values.add("")
                if following == ")":
                    return values
            else:
                raise ValueError(f"found '{literal}', expected: ',', or identifier")
