"""Questions to the server about permissions and identities: asked by POST, answered at once, never stored.

They serve `kubectl auth can-i`, `can-i --list`, `whoami` and servers that delegate their decisions here.
Source: kubernetes pkg/registry/{authorization,authentication}, pkg/apis/authorization/validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podbay.apiserver import status
from podbay.apiserver.field import FieldError, Path, forbidden, invalid, required
from podbay.apiserver.registry import (
    REVIEW_VERBS,
    ResourceType,
    Strategy,
    StrategyContext,
    SubresourceHandler,
)
from podbay.apiserver.request import RequestInfo, User
from podbay.objects.field_selectors import FieldSelector
from podbay.objects.meta import Object
from podbay.objects.names import label_value_errors, qualified_name_errors
from podbay.objects.resource import GVR
from podbay.objects.selectors import LabelSelector

__all__ = ["RESOURCE_TYPES"]

_AUTHORIZATION = "authorization.k8s.io"
_AUTHENTICATION = "authentication.k8s.io"
_SPEC = Path("spec")


def _subject_access_review(core: Any, info: RequestInfo, ctx: StrategyContext, body: Object | None) -> Object:
    review = body or {}
    spec = review.get("spec") or {}
    _refuse(review, _spec_errors(spec) + _subject_errors(spec) + _selectors_errors(spec), "must be empty")
    return _decided(core, review, _subject(spec))


def _local_review(core: Any, info: RequestInfo, ctx: StrategyContext, body: Object | None) -> Object:
    review = body or {}
    spec = review.get("spec") or {}
    metadata = review.get("metadata") or {}
    errors = _spec_errors(spec) + _subject_errors(spec) + _selectors_errors(spec)
    resource = spec.get("resourceAttributes")
    later: list[FieldError] = []
    if resource is not None and (resource.get("namespace") or "") != (metadata.get("namespace") or ""):
        path = Path("spec.resourceAttributes.namespace")
        later.append(invalid(path, resource.get("namespace") or "", "must match metadata.namespace"))
    if spec.get("nonResourceAttributes") is not None:
        shown = _printed_non_resource(spec)
        later.append(
            invalid(_SPEC.child("nonResourceAttributes"), shown, "disallowed on this kind of request")
        )
    _refuse(review, errors, "must be empty except for namespace", later=later)
    return _decided(core, review, _subject(spec))


def _self_review(core: Any, info: RequestInfo, ctx: StrategyContext, body: Object | None) -> Object:
    review = body or {}
    spec = review.get("spec") or {}
    _refuse(review, _spec_errors(spec) + _selectors_errors(spec), "must be empty")
    return _decided(core, review, ctx.user)


def _refuse(
    review: Object, errors: list[FieldError], rule: str, *, later: list[FieldError] | None = None
) -> None:
    """Raise the 422 for wrong fields. `rule` says what metadata must be: a review is not an object with a name."""
    metadata = review.get("metadata") or {}
    allowed = ("managedFields", "namespace") if "namespace" in rule else ("managedFields",)
    if any(value for key, value in metadata.items() if key not in allowed):
        errors.append(invalid(Path("metadata"), metadata, rule))
    errors += later or ()
    if errors:
        # The real server asks its internal object for the kind, which has none.
        raise status.invalid(_AUTHORIZATION, "", "", errors)


def _spec_errors(spec: Mapping[str, Any]) -> list[FieldError]:
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and other is not None:
        detail = "cannot be specified in combination with resourceAttributes"
        return [invalid(_SPEC.child("nonResourceAttributes"), _printed_non_resource(spec), detail)]
    if resource is None and other is None:
        detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        return [invalid(_SPEC.child("resourceAttributes"), None, detail)]
    return []


def _printed_non_resource(spec: Mapping[str, Any]) -> dict[str, str]:
    """nonResourceAttributes as messages print them: with the names of the Go fields."""
    attributes = spec.get("nonResourceAttributes") or {}
    return {"Path": attributes.get("path") or "", "Verb": attributes.get("verb") or ""}


def _subject_errors(spec: Mapping[str, Any]) -> list[FieldError]:
    if spec.get("user") or spec.get("groups"):
        return []
    return [invalid(_SPEC.child("user"), "", "at least one of user or group must be specified")]


def _selectors_errors(spec: Mapping[str, Any]) -> list[FieldError]:
    attributes = spec.get("resourceAttributes") or {}
    errors: list[FieldError] = []
    for key in ("fieldSelector", "labelSelector"):
        selector = attributes.get(key)
        if selector is not None:
            path = Path("spec.resourceAttributes").child(key)
            errors += _selector_errors(selector, path, labels=key == "labelSelector")
    return errors


def _selector_errors(selector: Mapping[str, Any], path: Path, *, labels: bool) -> list[FieldError]:
    raw, requirements = selector.get("rawSelector") or "", selector.get("requirements") or ()
    errors: list[FieldError] = []
    if raw and requirements:
        detail = "may not specified at the same time as requirements"
        errors.append(invalid(path.child("rawSelector"), raw, detail))
    if not raw and not requirements:
        detail = f"when {path} is specified, requirements or rawSelector is required"
        errors.append(required(path.child("requirements"), detail))
    for i, requirement in enumerate(requirements):
        errors += _requirement_errors(requirement, path.child("requirements").index(i), labels=labels)
    return errors


def _requirement_errors(requirement: Mapping[str, Any], path: Path, *, labels: bool) -> list[FieldError]:
    """One requirement. Unknown operators pass: newer clients may know more of them."""
    operator, key = requirement.get("operator") or "", requirement.get("key") or ""
    values = requirement.get("values") or ()
    errors: list[FieldError] = []
    if operator in ("In", "NotIn") and not values:
        detail = "must be specified when `operator` is 'In' or 'NotIn'"
        errors.append(required(path.child("values"), detail))
    if operator in ("Exists", "DoesNotExist") and values:
        detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        errors.append(forbidden(path.child("values"), detail))
    if not labels:
        return errors if key else [*errors, required(path.child("key"), "must be specified")]
    errors += [invalid(path.child("key"), key, message) for message in qualified_name_errors(key)]
    for i, value in enumerate(values):
        at = path.child("values").index(i)
        errors += [invalid(at, value, message) for message in label_value_errors(value)]
    return errors


def _subject(spec: Mapping[str, Any]) -> User:
    extra = {key: tuple(values or ()) for key, values in (spec.get("extra") or {}).items()}
    groups = tuple(spec.get("groups") or ())
    return User(spec.get("user") or "", spec.get("uid") or "", groups, extra)


def _decided(core: Any, review: Object, user: User) -> Object:
    """The review with the authorizer's answer in its status."""
    spec = review.get("spec") or {}
    decision = core.authorizer.authorize(user, _attributes(spec))
    answer: Object = {"allowed": decision.allowed}
    if decision.reason:
        answer["reason"] = decision.reason
    unread = _unread_selectors(spec.get("resourceAttributes") or {})
    if unread:
        answer["evaluationError"] = unread
    return {**review, "metadata": review.get("metadata") or {}, "status": answer}


def _attributes(spec: Mapping[str, Any]) -> RequestInfo:
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes") or {}
    if resource is None:
        return RequestInfo(False, other.get("path") or "", other.get("verb") or "")
    group, version, namespace, kind, subresource, name = (
        resource.get(key) or ""
        for key in ("group", "version", "namespace", "resource", "subresource", "name")
    )
    verb = resource.get("verb") or ""
    return RequestInfo(True, "", verb, "", group, version, namespace, kind, subresource, name)


def _unread_selectors(attributes: Mapping[str, Any]) -> str:
    """What the answer says about selectors that could not be read; it is then broader than asked."""
    ignored: list[str] = []
    for key, parse in (("fieldSelector", FieldSelector.parse), ("labelSelector", LabelSelector.parse)):
        try:
            parse((attributes.get(key) or {}).get("rawSelector") or "")
        except ValueError:
            ignored.append(f"spec.resourceAttributes.{key} ignored due to parse error")
    return "; ".join(ignored)


def _rules_review(core: Any, info: RequestInfo, ctx: StrategyContext, body: Object | None) -> Object:
    review = body or {}
    namespace = (review.get("spec") or {}).get("namespace") or ""
    if not namespace:
        raise status.bad_request("no namespace on request")
    grants = core.authorizer.grants(ctx.user, namespace)
    resource_keys = ("verbs", "apiGroups", "resources", "resourceNames")
    answer: Object = {
        "resourceRules": [_picked(rule, resource_keys) for rule in grants.rules if rule.get("resources")],
        "nonResourceRules": [
            _picked(rule, ("verbs", "nonResourceURLs"))
            for rule in grants.rules
            if rule.get("nonResourceURLs")
        ],
        "incomplete": False,
    }
    if grants.errors:
        answer["evaluationError"] = grants.error_text
    return {**_typed(review), "metadata": {}, "spec": {}, "status": answer}


def _picked(rule: Mapping[str, Any], keys: tuple[str, ...]) -> Object:
    return {key: list(rule[key]) for key in keys if rule.get(key)}


def _typed(review: Object) -> Object:
    return {"kind": review.get("kind"), "apiVersion": review.get("apiVersion")}


def _user_info(user: User) -> Object:
    """A UserInfo as JSON; empty fields are left out."""
    info: Object = {"username": user.name, "uid": user.uid, "groups": list(user.groups)}
    info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return {key: value for key, value in info.items() if value}


def _who_am_i(core: Any, info: RequestInfo, ctx: StrategyContext, body: Object | None) -> Object:
    created = ctx.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    answer = {"userInfo": _user_info(ctx.user)}
    return {**_typed(body or {}), "metadata": {"creationTimestamp": created}, "status": answer}


def _token_review(core: Any, info: RequestInfo, ctx: StrategyContext, body: Object | None) -> Object:
    review = body or {}
    spec = review.get("spec") or {}
    token = spec.get("token") or ""
    if not token:
        raise status.bad_request("token is required for TokenReview in authentication")
    check = core.authenticator.check_token(token, spec.get("audiences") or None)
    answer: Object = {"user": {}}
    if check.user is not None:
        answer = {"authenticated": True, "user": _user_info(check.user), "audiences": list(check.audiences)}
    if check.error:
        answer["error"] = check.error
    return {**review, "metadata": review.get("metadata") or {}, "status": answer}


def _review(group: str, kind: str, handler: SubresourceHandler, *, namespaced: bool = False) -> ResourceType:
    package = "authorization" if group == _AUTHORIZATION else "authentication"
    return ResourceType(
        gvr=GVR(group, "v1", kind.lower() + "s"),
        kind=kind,
        type_name=f"io.k8s.api.{package}.v1.{kind}",
        namespaced=namespaced,
        strategy=Strategy(),
        singular=kind.lower(),
        verbs=REVIEW_VERBS,
        handler=handler,
    )


RESOURCE_TYPES: tuple[ResourceType, ...] = (
    _review(_AUTHENTICATION, "SelfSubjectReview", _who_am_i),
    _review(_AUTHENTICATION, "TokenReview", _token_review),
    _review(_AUTHORIZATION, "LocalSubjectAccessReview", _local_review, namespaced=True),
    _review(_AUTHORIZATION, "SelfSubjectAccessReview", _self_review),
    _review(_AUTHORIZATION, "SelfSubjectRulesReview", _rules_review),
    _review(_AUTHORIZATION, "SubjectAccessReview", _subject_access_review),
)
