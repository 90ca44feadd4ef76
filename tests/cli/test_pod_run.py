"""podbay pod run: real containers for what they print and return, a played node for what never starts."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import images
import pytest
from patience import until
from podbay_shell import Ran, Shell

from podbay.embedded.containers import runtime_available

IMAGE = "localhost/bb:1"
NODES = """
nodes: [{name: played, capacity: {cpu: "8"}}]
script:
  rules:
    - match: {name: "unpullable*"}
      containers: {"*": [{wait: [{reason: InvalidImageName, message: "invalid reference format", for: forever}]}]}
    - match: {name: "odd*"}
      containers: {"*": [{wait: [{reason: CreateContainerError, message: "words nobody knows", for: forever}]}]}
    - containers: {"*": [{run: 0, log: ["done"]}]}
"""
STAYS = ("sh", "-c", "trap 'echo bye; exit 3' TERM; echo begun; while :; do sleep 0.1; done")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    if not runtime_available():
        pytest.skip("no container runtime here (needs root, runc and conmon)")
    home = tmp_path_factory.mktemp("real")
    archive = images.busybox().archive(home / "bb.tar", IMAGE)
    shell = Shell(home)
    # The first run starts the cluster; the image is not there yet, and nobody has to wait for that to show.
    ran = shell("pod", "run", IMAGE, "--pull", "never", code=1)
    assert "Starting the embedded cluster podbay" in ran.err
    shell("cluster", "load", str(archive))
    yield shell
    shell("cluster", "reset", "--yes")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    home = tmp_path_factory.mktemp("played")
    (home / "nodes.yaml").write_text(NODES)
    shell = Shell(home)
    shell("cluster", "start", "--runtime", "none", "--nodes", str(home / "nodes.yaml"))
    yield shell
    shell("cluster", "reset", "--yes")


def run(shell: Shell, *words: str, code: int = 0) -> Ran:
    return shell("pod", "run", IMAGE, *words, code=code)


def pods(shell: Shell) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shell("pods", "-A", "-o", "json").json()
    return found


# -- what it prints and returns


def test_the_log_is_the_output_and_the_exit_code_is_the_containers(real: Shell) -> None:
    ran = run(real, "--", "sh", "-c", "echo one; echo two >&2; exit 7", code=7)
    assert sorted(ran.out.splitlines()) == ["one", "two"]
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    assert pods(real) == []


def test_success_says_nothing_more(real: Shell) -> None:
    ran = run(real, "-e", "WHO=you", "--workdir", "/tmp", "--", "sh", "-c", "echo hi $WHO in $PWD")
    assert (ran.out, ran.err) == ("hi you in /tmp\n", "")


@pytest.mark.parametrize("how", ["termination_message", "sidecar"])
def test_with_a_result_stdout_is_the_result(real: Shell, how: str) -> None:
    program = "echo working; echo '{\"rows\": 3}' > /airflow/xcom/return.json"
    ran = run(real, "--result", how, "--sidecar-image", IMAGE, "--", "sh", "-c", program)
    assert ran.json() == {"rows": 3}
    assert ran.err == "working\n"


def test_no_result_is_said(real: Shell) -> None:
    ran = run(real, "--result", "termination_message", "--", "true")
    assert (ran.out, ran.err) == ("", "note: the task wrote no result\n")


def test_the_outcome_as_json(real: Shell) -> None:
    ran = run(real, "-o", "json", "--name", "exactly", "--", "sh", "-c", "echo hi; exit 4", code=4)
    outcome = ran.json()
    assert (outcome["version"], outcome["kind"], outcome["exitCode"]) == (1, "failed", 4)
    assert (outcome["pod"], outcome["namespace"]) == ("exactly", "default")
    assert ran.err.startswith("hi\n")


def test_secrets_reach_the_container_and_nothing_else(real: Shell) -> None:
    with real.api() as api:
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "db"},
            "stringData": {"password": "hunter2"},
        }
        assert api.call("POST", "/api/v1/namespaces/default/secrets", secret)[0] == 201
    ran = run(
        real,
        "--secret",
        "db:password=PW",
        "--secret",
        "db=/etc/db",
        "--",
        "sh",
        "-c",
        "echo $PW $(cat /etc/db/password)",
    )
    assert (ran.out, ran.err) == ("hunter2 hunter2\n", "")


def test_several_containers_have_their_names_in_front(real: Shell, tmp_path: Path) -> None:
    template = tmp_path / "pod.yaml"
    template.write_text(
        f"spec:\n  initContainers:\n    - {{name: prepare, image: '{IMAGE}', command: [echo, ready]}}\n  containers: [{{name: base}}]\n"
    )
    assert run(real, "--template", str(template), "--", "echo", "hi").out == "prepare | ready\nbase | hi\n"


def test_a_pod_may_be_kept(real: Shell) -> None:
    run(real, "--name", "kept", "--keep", "on_failure", "--", "sh", "-c", "echo why; exit 1", code=1)
    assert real("logs", "kept").out == "why\n"
    assert "exit code 1" in real("explain", "kept").out
    said = run(real, "--name", "kept", "--", "true", code=1).err
    assert "kept" in said
    real("kill", "kept")
    run(real, "--name", "gone", "--keep", "on_failure", "--", "true")
    assert pods(real) == []


def test_time_is_up(real: Shell) -> None:
    ran = run(real, "--timeout", "2", "--", "sh", "-c", "trap exit TERM; while :; do sleep 0.1; done", code=1)
    assert ran.err.splitlines()[-1].startswith("error: ")
    assert pods(real) == []


# -- Ctrl-C


@contextmanager
def started(shell: Shell, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A run whose container has said its first word."""
    process = subprocess.Popen(
        shell.command("pod", "run", IMAGE, *words),
        env=shell.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "begun\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_pod_and_waits_for_its_last_words(
    real: Shell, number: signal.Signals, code: int
) -> None:
    with started(real, "--", *STAYS) as process:
        process.send_signal(number)
        out, err = process.communicate()
        assert (process.returncode, out) == (code, "bye\n"), err
    assert err.startswith("Ending the pod. Once more leaves at once.\n")
    assert "Traceback" not in err
    assert pods(real) == []


def test_a_second_ctrl_c_leaves_at_once_and_says_what_may_be_left(real: Shell) -> None:
    with started(real, "--name", "stubborn", "--", "sh", "-c", "echo begun; sleep 1000") as process:
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == "Ending the pod. Once more leaves at once.\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130
    assert err.splitlines()[-1] == (
        "Left. Pod default/stubborn may still be there; end it: podbay kill default/stubborn"
    )
    assert "its container ended with exit code 137" in real("kill", "--now", "stubborn").out


def test_a_reader_that_goes_away_ends_the_pod(real: Shell) -> None:
    with started(
        real, "--", "sh", "-c", "trap exit TERM; echo begun; while :; do echo more; sleep 0.05; done"
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
        assert process.wait() == 141, err
    assert "Traceback" not in err
    assert pods(real) == []


def test_a_terminal_shows_what_is_waited_for_in_one_line(real: Shell) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        real.command("pod", "run", IMAGE, "--", "echo", "ERROR: hi"),
        env={**real.environment(), "TERM": "xterm"},
        stdout=theirs,
        stderr=theirs,
        stdin=theirs,
    ) as process:
        os.close(theirs)
        said = b""
        try:
            while chunk := os.read(ours, 65536):
                said += chunk
        except OSError:
            pass  # how Linux says that the other end is closed
        os.close(ours)
        assert process.wait() == 0
    shown = said.decode()
    assert "\x1b[31mERROR: hi\x1b[0m\r\n" in shown
    assert "starting\x1b[0m\r\x1b[K" in shown
    stays = [line.rpartition("\x1b[K")[2] for line in shown.split("\r\n")]
    assert stays == ["\x1b[31mERROR: hi\x1b[0m", ""], shown


# -- what never starts


def test_what_cannot_heal_fails_at_once(played: Shell) -> None:
    ran = played("pod", "run", "unpullable", code=1)
    assert ran.out == ""
    assert ran.err.splitlines()[-1].startswith("error: ")
    assert pods(played) == []


def test_evidence_that_is_to_be_read_is_shown(played: Shell) -> None:
    """The pod is deleted by then, and nobody could read it anywhere else."""
    ran = played("pod", "run", "odd", "--start-timeout", "1", code=1)
    last = [line for line in ran.err.splitlines() if line.startswith(("error: ", "  "))]
    assert "ead the evidence" in last[0]
    assert any("words nobody knows" in line for line in last[1:])


def test_advice_names_options(played: Shell) -> None:
    ran = played("pod", "run", "big", "--cpu", "900", "--schedule-timeout", "1", code=1)
    assert "Lower --cpu to less than 8" in ran.err
    assert "`resources" not in ran.err


def test_waiting_for_a_node_is_shown_and_ends(played: Shell) -> None:
    ran = played("pod", "run", "big", "--cpu", "900", "--schedule-timeout", "1", code=1)
    assert "waiting for a node" in ran.err.splitlines()[0]
    assert ran.err.splitlines()[-1].startswith("error: ")
    assert pods(played) == []
    assert (
        len(
            played(
                "pod", "run", "big", "--cpu", "900", "--schedule-timeout", "1", "-q", code=1
            ).err.splitlines()
        )
        == 1
    )


def test_a_refused_pod(played: Shell) -> None:
    said = played.refused("pod", "run", "bb", "-n", "nowhere")
    assert "nowhere" in said
    outcome = json.loads(played("pod", "run", "bb", "-n", "nowhere", "-o", "json", code=1).out)
    assert outcome["kind"] == "refused"


def test_slips_start_no_cluster(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    assert "--mount x" in shell.refused("pod", "run", "bb", "--mount", "x")
    assert "--cpu x: not a quantity" in shell("pod", "run", "bb", "--cpu", "x", code=1).err
    assert "No cluster yet" in shell("cluster", "status").out


def test_on_a_plain_kubeconfig(played: Shell, tmp_path: Path) -> None:
    elsewhere = Shell(tmp_path)
    ran = elsewhere("pod", "run", "bb", "--cluster", str(played.kubeconfig()))
    assert ran.out == "done\n"
    assert not (tmp_path / "podbay").exists()
    until(lambda: pods(played) == [])
