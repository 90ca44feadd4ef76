"""What a request is, once it has left the socket: who asks, for what, with which options.

The core of the API server works on these values only, so the same verbs serve HTTP and callers in the same
process. Parsing the URL mirrors k8s.io/apiserver/pkg/endpoints/request/requestinfo.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from podbay.objects.meta import Object
from podbay.objects.selectors import FieldSelector

__all__ = ["ANONYMOUS", "Request", "RequestInfo", "User", "parse_request_info"]

_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})
_VERB_BY_METHOD = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated identity (Go: user.Info)."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ANONYMOUS = User("system:anonymous", groups=("system:unauthenticated",))


@dataclass(slots=True)
class Request:
    """One request. Header names are lower case; query keeps repeated keys; body is bytes off the wire or,
    from a caller in the same process, an object that is already parsed."""

    method: str
    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Object | list[Any] = b""
    user: User = ANONYMOUS
    cut_after: int | None = None
    """Bytes after which a fault cuts the stream that answers this request; None leaves it whole."""

    def param(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        values = self.query.get(name)
        return values[0] if values else default


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What the URL and method ask for (Go: request.RequestInfo). `verb` is the RBAC verb."""

    is_resource: bool
    path: str
    verb: str
    prefix: str = ""
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    parts: tuple[str, ...] = ()
    selected: str = ""
    """The one name that the field selector of a list or watch leaves."""

    @property
    def ruled_name(self) -> str:
        """The name that RBAC goes by: who may list one object may say so in a selector only."""
        return self.name or self.selected


def parse_request_info(request: Request) -> RequestInfo:
    """Read group, version, namespace, resource, name, subresource and verb out of a request."""
    method, path = request.method, request.path
    verb = method.lower()
    parts = path.strip("/").split("/") if path.strip("/") else []
    if len(parts) < 3 or parts[0] not in ("api", "apis"):
        return RequestInfo(False, path, verb)
    prefix = parts[0]
    rest = parts[1:]
    group = ""
    if prefix == "apis":
        if len(rest) < 3:
            return RequestInfo(False, path, verb)
        group, rest = rest[0], rest[1:]
        if not group:
            # The core group is served under /api alone.
            return RequestInfo(False, path, verb)
    version, rest = rest[0], rest[1:]
    if not rest:
        return RequestInfo(False, path, verb)
    verb = _VERB_BY_METHOD.get(method, "")
    if rest[0] in ("watch", "proxy") and len(rest) > 1:
        # /watch/ is the deprecated prefix; it still means a watch of what follows.
        if rest[0] == "watch":
            verb = "watch"
        rest = rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    resource = rest[0]
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    selected = ""
    if not name and verb == "get":
        watch = request.param("watch")
        verb = "watch" if _is_true(watch) and "watch" in request.query else "list"
        selected = _selected_name(request.param("fieldSelector"))
    if not name and verb == "delete":
        verb = "deletecollection"
    return RequestInfo(
        True,
        path,
        verb,
        prefix,
        group,
        version,
        namespace,
        resource,
        subresource,
        name,
        tuple(rest),
        selected,
    )


def _selected_name(field_selector: str) -> str:
    if "metadata.name" not in field_selector:
        return ""
    try:
        name = FieldSelector.parse(field_selector).exact("metadata.name") or ""
    except ValueError:
        # Its refusal is for those who may list at all.
        return ""
    # Go: path.IsValidPathSegmentName.
    return "" if name in (".", "..") or "/" in name or "%" in name else name


def _is_true(value: str) -> bool:
    return value.lower() not in ("0", "false")
