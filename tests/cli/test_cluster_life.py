"""podbay cluster start, stop, status, kubeconfig, nodes, reset: the way from nothing to nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from patience import until
from podbay_shell import SECONDS, Shell, alive

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


def config_map(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


def test_start_use_stop_start_reset(shell: Shell) -> None:
    assert shell("cluster", "status").out == "No cluster yet. Start one with: podbay cluster start\n"
    started = shell.start().out
    assert started.startswith("Cluster podbay is ready at https://127.0.0.1:")
    assert f"export KUBECONFIG={shell.kubeconfig()}" in started
    with shell.api() as api:
        url = api.server
        assert api.call("POST", CONFIG_MAPS, config_map("kept"))[0] == 201
        uid = api.call("GET", f"{CONFIG_MAPS}/kept")[1]["metadata"]["uid"]
    (facts,) = shell("cluster", "status", "--output", "json").json()
    assert (facts["name"], facts["state"], facts["url"], facts["nodes"]) == ("podbay", "running", url, 1)
    assert facts["version"].startswith("v1.36.")
    assert shell("cluster", "stop").out == "Cluster podbay is stopped.\n"
    assert shell("cluster", "stop").out == "Cluster podbay was not running.\n"
    assert "stopped" in shell("cluster", "status").out
    shell.start()
    with shell.api() as api:
        assert api.server == url, "the port is kept, so that kubeconfigs stay good"
        assert api.call("GET", f"{CONFIG_MAPS}/kept")[1]["metadata"]["uid"] == uid
    assert shell("cluster", "reset", "--yes").out == "Cluster podbay is gone.\n"
    assert not shell.directory().exists()
    assert shell("cluster", "reset", "--yes").out == "Cluster podbay does not exist.\n"


def test_private_files(shell: Shell) -> None:
    shell.start()
    directory = shell.directory()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for path in (shell.kubeconfig(), directory / "token", *(directory / "pki").glob("*.key")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    said = shell("cluster", "status", "-o", "json").out + (directory / "server.log").read_text()
    assert (directory / "token").read_text() not in said
    assert "PRIVATE KEY" not in said


def test_several_clusters_side_by_side(shell: Shell) -> None:
    for name in ("one", "two"):
        shell.start("--name", name)
    with shell.api("one") as one, shell.api("two") as two:
        assert one.server != two.server
        one.call("POST", CONFIG_MAPS, config_map("only-here"))
        assert two.call("GET", f"{CONFIG_MAPS}/only-here")[0] == 404
    facts = shell("cluster", "status", "-o", "json").json()
    assert [(f["name"], f["state"]) for f in facts] == [("one", "running"), ("two", "running")]
    shell("cluster", "stop", "--name", "one")
    assert shell("cluster", "status", "--name", "one", code=3).out.split()[6:8] == ["one", "stopped"]
    shell("cluster", "status", "--name", "two")


def test_status_of_one_that_never_was(shell: Shell) -> None:
    shell("cluster", "status", "--name", "nope", code=3)
    assert not shell.directory("nope").exists()


def test_kubeconfig_and_its_merging(shell: Shell) -> None:
    assert "has no kubeconfig yet. Start it: podbay cluster start --name podbay" in shell.refused(
        "cluster", "kubeconfig"
    )
    shell.start()
    printed = shell("cluster", "kubeconfig").out
    assert yaml.safe_load(printed) == yaml.safe_load(shell.kubeconfig().read_text())
    assert shell("cluster", "kubeconfig", "--path").out.strip() == str(shell.kubeconfig())
    mine = shell.home / ".kube" / "config"
    mine.parent.mkdir()
    other = {"name": "work", "cluster": {"server": "https://work.example.com"}}
    mine.write_text(
        yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "clusters": [other], "current-context": "work"})
    )
    assert shell("cluster", "kubeconfig", "--merge").out.startswith(f"Added context podbay to {mine}.")
    assert stat.S_IMODE(mine.stat().st_mode) == 0o600
    merged = yaml.safe_load(mine.read_text())
    assert [c["name"] for c in merged["clusters"]] == ["work", "podbay"]
    assert merged["current-context"] == "work"
    shell("cluster", "kubeconfig", "--merge")
    assert yaml.safe_load(mine.read_text()) == merged, "merging twice is merging once"
    shell("cluster", "reset", "--yes")
    assert [c["name"] for c in yaml.safe_load(mine.read_text())["clusters"]] == ["work"]


def test_foreign_files_are_left_alone(shell: Shell) -> None:
    shell.start()
    mine = shell.home / ".kube" / "config"
    mine.parent.mkdir()
    mine.write_text("clusters: 3\n")
    assert f"{mine}:1: not a kubeconfig: clusters is not a list" in shell.refused(
        "cluster", "kubeconfig", "--merge"
    )
    assert mine.read_text() == "clusters: 3\n"


def test_reset_asks_first(shell: Shell) -> None:
    shell.start()
    shell("cluster", "reset", stdin="n\n", code=1)
    shell("cluster", "status", "--name", "podbay")
    assert "is gone" in shell("cluster", "reset", stdin="y\n").out


def test_second_start_is_refused(shell: Shell) -> None:
    shell.start()
    said = shell.refused("cluster", "start")
    assert said == (
        "error: cluster 'podbay' is already running. Use it (podbay cluster status), stop it (podbay cluster stop), "
        "or give another --name."
    )
    with shell.api() as api:
        assert api.call("GET", "/readyz") == (200, "ok")


def test_foreground(shell: Shell) -> None:
    with subprocess.Popen(
        shell.command("cluster", "start", "--foreground"),
        env=shell.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert "is ready at" in process.stdout.readline()
            assert "export KUBECONFIG=" in process.stdout.readline()
            assert process.stdout.readline() == "Ctrl-C stops it.\n"
            assert json.loads(shell("cluster", "status", "-o", "json").out)[0]["state"] == "running"
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read()
            assert process.wait(timeout=SECONDS) == 0
            assert rest == ""
        finally:
            process.kill()


def test_a_port_of_ones_own(shell: Shell) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert f"https://127.0.0.1:{port}" in shell.start("--port", str(port)).out


def test_a_kept_port_that_is_taken_gives_way(shell: Shell) -> None:
    shell.start()
    with shell.api() as api:
        port = int(api.server.rpartition(":")[2])
    shell("cluster", "stop")
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        shell.start()
        with shell.api() as api:
            assert api.server != f"https://127.0.0.1:{port}"
            assert api.call("GET", "/readyz")[0] == 200


def test_kill_9_loses_nothing(shell: Shell) -> None:
    shell.start()
    written = []
    with shell.api() as api:
        for n in range(40):
            code, made = api.call("POST", CONFIG_MAPS, config_map(f"n-{n}"))
            assert code == 201
            written.append(made["metadata"]["uid"])
    pid = shell.process()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid))
    (facts,) = shell("cluster", "status", "-o", "json").json()
    assert facts["state"] == "stopped"
    assert "is not running" in shell.refused("cluster", "nodes")
    shell.start()
    with shell.api() as api:
        found = {
            o["metadata"]["name"]: o["metadata"]["uid"] for o in api.call("GET", CONFIG_MAPS)[1]["items"]
        }
    assert [found[f"n-{n}"] for n in range(40)] == written


def test_a_stale_pid_kills_nobody(shell: Shell) -> None:
    """After a crash the recorded pid may belong to another program."""
    shell.start()
    pid = shell.process()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid))
    with subprocess.Popen(["sleep", "60"]) as bystander:
        record = shell.directory() / "process.json"
        record.write_text(json.dumps({**json.loads(record.read_text()), "pid": bystander.pid}))
        assert shell("cluster", "stop").out == "Cluster podbay was not running.\n"
        assert bystander.poll() is None
        bystander.kill()


def test_nodes(shell: Shell, tmp_path: Path) -> None:
    declared = tmp_path / "nodes.yaml"
    declared.write_text(
        "nodes:\n"
        "  - {name: big, count: 2, labels: {size: big}, capacity: {cpu: 64}}\n"
        "  - {name: gpu, taints: [{key: gpu, value: 'yes', effect: NoSchedule}]}\n"
    )
    shell("cluster", "start", "--runtime", "none", "--nodes", str(declared))
    facts = shell("cluster", "nodes", "--output", "json").json()
    assert [(f["name"], f["cpu"], f["taints"]) for f in facts] == [
        ("big-0", "64", "-"),
        ("big-1", "64", "-"),
        ("gpu", "8", "gpu=yes:NoSchedule"),
    ]
    table = shell("cluster", "nodes").out.splitlines()
    assert table[0].split() == ["NAME", "STATUS", "KIND", "CPU", "MEMORY", "PODS", "TAINTS"]
    assert len(table) == 4
    assert "is not running" in shell.refused("cluster", "nodes", "--name", "other")


def test_names(shell: Shell) -> None:
    for command in (
        ["start", "--name=../up"],
        ["reset", "--yes", "--name=.."],
        ["status", f"--name={'a' * 41}"],
    ):
        assert "is not usable" in shell.refused("cluster", *command)


def test_the_environment_chooses_the_home(tmp_path: Path) -> None:
    shell = Shell(tmp_path, extra={"PODBAY_HOME": "", "XDG_DATA_HOME": str(tmp_path / "data")})
    said = shell("cluster", "status", "--name", "x", "-o", "json", code=3).json()
    assert said[0]["directory"] == str(tmp_path / "data" / "podbay" / "clusters" / "x")
    shell = Shell(tmp_path, extra={"PODBAY_HOME": ""})
    said = shell("cluster", "status", "--name", "x", "-o", "json", code=3).json()
    assert said[0]["directory"] == str(tmp_path / ".local" / "share" / "podbay" / "clusters" / "x")


def test_help_and_version(shell: Shell) -> None:
    assert shell("--version").out.startswith("podbay ")
    listed = shell("cluster", "--help").out
    for command in ("start", "stop", "status", "kubeconfig", "nodes", "reset"):
        assert command in listed
    assert "--foreground" in shell("cluster", "start", "--help").out


def test_watches_go_on_after_a_restart(shell: Shell) -> None:
    """A client that was cut off resumes where it stood: after stop and start, and after kill -9."""
    shell.start()
    with shell.api() as api:
        start = api.call("GET", CONFIG_MAPS)[1]["metadata"]["resourceVersion"]
        api.call("POST", CONFIG_MAPS, config_map("first"))
    shell("cluster", "stop")
    shell.start()
    with shell.api() as api:
        api.call("POST", CONFIG_MAPS, config_map("second"))
    pid = shell.process()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid))
    shell.start()
    with shell.api() as api:
        api.call("DELETE", f"{CONFIG_MAPS}/first")
        text = api.call("GET", f"{CONFIG_MAPS}?watch=true&timeoutSeconds=1&resourceVersion={start}")[1]
    events = [json.loads(line) for line in text.splitlines()]
    assert [(e["type"], e["object"]["metadata"]["name"]) for e in events] == [
        ("ADDED", "first"),
        ("ADDED", "second"),
        ("DELETED", "first"),
    ]


def test_pods_go_on_after_a_restart(shell: Shell) -> None:
    shell.start()
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "task", "annotations": {"scripted.podbay.dev/run-seconds": "1"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]},
    }
    with shell.api() as api:
        assert api.call("POST", "/api/v1/namespaces/default/pods", pod)[0] == 201
    shell("cluster", "stop")
    shell.start()
    with shell.api() as api:
        path = "/api/v1/namespaces/default/pods/task"
        until(lambda: api.call("GET", path)[1]["status"]["phase"] == "Succeeded")


@pytest.mark.parametrize("moment", [0.05, 0.4, 0.8])
def test_a_start_that_is_given_up_leaves_nothing(shell: Shell, moment: float) -> None:
    command = shell.command("cluster", "start", "--runtime", "none")
    with subprocess.Popen(command, env=shell.environment(), stdout=subprocess.DEVNULL) as process:
        time.sleep(moment)
        process.send_signal(signal.SIGINT)
    if process.returncode == 0:
        return  # it was faster
    until(lambda: _state(shell) == "stopped")
    shell.start()


def test_a_start_whose_caller_dies_goes_on(shell: Shell) -> None:
    command = shell.command("cluster", "start", "--runtime", "none")
    with subprocess.Popen(command, env=shell.environment(), stdout=subprocess.DEVNULL) as process:
        while not (shell.directory() / "state.db").exists():
            time.sleep(0.01)
        process.kill()
    until(lambda: _state(shell) == "running")
    assert "Traceback" not in (shell.directory() / "server.log").read_text()
    with shell.api() as api:
        assert api.call("GET", "/readyz") == (200, "ok")


def _state(shell: Shell) -> str:
    facts = shell("cluster", "status", "-o", "json").json()
    return facts[0]["state"] if facts else "stopped"
