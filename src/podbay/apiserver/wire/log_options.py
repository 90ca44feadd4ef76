"""PodLogOptions: from query parameters to what a node is asked, or the refusal of kube-apiserver.

Source: pkg/apis/core/validation ValidatePodLogOptions, pkg/registry/core/pod/strategy.go LogLocation,
k8s.io/apimachinery/pkg/apis/meta/v1/conversion.go for sinceTime.
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
from podbay.apiserver.wire.query import choose_container, read_boolean, read_integer
from podbay.objects.meta import Object, name_of

__all__ = ["check_log_request", "log_options"]

_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)\Z", re.ASCII)
_LAYOUT = "2006-01-02T15:04:05Z07:00"
_ZERO = datetime(1, 1, 1, tzinfo=UTC)
"""Go's zero time: what an empty `sinceTime` means."""
_ALL_SECONDS = 10**10
"""So long ago (300 years) that there is no limit; a date that far back cannot be reckoned any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    tail_lines: int | None
    limit_bytes: int | None
    since_seconds: int | None
    since_time: datetime | None
    stream: str | None
    follow: bool
    previous: bool
    timestamps: bool


def check_log_request(request: Request, pod_name: str) -> None:
    """What is wrong with the request whatever the pod, which need not exist. Raises ApiError as log_options does."""
    _given(request, pod_name)


def log_options(request: Request, pod: Object, now: datetime) -> LogOptions:
    """Raises ApiError: 400 for values that cannot be read, 422 for values that make no sense, as recorded."""
    given = _given(request, name_of(pod))
    since = given.since_time if given.since_time != _ZERO else None
    if given.since_seconds is not None and given.since_seconds < _ALL_SECONDS:
        since = now - timedelta(seconds=given.since_seconds)
    return LogOptions(
        container=choose_container(pod, request.param("container")),
        follow=given.follow,
        previous=given.previous,
        timestamps=given.timestamps,
        since=since,
        tail_lines=given.tail_lines,
        limit_bytes=given.limit_bytes,
    )


def _given(request: Request, pod_name: str) -> _Given:
    given = _Given(
        tail_lines=read_integer(request, "tailLines"),
        limit_bytes=read_integer(request, "limitBytes"),
        since_seconds=read_integer(request, "sinceSeconds"),
        since_time=_time(request, "sinceTime"),
        stream=request.param("stream") or None,
        follow=read_boolean(request, "follow"),
        previous=read_boolean(request, "previous"),
        timestamps=read_boolean(request, "timestamps"),
    )
    errors = list(_errors(given))
    if errors:
        raise status.invalid("", "PodLogOptions", pod_name, errors)
    return given


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


def _time(request: Request, name: str) -> datetime | None:
    if name not in request.query:
        return None
    text = request.param(name)
    if text in ("", "null"):
        return _ZERO
    match = _TIME.match(text)
    if match is None:
        raise status.bad_request(_time_error(text))
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    if year == "0000":
        return _ZERO
    micros = int((fraction or "0")[:6].ljust(6, "0"))
    try:
        moment = datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second), micros, tzinfo=UTC
        )
    except ValueError as err:
        raise status.bad_request(f"parsing time {go_quote(text)}: {_out_of_range(match)}") from err
    if zone == "Z":
        return moment
    offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
    try:
        return moment - offset if zone[0] == "+" else moment + offset
    except OverflowError:
        return moment


_STEPS = (
    ("2006", r"\d{4}"), ("-", "-"), ("01", r"\d\d"), ("-", "-"), ("02", r"\d\d"), ("T", "T"),
    ("15", r"\d\d"), (":", ":"), ("04", r"\d\d"), (":", ":"), ("05", r"\d\d(?:[.,]\d+)?"), ("Z07:00", r"Z|[+-]\d\d:\d\d"),
)  # fmt: skip


def _time_error(text: str) -> str:
    """Go's time.ParseError: the first piece of the layout that does not fit, and what was left there."""
    rest = text
    for piece, pattern in _STEPS:
        match = re.match(pattern, rest, re.ASCII)
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
