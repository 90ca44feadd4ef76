"""What the API server said to a request for the pod: refused by validation, policy, quota, rights, or not able to answer.

Sources: k8s.io/apiserver (admission, rejectpolicy, webhook errors), plugin/pkg/admission/{resourcequota,limitranger,
serviceaccount,priority,namespace/lifecycle}, pod-security-admission; the recorded answers of Kubernetes 1.36.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from podbay.errors import ApiError
from podbay.lifecycle.diagnosis.admission_rules import (
    BUSY,
    CONFLICT,
    FORBIDDEN,
    GONE,
    INVALID,
    NAME_TAKEN,
    NAMESPACE,
    NOT_OURS,
    REFUSED,
    RULES,
    SERVER_ERROR,
    TERMINATING,
    TOO_LARGE,
    UNAUTHORIZED,
)
from podbay.lifecycle.diagnosis.category import Category, first_rule
from podbay.lifecycle.diagnosis.model import Diagnosis
from podbay.lifecycle.diagnosis.quota import QUOTA, QUOTA_TOO_SMALL, exceeds_alone
from podbay.lifecycle.diagnosis.reading import as_list, as_map, as_text
from podbay.lifecycle.diagnosis.sight import Sight

__all__ = ["find_refusals"]

_FIELDS_SHOWN: Final = 5
_ALWAYS: Final = (FORBIDDEN, NAMESPACE, TERMINATING)
_ODD_FIELD: Final = re.compile(r'(unknown|duplicate) field "([^"]+)"')
_WRONG_TYPE: Final = re.compile(r"cannot unmarshal (\w+) into Go struct field \w+\.(\S+) of type (\S+)")
_BY_CODE: Final[dict[int, tuple[Category, str]]] = {
    401: (UNAUTHORIZED, "The API server does not accept the credentials it was shown"),
    403: (FORBIDDEN, "The API server forbids what was asked for {pod}"),
    409: (CONFLICT, "{pod} was changed by somebody else at the same time"),
    413: (TOO_LARGE, "The manifest of {pod} is larger than the API server takes"),
    429: (BUSY, "The API server has too much to do and asks to come back later"),
}


def find_refusals(sight: Sight) -> Iterator[Diagnosis]:
    """The API server's own word on the request."""
    error = sight.facts.error
    if not isinstance(error, ApiError):
        return
    if sight.metadata.get("uid") and not _about_existing(error):
        return
    evidence = [f"the API server says: {error.code} {error.reason}: {_plain(error)}"]
    found = first_rule(RULES, [error.message])
    if found is not None:
        which, match = found
        names = {"pod": sight.name, "namespace": sight.namespace or "(not told)"}
        category = which.category
        cause, fix = which.told(match, names)
        if category is QUOTA and exceeds_alone(match["used"], match["requested"], match["limited"]):
            category, fix = QUOTA_TOO_SMALL, ""
            cause = f'Quota "{match["name"]}" allows {match["limited"]} in all, and {sight.name} alone asks for {match["requested"]}'
        yield category.found(_upper(cause.rstrip("]")), fix=fix, evidence=evidence)
        return
    yield _by_code(sight, error, evidence)


def _about_existing(error: ApiError) -> bool:
    """Whether the answer can concern a pod that exists; one to its creation is history by now."""
    found = first_rule(RULES, [error.message])
    if found is not None:
        return found[0].category in _ALWAYS
    return error.code not in (400, 403, 409, 413, 422)


def _by_code(sight: Sight, error: ApiError, evidence: list[str]) -> Diagnosis:
    if error.code == 422 or (error.code == 400 and error.reason in ("BadRequest", "Invalid", "")):
        return _invalid(sight, error, evidence)
    if error.reason == "AlreadyExists":
        return NAME_TAKEN.found(
            f"There is a {sight.name} already, and it is not the one of this task", evidence=evidence
        )
    if error.code in (404, 410) and error.reason == "NotFound":
        return GONE.found(f"{_upper(sight.name)} does not exist (any more)", evidence=evidence)
    if error.code in (404, 405, 406, 415) or (error.code < 500 and not error.reason):
        cause = f"What answers there is not a Kubernetes API server that knows pods (answer {error.code})"
        return NOT_OURS.found(cause, evidence=evidence)
    if error.code in _BY_CODE:
        category, cause = _BY_CODE[error.code]
        return category.found(_upper(cause.replace("{pod}", sight.name)), evidence=evidence)
    if error.code >= 500:
        return SERVER_ERROR.found(
            f"The API server failed with {error.code} {error.reason}".rstrip(), evidence=evidence
        )
    return REFUSED.found(
        f"The API server refused {sight.name} with {error.code} {error.reason}".rstrip(), evidence=evidence
    )


def _invalid(sight: Sight, error: ApiError, evidence: list[str]) -> Diagnosis:
    """Names the fields; a value of an environment variable stays out, also where it is what is wrong."""
    causes = [as_map(each) for each in as_list((error.details or {}).get("causes"))]
    fields = [field for field in (as_text(each.get("field")) for each in causes) if field]
    if fields:
        shown = ", ".join(fields[:_FIELDS_SHOWN]) + (" and others" if len(fields) > _FIELDS_SHOWN else "")
        lines = [_field_line(each) for each in causes if as_text(each.get("field"))]
        cause = f"The manifest of {sight.name} is not valid: {shown}"
        return INVALID.found(cause, fix=f"Correct {shown}.", evidence=lines)
    odd = list(dict.fromkeys(_ODD_FIELD.findall(error.message)))
    if odd:
        told = ", ".join(f"{kind} field {field}" for kind, field in odd[:_FIELDS_SHOWN])
        return INVALID.found(f"The manifest of {sight.name} is not valid: {told}", evidence=evidence)
    typed = _WRONG_TYPE.search(error.message)
    if typed is not None:
        cause = f"The manifest of {sight.name} is not valid: {typed[2]} must not be {typed[1]} but of type {typed[3]}"
        return INVALID.found(cause, fix=f"Correct {typed[2]}.", evidence=evidence)
    return INVALID.found(f"The API server cannot accept the manifest of {sight.name}", evidence=evidence)


def _field_line(cause: object) -> str:
    told = as_map(cause)
    field, message = as_text(told.get("field")), as_text(told.get("message"))
    return f"{field}: {_without_value(message) if '.env[' in field else message}"


def _without_value(message: str) -> str:
    """`Invalid value: "…": must be …` without the value."""
    head, mark, _ = message.partition(" value: ")
    return f"{head} value: *** {message.rpartition(': ')[2]}" if mark else message


def _plain(error: ApiError) -> str:
    return _without_value(error.message) if ".env[" in error.message else error.message


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
