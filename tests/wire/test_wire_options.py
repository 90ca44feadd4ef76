"""Decisions without a wire: which attempt a log request means, options, sizes of terminals."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from podbay.apiserver.request import Request
from podbay.apiserver.wire.log_options import log_options
from podbay.apiserver.wire.query import choose_container
from podbay.apiserver.wire.resize import ResizeReader
from podbay.apiserver.wire.session_options import command_options, forwarded_ports
from podbay.errors import ApiError
from podbay.objects.container_log import LoggedAttempt, logged_attempt

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def pod(*names: str, init: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "metadata": {"name": "p"},
        "spec": {
            "containers": [{"name": name} for name in names],
            "initContainers": [{"name": name} for name in init],
        },
    }


def status(state: dict[str, Any], last: dict[str, Any] | None = None, kind: str = "containerStatuses") -> Any:
    return {kind: [{"name": "c", "containerID": "x://now", "state": state, "lastState": last or {}}]}


DEAD = {"terminated": {"containerID": "x://old", "exitCode": 1}}


@pytest.mark.parametrize(
    ("pod_status", "previous", "expected"),
    [
        (status({"running": {}}), False, LoggedAttempt("x://now", last=False)),
        (status({"running": {}}, DEAD), True, LoggedAttempt("x://old", last=True)),
        (status(DEAD), False, LoggedAttempt("x://old", last=False)),
        (
            status({"waiting": {"reason": "CrashLoopBackOff"}}, DEAD),
            False,
            LoggedAttempt("x://old", last=True),
        ),
        (status({"terminated": {"exitCode": 128}}, DEAD), False, LoggedAttempt("x://old", last=True)),
        (status({"running": {}}, kind="initContainerStatuses"), False, LoggedAttempt("x://now", last=False)),
        (
            status({"running": {}}, kind="ephemeralContainerStatuses"),
            False,
            LoggedAttempt("x://now", last=False),
        ),
    ],
)
def test_the_attempt_that_answers(pod_status: Any, previous: bool, expected: LoggedAttempt) -> None:
    assert logged_attempt("p", pod_status, "c", previous=previous) == expected


@pytest.mark.parametrize(
    ("pod_status", "previous", "words"),
    [
        ({}, False, 'container "c" in pod "p" is not available'),
        (status({"running": {}}), True, 'previous terminated container "c" in pod "p" not found'),
        (status({"terminated": {}}), False, 'container "c" in pod "p" is terminated'),
        (status({}), False, 'container "c" in pod "p" is waiting to start - no logs yet'),
        (
            status({"waiting": {"reason": "ContainerCreating"}}),
            False,
            'container "c" in pod "p" is waiting to start: ContainerCreating',
        ),
        (
            status({"waiting": {"reason": "ErrImagePull"}}),
            False,
            'container "c" in pod "p" is waiting to start: image can\'t be pulled',
        ),
        (
            status({"waiting": {"reason": "ImagePullBackOff"}}),
            False,
            'container "c" in pod "p" is waiting to start: trying and failing to pull image',
        ),
    ],
)
def test_the_words_when_there_is_no_log(pod_status: Any, previous: bool, words: str) -> None:
    with pytest.raises(ApiError) as caught:
        logged_attempt("p", pod_status, "c", previous=previous)
    assert (caught.value.code, caught.value.reason, caught.value.message) == (400, "BadRequest", words)


def query(**values: str | list[str]) -> Request:
    listed = {name: [value] if isinstance(value, str) else value for name, value in values.items()}
    return Request("GET", "/", query=listed)


def test_containers_are_listed_in_the_order_they_start() -> None:
    with pytest.raises(ApiError, match=r"choose one of: \[i a b\]$"):
        choose_container(pod("a", "b", init=("i",)), "")
    assert choose_container(pod("a", init=("i",)), "") == "a"
    assert choose_container(pod("a", "b", init=("i",)), "i") == "i"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2020-01-01T00:00:00Z", datetime(2020, 1, 1, tzinfo=UTC)),
        ("2020-01-01T02:00:00.5+02:00", datetime(2020, 1, 1, 0, 0, 0, 500000, tzinfo=UTC)),
        ("", None),
        ("null", None),
        ("0000-01-01T00:00:00Z", None),
    ],
)
def test_since_time(text: str, moment: datetime | None) -> None:
    assert log_options(query(sinceTime=text), pod("c"), NOW).since == moment


def test_since_seconds_of_any_size() -> None:
    assert log_options(query(sinceSeconds="5"), pod("c"), NOW).since == datetime(
        2026, 1, 2, 3, 4, 0, tzinfo=UTC
    )
    assert log_options(query(sinceSeconds=str(2**63 - 1)), pod("c"), NOW).since is None


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("tailLines", "", 'strconv.ParseInt: parsing "": invalid syntax'),
        ("tailLines", "1.5", 'strconv.ParseInt: parsing "1.5": invalid syntax'),
        (
            "limitBytes",
            "9223372036854775808",
            'strconv.ParseInt: parsing "9223372036854775808": value out of range',
        ),
        ("sinceTime", "2020-13-01T00:00:00Z", 'parsing time "2020-13-01T00:00:00Z": month out of range'),
        ("sinceTime", "2020-01-01T00:00:00", 'cannot parse "" as "Z07:00"'),
        ("sinceTime", "2020-01-01T00:00:00Zx", 'extra text: "x"'),
    ],
)
def test_log_options_that_cannot_be_read(name: str, text: str, words: str) -> None:
    with pytest.raises(ApiError) as caught:
        log_options(query(**{name: text}), pod("c"), NOW)
    assert caught.value.code == 400
    assert words in caught.value.message


def test_a_terminal_has_no_second_output() -> None:
    options = command_options(
        query(stdout="1", stderr="true", tty="True", stdin="FALSE"), pod("c"), attach=False
    )
    assert (options.stdin, options.stdout, options.stderr, options.tty) == (False, True, False, True)


def test_ports_repeated_and_listed() -> None:
    assert forwarded_ports(query(ports=["80,443", "22"])) == [80, 443, 22]
    with pytest.raises(
        ApiError, match=r'cannot convert to \[\]int32: strconv.ParseUint: parsing "x": invalid'
    ):
        forwarded_ports(query(ports="x"))
    with pytest.raises(ApiError, match="value out of range"):
        forwarded_ports(query(ports="65536"))


def test_sizes_cut_anywhere_and_nothing_after_nonsense() -> None:
    text = b'{"Width":80,"Height":24}\n{"height": 5, "Width": 7}'
    for cut in range(len(text)):
        reader = ResizeReader()
        assert reader.feed(text[:cut]) + reader.feed(text[cut:]) == [(80, 24), (7, 5)]
    for nonsense in (b"[]}", b'{"Width":-1}', b'{"Width":"8"}', b"x" * 5000, b'{"Width":65536}'):
        reader = ResizeReader()
        assert reader.feed(nonsense) == []
        assert reader.feed(text) == []
