"""Decisions without sockets: overload, retries, severity, attempts of a container."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys

import pytest
from log_server import ended_pod, pod

from podbay.aio.virtual import VirtualClock
from podbay.errors import ApiError, CredentialError, PodbayError, UnreachableError
from podbay.kube.limits import Gate, Throttle
from podbay.kube.log_attempts import Attempt, containers_of, is_over
from podbay.kube.messages import api_error
from podbay.kube.retry import Patience, carries, delay_before_retry, is_repeatable_patch, same_identity
from podbay.kube.severity import severity_of


def test_overload_halves_the_window_once_for_one_complaint() -> None:
    throttle = Throttle(window=32)
    for _ in range(10):
        throttle.overloaded(100.0, retry_after=2.0, jitter=0.0)
    assert throttle.window == 16
    assert throttle.paused_until == 102.0
    throttle.overloaded(103.0, retry_after=None, jitter=0.0)
    assert throttle.window == 8
    for _ in range(2000):
        throttle.succeeded()
    assert throttle.window == 32
    for number in range(50):
        throttle.overloaded(1000.0 * number, retry_after=None, jitter=1.0)
    assert throttle.window == 1


def test_nobody_is_kept_waiting_for_an_hour() -> None:
    throttle = Throttle()
    assert throttle.overloaded(100.0, retry_after=3600.0, jitter=0.0) == 60.0
    assert throttle.paused_until == 160.0


async def test_turns_are_taken_in_order() -> None:
    clock = VirtualClock()
    gate = Gate(clock, random.Random(1), window=2)
    order: list[int] = []

    async def ask(number: int) -> None:
        async with gate.turn():
            order.append(number)
            await clock.sleep(1)

    tasks = [asyncio.ensure_future(ask(number)) for number in range(6)]
    await clock.settle()
    assert order == [0, 1]
    tasks[2].cancel()
    gate.overloaded(10.0)
    await clock.advance(5)
    assert order == [0, 1]
    await clock.advance(20)
    assert order == [0, 1, 3, 4, 5]
    await asyncio.gather(*tasks, return_exceptions=True)


def decide(error: PodbayError, **changed: object) -> float | None:
    given: dict[str, object] = {
        "repeatable": True,
        "failures": 1,
        "elapsed": 0.0,
        "patience": Patience(),
        "answered_before": True,
        "jitter": 0.0,
    }
    return delay_before_retry(error, **{**given, **changed})  # type: ignore[arg-type]


def refusal(code: int, retry_after: int = 0) -> ApiError:
    return ApiError(code, "", "x", details={"retryAfterSeconds": retry_after} if retry_after else None)


def test_what_is_repeated() -> None:
    for code in (400, 401, 403, 404, 409, 410, 422):
        assert decide(refusal(code)) is None or code == 410
    for code in (429, 500, 502, 503, 504):
        assert decide(refusal(code)) == 0.2
    assert decide(refusal(500), failures=6) is None
    assert decide(refusal(504, retry_after=7)) == 7.0
    assert decide(refusal(504, retry_after=3600)) == 60.0
    assert decide(refusal(429), repeatable=False) == 0.2
    assert decide(refusal(504), repeatable=False) is None
    broken = UnreachableError("broken", "x", maybe_sent=True)
    assert decide(broken) == 0.2
    assert decide(broken, repeatable=False) is None
    unreached = UnreachableError("refused", "x")
    assert decide(unreached, repeatable=False) == 0.2
    assert decide(unreached, answered_before=False, elapsed=16.0) is None
    assert decide(unreached, elapsed=100.0) is not None
    assert decide(unreached, elapsed=121.0) is None
    assert decide(UnreachableError("tls", "x", permanent=True)) is None
    assert decide(CredentialError("x")) is None


def test_recognising_ones_own_work() -> None:
    assert carries({"a": 1, "b": {"c": [1, 2], "d": 0}}, {"b": {"c": [1, 2]}})
    assert not carries({"b": {"c": [1, 2]}}, {"b": {"c": [1]}})
    assert carries({"a": 1}, {"a": 1, "gone": None, "empty": {}, "none": []})
    assert not carries({"a": 1, "gone": 1}, {"gone": None})
    ours = {"metadata": {"name": "p", "annotations": {"podbay.dev/try": "1"}}, "spec": {"x": 1}}
    mutated = {"metadata": {"name": "p", "annotations": {"podbay.dev/try": "1", "x": "y"}}, "spec": {"x": 2}}
    assert same_identity(ours, mutated)
    assert not same_identity(ours, {"metadata": {"annotations": {"podbay.dev/try": "2"}}, "spec": {"x": 1}})
    assert is_repeatable_patch("merge", {})
    assert not is_repeatable_patch("json", [{"op": "add", "path": "/a/-", "value": 1}])


def test_answers_keep_the_servers_words_and_drop_pages() -> None:
    status = b'{"kind":"Status","reason":"Forbidden","message":"no","details":{"name":"p"},"code":403}'
    error = api_error(403, {}, status)
    assert (error.code, error.reason, error.message, error.details) == (403, "Forbidden", "no", {"name": "p"})
    page = api_error(502, {"content-type": "text/html", "retry-after": "9"}, b"<html>secret internals</html>")
    assert page.code == 502
    assert "secret" not in page.message
    assert "text/html" in page.message
    assert page.retry_after_seconds == 9
    assert api_error(429, {}, b"null").reason == "TooManyRequests"


@pytest.mark.parametrize(
    ("line", "severity"),
    [
        ("ERROR:root:it broke", "error"),
        ("2026-10-01 12:00:00,123 - my.module - WARNING - careful", "warning"),
        ("[2026-10-01T12:00:00.000+0000] {file.py:12} INFO - started", "info"),
        ("I1001 12:00:00.000000       1 main.go:5] hello", "info"),
        ("E1001 12:00:00.000000       1 main.go:5] hello", "error"),
        ('{"ts": 1, "level": "fatal", "msg": "x"}', "critical"),
        ("time=now level=warn msg=x", "warning"),
        ("\x1b[31mERROR\x1b[0m red", "error"),
        ("error: cannot open file", "error"),
        ("[debug] details", "debug"),
        ("Traceback (most recent call last):", "error"),
        ("no errors were found in 3 files", None),
        ("copied /var/log/ERROR-report.txt", None),
        ("Information about things", None),
        ("", None),
    ],
)
def test_severity(line: str, severity: str | None) -> None:
    assert severity_of(line) == severity


def test_attempts_of_a_container() -> None:
    [(name, logs)] = containers_of(pod(restarts=1))
    assert name == "main"
    older, newer = logs.attempts
    assert (older.previous, older.ended, newer.previous, newer.ended) == (True, True, False, False)
    assert older.id != newer.id
    [(_, logs)] = containers_of(ended_pod())
    assert [a.ended for a in logs.attempts] == [True]
    assert is_over(ended_pod())
    waiting = {
        "status": {
            "containerStatuses": [
                {
                    "name": "main",
                    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    "lastState": {"terminated": {"containerID": "containerd://0123456789abcdef"}},
                }
            ]
        }
    }
    [(_, logs)] = containers_of(waiting)
    assert logs.attempts == (Attempt("0123456789ab", previous=True, ended=True),)
    assert list(containers_of({"status": {"phase": "Pending"}})) == []


def test_importing_the_client_does_not_load_the_http_library() -> None:
    """A DAG file that imports Podbay must stay cheap; connections are made on first use."""
    program = """
import sys
import podbay.kube.kubeconfig, podbay.kube.lease, podbay.kube.logs
heavy = {"aiohttp", "yarl", "kubernetes", "kubernetes_asyncio", "cryptography"}
sys.exit(", ".join(sorted(heavy & set(sys.modules))) or 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
