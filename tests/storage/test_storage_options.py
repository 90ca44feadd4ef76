"""List and watch options: what contradicts what, in kube-apiserver's words."""

from __future__ import annotations

import pytest

from podbay.apiserver.field import FieldError
from podbay.apiserver.storage import (
    ListOptions,
    check_list_options,
    default_list_options,
    validate_list_options,
)
from podbay.apiserver.storage.options import parse_version, too_large_version
from podbay.errors import ApiError

NOT_OLDER = "NotOlderThan"


def _messages(options: ListOptions) -> list[str]:
    return [str(error) for error in validate_list_options(options)]


def test_unknown_match_is_refused_as_recorded() -> None:
    with pytest.raises(ApiError) as caught:
        check_list_options(ListOptions(resource_version="1", resource_version_match="Maybe"))
    assert caught.value.code == 422
    assert caught.value.message == (
        'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Unsupported value: "Maybe": '
        'supported values: "Exact", "NotOlderThan", ""'
    )
    assert caught.value.status()["details"] == {
        "group": "meta.k8s.io",
        "kind": "ListOptions",
        "causes": [
            {
                "field": "resourceVersionMatch",
                "message": 'Unsupported value: "Maybe": supported values: "Exact", "NotOlderThan", ""',
                "reason": "FieldValueNotSupported",
            }
        ],
    }


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        (ListOptions(), []),
        (ListOptions(resource_version="5", resource_version_match="Exact"), []),
        (ListOptions(resource_version="0", resource_version_match=NOT_OLDER), []),
        (
            ListOptions(resource_version_match="Exact"),
            [
                "resourceVersionMatch: Forbidden: "
                "resourceVersionMatch is forbidden unless resourceVersion is provided"
            ],
        ),
        (
            ListOptions(resource_version="0", resource_version_match="Exact"),
            [
                'resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden '
                'for resourceVersion "0"'
            ],
        ),
        (
            ListOptions(resource_version="5", resource_version_match=NOT_OLDER, continue_token="x"),
            ["resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided"],
        ),
        (
            ListOptions(send_initial_events=True),
            ["sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"],
        ),
        (ListOptions(watch=True, resource_version="7"), []),
        (ListOptions(watch=True, send_initial_events=False, resource_version_match=NOT_OLDER), []),
        (
            ListOptions(watch=True, send_initial_events=True),
            [
                "resourceVersionMatch: Forbidden: "
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            ],
        ),
        (
            ListOptions(watch=True, resource_version="7", resource_version_match="Exact"),
            [
                "resourceVersionMatch: Forbidden: "
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                'resourceVersionMatch: Unsupported value: "Exact": supported values: "NotOlderThan"',
            ],
        ),
        (
            ListOptions(
                watch=True, send_initial_events=True, resource_version_match=NOT_OLDER, continue_token="x"
            ),
            ["resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided"],
        ),
    ],
)
def test_contradictions(options: ListOptions, messages: list[str]) -> None:
    assert _messages(options) == messages


@pytest.mark.parametrize("version", ["", "0"])
def test_a_watch_from_anywhere_asks_for_initial_events(version: str) -> None:
    options = default_list_options(ListOptions(watch=True, resource_version=version))
    assert options.send_initial_events is True
    assert options.resource_version_match == NOT_OLDER
    assert check_list_options(ListOptions(watch=True, resource_version=version)) == options


@pytest.mark.parametrize(
    "options",
    [
        ListOptions(resource_version="0"),
        ListOptions(watch=True, resource_version="5"),
        ListOptions(watch=True, send_initial_events=False),
    ],
)
def test_other_options_get_no_defaults(options: ListOptions) -> None:
    assert default_list_options(options) == options


@pytest.mark.parametrize(
    ("text", "value"), [("", 0), ("0", 0), ("17", 17), ("007", 7), (str(2**64 - 1), 2**64 - 1)]
)
def test_versions(text: str, value: int) -> None:
    assert parse_version(text) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x", "invalid syntax"),
        ("-1", "invalid syntax"),
        ("+1", "invalid syntax"),
        ("1_0", "invalid syntax"),
        ("0x1", "invalid syntax"),
        (" 1", "invalid syntax"),
        ("²", "invalid syntax"),
        (str(2**64), "value out of range"),
    ],
)
def test_malformed_versions(text: str, problem: str) -> None:
    error = parse_version(text)
    assert isinstance(error, FieldError)
    assert str(error) == (
        f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": {problem}'
    )


def test_a_version_in_the_future() -> None:
    assert too_large_version(900, 120).status() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "Timeout: Too large resource version: 900, current: 120",
        "reason": "Timeout",
        "details": {
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        },
        "code": 504,
    }
