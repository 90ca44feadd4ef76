"""A fault as data: which requests it hits, what it does to them, how often. Pure.

    {"do": "refuse", "status": 429, "retry_after": 1, "count": 3, "match": {"verb": "create", "resource": "pods"}}
    {"do": "refuse", "status": 504, "after": true, "match": {"verb": "delete", "name": "train-*"}}
    {"do": "delay", "seconds": 2.5, "match": {"user": "system:serviceaccount:*"}}
    {"do": "cut", "bytes": 1000, "match": {"verb": "watch"}}
    {"do": "drop", "match": {"agent": "airflow*"}}

`refuse` answers with a status; with `after` the request has taken effect and only its answer is lost. `cut` ends a
stream (watch, log, exec) after so many bytes. `drop` closes the connection without an answer, as a partition does.
`match` holds shell globs; what is not given matches everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

from podbay.apiserver.request import RequestInfo
from podbay.errors import InvalidInputError

__all__ = ["Action", "Fault", "Match", "read_fault"]

Action = Literal["refuse", "delay", "cut", "drop"]

STATUSES = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
_MATCHED = ("verb", "group", "resource", "subresource", "namespace", "name", "user", "agent", "path")
_ACTIONS: Mapping[str, Action] = {"refuse": "refuse", "delay": "delay", "cut": "cut", "drop": "drop"}
_FIELDS: Mapping[Action, frozenset[str]] = {
    "refuse": frozenset({"status", "retry_after", "after", "message"}),
    "delay": frozenset({"seconds"}),
    "cut": frozenset({"bytes"}),
    "drop": frozenset({"after"}),
}


@dataclass(frozen=True, slots=True)
class Match:
    """Globs over what a request asks for; an empty one matches everything."""

    patterns: Mapping[str, str] = field(default_factory=dict)

    def hits(self, info: RequestInfo, *, user: str, agent: str) -> bool:
        facts = {
            "verb": info.verb,
            "group": info.group,
            "resource": info.resource,
            "subresource": info.subresource,
            "namespace": info.namespace,
            "name": info.name,
            "user": user,
            "agent": agent,
            "path": info.path,
        }
        return all(fnmatchcase(facts[name], pattern) for name, pattern in self.patterns.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One declared fault. count is how many requests it still hits, None for as long as it stands."""

    id: str
    do: Action
    match: Match
    count: int | None = None
    status: int = 500
    message: str = ""
    retry_after: int = 0
    after: bool = False
    seconds: float = 0.0
    bytes: int = 0
    hits: int = 0

    def after_hit(self) -> Fault | None:
        """The fault once it has hit; None when that was the last time."""
        if self.count == 1:
            return None
        left = None if self.count is None else self.count - 1
        return replace(self, hits=self.hits + 1, count=left)

    def describe(self) -> dict[str, Any]:
        """As `read_fault` takes it, with id and hits."""
        out: dict[str, Any] = {
            "id": self.id,
            "do": self.do,
            "match": dict(self.match.patterns),
            "hits": self.hits,
        }
        if self.count is not None:
            out["count"] = self.count
        for name in sorted(_FIELDS[self.do]):
            value = getattr(self, name)
            if value:
                out[name] = value
        return out


def read_fault(data: Any, *, id_: str) -> Fault:
    """Check a declared fault. Raises InvalidInputError naming the field."""
    if not isinstance(data, Mapping):
        raise InvalidInputError("fault: expected an object with `do` and `match`")
    do = _ACTIONS.get(str(data.get("do")))
    if do is None:
        raise InvalidInputError(f"do: {data.get('do')!r} is not a fault; use {', '.join(sorted(_FIELDS))}")
    unknown = sorted(set(data) - _FIELDS[do] - {"do", "match", "count", "id"})
    if unknown:
        raise InvalidInputError(
            f"{unknown[0]}: not a field of `do: {do}`; it has {', '.join(sorted(_FIELDS[do]))}"
        )
    fault = Fault(
        id=id_,
        do=do,
        match=_read_match(data.get("match") or {}),
        count=_number(data, "count", None),
        status=_number(data, "status", 500) or 500,
        message=str(data.get("message") or ""),
        retry_after=_number(data, "retry_after", 0) or 0,
        after=bool(data.get("after")),
        seconds=_seconds(data),
        bytes=_number(data, "bytes", 0) or 0,
    )
    if fault.status not in STATUSES:
        raise InvalidInputError(
            f"status: {fault.status} cannot be injected; use {', '.join(map(str, STATUSES))}"
        )
    return fault


def _read_match(data: Any) -> Match:
    if not isinstance(data, Mapping):
        raise InvalidInputError("match: expected an object of globs")
    unknown = sorted(set(data) - set(_MATCHED))
    if unknown:
        raise InvalidInputError(f"match.{unknown[0]}: unknown; known are {', '.join(_MATCHED)}")
    return Match({str(name): str(pattern) for name, pattern in data.items()})


def _number(data: Mapping[str, Any], name: str, default: int | None) -> int | None:
    value = data.get(name, default)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidInputError(f"{name}: {value!r} is not a whole number from 0 on")
    return value


def _seconds(data: Mapping[str, Any]) -> float:
    value = data.get("seconds", 0.0)
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
        raise InvalidInputError(f"seconds: {value!r} is not a number from 0 on")
    return float(value)
