"""Which failed requests may be sent again, and when a failed one may have taken effect all the same. Pure.

The doubt matters more than the retry: a create whose answer was lost has either made the object or not, and only the
cluster knows. Whoever repeats in doubt must recognise his own work (`same_identity`, `carries`); client.py does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from podbay.aio.backoff import Backoff
from podbay.errors import ApiError, PodbayError, UnreachableError
from podbay.kube.limits import MOST_RETRY_AFTER
from podbay.objects.api import PatchType
from podbay.objects.meta import Object, annotations_of

__all__ = [
    "Patience",
    "Verb",
    "carries",
    "delay_before_retry",
    "in_doubt",
    "is_overload",
    "is_permanent",
    "is_repeatable_patch",
    "same_identity",
    "without_version",
]

Verb: TypeAlias = Literal["get", "list", "watch", "create", "update", "patch", "delete", "log", "attach"]

IDENTITY_PREFIX = "podbay.dev/"
_DELAYS = Backoff(initial=0.2, maximum=5.0, jitter=0.5)
_INTERNAL_ERRORS = 6
"""Times a 500 is met with patience (about 8 s): a broken admission webhook also says 500, and stays broken."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request is repeated, in seconds since its first attempt."""

    seconds: float = 120.0
    """A control plane that is updated is away for up to a minute or two."""
    before_first_answer: float = 15.0
    """As long as a cluster has never answered, a wrong address is likelier than an outage."""


def in_doubt(error: PodbayError) -> bool:
    """The request may have taken effect although it failed (this attempt of it; `after_doubt` tells of earlier ones)."""
    if isinstance(error, UnreachableError):
        return error.maybe_sent
    return isinstance(error, ApiError) and error.code in (500, 502, 503, 504)


def is_overload(error: PodbayError) -> bool:
    """The cluster asks to be left alone for a while."""
    return isinstance(error, ApiError) and error.code in (429, 503)


def is_permanent(error: PodbayError) -> bool:
    """Asking again in a second gives the same answer: access, input and credentials must change first."""
    if isinstance(error, UnreachableError):
        return error.permanent
    if isinstance(error, ApiError):
        return 400 <= error.code < 500 and error.code not in (408, 410, 429)
    return True


def delay_before_retry(
    error: PodbayError,
    *,
    repeatable: bool,
    failures: int,
    elapsed: float,
    patience: Patience,
    answered_before: bool,
    jitter: float,
) -> float | None:
    """Seconds to wait before sending the request again, or None to give up. failures counts from 1."""
    if is_permanent(error) or (in_doubt(error) and not repeatable):
        return None
    seconds = _DELAYS.initial * _DELAYS.factor ** min(failures - 1, 10)
    seconds = min(_DELAYS.maximum, seconds) * (1.0 + _DELAYS.jitter * jitter)
    most = patience.seconds
    if isinstance(error, ApiError):
        if error.code == 500 and failures >= _INTERNAL_ERRORS:
            return None
        if not is_overload(error):
            seconds = max(seconds, min(float(error.retry_after_seconds or 0), MOST_RETRY_AFTER))
    elif not answered_before:
        most = min(most, patience.before_first_answer)
    return seconds if elapsed + seconds <= most else None


def is_repeatable_patch(kind: PatchType, patch: Any) -> bool:
    """Sending it twice gives what sending it once gives, or a conflict."""
    if kind != "json":
        return True
    # `test` on the version makes the second one fail; without it an `add` to a list would add twice.
    return any(
        op.get("op") == "test" and op.get("path") == "/metadata/resourceVersion"
        for op in patch
        if isinstance(op, Mapping)
    )


def same_identity(sent: Object, found: Object) -> bool:
    """The object found under our name is the one we sent: its identity annotations say so, or all it carries is ours."""
    identity = {k: v for k, v in annotations_of(sent).items() if k.startswith(IDENTITY_PREFIX)}
    if identity:
        there = annotations_of(found)
        return all(there.get(key) == value for key, value in identity.items())
    return carries(found, without_version(sent))


def carries(found: Any, wanted: Any) -> bool:
    """Everything wanted is in found. The server adds defaults and drops empty maps and lists; None means absent."""
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping):
            return not wanted and found is None
        return all(
            found.get(key) is None if value is None else carries(found.get(key), value)
            for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        if not isinstance(found, list):
            return not wanted and found is None
        return len(found) == len(wanted) and all(carries(f, w) for f, w in zip(found, wanted, strict=True))
    return bool(found == wanted)


def without_version(obj: Object) -> Object:
    """What an update or patch wants to be true, without the version it was made for."""
    left_out = ("resourceVersion", "managedFields")
    metadata = {k: v for k, v in (obj.get("metadata") or {}).items() if k not in left_out}
    return {**obj, "metadata": metadata}
