"""Query parameters as options: list and watch, write, delete. Strings become numbers here or are refused.

Source: k8s.io/apimachinery conversion of url.Values and meta/v1 option types.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from podbay.apiserver import status
from podbay.apiserver.field import go_quote
from podbay.apiserver.request import Request, RequestInfo
from podbay.apiserver.storage import ListOptions, check_list_options

__all__ = [
    "Selection",
    "WriteOptions",
    "delete_options_from_query",
    "manager_of",
    "selection_of",
    "write_options",
]

_INT = re.compile(r"[+-]?[0-9]+\Z")
_INT64_MAX = 2**63 - 1
_MANAGER_MAX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a list, watch or deletecollection asks for: selectors as text, storage options checked."""

    label_selector: str
    field_selector: str
    timeout_seconds: int | None
    storage: ListOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """CreateOptions, UpdateOptions and PatchOptions: they differ in `force` only."""

    dry_run: tuple[str, ...] = ()
    field_manager: str = ""
    field_validation: str = ""
    force: bool | None = None


def selection_of(request: Request, info: RequestInfo) -> Selection:
    """Raises ApiError: 400 for numbers that are none, 422 for options that contradict each other."""
    field_selector = request.param("fieldSelector")
    if info.name:
        # GET …/pods/NAME?watch=1 and /watch/…/NAME select one object.
        only = f"metadata.name={info.name}"
        field_selector = f"{field_selector},{only}" if field_selector else only
    options = ListOptions(
        watch=info.verb == "watch",
        resource_version=request.param("resourceVersion"),
        resource_version_match=request.param("resourceVersionMatch"),
        limit=_integer(request, "limit") or 0,
        continue_token=request.param("continue"),
        allow_bookmarks=_boolean(request, "allowWatchBookmarks") or False,
        send_initial_events=_boolean(request, "sendInitialEvents"),
    )
    return Selection(
        label_selector=request.param("labelSelector"),
        field_selector=field_selector,
        timeout_seconds=_integer(request, "timeoutSeconds"),
        storage=check_list_options(options),
    )


def write_options(request: Request) -> WriteOptions:
    return WriteOptions(
        dry_run=tuple(request.query.get("dryRun", ())),
        field_manager=request.param("fieldManager"),
        field_validation=request.param("fieldValidation"),
        force=_boolean(request, "force"),
    )


def delete_options_from_query(request: Request) -> dict[str, Any]:
    """DeleteOptions given as parameters; used when the request has no body."""
    options: dict[str, Any] = {}
    if "dryRun" in request.query:
        options["dryRun"] = list(request.query["dryRun"])
    grace = _integer(request, "gracePeriodSeconds")
    if grace is not None:
        options["gracePeriodSeconds"] = grace
    orphan = _boolean(request, "orphanDependents")
    if orphan is not None:
        options["orphanDependents"] = orphan
    if request.param("propagationPolicy"):
        options["propagationPolicy"] = request.param("propagationPolicy")
    return options


def manager_of(request: Request, options: WriteOptions) -> str:
    """The field manager: the parameter, else the user agent up to its first slash (Go: managerOrUserAgent)."""
    if options.field_manager:
        return options.field_manager
    agent = request.headers.get("user-agent", "").split("/", 1)[0]
    printable = "".join(ch for ch in agent if ch.isprintable())
    return printable[:_MANAGER_MAX]


def _integer(request: Request, name: str) -> int | None:
    text = request.param(name)
    if name not in request.query or text == "":
        return None
    if not _INT.match(text):
        raise status.bad_request(f"strconv.ParseInt: parsing {go_quote(text)}: invalid syntax")
    value = int(text)
    if not -_INT64_MAX - 1 <= value <= _INT64_MAX:
        raise status.bad_request(f"strconv.ParseInt: parsing {go_quote(text)}: value out of range")
    return value


def _boolean(request: Request, name: str) -> bool | None:
    """Go's url.Values conversion: present means true unless it says 0 or false."""
    if name not in request.query:
        return None
    return request.param(name).lower() not in ("0", "false")
