"""What goes over the wire and what an answer means: paths, queries, bodies, `kind: Status`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from podbay.errors import ApiError
from podbay.kube.config import Impersonation
from podbay.objects.api import PatchType
from podbay.objects.resource import GVR

__all__ = [
    "HttpAnswer",
    "HttpRequest",
    "api_error",
    "impersonation_headers",
    "patch_content_type",
    "url_path",
]

_PATCH_TYPES: Mapping[PatchType, str] = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Gone",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request; path is encoded and has its query."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """One whole answer; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body of a success. Raises ApiError 502 when it is not JSON, as behind a login page."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            kind = self.headers.get("content-type", "no content type")
            raise ApiError(
                502,
                "BadGateway",
                f"the answer ({kind}, {len(self.body)} bytes) is not JSON: something between here and the API server "
                "answers in its place",
            ) from None


def url_path(
    resource: GVR,
    *,
    namespace: str | None = None,
    name: str | None = None,
    subresource: str | None = None,
    query: Mapping[str, str | None] | None = None,
) -> str:
    """The encoded path of a collection, object or subresource; parameters that are None or empty are left out."""
    path = resource.path(namespace, name, subresource)
    given = {key: value for key, value in (query or {}).items() if value}
    return quote(path) + (f"?{urlencode(given)}" if given else "")


def patch_content_type(kind: PatchType) -> str:
    return _PATCH_TYPES[kind]


def impersonation_headers(who: Impersonation | None) -> list[tuple[str, str]]:
    """The headers of `kubectl --as`; several groups are several headers."""
    if who is None:
        return []
    headers = [("Impersonate-User", who.user)]
    if who.uid:
        headers.append(("Impersonate-Uid", who.uid))
    headers += [("Impersonate-Group", group) for group in who.groups]
    headers += [(f"Impersonate-Extra-{quote(key)}", value) for key, values in who.extra for value in values]
    return headers


def api_error(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """An answer that is no success. Bodies that are not `kind: Status` are dropped: they are pages of proxies."""
    found = _status(body)
    if found is None:
        said = headers.get("content-type", "no content type")
        found = {
            "message": f"the server answered {status} {_phrase(status)} without a Kubernetes status ({said})"
        }
    found["code"] = status
    found["reason"] = found.get("reason") or _REASONS.get(status, "")
    wait = _seconds(headers.get("retry-after"))
    details = found.get("details")
    if wait and not (isinstance(details, Mapping) and details.get("retryAfterSeconds")):
        found["details"] = {**(details if isinstance(details, Mapping) else {}), "retryAfterSeconds": wait}
    return ApiError.from_status(found)


def _status(body: bytes) -> dict[str, Any] | None:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return data if isinstance(data, dict) and data.get("kind") == "Status" else None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _seconds(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0
