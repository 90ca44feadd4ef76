"""The admission plugin: policies in force are found, evaluated, and their verdicts carried out.

Source: k8s.io/apiserver/pkg/admission/plugin/policy/validating/dispatcher.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from podbay.apiserver.admission.base import Attributes, ClusterReader
from podbay.apiserver.admission.policies.matching import matches, namespace_of
from podbay.apiserver.admission.policies.params import Kinds, collect_params, param_type
from podbay.apiserver.admission.refusal import forbidden
from podbay.apiserver.request import User
from podbay.errors import ApiError
from podbay.objects.meta import Object, metadata_of, name_of

if TYPE_CHECKING:
    # What knows CEL is imported with the first binding: most clusters have none.
    from podbay.apiserver.admission.policies.evaluation import Evaluator, Verdict
    from podbay.apiserver.admission.policies.inputs import Judge
    from podbay.apiserver.cel.environment import Runner

__all__ = ["ValidatingAdmissionPolicy"]

_GROUP = "admissionregistration.k8s.io"
POLICIES = f"validatingadmissionpolicies.{_GROUP}"
BINDINGS = f"validatingadmissionpolicybindings.{_GROUP}"
_EXEMPT_GROUPS = frozenset(["authentication.k8s.io", "authorization.k8s.io"])
_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413}


@dataclass(frozen=True, slots=True)
class _Denial:
    message: str
    reason: str = ""


class ValidatingAdmissionPolicy:
    """Compiled policies are kept by version; without a binding nothing is compiled and CEL is not loaded."""

    name = "ValidatingAdmissionPolicy"

    def __init__(self, kinds: Kinds, judge: Judge) -> None:
        self._kinds, self._judge = kinds, judge
        self._runner: Runner | None = None
        self._evaluators: dict[str, tuple[str, Evaluator]] = {}
        self._user = User("")

    def admit(self, attributes: Attributes, reader: ClusterReader) -> None:
        """Nothing is changed."""

    def validate(self, attributes: Attributes, reader: ClusterReader) -> None:
        bindings = reader.list(BINDINGS)
        if not bindings or _is_exempt(attributes):
            return
        self._user = attributes.user
        denials = self._denials(attributes, reader, bindings)
        if denials:
            raise _refusal(attributes, denials[0])

    def _denials(
        self, attributes: Attributes, reader: ClusterReader, bindings: Sequence[Object]
    ) -> list[_Denial]:
        """Every denial in the order of policies and bindings.

        All of them are looked at, though the first decides, for the warnings of the others.
        """
        denials: list[_Denial] = []
        policies = reader.list(POLICIES)
        if len(self._evaluators) > len(policies):
            names = {name_of(policy) for policy in policies}
            self._evaluators = {n: kept for n, kept in self._evaluators.items() if n in names}
        for policy in policies:
            name = name_of(policy)
            bound = [b for b in bindings if (b.get("spec") or {}).get("policyName") == name]
            if bound:
                denials += self._apply(attributes, reader, policy, bound)
        return denials

    def _apply(
        self, attributes: Attributes, reader: ClusterReader, policy: Object, bindings: Sequence[Object]
    ) -> Iterator[_Denial]:
        spec = policy.get("spec") or {}
        if not matches(spec.get("matchConstraints") or {}, attributes, reader):
            return
        ignore = spec.get("failurePolicy") == "Ignore"
        name = name_of(policy)
        try:
            resource = param_type(spec.get("paramKind"), self._kinds)
        except ApiError as err:
            if not ignore:
                words = f"failed to configure policy: {err.message}"
                yield _Denial(f"ValidatingAdmissionPolicy '{name}' denied request: {words}")
            return
        evaluator = self._evaluator(policy)
        for binding in bindings:
            bound_spec = binding.get("spec") or {}
            if not matches(bound_spec.get("matchResources") or {}, attributes, reader):
                continue
            where = f"ValidatingAdmissionPolicy '{name}' with binding '{name_of(binding)}'"
            try:
                params = collect_params(
                    resource, bound_spec.get("paramRef"), namespace_of(attributes), reader
                )
            except ApiError as err:
                if not ignore:
                    yield _Denial(f"{where} denied request: failed to configure binding: {err.message}")
                continue
            verdicts = self._judge_all(attributes, reader, evaluator, params)
            yield from _carry_out(attributes, bound_spec, where, verdicts)

    def _judge_all(
        self,
        attributes: Attributes,
        reader: ClusterReader,
        evaluator: Evaluator,
        params: Sequence[Object | None],
    ) -> list[Verdict]:
        from podbay.apiserver.admission.policies.inputs import variables_of

        inside = attributes.namespace if attributes.resource.key != "namespaces" else ""
        namespace = reader.get("namespaces", "", inside) if inside else None
        verdicts: list[Verdict] = []
        for param in params:
            values = variables_of(attributes, params=param, namespace=namespace)
            verdicts += evaluator.judge({**values, "namespaceObject": None}, values)
        return verdicts

    def _evaluator(self, policy: Object) -> Evaluator:
        meta = metadata_of(policy)
        version = f"{meta.get('uid')}/{meta.get('resourceVersion')}"
        kept = self._evaluators.get(name_of(policy))
        if kept is not None and kept[0] == version:
            return kept[1]
        from podbay.apiserver.admission.policies.evaluation import Evaluator
        from podbay.apiserver.cel.environment import Runner

        if self._runner is None:
            self._runner = Runner(self._ask)
        evaluator = Evaluator(policy.get("spec") or {}, self._runner)
        self._evaluators[name_of(policy)] = (version, evaluator)
        return evaluator

    def _ask(self, question: dict[str, str]) -> tuple[bool, str]:
        from podbay.apiserver.admission.policies.inputs import access_of

        decision = self._judge.authorize(*access_of(question, self._user))
        return decision.allowed, decision.reason


def _is_exempt(attributes: Attributes) -> bool:
    """Reviews, which are not stored, and the policies themselves, which must stay repairable."""
    gvr = attributes.resource.gvr
    return gvr.group in _EXEMPT_GROUPS or attributes.resource.key in (POLICIES, BINDINGS)


def _carry_out(
    attributes: Attributes, spec: Mapping[str, Any], where: str, verdicts: Sequence[Verdict]
) -> Iterator[_Denial]:
    actions = spec.get("validationActions") or ()
    for verdict in verdicts:
        if "Deny" in actions or verdict.always:
            yield _Denial(f"{where} denied request: {verdict.message}", verdict.reason)
        elif "Warn" in actions:
            attributes.warnings.append(f"Validation failed for {where}: {verdict.message}")


def _refusal(attributes: Attributes, denial: _Denial) -> ApiError:
    plain = forbidden(attributes, denial.message)
    reason = denial.reason or "Invalid"
    details = {**(plain.details or {}), "causes": [{"message": denial.message}]}
    return ApiError(_CODES.get(reason, 422), reason, plain.message, details=details)
