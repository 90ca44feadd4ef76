"""How Go reads the texts inside JSON strings: RFC 3339 times, base64, durations; with Go's error sentences.

Not for JSON itself (gojson.py). Source: Go's time.Parse and encoding/base64. Errors are ValueErrors that carry the
sentence; the caller decides which answer it becomes.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from podbay.apiserver.field import go_quote

__all__ = [
    "canonical_base64",
    "canonical_duration",
    "canonical_micro_time",
    "canonical_time",
    "duration_nanos",
    "print_duration",
]

_RFC3339 = "2006-01-02T15:04:05Z07:00"
_RFC3339_MICRO = "2006-01-02T15:04:05.000000Z07:00"
_BASE64_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


@lru_cache(maxsize=1024)
def canonical_time(text: str) -> str | None:
    """meta/v1 Time as it is printed again (UTC, whole seconds); None for Go's zero time. ValueError if unreadable."""
    moment = _Reader(text, _RFC3339).read()
    return None if moment is None else _print(moment, "%H:%M:%SZ")


@lru_cache(maxsize=1024)
def canonical_micro_time(text: str) -> str | None:
    """meta/v1 MicroTime as it is printed again (UTC, six digits); None for Go's zero time. ValueError if unreadable."""
    moment = _Reader(text, _RFC3339_MICRO).read()
    return None if moment is None else _print(moment, "%H:%M:%S.%fZ")


def _print(moment: datetime, clock: str) -> str:
    # %Y does not pad years below 1000 on every platform.
    return f"{moment.year:04d}-{moment.month:02d}-{moment.day:02d}T" + moment.strftime(clock)


class _Reader:
    """One run of time.Parse over one layout."""

    def __init__(self, text: str, layout: str) -> None:
        self.text = text
        self.rest = text
        self.layout = layout

    def read(self) -> datetime | None:
        year = self._year()
        month = self._number("-", "01", "month", 1, 12)
        day = self._number("-", "02", "", 0, 99)
        hour = self._number("T", "15", "hour", 0, 23)
        minute = self._number(":", "04", "minute", 0, 59)
        second = self._number(":", "05", "second", 0, 59)
        micros = self._fraction()
        offset = self._zone()
        if self.rest:
            raise self._error(f": extra text: {go_quote(self.rest)}")
        if not 1 <= day <= _days_in(month, year):
            raise self._error(": day out of range")
        try:
            return _not_zero(
                datetime(year, month, day, hour, minute, second, micros, tzinfo=UTC)
                - timedelta(minutes=offset)
            )
        except (ValueError, OverflowError):
            return None  # year 0, or moved out of the calendar by its zone: as good as unset

    def _error(self, sentence: str) -> ValueError:
        return ValueError(f"parsing time {go_quote(self.text)}{sentence}")

    def _cannot(self, value: str, element: str) -> ValueError:
        return self._error(
            f" as {go_quote(self.layout)}: cannot parse {go_quote(value)} as {go_quote(element)}"
        )

    def _skip(self, prefix: str) -> None:
        if not self.rest.startswith(prefix):
            raise self._cannot(self.rest, prefix)
        self.rest = self.rest[len(prefix) :]

    def _year(self) -> int:
        head = self.rest[:4]
        if len(head) < 4 or not _is_digits(head):
            raise self._cannot(self.rest, "2006")
        self.rest = self.rest[4:]
        return int(head)

    def _number(self, prefix: str, element: str, unit: str, low: int, high: int) -> int:
        self._skip(prefix)
        head = self.rest[:2]
        one_digit = element == "15" and _is_digits(head[:1]) and not _is_digits(head[1:2])
        if one_digit:
            head = head[:1]  # Go takes the hour with one digit or two
        elif len(head) < 2 or not _is_digits(head):
            raise self._cannot(self.rest, element)
        self.rest = self.rest[len(head) :]
        value = int(head)
        if unit and not low <= value <= high:
            raise self._error(f": {unit} out of range")
        return value

    def _fraction(self) -> int:
        if self.layout is _RFC3339_MICRO:
            found = re.match(r"[.,]([0-9]{6})", self.rest)
            if not found:
                raise self._cannot(self.rest, ".000000")
        else:
            found = re.match(r"[.,]([0-9]+)", self.rest)
            if not found:
                return 0
        self.rest = self.rest[found.end() :]
        return int(found[1][:6].ljust(6, "0"))

    def _zone(self) -> int:
        """Minutes east of UTC."""
        if self.rest.startswith("Z"):
            self.rest = self.rest[1:]
            return 0
        found = re.match(r"([+-])([0-9]{2}):([0-9]{2})", self.rest)
        if not found:
            raise self._cannot(self.rest, "Z07:00")
        hours, minutes = int(found[2]), int(found[3])
        if hours > 24:
            raise self._error(": time zone offset hour out of range")
        if minutes > 60:
            raise self._error(": time zone offset minute out of range")
        self.rest = self.rest[found.end() :]
        return (hours * 60 + minutes) * (-1 if found[1] == "-" else 1)


def _not_zero(moment: datetime) -> datetime | None:
    return None if moment == datetime(1, 1, 1, tzinfo=UTC) else moment


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _days_in(month: int, year: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def canonical_base64(text: str) -> str:
    """Standard base64 as Go prints it again (no line breaks). ValueError with Go's sentence if it is not base64."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return _explain_base64(text.encode("utf-8", "surrogatepass"))
    again = base64.b64encode(decoded).decode()
    return text if again == text else _explain_base64(text.encode())


def _explain_base64(source: bytes) -> str:
    """Go's decoder byte by byte: line breaks are skipped, anything else wrong is named by its position."""
    digits = bytearray()
    i = 0
    while i < len(source):
        c = source[i]
        i += 1
        if c in _BASE64_ALPHABET:
            digits.append(c)
        elif c == ord("="):
            i = _check_padding(source, i, len(digits) % 4)
            if i < len(source):
                raise _corrupt(i)
            break
        elif c not in b"\r\n":
            raise _corrupt(i - 1)
    else:
        if len(digits) % 4:
            raise _corrupt(i - len(digits) % 4)
    decoded = base64.b64decode(bytes(digits) + b"=" * (-len(digits) % 4))
    return base64.b64encode(decoded).decode()


def _check_padding(source: bytes, i: int, before: int) -> int:
    """i stands after the first "="; returns the position after all padding and line breaks."""

    def skip_breaks(at: int) -> int:
        while at < len(source) and source[at] in b"\r\n":
            at += 1
        return at

    if before in (0, 1):
        raise _corrupt(i - 1)
    if before == 2:
        i = skip_breaks(i)
        if i == len(source):
            raise _corrupt(len(source))
        if source[i] != ord("="):
            raise _corrupt(i - 1)
        i += 1
    return skip_breaks(i)


def _corrupt(position: int) -> ValueError:
    return ValueError(f"illegal base64 data at input byte {position}")


_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_DURATION_PART = re.compile(r"([0-9]*)(\.[0-9]*)?([^0-9.]*)")


def canonical_duration(text: str) -> str:
    """A Go duration ("1m30s") as Go prints it again. ValueError with Go's sentence if it is none."""
    return print_duration(duration_nanos(text))


def duration_nanos(text: str) -> int:
    """A Go duration in nanoseconds. ValueError with Go's sentence if it is none."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0
    if not rest:
        raise ValueError(f"time: invalid duration {go_quote(text)}")
    nanos = 0
    while rest:
        found = _DURATION_PART.match(rest)
        whole, fraction, unit = found.groups("") if found else ("", "", "")
        if not whole and len(fraction) < 2:
            raise ValueError(f"time: invalid duration {go_quote(text)}")
        if not unit:
            raise ValueError(f"time: missing unit in duration {go_quote(text)}")
        if unit not in _UNITS:
            raise ValueError(f"time: unknown unit {go_quote(unit)} in duration {go_quote(text)}")
        nanos += int(whole or "0") * _UNITS[unit]
        if len(fraction) > 1:
            nanos += int(fraction[1:]) * _UNITS[unit] // 10 ** (len(fraction) - 1)
        if nanos >= 2**63:
            raise ValueError(f"time: invalid duration {go_quote(text)}")
        rest = rest[len(whole) + len(fraction) + len(unit) :]
    return -nanos if text.startswith("-") else nanos


def print_duration(nanos: int) -> str:
    """A number of nanoseconds as Go prints a duration."""
    sign = "-" if nanos < 0 else ""
    nanos = abs(nanos)
    if nanos == 0:
        return "0s"
    if nanos < 10**9:
        unit, size = next((u, s) for u, s in (("ns", 10**3), ("µs", 10**6), ("ms", 10**9)) if nanos < s)
        return sign + _decimal(nanos, size // 1000) + unit
    seconds = _decimal(nanos % (60 * 10**9), 10**9) + "s"
    minutes = nanos // (60 * 10**9)
    if minutes == 0:
        return sign + seconds
    if minutes < 60:
        return f"{sign}{minutes}m{seconds}"
    return f"{sign}{minutes // 60}h{minutes % 60}m{seconds}"


def _decimal(value: int, unit: int) -> str:
    whole, part = divmod(value, unit)
    digits = str(part).rjust(len(str(unit)) - 1, "0").rstrip("0") if part else ""
    return f"{whole}.{digits}" if digits else str(whole)
