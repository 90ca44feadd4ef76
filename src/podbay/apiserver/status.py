"""The refusals of kube-apiserver, word for word.

Source: k8s.io/apimachinery/pkg/api/errors. Each function builds an ApiError; raising it anywhere below a verb
handler makes the response. Nothing here decides when to refuse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podbay.apiserver.field import FieldError, aggregate, go_quote
from podbay.errors import ApiError
from podbay.objects.resource import GroupResource

__all__ = [
    "already_exists",
    "apply_conflict",
    "bad_request",
    "conflict",
    "expired",
    "forbidden",
    "generate_name_conflict",
    "generic",
    "internal_error",
    "invalid",
    "method_not_supported",
    "not_found",
    "request_entity_too_large",
    "resource_not_found",
    "server_timeout",
    "service_unavailable",
    "timeout",
    "too_many_requests",
    "unauthorized",
]


def _details(resource: GroupResource, name: str = "", **more: Any) -> dict[str, Any]:
    return {"name": name, "group": resource.group, "kind": resource.resource, **more}


def not_found(resource: GroupResource, name: str) -> ApiError:
    return ApiError(
        404, "NotFound", f"{resource} {go_quote(name)} not found", details=_details(resource, name)
    )


def resource_not_found() -> ApiError:
    """A path under /api or /apis that no resource serves."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", details={})


def already_exists(resource: GroupResource, name: str) -> ApiError:
    return ApiError(
        409, "AlreadyExists", f"{resource} {go_quote(name)} already exists", details=_details(resource, name)
    )


def generate_name_conflict(resource: GroupResource, name: str) -> ApiError:
    return ApiError(
        409,
        "AlreadyExists",
        f"{resource} {go_quote(name)} already exists, the server was not able to generate a unique name for the object",
        details=_details(resource, name, retryAfterSeconds=1),
    )


def unauthorized(message: str = "Unauthorized") -> ApiError:
    return ApiError(401, "Unauthorized", message or "not authorized")


def forbidden(resource: GroupResource | None, name: str, message: str) -> ApiError:
    """A 403; without a resource the sentence starts with the bare word."""
    if resource is None:
        return ApiError(403, "Forbidden", f"forbidden: {message}", details={})
    subject = f"{resource} {go_quote(name)}" if name else str(resource)
    return ApiError(403, "Forbidden", f"{subject} is forbidden: {message}", details=_details(resource, name))


def conflict(resource: GroupResource, name: str, message: str) -> ApiError:
    return ApiError(
        409,
        "Conflict",
        f"Operation cannot be fulfilled on {resource} {go_quote(name)}: {message}",
        details=_details(resource, name),
    )


def apply_conflict(causes: Sequence[Mapping[str, str]], message: str) -> ApiError:
    return ApiError(409, "Conflict", message, details={"causes": [dict(c) for c in causes]})


def expired(message: str, *, continue_token: str = "") -> ApiError:
    """410: the resourceVersion or continue token asks for history that was compacted."""
    return ApiError(410, "Expired", message, continue_token=continue_token)


def invalid(group: str, kind: str, name: str, errors: Sequence[FieldError]) -> ApiError:
    """422 with one cause per field error (Go: NewInvalid)."""
    qualified = f"{kind}.{group}" if group else kind
    message = f"{qualified} {go_quote(name)} is invalid"
    if errors:
        message += ": " + aggregate(errors)
    return ApiError(
        422,
        "Invalid",
        message,
        details={"name": name, "group": group, "kind": kind, "causes": [e.cause() for e in errors]},
    )


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def too_many_requests(message: str, retry_after_seconds: int) -> ApiError:
    return ApiError(429, "TooManyRequests", message, details={"retryAfterSeconds": retry_after_seconds})


def service_unavailable(message: str) -> ApiError:
    return ApiError(503, "ServiceUnavailable", message)


def method_not_supported(resource: GroupResource, action: str) -> ApiError:
    """405 raised by a storage layer that lacks the verb; the router answers `generic(405)` instead."""
    return ApiError(
        405,
        "MethodNotAllowed",
        f"{action} is not supported on resources of kind {go_quote(str(resource))}",
        details=_details(resource),
    )


def server_timeout(resource: GroupResource, operation: str, retry_after_seconds: int) -> ApiError:
    return ApiError(
        500,
        "ServerTimeout",
        f"The {operation} operation against {resource} could not be completed at this time, please try again.",
        details=_details(resource, operation, retryAfterSeconds=retry_after_seconds),
    )


def internal_error(message: str) -> ApiError:
    return ApiError(
        500,
        "InternalError",
        f"Internal error occurred: {message}",
        details={"causes": [{"message": message}]},
    )


def timeout(message: str, retry_after_seconds: int = 0) -> ApiError:
    return ApiError(504, "Timeout", f"Timeout: {message}", details={"retryAfterSeconds": retry_after_seconds})


def request_entity_too_large(message: str) -> ApiError:
    return ApiError(413, "RequestEntityTooLarge", f"Request entity too large: {message}")


_GENERIC = {
    404: ("NotFound", "the server could not find the requested resource"),
    405: ("MethodNotAllowed", "the server does not allow this method on the requested resource"),
    422: ("Invalid", "the server rejected our request due to an error in our request"),
}


def generic(code: int) -> ApiError:
    """What the server answers when all it knows is the code (Go: NewGenericServerResponse)."""
    reason, message = _GENERIC[code]
    return ApiError(code, reason, message, details={})
