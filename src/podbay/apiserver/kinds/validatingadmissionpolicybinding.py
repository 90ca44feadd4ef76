"""ValidatingAdmissionPolicyBinding: puts a policy in force, for some requests, with parameters.

Source: pkg/registry/admissionregistration/validatingadmissionpolicybinding,
pkg/apis/admissionregistration/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from podbay.apiserver.field import (
    FieldError,
    Path,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
)
from podbay.apiserver.kinds.admission_matching import default_match_resources, match_resources_errors
from podbay.apiserver.kinds.strategies import GENERATION, grow_generation
from podbay.apiserver.label_selectors import validate_label_selector
from podbay.apiserver.registry import Column, ResourceType, Strategy, StrategyContext
from podbay.apiserver.tables import AGE_COLUMN, NAME_COLUMN, age
from podbay.objects.meta import Object
from podbay.objects.names import dns1123_subdomain_errors, path_segment_name_errors
from podbay.objects.resource import GVR

__all__ = ["VALIDATING_ADMISSION_POLICY_BINDING"]

_SPEC = Path("spec")
_ACTIONS = ("Audit", "Deny", "Warn")
_NOT_FOUND_ACTIONS = ("Deny", "Allow")
_EXCLUSIVE = "name and selector are mutually exclusive"


class ValidatingAdmissionPolicyBindingStrategy(Strategy):
    allow_unconditional_update = False
    metadata_repeats = (1, 1)

    def set_defaults(self, obj: Object) -> None:
        default_match_resources((obj.get("spec") or {}).get("matchResources"))

    def prepare_for_create(self, obj: Object, ctx: StrategyContext) -> None:
        obj["metadata"][GENERATION] = 1

    def validate(self, obj: Object, ctx: StrategyContext) -> list[FieldError]:
        return _spec_errors(obj.get("spec") or {})

    def prepare_for_update(self, obj: Object, old: Object, ctx: StrategyContext) -> None:
        grow_generation(obj, old, "spec")

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        return _spec_errors(obj.get("spec") or {})


def _spec_errors(spec: Mapping[str, Any]) -> list[FieldError]:
    errors: list[FieldError] = []
    policy, at = spec.get("policyName") or "", _SPEC.child("policyName")
    if not policy:
        errors.append(required(at))
    errors += [invalid(at, policy, message) for message in dns1123_subdomain_errors(policy) if policy]
    if spec.get("paramRef") is not None:
        errors += _param_ref_errors(spec["paramRef"], _SPEC.child("paramRef"))
    # The misspelling is Kubernetes' own.
    errors += match_resources_errors(spec.get("matchResources"), _SPEC.child("matchResouces"))
    return errors + _action_errors(spec.get("validationActions") or (), _SPEC.child("validationActions"))


def _param_ref_errors(reference: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    name, selector = reference.get("name") or "", reference.get("selector")
    if name:
        errors += [invalid(path.child("name"), name, message) for message in path_segment_name_errors(name)]
        if selector is not None:
            errors.append(forbidden(path.child("name"), _EXCLUSIVE))
    if selector is not None:
        errors += validate_label_selector(selector, path.child("selector"))
        if name:
            errors.append(forbidden(path.child("selector"), _EXCLUSIVE))
    if not name and selector is None:
        errors.append(required(path, "one of name or selector must be specified"))
    action, at = reference.get("parameterNotFoundAction") or "", path.child("parameterNotFoundAction")
    if not action:
        errors.append(required(at))
    elif action not in _NOT_FOUND_ACTIONS:
        errors.append(not_supported(at, action, _NOT_FOUND_ACTIONS))
    return errors


def _action_errors(actions: Sequence[str], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, action in enumerate(actions):
        if action not in _ACTIONS:
            errors.append(not_supported(path.index(i), action, _ACTIONS))
        if action in seen:
            errors.append(duplicate(path.index(i), action))
        seen.add(action)
    if seen.issuperset(("Deny", "Warn")):
        words = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            "response and headers serves no purpose)"
        )
        errors.append(invalid(path, list(actions), words))
    if not seen:
        errors.append(required(path, "at least one validation action is required"))
    return errors


def _cells(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    return [
        obj["metadata"]["name"],
        spec.get("policyName") or "",
        _param_cell(spec.get("paramRef")),
        age(obj, now),
    ]


def _param_cell(reference: Mapping[str, Any] | None) -> str:
    if reference is None:
        return "<unset>"
    if reference.get("name"):
        return f"{reference.get('namespace') or '*'}/{reference['name']}"
    selector = reference.get("selector")
    return "<unset>" if selector is None else _go_selector(selector)


def _go_selector(selector: Mapping[str, Any]) -> str:
    """A LabelSelector as its generated Go code prints it."""
    labels = selector.get("matchLabels") or {}
    pairs = "".join(f"{key}: {labels[key]}," for key in sorted(labels))
    expressions = "".join(
        f"LabelSelectorRequirement{{Key:{e.get('key') or ''},Operator:{e.get('operator') or ''},"
        f"Values:[{' '.join(e.get('values') or ())}],}},"
        for e in selector.get("matchExpressions") or ()
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{pairs}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )


VALIDATING_ADMISSION_POLICY_BINDING = ResourceType(
    gvr=GVR("admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings"),
    kind="ValidatingAdmissionPolicyBinding",
    type_name="io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding",
    namespaced=False,
    singular="validatingadmissionpolicybinding",
    categories=("api-extensions",),
    strategy=ValidatingAdmissionPolicyBindingStrategy(),
    columns=(
        NAME_COLUMN,
        Column(
            "PolicyName",
            "string",
            "PolicyName indicates the policy definition which the policy binding binded to",
        ),
        Column(
            "ParamRef", "string", "ParamRef indicates the param resource which sets the configration param"
        ),
        AGE_COLUMN,
    ),
    cells=_cells,
)
