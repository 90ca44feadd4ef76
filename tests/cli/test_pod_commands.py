"""podbay pods, logs, explain and kill on a cluster whose node plays pods; one cluster for the module."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from patience import until
from podbay_shell import Shell

from podbay.cli.killing import kill_pods
from podbay.kube.kubeconfig import load_kubeconfig

NODES = """
nodes: [{name: played, capacity: {cpu: "8"}}]
script:
  rules:
    - match: {name: "forever*"}
      containers: {"*": [{run: forever, log: ["begun"]}]}
    - match: {name: "fails*"}
      containers: {"*": [{run: 0.1, exit_code: 3, log: ["ERROR: no such table"]}]}
    - match: {name: "unpullable*"}
      containers: {"*": [{wait: [{reason: ErrImagePull, message: "manifest unknown", for: forever}]}]}
    - match: {name: "two*"}
      containers:
        first: [{run: 0.5, log: ["one", {after: 0.4, text: "three"}]}]
        second: [{run: 0.5, log: [{after: 0.2, text: "two"}]}]
    - containers: {"*": [{run: 0, log: ["done"]}]}
"""
MERGE = {"Content-Type": "application/merge-patch+json"}
_NUMBERS = itertools.count()
Make = Callable[..., str]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    home = tmp_path_factory.mktemp("played")
    (home / "nodes.yaml").write_text(NODES)
    shell = Shell(home)
    shell("cluster", "start", "--runtime", "none", "--nodes", str(home / "nodes.yaml"))
    yield shell
    shell("cluster", "reset", "--yes")


@pytest.fixture
def make(played: Shell) -> Iterator[Make]:
    """Creates a pod, gives its name; what is left is removed."""
    made: list[str] = []
    with played.api() as api:

        def create(kind: str, *containers: str, cpu: str = "", **metadata: Any) -> str:
            name = f"{kind}-{next(_NUMBERS)}"
            resources = {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}} if cpu else {}
            listed = [{"name": c, "image": "bb", "resources": resources} for c in containers or ("main",)]
            body = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, **metadata},
                "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": listed},
            }
            code, answer = api.call("POST", "/api/v1/namespaces/default/pods", body)
            assert code == 201, answer
            made.append(name)
            return name

        yield create
        for name in made:
            free = {"metadata": {"finalizers": None}}
            api.call("PATCH", f"/api/v1/namespaces/default/pods/{name}", free, headers=MERGE)
            api.call("DELETE", f"/api/v1/namespaces/default/pods/{name}")


def status(shell: Shell, name: str) -> dict[str, Any]:
    found = shell("pods", "-o", "json").json()
    return next((pod for pod in found if pod["name"] == name), {})


def wait_for(shell: Shell, name: str, text: str) -> dict[str, Any]:
    return until(lambda: (found := status(shell, name)) and text in found["status"] and found)


# -- pods


def test_the_table(played: Shell, make: Make) -> None:
    labels = {"dag_id": "etl", "task_id": "load", "map_index": "3", "try_number": "2"}
    task, failed = make("forever", labels=labels), make("fails")
    wait_for(played, task, "Running")
    wait_for(played, failed, "Failed")
    lines = played("pods").out.splitlines()
    assert lines[0].split() == ["NAME", "STATUS", "TASK", "AGE", "NODE"]
    rows = {line.split()[0]: " ".join(line.split()) for line in lines[1:]}
    assert rows[task].startswith(f"{task} Running etl.load[3] try 2 ")
    assert rows[task].endswith(" played")
    assert rows[failed].startswith(f"{failed} Failed (exit code 3) - ")
    assert played("pods", "-l", "dag_id=etl").out.count("\n") == 2
    assert played("pods", "-A").out.splitlines()[0].startswith("NAMESPACE  NAME")


def test_the_json_of_a_pod(played: Shell, make: Make) -> None:
    annotations = {
        "podbay.dev/deployment": "prod",
        "podbay.dev/dag-id": "Ünusual dag",
        "podbay.dev/run-id": "manual__1",
        "podbay.dev/task-id": "load",
        "podbay.dev/map-index": "-1",
        "podbay.dev/try-number": "1",
    }
    found = wait_for(played, make("fails", annotations=annotations), "Failed")
    assert set(found) == {
        "name", "namespace", "uid", "phase", "status", "reason", "message", "exitCode", "node", "image", "imageID", "task", "created",
        "deleting", "heldUntil",
    }  # fmt: skip
    assert (found["phase"], found["exitCode"], found["node"], found["deleting"]) == (
        "Failed",
        3,
        "played",
        False,
    )
    assert found["task"] == {
        "dag": "Ünusual dag", "task": "load", "run": "manual__1", "mapIndex": None, "try": 1,
    }  # fmt: skip


def test_a_held_pod_says_until_when(played: Shell, make: Make) -> None:
    name = make("fails")
    wait_for(played, name, "Failed")
    assert f"pod {name} is held until " in played("hold", name, "--for", "1h").out
    until = status(played, name)["heldUntil"]
    rows = {line.split()[0]: " ".join(line.split()) for line in played("pods").out.splitlines()}
    assert f"{name} Failed (exit code 3), held until {until} " in rows[name]
    past = {"metadata": {"annotations": {"podbay.dev/held-until": "2020-01-01T00:00:00Z"}}}
    with played.api() as api:
        api.call("PATCH", f"/api/v1/namespaces/default/pods/{name}", past, headers=MERGE)
    assert "was held until 2020-01-01T00:00:00Z" in played("pods").out
    played("release", name)
    assert status(played, name)["heldUntil"] is None


def test_what_pods_wait_for(played: Shell, make: Make) -> None:
    assert "waiting for its image (ErrImagePull)" in wait_for(played, make("unpullable"), "image")["status"]
    assert (
        "waiting for a node (0/1 nodes are available"
        in wait_for(played, make("big", cpu="900"), "node")["status"]
    )


def test_no_pods_is_no_error(played: Shell) -> None:
    ran = played("pods", "-n", "kube-public")
    assert (ran.out, ran.err) == ("", "No pods in namespace kube-public of podbay.\n")
    assert played("pods", "-n", "kube-public", "-o", "json").json() == []


def test_watching(played: Shell, make: Make) -> None:
    name = make("forever")
    wait_for(played, name, "Running")
    with subprocess.Popen(
        played.command("pods", "--watch", "-o", "json"),
        env=played.environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            seen = iter(json.loads(line) for line in process.stdout)
            assert next(event for event in seen if event["pod"]["name"] == name)["type"] == "ADDED"
            played("kill", name)
            assert next(event for event in seen if event["type"] == "DELETED")["pod"]["name"] == name
            process.send_signal(2)
            assert process.wait() == 130
        finally:
            process.kill()


# -- which cluster


def test_a_kubeconfig_path_a_context_and_a_name(played: Shell, make: Make, tmp_path: Path) -> None:
    name = make("fails")
    config = yaml.safe_load(played.kubeconfig().read_text())
    config["contexts"][0]["name"] = config["current-context"] = "work"
    path = tmp_path / "plain kubeconfig"
    path.write_text(yaml.safe_dump(config))
    elsewhere = Shell(tmp_path)
    assert name in elsewhere("pods", "--cluster", str(path)).out
    listed = Shell(tmp_path, extra={"KUBECONFIG": str(path)})
    for word in ("work", "current"):
        assert name in listed("pods", "--cluster", word).out
    chosen = Shell(tmp_path, extra={"KUBECONFIG": str(path), "PODBAY_CLUSTER": "work"})
    assert name in chosen("pods").out
    wait_for(chosen, name, "Failed")
    assert "no such table" in elsewhere("logs", name, "--cluster", str(path)).out
    assert "exit code 3" in elsewhere("explain", name, "--cluster", str(path)).out
    assert "is gone" in elsewhere("kill", name, "--cluster", str(path)).out
    assert status(played, name) == {}


def test_a_kubeconfig_alone_chooses_nothing(played: Shell, tmp_path: Path) -> None:
    shell = Shell(tmp_path, extra={"KUBECONFIG": str(played.kubeconfig())})
    assert shell.refused("pods") == (
        "error: the embedded cluster 'podbay' is not running. Start it: podbay cluster start; "
        "or use the context of your kubeconfig: --cluster current"
    )
    assert shell.refused("kill", "x").startswith("error: the embedded cluster 'podbay' is not running.")


def test_clusters_that_are_none(played: Shell, tmp_path: Path) -> None:
    assert played.refused("pods", "--cluster", "nope") == (
        "error: --cluster nope: neither a context of your kubeconfig nor a file. Known: podbay, current"
    )
    assert "does not run in a pod" in played.refused("pods", "--cluster", "in-cluster")
    broken = tmp_path / "broken"
    broken.write_text("{")
    assert str(broken) in played.refused("pods", "--cluster", str(broken))
    config = yaml.safe_load(played.kubeconfig().read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    broken.write_text(yaml.safe_dump(config))
    assert "127.0.0.1:1" in played.refused("pods", "--cluster", str(broken))


def test_embedded_clusters_by_name(shell: Shell) -> None:
    shell.start("--name", "two")
    assert shell("pods", "--cluster", "podbay-two").err == "No pods in namespace default of podbay-two.\n"
    shell("cluster", "stop", "--name", "two")
    assert "Start it: podbay cluster start --name two;" in shell.refused("pods", "--cluster", "podbay-two")


# -- logs


def test_logs_of_all_containers_in_order_of_time(played: Shell, make: Make) -> None:
    name = make("two", "first", "second")
    wait_for(played, name, "Succeeded")
    assert played("logs", name).out == "first  | one\nsecond | two\nfirst  | three\n".replace(
        "first  |", "first |"
    )
    assert played("logs", f"default/{name}", "-c", "second").out == "two\n"
    lines = [json.loads(line) for line in played("logs", name, "-o", "json").out.splitlines()]
    assert [(each["container"], each["text"]) for each in lines] == [
        ("first", "one"),
        ("second", "two"),
        ("first", "three"),
    ]
    stamps = [line.split()[0] for line in played("logs", name, "--timestamps").out.splitlines()]
    assert stamps == sorted(stamps)
    assert [each["time"] for each in lines] == stamps


def test_following_to_the_end(played: Shell, make: Make) -> None:
    name = make("two", "first", "second")
    lines = played("logs", name, "-f").out.splitlines()
    assert sorted(lines) == ["first | one", "first | three", "second | two"]
    assert lines.index("first | one") < lines.index("first | three")


def test_following_ends_with_the_pod(played: Shell, make: Make) -> None:
    name = make("forever")
    with subprocess.Popen(
        played.command("logs", "-f", name), env=played.environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        played("kill", name)
        assert (process.stdout.read(), process.wait()) == ("", 0)


def test_logs_that_are_not_there(played: Shell, make: Make) -> None:
    name = make("unpullable")
    wait_for(played, name, "image")
    said = played.refused("logs", name)
    assert said == (
        f"error: pod default/{name} has no log yet: waiting for its image (ErrImagePull). Wait for it with --follow, "
        f"or see: podbay explain default/{name}"
    )
    assert "no container 'x'. It has: main" in played.refused("logs", name, "-c", "x")
    assert "no container of pod" in played.refused("logs", name, "--previous")
    assert "no pod 'nope' in namespace default of podbay" in played.refused("logs", "nope")
    assert "two namespaces" in played.refused("logs", "a/b", "-n", "c")


def test_a_reader_that_went_away_is_no_error(played: Shell, make: Make) -> None:
    name = make("fails")
    wait_for(played, name, "Failed")
    for arguments in (
        ("pods",),
        ("pods", "-o", "json"),
        ("logs", name),
        ("logs", "-f", name),
        ("explain", name),
    ):
        read_end, write_end = os.pipe()
        os.close(read_end)
        try:
            done = subprocess.run(
                played.command(*arguments),
                env=played.environment(),
                stdout=write_end,
                stderr=subprocess.PIPE,
                check=False,
            )
        finally:
            os.close(write_end)
        assert (done.returncode, done.stderr) == (141, b""), arguments


def test_messages_are_no_terminal_commands(played: Shell, make: Make) -> None:
    """Words of a cluster go to a terminal; what is in them must not take it over."""
    name = make("forever")
    wait_for(played, name, "Running")
    with played.api() as api:
        body = {"status": {"phase": "Failed", "reason": "Evicted\x1b[2J\n", "message": "\x1b]0;title\x07"}}
        code, answer = api.call(
            "PATCH", f"/api/v1/namespaces/default/pods/{name}/status", body, headers=MERGE
        )
        assert code == 200, answer
    wait_for(played, name, "Failed (Evicted")
    for arguments in (("pods",), ("explain", name)):
        said = played(*arguments).out
        assert "Evicted" in said
        assert "\x1b" not in said
        assert "\x07" not in said


# -- explain


def test_explaining_a_failure(played: Shell, make: Make) -> None:
    name = make("unpullable")
    wait_for(played, name, "image")
    said = played("explain", name).out
    assert said.startswith(f"default/{name}: waiting for its image (ErrImagePull)\n  cause:    ")
    found = played("explain", name, "-o", "json").json()
    assert found["healthy"] is False
    assert found["name"] == f"default/{name}"
    assert found["pod"]["name"] == name
    assert found["diagnosis"]["category"] in said
    assert {"category", "cause", "fix", "blame", "heals", "evidence", "container"} == set(found["diagnosis"])


def test_explaining_a_healthy_pod(played: Shell, make: Make) -> None:
    name = make("forever")
    wait_for(played, name, "Running")
    assert "Nothing is wrong: it has run for" in played("explain", name).out
    assert played("explain", name, "-o", "json").json() == {
        "pod": status(played, name), "name": f"default/{name}", "healthy": True, "diagnosis": None, "others": [],
    }  # fmt: skip


def test_explaining_from_a_file(played: Shell, make: Make, tmp_path: Path) -> None:
    names = [make("fails"), make("unpullable")]
    wait_for(played, names[0], "Failed")
    wait_for(played, names[1], "image")
    with played.api() as api:
        items = [
            item
            for kind, path in (("Pod", "/api/v1/namespaces/default/pods"), ("Event", "/api/v1/namespaces/default/events"), ("Node", "/api/v1/nodes"))
            for item in ({"kind": kind, "apiVersion": "v1", **each} for each in api.call("GET", path)[1]["items"])
            if kind != "Pod" or item["metadata"]["name"] in names
        ]  # fmt: skip
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump({"kind": "List", "apiVersion": "v1", "items": items}))
    away = Shell(tmp_path)
    assert away("explain", names[1], "-f", str(file)).out == played("explain", names[1]).out
    assert "name one of its pods" in away.refused("explain", "-f", str(file))
    one = yaml.safe_dump(items[0])
    assert "exit code 3" in away("explain", "-f", "-", stdin=one).out
    assert "stdin:1: not YAML" in away("explain", "-f", "-", stdin="{", code=1).err
    manifest = "kind: Pod\nmetadata: {name: x}\n"
    said = away("explain", "-f", "-", stdin=manifest, code=1).err
    assert said.startswith("error: stdin: a manifest that no cluster has seen")
    assert "kubectl get pods,events,nodes -o yaml" in said
    assert (
        "no cluster has said anything"
        in away("explain", "-f", "-", stdin=manifest.replace("{", "{uid: u, ")).out
    )


def test_a_pod_that_is_gone_is_not_blamed_on_anybody(played: Shell) -> None:
    """Podbay itself deletes most pods: `explain` cannot know who it was, and says how to keep the next one."""
    played("pod", "run", "bb", "--name", "fine", "-q")
    said = played("explain", "fine").out
    assert said.startswith("default/fine: not there any more\n")
    assert "category: PodNotThere" in said
    assert "Podbay deletes the pods of finished tasks; how it ended is in the task's log." in said
    assert "podbay pod run --keep on_failure" in said
    assert "event Scheduled" in said
    assert "not us" not in said
    assert "DeletedBySomeone" not in said
    assert "podbay pod run --keep on_failure" in played.refused("logs", "fine")
    assert "podbay pod run --keep on_failure" not in played.refused("kill", "fine")


def test_a_misspelt_path_is_no_matter_of_podbays_home(shell: Shell) -> None:
    for arguments, said in (
        (("explain", "-f", "/nosuch.yaml"), "/nosuch.yaml does not exist. Name a file that `kubectl get"),
        (("explain", "-f", "/"), "/ is a directory. Name a file"),
        (
            ("check", "/nosuch"),
            "/nosuch does not exist. Name a pod manifest, a DAG file (.py) or a directory.",
        ),
        (
            ("pod", "run", "--template", "/nosuch.yaml"),
            "--template /nosuch.yaml: No such file or directory. Name a file with a pod as YAML",
        ),
    ):
        assert said in shell.refused(*arguments)


def test_kubectls_form_of_a_name(played: Shell, make: Make) -> None:
    name = make("fails")
    wait_for(played, name, "Failed")
    assert played("logs", f"pod/{name}").out == played("logs", name).out
    assert f"default/{name}: Failed" in played("explain", f"pod/default/{name}").out
    assert f"pod default/{name} is gone" in played("kill", f"pods/{name}").out


def test_an_embedded_cluster_that_is_misspelt(shell: Shell) -> None:
    shell.start("--name", "two")
    shell("cluster", "stop", "--name", "two")
    said = shell.refused("pods", "--cluster", "podbay-too")
    assert "Did you mean podbay-two? Known: podbay-two (stopped), current" in said
    said = shell.refused("cluster", "stop", "--name", "too")
    assert said == "error: there is no cluster 'too'. There are: two"
    assert shell("cluster", "stop", "--name", "two").out == "Cluster two was not running.\n"


def test_checking_without_a_cluster_names_offline(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "podbay.yaml"
    file.write_text("name: demo\nnamespace: demo\n")
    pod = tmp_path / "pod.yaml"
    pod.write_text("kind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: base, image: bb}]}\n")
    said = shell.refused("check", "-f", str(file), str(pod))
    assert "is not running" in said
    assert said.endswith("; or judge by the file alone: --offline")


def test_nothing_to_explain(played: Shell) -> None:
    assert "no pod 'nope'" in played.refused("explain", "nope")
    assert "needs a pod's name, or a file" in played.refused("explain")


# -- kill


def test_killing(played: Shell, make: Make) -> None:
    running, failed = make("forever"), make("fails")
    wait_for(played, running, "Running")
    wait_for(played, failed, "Failed")
    ran = played("kill", running, "nope", f"default/{failed}", code=1)
    assert ran.out.splitlines()[1] == f"pod default/{failed} is gone (it was: Failed (exit code 3))"
    assert ran.out.startswith(f"pod default/{running} is gone (it was: Running")
    waiting = make("unpullable")
    wait_for(played, waiting, "image")
    assert (
        played("kill", waiting).out
        == f"pod default/{waiting} is gone (it was: waiting for its image (ErrImagePull))\n"
    )
    assert ran.err.startswith("error: no pod 'nope' in namespace default of podbay.")
    assert status(played, running) == status(played, failed) == {}


def test_killing_as_json(played: Shell, make: Make) -> None:
    name = make("forever")
    wait_for(played, name, "Running")
    (ended,) = played("kill", "--now", name, "-o", "json").json()
    assert (ended["name"], ended["gone"], ended["was"], ended["error"]) == (name, True, "Running", None)
    assert ended["pod"]["name"] == name


def test_a_pod_that_stays(played: Shell, make: Make) -> None:
    """It is waited for until somebody gives it free; Ctrl-C ends the waiting alone."""
    name = make("forever", finalizers=["example.com/hold"])
    wait_for(played, name, "Running")
    with subprocess.Popen(
        played.command("kill", name), env=played.environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        until(lambda: status(played, name).get("deleting"))
        assert process.poll() is None
        process.send_signal(2)
        assert process.wait() == 130
    assert status(played, name)["deleting"] is True


async def test_what_keeps_a_pod_is_named(played: Shell, make: Make) -> None:
    name = make("forever", finalizers=["example.com/hold"])
    config = load_kubeconfig(played.kubeconfig())
    (ended,) = await kill_pods(config, [("default", name)], now=True, patience_seconds=0.5)
    assert "its finalizers wait for somebody: example.com/hold" in str(ended.error)
    assert ended.to_json()["gone"] is False


def test_help_is_there(played: Shell) -> None:
    listed = played("--help").out
    for command in ("pods", "logs", "explain", "kill", "render", "pod"):
        assert command in listed
        assert "Usage: podbay" in played(command, "--help").out
