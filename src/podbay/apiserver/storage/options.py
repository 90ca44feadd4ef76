"""The options of list and watch: their defaults, what contradicts what, and how versions are read.

Sources: k8s.io/apimachinery/pkg/apis/meta/internalversion (defaults.go, validation/validation.go) and
k8s.io/apiserver/pkg/storage (api_object_versioner.go, errors.go).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from podbay.apiserver import status
from podbay.apiserver.field import FieldError, Path, forbidden, go_quote, invalid, not_supported
from podbay.errors import ApiError

__all__ = [
    "ListOptions",
    "check_list_options",
    "default_list_options",
    "invalid_version",
    "parse_version",
    "too_large_version",
    "validate_list_options",
]

EXACT = "Exact"
NOT_OLDER_THAN = "NotOlderThan"
RETRY_SECONDS = 1
"""What a client is told to wait for a version that is not there yet (Go: resourceVersionTooHighRetrySeconds)."""

_UINT64_MAX = 2**64 - 1
_MATCH = Path("resourceVersionMatch")
_INITIAL = Path("sendInitialEvents")


@dataclass(frozen=True, slots=True)
class ListOptions:
    """The parsed query of a list or watch that concerns storage (selectors and timeouts are the caller's)."""

    watch: bool = False
    resource_version: str = ""
    resource_version_match: str = ""
    limit: int = 0
    continue_token: str = ""
    allow_bookmarks: bool = False
    send_initial_events: bool | None = None


def default_list_options(options: ListOptions) -> ListOptions:
    """Fill defaults: a watch that starts anywhere asks for initial events (Go: SetListOptionsDefaults)."""
    if options.send_initial_events is not None or options.resource_version_match:
        return options
    if options.watch and options.resource_version in ("", "0"):
        return replace(options, send_initial_events=True, resource_version_match=NOT_OLDER_THAN)
    return options


def validate_list_options(options: ListOptions) -> list[FieldError]:
    """Everything contradictory in the options (Go: ValidateListOptions)."""
    if options.watch:
        return _validate_watch(options)
    errors: list[FieldError] = []
    match = options.resource_version_match
    if match:
        if not options.resource_version:
            errors.append(
                forbidden(_MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided")
            )
        if options.continue_token:
            errors.append(forbidden(_MATCH, "resourceVersionMatch is forbidden when continue is provided"))
        if match not in (EXACT, NOT_OLDER_THAN):
            errors.append(not_supported(_MATCH, match, (EXACT, NOT_OLDER_THAN, "")))
        if match == EXACT and options.resource_version == "0":
            errors.append(
                forbidden(_MATCH, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
            )
    if options.send_initial_events is not None:
        errors.append(forbidden(_INITIAL, "sendInitialEvents is forbidden for list"))
    return errors


def _validate_watch(options: ListOptions) -> list[FieldError]:
    errors: list[FieldError] = []
    match = options.resource_version_match
    if options.send_initial_events is not None and match != NOT_OLDER_THAN:
        errors.append(
            forbidden(_MATCH, f"sendInitialEvents requires setting resourceVersionMatch to {NOT_OLDER_THAN}")
        )
    if match:
        if options.send_initial_events is None:
            errors.append(
                forbidden(
                    _MATCH, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
                )
            )
        if match != NOT_OLDER_THAN:
            errors.append(not_supported(_MATCH, match, (NOT_OLDER_THAN,)))
        if options.continue_token:
            errors.append(forbidden(_MATCH, "resourceVersionMatch is forbidden when continue is provided"))
    return errors


def check_list_options(options: ListOptions) -> ListOptions:
    """The options with defaults. Raises the 422 of kube-apiserver when they contradict each other."""
    options = default_list_options(options)
    errors = validate_list_options(options)
    if errors:
        raise status.invalid("meta.k8s.io", "ListOptions", "", errors)
    return options


def parse_version(text: str) -> int | FieldError:
    """A resourceVersion as a number, 0 for "" and "0"; or the field error that says why it is none."""
    if text.isascii() and text.isdigit():
        value = int(text)
        if value <= _UINT64_MAX:
            return value
        problem = "value out of range"
    elif not text:
        return 0
    else:
        problem = "invalid syntax"
    return invalid(Path("resourceVersion"), text, f"strconv.ParseUint: parsing {go_quote(text)}: {problem}")


def invalid_version(error: FieldError) -> ApiError:
    """What get and watch answer to a malformed resourceVersion.

    The real storage layer returns an error here that no layer above turns into a status, so it leaves the server
    as a 500 without a reason. A list answers 400 instead.
    """
    return ApiError(500, "", str(error))


def too_large_version(wanted: int, current: int) -> ApiError:
    """504: a version is asked for that the server has not reached."""
    error = status.timeout(f"Too large resource version: {wanted}, current: {current}", RETRY_SECONDS)
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    details = {"causes": causes, "retryAfterSeconds": RETRY_SECONDS}
    return ApiError(error.code, error.reason, error.message, details=details)
