"""Compiling and running CEL expressions as kube-apiserver does for admission policies.

Two environments of the runtime (cel-expr-python, the CEL project's C++ implementation): one knows the types that
Kubernetes declares and checks; the other runs what was checked, where those types are maps (library/declare.py).
Source: k8s.io/apiserver/pkg/cel/environment/base.go, pkg/admission/plugin/cel/{compile,activation}.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from podbay.apiserver.cel.library import functions
from podbay.apiserver.cel.library.authorization import Asker
from podbay.apiserver.cel.library.declare import OPAQUE_TYPES, Function, is_opaque

__all__ = ["NO_FIELDS", "Compiled", "Compiler", "Outcome", "Runner"]

_EXTENSIONS = """
extensions:
- {name: strings, version: 2}
- {name: optional}
- {name: lists}
- {name: sets}
- {name: two-var-comprehensions}
"""


@dataclass(frozen=True, slots=True)
class Compiled:
    """An expression that was checked, or `error` in the words of kube-apiserver ("compilation failed: …")."""

    source: str
    program: bytes = b""
    result: str = ""
    """The type of its value in CEL's spelling ("bool", "list(string)")."""
    error: str = ""


class Outcome(NamedTuple):
    """What an expression came to; kind is the runtime's name of the value's type ("BOOL")."""

    value: Any = None
    kind: str = ""
    error: str = ""


class Compiler:
    """Checks expressions of one policy: which variables there are, and what earlier variables came to."""

    def __init__(self, *, params: bool) -> None:
        self._params = params
        self._variables: dict[str, Any] = {}
        self._environments: dict[bool, Any] = {}

    def compile(self, source: str, *returns: str, authorizer: bool = True) -> Compiled:
        """Check an expression; without `returns` it may come to anything."""
        checked, error = self._check(source, authorizer)
        if checked is None:
            return Compiled(source, error=f"compilation failed: {error}")
        result = _spelled(checked.return_type())
        if returns and result not in returns:
            wanted = f"{returns[0]}" if len(returns) == 1 else f"one of [{' '.join(returns)}]"
            return Compiled(source, error=f"must evaluate to {wanted} but got {result}")
        return Compiled(source, checked.serialize(), result)

    def declare(self, name: str, source: str) -> Compiled:
        """Check the expression of `variables.name` and let later expressions use it."""
        checked, error = self._check(source, True)
        self._environments.clear()
        if checked is None:
            self._variables[name] = _cel().Type.DYN
            return Compiled(source, error=f"compilation failed: {error}")
        found = checked.return_type()
        # Types that are not CEL's own count as dynamic in variables (Go: convertCelTypeToDeclType).
        self._variables[name] = found if _is_plain(found) else _cel().Type.DYN
        return Compiled(source, checked.serialize(), _spelled(found))

    def _check(self, source: str, authorizer: bool) -> tuple[Any, str]:
        environment = self._environments.get(authorizer)
        if environment is None:
            environment = self._environments[authorizer] = self._environment(authorizer)
        try:
            return environment.compile(source), ""
        except RuntimeError as err:
            return None, _compile_error(str(err), composed=bool(self._variables))

    def _environment(self, authorizer: bool) -> Any:
        cel = _cel()
        names = ["object", "oldObject", "request", "namespaceObject"] + ["params"] * self._params
        variables: dict[str, Any] = dict.fromkeys(names, cel.Type.DYN)
        if authorizer:
            variables["authorizer"] = _type("authorizer")
            variables["authorizer.requestResource"] = _type("resource_check")
        variables |= {f"variables.{name}": kind for name, kind in self._variables.items()}
        declared = _checked_functions(functions(_nobody))
        return cel.NewEnv(
            config=cel.NewEnvConfigFromYaml(_EXTENSIONS), variables=variables, functions=declared
        )


class Runner:
    """Runs checked expressions; asker answers their questions to `authorizer`."""

    def __init__(self, asker: Asker) -> None:
        cel = _cel()
        self._environment = cel.NewEnv(
            config=cel.NewEnvConfigFromYaml(_EXTENSIONS), functions=_running_functions(functions(asker))
        )

    def load(self, compiled: Compiled) -> Any:
        """The program of an expression that compiled, for evaluate()."""
        return self._environment.deserialize(compiled.program)

    def bind(self, values: Mapping[str, Any]) -> Any:
        """Variables for evaluate(); names are as in expressions, dots included."""
        return self._environment.Activation(dict(values))

    def evaluate(self, program: Any, bound: Any) -> Outcome:
        """The value of a program, or its error in the words of CEL for Go."""
        try:
            result = program.eval(bound)
            kind = str(result.type())
            value = result.plain_value()
        except (RuntimeError, TypeError) as err:
            return Outcome(error=_run_error(str(err)))
        if kind == "ERROR":
            return Outcome(error=_run_error(value))
        return Outcome(value, kind)


def _cel() -> Any:
    from cel_expr_python import cel

    return cel


def _nobody(question: dict[str, str]) -> tuple[bool, str]:
    del question
    return False, ""


def _type(name: str) -> Any:
    cel = _cel()
    if is_opaque(name):
        return cel.Type.AbstractType(OPAQUE_TYPES[name])
    return cel.Type(name)


def _checked_functions(declared: Sequence[Function]) -> list[Any]:
    cel = _cel()
    overloads: dict[str, list[Any]] = {}
    for function in declared:
        for o in function.overloads:
            overloads.setdefault(function.name, []).append(
                cel.Overload(
                    o.id,
                    return_type=_type(o.result),
                    parameters=[_type(p) for p in o.parameters],
                    is_member=function.member,
                )
            )
    return [cel.FunctionDecl(name, found) for name, found in overloads.items()]


def _running_functions(declared: Sequence[Function]) -> list[Any]:
    """One overload for each combination of kinds: that is all the runtime tells apart."""
    cel = _cel()
    overloads: dict[str, dict[tuple[bool, tuple[str, ...]], Any]] = {}
    for function in declared:
        for o in function.overloads:
            kinds = tuple(_kind(p) for p in o.parameters)
            found = overloads.setdefault(function.name, {})
            if (function.member, kinds) not in found:
                found[function.member, kinds] = cel.Overload(
                    o.id,
                    return_type=cel.Type.DYN,
                    parameters=[getattr(cel.Type, kind) for kind in kinds],
                    is_member=function.member,
                    impl=function.run,
                )
    return [cel.FunctionDecl(name, list(found.values())) for name, found in overloads.items()]


def _kind(type_name: str) -> str:
    return "MAP" if is_opaque(type_name) else type_name.partition("<")[0].upper()


_WORDS = re.compile(
    r"(?<!\.)\b(?:BOOL|BYTES|DOUBLE|DURATION|DYN|INT|LIST|MAP|NULL|STRING|TIMESTAMP|TYPE|UINT)\b"
)
_PLAIN = re.compile(rf"(?:{_WORDS.pattern}|[<>, ])+\Z")
_SPELLINGS = {
    "NULL": "null_type",
    "DURATION": "google.protobuf.Duration",
    "TIMESTAMP": "google.protobuf.Timestamp",
}


def _is_plain(kind: Any) -> bool:
    return _PLAIN.match(str(kind)) is not None


def _spelled(kind: Any) -> str:
    """A type as CEL for Go prints it."""
    text = str(kind).replace("<", "(").replace(">", ")")
    return _WORDS.sub(lambda m: _SPELLINGS.get(m[0], m[0].lower()), text)


_STATUS = re.compile(r"^[A-Z_]+: ")
_UNDECLARED = re.compile(
    r"<input>:(\d+):(\d+): undeclared reference to '((?:\w+\.)+)(\w+)' (\(in container ''\)\n \| .*\n \| )(\.*)\^"
)


def _compile_error(text: str, *, composed: bool) -> str:
    """The checker's words with qualified names told apart: Go's checker complains of the first part of a name, and
    knows that `variables` has fields."""

    def told(match: re.Match[str]) -> str:
        line, column, qualifier, name, source, _ = match.groups()
        if composed and qualifier == "variables.":
            return match[0].replace(
                f"undeclared reference to 'variables.{name}' (in container '')", f"undefined field '{name}'"
            )
        start = int(column) - len(qualifier) + 1
        first = qualifier.partition(".")[0]
        return f"<input>:{line}:{start}: undeclared reference to '{first}' {source}{'.' * (start - 1)}^"

    return _UNDECLARED.sub(told, _STATUS.sub("", text).removesuffix(" [INVALID_ARGUMENT]"))


NO_FIELDS: Final = "no such key"
"""A field was asked of something that has none, such as null. The runtime does not say which; CEL for Go adds it."""
_RUN_ERRORS = (
    (re.compile(r'Key not found in map : "?(.*?)"?$', re.DOTALL), r"no such key: \1"),
    (re.compile(r"No matching overloads found.*", re.DOTALL), "no such overload"),
    (re.compile(r"Index error: index=(-?\d+) size=\d+"), r"index out of bounds: \1"),
    (re.compile(r"divide by zero"), "division by zero"),
    (re.compile(r"Applying SELECT to non-message type"), NO_FIELDS),
)


def _run_error(text: str) -> str:
    text = re.sub(r" \[[A-Z_]+\]$", "", _STATUS.sub("", text))
    for pattern, words in _RUN_ERRORS:
        if pattern.search(text):
            return pattern.sub(words, text)
    return text
