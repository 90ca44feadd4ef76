"""Stopping and killing the process that runs the agent: nothing is lost, nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_pods import AgentCluster, pod, shell, state
from patience import until
from places import open_directory

from podbay.embedded.containers import remove_containers, runtime_available
from podbay.embedded.home import ClusterHome

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(not runtime_available(), reason="no runtime"),
]


@pytest.fixture
def home() -> Iterator[ClusterHome]:
    with open_directory() as directory:
        found = ClusterHome(directory / "again", "again")
        yield found
        asyncio.run(remove_containers(found.directory / "node"))


def test_running_and_ended_containers_are_taken_over(home: ClusterHome, busybox_archive: Path) -> None:
    with AgentCluster.start(busybox_archive, home=home) as before:
        before.run(pod("echo done; exit 3", name="ended"))
        first = before.running(pod("echo one; sleep 600", name="runs"))
        before.running(pod("sleep 2; exit 9", name="ends-meanwhile"))
        before.create(pod("exit 1", name="crashes", restartPolicy="Always"))
        before.wait(lambda p: p["status"]["containerStatuses"][0]["restartCount"] >= 1, "crashes")
    time.sleep(2.5)
    with AgentCluster.start(None, home=home) as after:
        found = after.get("runs")
        assert state(found) == state(first)
        assert after.log("runs") == "one\n" and after.log("ended") == "done\n"
        ended = after.wait(lambda p: p["status"]["phase"] == "Failed", "ends-meanwhile")
        assert state(ended)["terminated"]["exitCode"] == 9
        assert state(after.get("ended"))["terminated"]["exitCode"] == 3
        crashed = after.get("crashes")["status"]["containerStatuses"][0]
        assert crashed["restartCount"] >= 1
        for name in ("ended", "runs", "ends-meanwhile", "crashes"):
            after.delete(name)
        for name in ("ended", "runs", "ends-meanwhile", "crashes"):
            after.gone(name)
        left = after.environment.run(after.agent.runtime.list())  # type: ignore[arg-type]
        assert not left.sandboxes and not left.containers


_PROGRAM = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from agent_pods import AgentCluster, pod
from podbay.embedded.home import ClusterHome
with AgentCluster.start(Path(sys.argv[2]), home=ClusterHome(Path(sys.argv[1]), "again")) as cluster:
    cluster.running(pod("while :; do date +%s%N; sleep 0.2; done", name="runs"))
    print("ready", flush=True)
    time.sleep(600)
"""


def test_a_killed_process_loses_nothing(home: ClusterHome, busybox_archive: Path) -> None:
    here = Path(__file__).parent
    arguments = [
        sys.executable,
        "-c",
        _PROGRAM,
        str(home.directory),
        str(busybox_archive),
        str(here),
        str(here.parent),
        str(here.parents[1] / "shared"),
    ]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with AgentCluster.start(None, home=home) as after:
        found = after.wait(lambda p: "running" in state(p), "runs")
        assert found["status"]["containerStatuses"][0]["restartCount"] == 0
        lines = len(after.log("runs").splitlines())
        until(lambda: len(after.log("runs").splitlines()) > lines)
        after.delete("runs")
        after.gone("runs")


def test_what_was_deleted_meanwhile_is_removed(home: ClusterHome, busybox_archive: Path) -> None:
    with AgentCluster.start(busybox_archive, home=home) as before:
        before.running(
            pod(
                shell("sleep 600", volumeMounts=[{"name": "v", "mountPath": "/v"}]),
                volumes=[{"name": "v", "emptyDir": {}}],
            )
        )
    home.state.unlink()
    with AgentCluster.start(None, home=home) as after:
        state_now = after.environment.run(after.agent.runtime.list())  # type: ignore[arg-type]
        assert not state_now.sandboxes and not state_now.containers
        assert not list((home.directory / "node" / "runtime" / "volumes").iterdir())
