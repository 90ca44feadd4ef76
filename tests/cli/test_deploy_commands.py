"""`podbay init`, `plan`, `apply`, `destroy`, `manifests`, `secrets`, `check` and `doctor` as people run them."""

from __future__ import annotations

import base64
import http.server
import itertools
import json
import os
import pty
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from patience import until
from podbay_shell import PROGRAM, SECONDS, Shell

from podbay.deployment.reading import load_deployment

VALUE = "correct-horse-battery-staple"


_NUMBERS = itertools.count(1000)


@pytest.fixture
def namespace() -> str:
    return f"misty-harbor-{next(_NUMBERS)}"


@pytest.fixture
def file(tmp_path: Path, namespace: str) -> str:
    path = tmp_path / "podbay.yaml"
    path.write_text(f"version: 1\nname: {namespace}\nnamespace: {namespace}\nsecrets: [PASSWORD]\n")
    return str(path)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """One cluster for all tests here; each has a namespace of its own."""
    made = Shell(tmp_path_factory.mktemp("home"))
    made.start()
    yield made
    made("cluster", "stop")


def test_from_nothing_to_a_deployment_and_back(cluster: Shell, tmp_path: Path) -> None:
    file = str(tmp_path / "podbay.yaml")
    assert "podbay plan, podbay apply" in cluster("init", "--file", file, "--name", "etl").out
    namespace = load_deployment(Path(file)).namespace
    planned = cluster("plan", "-f", file, "--exit-code", code=3)
    assert planned.out.startswith(f"+ Namespace {namespace}\n")
    assert f"+++ podbay.yaml/LimitRange.{namespace}-default" in planned.out
    applied = cluster("apply", "-f", file)
    assert f"RoleBinding {namespace}-pod-launcher created" in applied.out
    assert cluster("apply", "-f", file).out == f"etl is as {file} says: nothing to do.\n"
    assert cluster("plan", "-f", file, "--exit-code").out == f"etl is as {file} says.\n"
    assert "give --yes" in cluster("destroy", "-f", file, code=1).err
    removed = cluster("destroy", "-f", file, "--yes")
    assert f"Namespace {namespace} deleted" in removed.out
    assert cluster("destroy", "-f", file, "--yes").out == "etl is not in this cluster.\n"


def test_output_for_programs(cluster: Shell, file: str, namespace: str) -> None:
    plan = cluster("plan", "-f", file, "-o", "json").json()
    assert {each["action"] for each in plan["changes"]} == {"create"}
    assert plan["namespace"] == namespace
    applied = cluster("apply", "-f", file, "-o", "json").json()
    assert {each["done"] for each in applied["results"]} == {"created"}
    assert cluster("secrets", "list", "-f", file, "-o", "json").json() == [
        {"name": "PASSWORD", "has_value": False, "declared": True, "set": None}
    ]
    findings = {each["subject"]: each for each in cluster("doctor", "-f", file, "-o", "json").json()}
    assert findings["deployment"]["message"].startswith("secret variable PASSWORD has no value yet")
    assert findings["version"]["verdict"] == "ok"
    removed = cluster("destroy", "-f", file, "--yes", "-o", "json").json()
    assert {each["done"] for each in removed["results"]} == {"deleted"}


def test_a_missing_namespace_is_generated_once_and_kept(cluster: Shell, tmp_path: Path) -> None:
    path = tmp_path / "podbay.yaml"
    path.write_text("# ours\nname: kept\nquota: {cpu: 2}\n")
    before = path.read_text()
    assert "stands for the one of apply" in cluster("plan", "-f", str(path)).err
    assert path.read_text() == before, "a plan writes nothing"
    assert "none yet" in cluster.refused("secrets", "list", "-f", str(path))
    cluster("apply", "-f", str(path))
    namespace = load_deployment(path).namespace
    assert path.read_text() == f"# ours\nname: kept\nnamespace: {namespace}\nquota: {{cpu: 2}}\n"
    assert "nothing to do" in cluster("apply", "-f", str(path)).out
    # A file that was not kept, as in a fresh checkout, finds its deployment by name.
    path.write_text(before)
    assert cluster("secrets", "list", "-f", str(path)).out.startswith("No secret variable yet")
    assert "nothing to do" in cluster("apply", "-f", str(path)).out
    assert load_deployment(path).namespace == namespace
    path.write_text(f"{before}namespace: another-{namespace}\n")
    assert (
        f"note: namespace {namespace} belongs to a deployment of the same name"
        in cluster("plan", "-f", str(path)).out
    )
    cluster("apply", "-f", str(path))
    path.write_text(before)
    assert "has several" in cluster.refused("plan", "-f", str(path))


def test_deletions_are_asked_for(cluster: Shell, file: str, namespace: str) -> None:
    cluster("apply", "-f", file)
    Path(file).write_text(Path(file).read_text() + "admission_policy: off\n")
    assert "give --yes" in cluster("apply", "-f", file, code=1).err
    assert (
        f"ValidatingAdmissionPolicy podbay-{namespace} deleted" in cluster("apply", "-f", file, "--yes").out
    )


def test_a_file_that_is_wrong_is_one_error_with_all_its_problems(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "podbay.yaml"
    path.write_text("name: etl\nnamespac: a\nquota: {cpu: 2Gi}\n")
    for command in ("plan", "apply", "destroy", "manifests", "check"):
        said = shell(command, "-f", str(path), code=1).err
        assert said == (
            f"error: {path}: 2 problems\n"
            "  line 2: namespac: unknown field; did you mean namespace?\n"
            "  line 3: quota.cpu: 2Gi has the unit of memory; write cores, such as 250m or 0.5\n"
        )


def test_init_overwrites_only_when_told_to(shell: Shell, file: str) -> None:
    assert "is there already" in shell.refused("init", "-f", file)
    shell("init", "-f", file, "--overwrite", "--name", "new", "--namespace", "new-one")
    assert load_deployment(Path(file)).namespace == "new-one"
    assert "line 3: name" in shell.refused("init", "-f", file, "--overwrite", "--name", "Not_A_Name")
    assert load_deployment(Path(file)).namespace == "new-one", "the good file stays"


def test_manifests_need_no_cluster(shell: Shell, file: str, namespace: str) -> None:
    objects = list(yaml.safe_load_all(shell("manifests", "-f", file).out))
    assert objects[0]["kind"] == "Namespace"
    assert objects == shell("manifests", "-f", file, "-o", "json").json()["items"]
    environment = dict(
        line.split("=", 1) for line in shell("manifests", "-f", file, "--for", "env").out.splitlines()
    )
    assert environment["AIRFLOW__KUBERNETES__NAMESPACE"] == namespace
    assert json.loads(environment["AIRFLOW_CONN_KUBERNETES_DEFAULT"])["extra"]["in_cluster"] is True
    outside = shell("manifests", "-f", file, "--for", "env", "--no-in-cluster", "-o", "json").json()
    extra = json.loads(outside["AIRFLOW_CONN_KUBERNETES_DEFAULT"])["extra"]
    assert extra["kube_config_path"] == str(shell.kubeconfig())
    helm = shell("manifests", "-f", file, "--for", "helm")
    assert "may not launch pods" in helm.err
    values = yaml.safe_load(helm.out)
    config = yaml.safe_load(values["extraConfigMaps"]["podbay-deployment"]["data"])
    assert config == {"podbay.yaml": Path(file).read_text()}
    assert {"name": "AIRFLOW__KUBERNETES__NAMESPACE", "value": namespace} in values["env"]
    assert shell("schema").json()["properties"]["name"]["type"] == "string"


def test_a_secret_by_stdin_file_and_chance_shows_nowhere(
    cluster: Shell, file: str, namespace: str, tmp_path: Path
) -> None:
    cluster("apply", "-f", file)
    said = [cluster("secrets", "set", "PASSWORD", "-f", file, stdin=f"{VALUE}\n")]
    assert stored(cluster, namespace, "PASSWORD") == VALUE
    (tmp_path / "value").write_text(f"{VALUE}\n")
    said.append(cluster("secrets", "rotate", "PASSWORD", "-f", file, "--from-file", str(tmp_path / "value")))
    assert stored(cluster, namespace, "PASSWORD") == f"{VALUE}\n", "byte for byte"
    said.append(cluster("secrets", "set", "OTHER", "-f", file, stdin=VALUE))
    assert "does not name it under secrets" in said[-1].err
    for command in (
        ["plan"],
        ["apply"],
        ["secrets", "list"],
        ["manifests"],
        ["doctor"],
        ["plan", "-o", "json"],
    ):
        said.append(cluster(*command, "-f", file))
    shown = "".join(each.out + each.err for each in said)
    assert VALUE not in shown
    assert VALUE not in (cluster.directory() / "server.log").read_text()
    cluster("secrets", "set", "PASSWORD", "-f", file, "--generate")
    assert len(stored(cluster, namespace, "PASSWORD")) >= 43
    assert cluster("secrets", "rm", "OTHER", "-f", file).out == "OTHER is gone.\n"
    assert cluster("secrets", "rm", "OTHER", "-f", file).out == "OTHER was not there.\n"
    assert "nothing to do" in cluster("apply", "-f", file).out


def stored(shell: Shell, namespace: str, name: str) -> str:
    with shell.api() as api:
        code, secret = api.call("GET", f"/api/v1/namespaces/{namespace}/secrets/env-secrets")
    assert code == 200
    return base64.b64decode(secret["data"][name]).decode()


def test_a_secret_by_prompt_is_not_echoed(cluster: Shell, file: str, namespace: str) -> None:
    cluster("apply", "-f", file)
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        cluster.command("secrets", "set", "PASSWORD", "-f", file),
        env=cluster.environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        cwd="/",
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    shown = b""

    def read(wanted: bytes) -> bool:
        nonlocal shown
        try:
            shown += os.read(ours, 4096)
        except (BlockingIOError, OSError):
            pass
        return wanted in shown

    until(lambda: read(b"(not shown): "), tell=lambda: shown)
    os.write(ours, f"{VALUE}\n".encode())
    until(lambda: read(b"is set."), tell=lambda: shown)
    assert child.wait(SECONDS) == 0
    os.close(ours)
    assert VALUE.encode() not in shown
    assert stored(cluster, namespace, "PASSWORD") == VALUE


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["set", "password"], "x", "must be in capitals: PASSWORD"),
        (["set", "A-B"], "x", "secret variable A-B: "),
        (["set", "PASSWORD"], "", "the value is empty"),
        (["set", "PASSWORD"], "x", "is not there; make it first: podbay apply"),
        (["rotate", "PASSWORD"], "x", "has no value to rotate"),
        (["set", "PASSWORD", "--from-file", "/does/not/exist"], "", "/does/not/exist"),
    ],
)
def test_bad_secrets(cluster: Shell, file: str, arguments: list[str], stdin: str, said: str) -> None:
    ran = cluster("secrets", *arguments, "-f", file, code=1, stdin=stdin)
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_a_value_given_as_an_argument_is_refused_as_usage(shell: Shell, file: str) -> None:
    for command in ("set", "rotate"):
        ended = shell("secrets", command, "PASSWORD", VALUE, "-f", file, code=2)
        # In a box as wide as the terminal.
        assert "no value is taken from the command line" in " ".join(ended.err.replace("│", " ").split())
        assert VALUE not in ended.out + ended.err


POD = """\
apiVersion: v1
kind: Pod
metadata: {name: load}
spec:
  containers:
    - name: base
      image: busybox
      env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: env-secrets, key: PASSWORD}}}]
      resources: {limits: {cpu: %s}}
"""


def test_a_pod_is_checked_by_the_file_and_by_the_cluster(cluster: Shell, file: str, tmp_path: Path) -> None:
    cluster("apply", "-f", file)
    pod = tmp_path / "pod.yaml"
    pod.write_text(POD % "44")
    said = cluster("check", str(pod), "-f", file, "--offline", code=1).out
    assert "spec.containers: cpu of all containers together is 44, more than 43 (pods.maximum.cpu)" in said
    pod.write_text(POD % "1")
    assert cluster("check", str(pod), "-f", file, "--offline").out.startswith(f"{file}: ok\n{pod}: ok\n")
    report = cluster("check", str(pod), "-f", file, "-o", "json", code=1).json()
    assert report["ok"] is False
    assert report["pods"][0]["problems"] == [
        {
            "path": "spec.containers[0].env[0].valueFrom.secretKeyRef",
            "message": "Secret env-secrets has no key PASSWORD; set it: podbay secrets set PASSWORD",
        }
    ]
    cluster("secrets", "set", "PASSWORD", "-f", file, stdin=VALUE)
    cluster("check", str(pod), "-f", file)
    cluster("check", "-", "-f", file, stdin=pod.read_text())


def test_the_doctor_says_what_to_do(shell: Shell, file: str, namespace: str) -> None:
    without = shell("doctor", "-f", file, code=1).out
    assert "failed" in without
    assert "podbay cluster start" in without
    shell.start()
    before = shell("doctor", "-f", file, code=1).out
    assert "deployment: Run `podbay apply`." in before
    shell("apply", "-f", file)
    shell("secrets", "set", "PASSWORD", "-f", file, stdin=VALUE)
    after = shell("doctor", "-f", file).out
    assert f"{namespace} stands as podbay.yaml says, in {namespace}" in after
    assert "failed" not in after


class _Health(http.server.BaseHTTPRequestHandler):
    """An Airflow whose triggerer never ran."""

    def do_GET(self) -> None:
        healthy = {"status": "healthy"}
        parts = dict.fromkeys(("metadatabase", "scheduler", "dag_processor"), healthy)
        body = json.dumps({**parts, "triggerer": {"status": None}}).encode()
        known = self.path == "/api/v2/monitor/health"
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(body) if known else 0))
        self.end_headers()
        if known:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_the_doctor_looks_at_triggerer_and_registries(cluster: Shell, file: str, namespace: str) -> None:
    Path(file).write_text(Path(file).read_text() + "pods: {pull_secrets: [team]}\n")
    cluster("apply", "-f", file)
    # A port that nobody listens at.
    login = {"auths": {"127.0.0.1:9": {"username": "u", "password": VALUE}}}
    secret = {
        "metadata": {"name": "team"},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": json.dumps(login)},
    }
    with cluster.api() as api:
        assert api.call("POST", f"/api/v1/namespaces/{namespace}/secrets", secret)[0] == 201
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Health)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        ended = cluster("doctor", "-f", file, "--airflow-url", url, "-o", "json", code=1)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    found = {each["subject"]: each for each in ended.json()}
    assert found["triggerer"]["verdict"] == "failed"
    assert found["triggerer"]["message"].startswith("none has ever run")
    assert found["scheduler"]["verdict"] == "ok"
    assert found["registries"]["verdict"] == "failed"
    assert "team at 127.0.0.1:9" in found["registries"]["message"]
    assert VALUE not in ended.out + ended.err
    away = cluster("doctor", "-f", file, "--airflow-url", "http://127.0.0.1:9", code=1)
    assert "cannot be asked for" in away.out


def test_what_kubectl_applied_is_taken_into_care(cluster: Shell, file: str, namespace: str) -> None:
    """The objects are plain ones: whoever began with kubectl goes on with podbay, and the other way round."""
    kubectl = [str(PROGRAM.parent / "kubectl"), "--kubeconfig", str(cluster.kubeconfig())]

    def applied(*options: str) -> str:
        manifests = cluster("manifests", "-f", file).out
        command = [*kubectl, "apply", *options, "-f", "-"]
        done = subprocess.run(
            command, input=manifests, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert f"namespace/{namespace} created" in applied()
    plan = cluster("plan", "-f", file)
    assert f"~ LimitRange {namespace}-default (nothing changes but who owns it)" in plan.out
    assert "\n! " not in plan.out
    cluster("apply", "-f", file)
    assert "nothing to do" in cluster("apply", "-f", file).out
    assert "serverside-applied" in applied("--server-side")
    assert "nothing to do" in cluster("apply", "-f", file).out
    assert f"Namespace {namespace} deleted" in cluster("destroy", "-f", file, "--yes").out
