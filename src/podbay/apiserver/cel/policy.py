"""The expressions of an admission policy, all compiled: what validation looks at and what the plugin runs.

Source: k8s.io/apiserver/pkg/admission/plugin/policy/validating/{plugin,validator,interface}.go (compilePolicy).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from podbay.apiserver.cel.environment import Compiled, Compiler

__all__ = ["CompiledPolicy", "compile_policy"]


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """In the order of the spec. A message is None where the validation has no messageExpression."""

    conditions: tuple[Compiled, ...]
    variables: tuple[tuple[str, Compiled], ...]
    validations: tuple[Compiled, ...]
    messages: tuple[Compiled | None, ...]
    annotations: tuple[Compiled, ...]


def compile_policy(spec: Mapping[str, Any]) -> CompiledPolicy:
    """Compile everything; errors are in the Compiled. The CEL runtime is loaded by the first call."""
    compiler = Compiler(params=spec.get("paramKind") is not None)
    # Match conditions come first: they do not see variables.
    conditions = tuple(
        compiler.compile((c.get("expression") or "").strip(), "bool")
        for c in spec.get("matchConditions") or ()
    )
    variables = tuple(
        (v.get("name") or "", compiler.declare(v.get("name") or "", v.get("expression") or ""))
        for v in spec.get("variables") or ()
    )
    validations = spec.get("validations") or ()
    return CompiledPolicy(
        conditions=conditions,
        variables=variables,
        validations=tuple(compiler.compile(v.get("expression") or "", "bool") for v in validations),
        messages=tuple(_message(compiler, v.get("messageExpression") or "") for v in validations),
        annotations=tuple(
            compiler.compile((a.get("valueExpression") or "").strip(), "string", "null_type")
            for a in spec.get("auditAnnotations") or ()
        ),
    )


def _message(compiler: Compiler, source: str) -> Compiled | None:
    return compiler.compile(source, "string", authorizer=False) if source.strip() else None
