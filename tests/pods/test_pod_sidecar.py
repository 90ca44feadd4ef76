"""The sidecar's program in real shells, and its reader on everything that can happen to a log."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import PATIENCE, until

from podbay.pods.result import (
    RESULT_PATH,
    ResultReading,
    read_frame,
    read_termination_message,
    termination_message_limit,
)
from podbay.pods.sidecar import sidecar_script

SHELLS = [
    each
    for each in (
        ["dash"],
        ["bash", "--posix"],
        ["busybox", "sh"],
        ["ksh"],
        ["mksh"],
        ["zsh", "--emulate", "sh"],
    )
    if shutil.which(each[0])
]
LIMIT = 300_000


def run_sidecar(shell: list[str], directory: Path, *, path: str | None = None) -> tuple[bytes, bytes]:
    """Start the program as a kubelet does, end it with SIGTERM; its log and its termination message."""
    message = directory / "termination-log"
    script = sidecar_script(LIMIT).replace(RESULT_PATH, str(directory / "return.json"))
    script = script.replace("/dev/termination-log", str(message))
    ready = directory / "ready"
    ready.unlink(missing_ok=True)
    script = script.replace("while :; do", f": >{ready}\nwhile :; do", 1)
    environ = {**os.environ, "PATH": path or os.environ["PATH"]}
    program = shutil.which(shell[0])
    assert program is not None
    with subprocess.Popen(
        [program, *shell[1:], "-c", script], stdout=subprocess.PIPE, env=environ
    ) as process:
        until(ready.exists)
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        log, _ = process.communicate(timeout=PATIENCE)
        assert time.monotonic() - started < 4, "the program waited for its sleep to end"
        assert process.returncode == 0
    return log, message.read_bytes() if message.exists() else b""


def test_there_is_more_than_one_shell_to_try() -> None:
    assert len(SHELLS) >= 2


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@pytest.mark.parametrize(
    "content",
    [
        b'{"rows": 12}',
        b'{"rows": 12}\n',
        b"\n",
        "héllo — 日本".encode(),
        b"podbay-result/1 begin\nx\npodbay-result/1 end bytes=1 sha256=0\n",
        b"podbay-result/1 none\n",
        bytes(range(256)),
        b'"' + b"x" * 200_000 + b'"',
    ],
    ids=["json", "newline", "blank", "unicode", "a frame", "a word", "binary", "large"],
)
def test_every_shell_prints_what_is_read_back(shell: list[str], content: bytes, tmp_path: Path) -> None:
    (tmp_path / "return.json").write_bytes(content)
    log, message = run_sidecar(shell, tmp_path)
    assert read_frame(log) == ResultReading("value", content, size=len(content))
    assert message == (log if len(content) <= 3072 else b"")


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_every_shell_says_why_there_is_no_result(shell: list[str], tmp_path: Path) -> None:
    assert read_frame(run_sidecar(shell, tmp_path)[0]) == ResultReading("none")
    file = tmp_path / "return.json"
    file.touch()
    assert read_frame(run_sidecar(shell, tmp_path)[0]) == ResultReading("none")
    file.unlink()
    file.mkdir()
    assert read_frame(run_sidecar(shell, tmp_path)[0]) == ResultReading("none")
    file.rmdir()
    file.write_bytes(b"x" * (LIMIT + 1))
    log, message = run_sidecar(shell, tmp_path)
    assert read_frame(log) == ResultReading("too_large", size=LIMIT + 1, limit=LIMIT) == read_frame(message)


@pytest.mark.parametrize(
    "programs", [("cat", "wc", "sleep"), ("cat", "wc", "sleep", "cksum")], ids=["none", "cksum"]
)
def test_an_image_with_few_programs_will_do(programs: tuple[str, ...], tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for each in programs:
        found = shutil.which(each)
        assert found is not None
        (tools / each).symlink_to(found)
    (tmp_path / "return.json").write_bytes(b"[1]")
    log, _ = run_sidecar(["dash"], tmp_path, path=str(tools))
    assert b"sha256" not in log
    assert read_frame(log) == ResultReading("value", b"[1]", size=3)
    if "cksum" in programs:
        assert read_frame(log.replace(b"[1]", b"[2]")).state == "damaged"


def frame(content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    return b"podbay-result/1 begin\n%b\npodbay-result/1 end bytes=%d sha256=%b\n" % (
        content,
        len(content),
        digest.encode(),
    )


@settings(max_examples=300)
@given(st.binary(max_size=200), st.binary(max_size=60))
def test_any_content_is_read_back_after_any_noise(content: bytes, noise: bytes) -> None:
    assert read_frame(noise + b"\n" + frame(content)) == ResultReading("value", content, size=len(content))


@settings(max_examples=300)
@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_cut_or_changed_frame_is_never_taken_for_the_result(content: bytes, data: st.DataObject) -> None:
    whole = frame(content)
    place = data.draw(st.integers(0, len(whole) - 2))
    assert read_frame(whole[:place]).state in ("missing", "damaged")
    if place:
        assert read_frame(whole[place:]).state in ("missing", "damaged")
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    reading = read_frame(bytes(changed))
    assert reading.state != "value" or reading.value == content


def test_the_sidecar_has_not_spoken_yet() -> None:
    assert read_frame(b"") == ResultReading("missing")
    assert read_frame(b"podbay-result/1 begin\n{").state == "damaged"
    assert read_frame(b"podbay-result/1 unreadable\n") == ResultReading("unreadable")


def test_a_termination_message_that_may_be_cut_is_refused() -> None:
    assert read_termination_message('{"a": 1}', container_count=1) == ResultReading(
        "value", b'{"a": 1}', size=8
    )
    assert read_termination_message("", container_count=1) == ResultReading("none")
    assert read_termination_message("x" * 4095, container_count=3).state == "value"
    assert read_termination_message("x" * 4096, container_count=1) == ResultReading(
        "too_large", size=4096, limit=4095
    )
    assert read_termination_message("x" * 3072, container_count=4).state == "too_large"
    assert [termination_message_limit(count) for count in (1, 3, 4, 12)] == [4096, 4096, 3072, 1024]
