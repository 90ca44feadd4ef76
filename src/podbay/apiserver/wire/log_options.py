"""PodLogOptions: from query parameters to what a node is asked, or the refusal of kube-apiserver.

Source: pkg/apis/core/validation ValidatePodLogOptions, pkg/registry/core/pod/strategy.go LogLocation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from podbay.apiserver import field, status
from podbay.apiserver.field import FieldError, Path, go_quote
from podbay.apiserver.request import Request
from podbay.apiserver.streams import LogOptions
from podbay.objects.meta import Object, name_of

__all__ = ["choose_container", "log_options"]

_INT = re.compile(r"[+-]?[0-9]+\Z")
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)\Z")
_LAYOUT = "2006-01-02T15:04:05Z07:00"
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    tail_lines: int | None
    limit_bytes: int | None
    since_seconds: int | None
    since_time: datetime | None
    stream: str | None


def log_options(request: Request, pod: Object, now: datetime) -> LogOptions:
    """Raises ApiError: 400 for values that cannot be read, 422 for values that make no sense, as recorded."""
    given = _Given(
        tail_lines=_integer(request, "tailLines"),
        limit_bytes=_integer(request, "limitBytes"),
        since_seconds=_integer(request, "sinceSeconds"),
        since_time=_time(request, "sinceTime"),
        stream=request.param("stream") or None,
    )
    errors = list(_errors(given))
    if errors:
        raise status.invalid("", "PodLogOptions", name_of(pod), errors)
    since = given.since_time
    if given.since_seconds is not None:
        since = now - timedelta(seconds=given.since_seconds)
    return LogOptions(
        container=choose_container(pod, request.param("container")),
        follow=_boolean(request, "follow"),
        previous=_boolean(request, "previous"),
        timestamps=_boolean(request, "timestamps"),
        since=since,
        tail_lines=given.tail_lines,
        limit_bytes=given.limit_bytes,
    )


def _errors(given: _Given) -> Iterable[FieldError]:
    if given.tail_lines is not None and given.tail_lines < 0:
        yield field.invalid(Path("tailLines"), given.tail_lines, "must be greater than or equal to 0")
    if given.limit_bytes is not None and given.limit_bytes < 1:
        yield field.invalid(Path("limitBytes"), given.limit_bytes, "must be greater than 0")
    if given.since_seconds is not None and given.since_time is not None:
        yield field.forbidden(Path("[]"), "at most one of `sinceTime` or `sinceSeconds` may be specified")
    elif given.since_seconds is not None and given.since_seconds < 1:
        yield field.invalid(Path("sinceSeconds"), given.since_seconds, "must be greater than 0")
    if given.stream is not None:
        # The gate PodLogsQuerySplitStreams is off in 1.36.
        yield field.forbidden(Path("stream"), "may not be specified")


def choose_container(pod: Object, wanted: str) -> str:
    """The container a request means. Raises ApiError 400 when the pod has none of that name, or several."""
    spec = pod.get("spec") or {}
    main = [c["name"] for c in spec.get("containers") or ()]
    init = [c["name"] for c in spec.get("initContainers") or ()]
    ephemeral = [c["name"] for c in spec.get("ephemeralContainers") or ()]
    if wanted:
        if wanted not in main + init + ephemeral:
            raise status.bad_request(f"container {wanted} is not valid for pod {name_of(pod)}")
        return wanted
    if len(main) == 1:
        return str(main[0])
    default = ((pod.get("metadata") or {}).get("annotations") or {}).get(_DEFAULT_CONTAINER)
    if default in main:
        return str(default)
    message = f"a container name must be specified for pod {name_of(pod)}, choose one of: [{' '.join(main)}]"
    if init:
        message += f" or one of the init containers: [{' '.join(init)}]"
    raise status.bad_request(message)


def _integer(request: Request, name: str) -> int | None:
    text = request.param(name)
    if not text:
        return None
    if not _INT.match(text):
        raise status.bad_request(f"strconv.ParseInt: parsing {go_quote(text)}: invalid syntax")
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise status.bad_request(f"strconv.ParseInt: parsing {go_quote(text)}: value out of range")
    return value


def _boolean(request: Request, name: str) -> bool:
    return name in request.query and request.param(name).lower() not in ("0", "false")


def _time(request: Request, name: str) -> datetime | None:
    text = request.param(name)
    if not text:
        return None
    match = _TIME.match(text)
    if match is None:
        raise status.bad_request(_time_error(text))
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    micros = int((fraction or "0")[:6].ljust(6, "0"))
    try:
        moment = datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second), micros, tzinfo=UTC
        )
    except ValueError as err:
        raise status.bad_request(f"parsing time {go_quote(text)}: {_out_of_range(match)}") from err
    if zone != "Z":
        sign = 1 if zone[0] == "+" else -1
        moment -= sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
    return moment


_STEPS = (
    ("2006", r"\d{4}"), ("-", "-"), ("01", r"\d\d"), ("-", "-"), ("02", r"\d\d"), ("T", "T"),
    ("15", r"\d\d"), (":", ":"), ("04", r"\d\d"), (":", ":"), ("05", r"\d\d(?:[.,]\d+)?"), ("Z07:00", r"Z|[+-]\d\d:\d\d"),
)  # fmt: skip


def _time_error(text: str) -> str:
    """Go's time.ParseError: the first piece of the layout that does not fit, and what was left there."""
    rest = text
    for piece, pattern in _STEPS:
        match = re.match(pattern, rest)
        if match is None:
            head = f"parsing time {go_quote(text)} as {go_quote(_LAYOUT)}: "
            return head + f"cannot parse {go_quote(rest)} as {go_quote(piece)}"
        rest = rest[match.end() :]
    return f"parsing time {go_quote(text)}: extra text: {go_quote(rest)}"


def _out_of_range(match: re.Match[str]) -> str:
    limits = (("month", 2, 12), ("day", 3, 31), ("hour", 4, 23), ("minute", 5, 59), ("second", 6, 59))
    for name, group, most in limits:
        value = int(match.group(group))
        if value > most or (name in ("month", "day") and value == 0):
            return f"{name} out of range"
    return "day out of range"
