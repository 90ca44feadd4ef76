"""Running the expressions of one policy against one request.

Source: k8s.io/apiserver/pkg/admission/plugin/policy/validating/validator.go, plugin/webhook/matchconditions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podbay.apiserver.admission.refusal import join_messages
from podbay.apiserver.cel.environment import NO_FIELDS, Compiled, Outcome, Runner
from podbay.apiserver.cel.policy import CompiledPolicy, compile_policy

__all__ = ["Evaluator", "Verdict"]

_MAX_MESSAGE = 5 * 1024
_VARIABLE = re.compile(r"\bvariables\s*\.\s*(\w+)")
_FIELD = re.compile(r"\b(object|oldObject|params|namespaceObject)\s*\.\s*(\w+)")
_UNBOUND = re.compile(r'No value with name "variables\.(\w+)" found in Activation')


@dataclass(frozen=True, slots=True)
class Verdict:
    """One reason against the request. always: it refuses whatever the binding's actions are."""

    message: str
    reason: str = ""
    always: bool = False


@dataclass(frozen=True, slots=True)
class _Program:
    """An expression ready to run; uses names the variables it may read, directly or through others."""

    compiled: Compiled
    program: Any
    uses: frozenset[str]


class Evaluator:
    """A compiled policy. Made once for each version of a policy."""

    def __init__(self, spec: Mapping[str, Any], runner: Runner) -> None:
        self._spec, self._runner = spec, runner
        compiled = compile_policy(spec)
        self._variables: dict[str, _Program] = {}
        for name, variable in compiled.variables:
            self._variables[name] = self._load(variable)
        self._conditions = [self._load(c) for c in compiled.conditions]
        self._validations, self._messages, self._annotations = self._load_rules(compiled)

    @property
    def ignores_failure(self) -> bool:
        return bool(self._spec.get("failurePolicy") == "Ignore")

    def judge(self, condition_values: Mapping[str, Any], values: Mapping[str, Any]) -> list[Verdict]:
        """Everything that speaks against the request; nothing when a match condition leaves it out.

        The two mappings hold the variables for match conditions and for the rest (inputs.variables_of).
        """
        if self._conditions:
            applies, problem = self._matches(condition_values)
            if problem:
                return self._failure(problem)
            if not applies:
                return []
        run = _Run(self._runner, self._variables, values)
        verdicts: list[Verdict] = []
        for index, validation in enumerate(self._validations):
            verdicts += self._validation(run, index, validation)
        for annotation in self._annotations:
            verdicts += self._annotation(run, annotation)
        return verdicts

    def _load(self, compiled: Compiled) -> _Program:
        uses: set[str] = set()
        for name in _VARIABLE.findall(compiled.source):
            if name in self._variables:
                uses |= {name, *self._variables[name].uses}
        program = None if compiled.error else self._runner.load(compiled)
        return _Program(compiled, program, frozenset(uses))

    def _load_rules(
        self, compiled: CompiledPolicy
    ) -> tuple[Sequence[_Program], Sequence[_Program | None], Sequence[_Program]]:
        return (
            [self._load(v) for v in compiled.validations],
            [None if m is None else self._load(m) for m in compiled.messages],
            [self._load(a) for a in compiled.annotations],
        )

    def _failure(self, message: str, *, always: bool = False) -> list[Verdict]:
        return [] if self.ignores_failure else [Verdict(message, always=always)]

    def _matches(self, values: Mapping[str, Any]) -> tuple[bool, str]:
        """(applies, what went wrong): one false condition decides, errors come after it."""
        run = _Run(self._runner, self._variables, values)
        problems: list[str] = []
        for condition in self._conditions:
            outcome = run.evaluate(condition)
            if outcome.error:
                problems.append(outcome.error)
            elif outcome.value is False:
                return False, ""
        return True, join_messages(problems) if problems else ""

    def _validation(self, run: _Run, index: int, validation: _Program) -> list[Verdict]:
        outcome = run.evaluate(validation)
        if outcome.error:
            return self._failure(outcome.error)
        if outcome.value is True:
            return []
        declared = self._spec["validations"][index]
        return [Verdict(self._message(run, index, declared), declared.get("reason") or "Invalid")]

    def _message(self, run: _Run, index: int, declared: Mapping[str, Any]) -> str:
        program = self._messages[index]
        if program is not None:
            outcome = run.evaluate(program)
            if outcome.kind == "STRING" and not outcome.error:
                message = str(outcome.value).strip()
                if message and len(message.encode()) <= _MAX_MESSAGE and "\n" not in message:
                    return message
        message = (declared.get("message") or "").strip()
        return message or f"failed expression: {(declared.get('expression') or '').strip()}"

    def _annotation(self, run: _Run, annotation: _Program) -> list[Verdict]:
        """Values go nowhere, there is no audit log; what goes wrong refuses the request all the same."""
        outcome = run.evaluate(annotation)
        return self._failure(outcome.error, always=True) if outcome.error else []


class _Run:
    """One pass over a policy's expressions: variables are evaluated when first needed, once."""

    def __init__(self, runner: Runner, variables: Mapping[str, _Program], values: Mapping[str, Any]) -> None:
        self._runner, self._variables = runner, variables
        self._values = dict(values)
        self._bound: Any = None
        self._errors: dict[str, str] = {}

    def evaluate(self, program: _Program) -> Outcome:
        if program.compiled.error:
            return Outcome(error=f"compilation error: {program.compiled.error}")
        outcome = self._value(program)
        if outcome.error:
            return Outcome(error=f"expression '{program.compiled.source}' resulted in error: {outcome.error}")
        return outcome

    def _value(self, program: _Program) -> Outcome:
        for name in self._variables:
            if name in program.uses:
                self._prepare(name)
        if self._bound is None:
            self._bound = self._runner.bind(self._values)
        outcome = self._runner.evaluate(program.program, self._bound)
        unbound = _UNBOUND.search(outcome.error)
        if unbound:
            # The variable failed, and the expression could not do without it.
            return Outcome(error=self._errors.get(unbound[1], outcome.error))
        if outcome.error == NO_FIELDS:
            return Outcome(error=self._missing_field(program.compiled.source))
        return outcome

    def _missing_field(self, source: str) -> str:
        """Name the field that was asked of a variable that is null, as `oldObject` is when something is created."""
        for variable, field in _FIELD.findall(source):
            if variable in self._values and self._values[variable] is None:
                return f"{NO_FIELDS}: {field}"
        return NO_FIELDS

    def _prepare(self, name: str) -> None:
        """Bind a variable, or keep why that is impossible: an expression may still not need its value."""
        if name in self._errors or f"variables.{name}" in self._values:
            return
        program = self._variables[name]
        if program.compiled.error:
            self._errors[name] = f'composited variable "{name}" fails to compile: {program.compiled.error}'
            return
        outcome = self._value(program)
        if outcome.error:
            self._errors[name] = f'composited variable "{name}" fails to evaluate: {outcome.error}'
            return
        self._values[f"variables.{name}"] = outcome.value
        self._bound = None
