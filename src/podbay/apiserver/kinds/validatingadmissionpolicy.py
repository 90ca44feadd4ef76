"""ValidatingAdmissionPolicy: rules in CEL that requests must obey, once a binding puts them in force.

Evaluated by admission/policies. `status.typeChecking` stays empty: expressions are not compared with the fields of
the kinds they are about. Source: pkg/registry/admissionregistration/validatingadmissionpolicy,
pkg/apis/admissionregistration/validation/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from podbay.apiserver.field import (
    FieldError,
    Path,
    duplicate,
    invalid,
    not_supported,
    required,
    too_many,
)
from podbay.apiserver.kinds.admission_matching import default_match_resources, match_resources_errors
from podbay.apiserver.kinds.strategies import GENERATION, carry_over, grow_generation, status_view
from podbay.apiserver.registry import Column, ResourceType, Strategy, StrategyContext
from podbay.apiserver.tables import AGE_COLUMN, NAME_COLUMN, age
from podbay.objects.meta import Object
from podbay.objects.names import dns1035_label_errors, dns1123_subdomain_errors, qualified_name_errors
from podbay.objects.resource import GVR

if TYPE_CHECKING:
    from podbay.apiserver.cel.environment import Compiled
    from podbay.apiserver.cel.policy import CompiledPolicy

__all__ = ["VALIDATING_ADMISSION_POLICY"]

_TYPE = "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy"
_SPEC = Path("spec")
_FAILURE_POLICIES = ("Fail", "Ignore")
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
_MAX_CONDITIONS = 64
_MAX_ANNOTATIONS = 20
_MAX_VALUE_EXPRESSION = 5 * 1024
_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*\Z")
_RESERVED = frozenset(
    re.split(
        " ",
        "true false null in as break const continue else for function if import let loop package namespace return "
        "var void while",
    )
)


class ValidatingAdmissionPolicyStrategy(Strategy):
    """Expressions are compiled when they come, so a policy that is stored can run."""

    allow_unconditional_update = False
    metadata_repeats = (1, 1)

    def set_defaults(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        if spec.get("failurePolicy") is None:
            spec["failurePolicy"] = "Fail"
        default_match_resources(spec.get("matchConstraints"))

    def prepare_for_create(self, obj: Object, ctx: StrategyContext) -> None:
        obj["status"] = {}
        obj["metadata"][GENERATION] = 1

    def validate(self, obj: Object, ctx: StrategyContext) -> list[FieldError]:
        return _spec_errors(obj, None)

    def prepare_for_update(self, obj: Object, old: Object, ctx: StrategyContext) -> None:
        carry_over(obj, old, "status")
        grow_generation(obj, old, "spec")

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        return _spec_errors(obj, old)


class ValidatingAdmissionPolicyStatusStrategy(ValidatingAdmissionPolicyStrategy):
    """The `status` subresource, which nothing of this server writes."""

    metadata_repeats = (0, 1)

    def prepare_for_update(self, obj: Object, old: Object, ctx: StrategyContext) -> None:
        carry_over(obj, old, "spec")

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        checking = (obj.get("status") or {}).get("typeChecking") or {}
        path = Path("status").child("typeChecking", "expressionWarnings")
        errors: list[FieldError] = []
        for i, warning in enumerate(checking.get("expressionWarnings") or ()):
            for name in ("warning", "fieldRef"):
                if not (warning.get(name) or "").strip():
                    errors.append(required(path.index(i).child(name)))
        return errors


def _spec_errors(obj: Object, old: Object | None) -> list[FieldError]:
    from podbay.apiserver.cel.policy import compile_policy  # most clusters have no policy

    spec = obj.get("spec") or {}
    errors: list[FieldError] = []
    failure = spec.get("failurePolicy")
    if failure not in _FAILURE_POLICIES:
        errors.append(not_supported(_SPEC.child("failurePolicy"), failure, _FAILURE_POLICIES))
    if spec.get("paramKind") is not None:
        errors += _param_kind_errors(spec["paramKind"], _SPEC.child("paramKind"))
    constraints = spec.get("matchConstraints")
    at = _SPEC.child("matchConstraints")
    if constraints is None:
        errors.append(required(at))
    else:
        errors += match_resources_errors(constraints, at)
        if not constraints.get("resourceRules"):
            errors.append(required(at.child("resourceRules")))
    compiled = compile_policy(spec)
    if old is None or _conditions_changed(spec, old.get("spec") or {}):
        errors += _condition_errors(spec, compiled)
    errors += _variable_errors(spec, compiled)
    if not spec.get("validations") and not spec.get("auditAnnotations"):
        words = "validations or auditAnnotations must contain at least one item"
        return [*errors, *(required(_SPEC.child(f), words) for f in ("validations", "auditAnnotations"))]
    errors += _validation_errors(spec, compiled)
    return errors + _annotation_errors(spec, compiled, obj["metadata"].get("name") or "")


def _conditions_changed(spec: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Conditions that were accepted once are not judged again."""
    return any(spec.get(field) != old.get(field) for field in ("paramKind", "matchConditions"))


def _param_kind_errors(kind: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    api_version, name = kind.get("apiVersion") or "", kind.get("kind") or ""
    at = path.child("apiVersion")
    if not api_version:
        errors.append(required(at))
    elif api_version.count("/") > 1:
        errors.append(invalid(at, api_version, f"unexpected GroupVersion string: {api_version}"))
    else:
        group, _, version = api_version.rpartition("/")
        problems = dns1123_subdomain_errors(group) if group else []
        if problems:
            errors.append(invalid(at, group, ",".join(problems)))
        if not version:
            errors.append(invalid(at, api_version, "version must be specified"))
        elif problems := dns1035_label_errors(version):
            errors.append(invalid(at, version, ",".join(problems)))
    if not name:
        errors.append(required(path.child("kind")))
    elif problems := dns1035_label_errors(name.lower()):
        words = f"may have mixed case, but should otherwise match: {','.join(problems)}"
        errors.append(invalid(path.child("kind"), name, words))
    return errors


def _compile_errors(compiled: Compiled | None, path: Path, shown: str) -> list[FieldError]:
    return [invalid(path, shown, compiled.error)] if compiled is not None and compiled.error else []


def _condition_errors(spec: Mapping[str, Any], compiled: CompiledPolicy) -> list[FieldError]:
    path = _SPEC.child("matchConditions")
    conditions = spec.get("matchConditions") or ()
    errors: list[FieldError] = []
    if len(conditions) > _MAX_CONDITIONS:
        errors.append(too_many(path, len(conditions), _MAX_CONDITIONS))
    seen: set[str] = set()
    for i, (condition, result) in enumerate(zip(conditions, compiled.conditions, strict=True)):
        at, name = path.index(i), condition.get("name") or ""
        if not result.source:
            errors.append(required(at.child("expression")))
        else:
            errors += _compile_errors(result, at.child("expression"), result.source)
        if not name:
            errors.append(required(at.child("name")))
            continue
        errors += [invalid(at.child("name"), name, message) for message in qualified_name_errors(name)]
        if name in seen:
            errors.append(duplicate(at.child("name"), name))
        seen.add(name)
    return errors


def _variable_errors(spec: Mapping[str, Any], compiled: CompiledPolicy) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, (variable, (name, result)) in enumerate(
        zip(spec.get("variables") or (), compiled.variables, strict=True)
    ):
        at = _SPEC.child("variables").index(i)
        if not name.strip():
            errors.append(required(at.child("name"), "name is not specified"))
        elif not _IDENTIFIER.match(name) or name in _RESERVED:
            errors.append(invalid(at.child("name"), name, "name is not a valid CEL identifier"))
        expression = variable.get("expression") or ""
        if not expression.strip():
            errors.append(required(at.child("expression"), "expression is not specified"))
        else:
            errors += _compile_errors(result, at.child("expression"), expression)
    return errors


def _validation_errors(spec: Mapping[str, Any], compiled: CompiledPolicy) -> list[FieldError]:
    errors: list[FieldError] = []
    results = zip(compiled.validations, compiled.messages, strict=True)
    for i, (validation, (result, message)) in enumerate(
        zip(spec.get("validations") or (), results, strict=True)
    ):
        at = _SPEC.child("validations").index(i)
        expression = validation.get("expression") or ""
        if not expression.strip():
            errors.append(required(at.child("expression"), "expression is not specified"))
        else:
            errors += _compile_errors(result, at.child("expression"), expression)
        message_expression = validation.get("messageExpression") or ""
        if message_expression and message is None:
            words = "must be non-empty if specified"
            errors.append(invalid(at.child("messageExpression"), message_expression, words))
        errors += _compile_errors(message, at.child("messageExpression"), message_expression)
        errors += _message_errors(validation.get("message") or "", at.child("message"))
        reason = validation.get("reason")
        if reason is not None and reason not in _REASONS:
            errors.append(not_supported(at.child("reason"), reason, _REASONS))
    return errors


def _message_errors(message: str, path: Path) -> list[FieldError]:
    trimmed = message.strip()
    if message and not trimmed:
        return [invalid(path, message, "message must be non-empty if specified")]
    if "\n" in trimmed or "\r" in trimmed:
        return [invalid(path, message, "message must not contain line breaks")]
    return []


def _annotation_errors(spec: Mapping[str, Any], compiled: CompiledPolicy, policy: str) -> list[FieldError]:
    path = _SPEC.child("auditAnnotations")
    annotations = spec.get("auditAnnotations") or ()
    errors: list[FieldError] = []
    if len(annotations) > _MAX_ANNOTATIONS:
        words = f"must not have more than {_MAX_ANNOTATIONS} auditAnnotations"
        errors.append(invalid(path, list(annotations), words))
    seen: set[str] = set()
    for i, (annotation, result) in enumerate(zip(annotations, compiled.annotations, strict=True)):
        at, key = path.index(i), annotation.get("key") or ""
        if policy:
            full = f"{policy}/{key}"
            errors += [invalid(at.child("key"), full, message) for message in qualified_name_errors(full)]
        else:
            errors.append(invalid(at.child("key"), key, "requires metadata.name be non-empty"))
        value_at = at.child("valueExpression")
        if not result.source:
            errors.append(required(value_at, "valueExpression is not specified"))
        elif len(result.source.encode()) > _MAX_VALUE_EXPRESSION:
            errors.append(required(value_at, f"must not exceed {_MAX_VALUE_EXPRESSION} bytes in length"))
        else:
            errors += _compile_errors(result, value_at, annotation.get("valueExpression") or "")
        if key in seen:
            errors.append(duplicate(at.child("key"), key))
        seen.add(key)
    return errors


def _cells(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    kind = spec.get("paramKind")
    shown = "<unset>" if kind is None else f"{kind.get('apiVersion') or ''}/{kind.get('kind') or ''}"
    return [obj["metadata"]["name"], len(spec.get("validations") or ()), shown, age(obj, now)]


VALIDATING_ADMISSION_POLICY = ResourceType(
    gvr=GVR("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies"),
    kind="ValidatingAdmissionPolicy",
    type_name=_TYPE,
    namespaced=False,
    singular="validatingadmissionpolicy",
    categories=("api-extensions",),
    strategy=ValidatingAdmissionPolicyStrategy(),
    subresources=(
        status_view("ValidatingAdmissionPolicy", _TYPE, ValidatingAdmissionPolicyStatusStrategy()),
    ),
    columns=(
        NAME_COLUMN,
        Column(
            "Validations",
            "integer",
            "Validations indicates the number of validation rules defined in this policy",
        ),
        Column(
            "ParamKind",
            "string",
            "ParamKind specifies the kind of resources used to parameterize this policy.",
        ),
        AGE_COLUMN,
    ),
    cells=_cells,
)
