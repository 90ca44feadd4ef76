"""The real kubectl where it speaks protobuf: typed commands, their answers and the refusals it prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from podbay.testing import Environment
from podbay.testing.requests import Requests

pytestmark = pytest.mark.contract

PROGRAM = Path(sys.executable).with_name("kubectl")
PROTOBUF = "application/vnd.kubernetes.protobuf"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def kubectl(podbay_cluster: Environment, podbay_namespace: str, tmp_path: Path) -> Run:
    if not PROGRAM.exists():
        pytest.skip("kubectl is not installed beside this Python")
    environment = {
        **os.environ,
        "KUBECONFIG": str(podbay_cluster.kubeconfig),
        "HOME": str(tmp_path),
    }

    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [PROGRAM, "--namespace", podbay_namespace, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def cluster_wide(podbay_cluster: Environment, podbay_namespace: str) -> Iterator[str]:
    """A name for a priority class and a cluster role, which are deleted afterwards."""
    yield podbay_namespace
    with Requests(podbay_cluster.kubeconfig) as api:
        api.call("DELETE", f"/apis/scheduling.k8s.io/v1/priorityclasses/{podbay_namespace}")
        api.call("DELETE", f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{podbay_namespace}")


def test_both_ways_are_protobuf(kubectl: Run) -> None:
    """Without this the other tests could pass on JSON alone."""
    log = kubectl("create", "configmap", "one", "--from-literal=a=b", "-v=9").stderr
    assert f"Content-Type: {PROTOBUF}" in log
    assert log.count(PROTOBUF) >= 3, "request type, Accept and the answer's type"


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("configmap one --from-literal=a=b", "configmap/one"),
        ("secret generic one --from-literal=a=b", "secret/one"),
        ("serviceaccount one", "serviceaccount/one"),
        ("role one --verb=get --resource=pods", "role.rbac.authorization.k8s.io/one"),
        (
            "rolebinding one --clusterrole=view --serviceaccount=a:b",
            "rolebinding.rbac.authorization.k8s.io/one",
        ),
        ("quota one --hard=pods=3,requests.cpu=500m", "resourcequota/one"),
        ("service clusterip one --tcp=80:http", "service/one"),
    ],
)
def test_create_twice(kubectl: Run, command: str, printed: str) -> None:
    kind, *_ = command.split()
    assert kubectl("create", *command.split()).stdout == f"{printed} created\n"
    assert json.loads(kubectl("get", kind, "one", "-o", "json").stdout)["metadata"]["name"] == "one"
    assert '"one" already exists' in kubectl("create", *command.split(), code=1).stderr
    shown = json.loads(kubectl("create", *command.split(), "--dry-run=client", "-o=json").stdout)
    stored = json.loads(kubectl("get", kind, "one", "-o", "json").stdout)
    for part in shown.keys() & {"data", "rules", "roleRef", "subjects", "type"}:
        assert stored[part] == shown[part]


def test_cluster_wide_kinds(kubectl: Run, cluster_wide: str) -> None:
    kubectl("create", "priorityclass", cluster_wide, "--value=-5", "--preemption-policy=Never")
    found = json.loads(kubectl("get", "priorityclass", cluster_wide, "-o=json").stdout)
    assert (found["value"], found["preemptionPolicy"]) == (-5, "Never")
    kubectl("create", "clusterrole", cluster_wide, "--verb=get", "--non-resource-url=/healthz")
    role = json.loads(kubectl("get", "clusterrole", cluster_wide, "-o=json").stdout)
    assert role["rules"] == [{"nonResourceURLs": ["/healthz"], "verbs": ["get"]}]


def test_tokens(kubectl: Run, podbay_namespace: str) -> None:
    kubectl("create", "serviceaccount", "robot")
    token = kubectl("create", "token", "robot", "--duration=20m").stdout.strip()
    name = f"system:serviceaccount:{podbay_namespace}:robot"
    assert token.count(".") == 2
    shown = kubectl("auth", "whoami", "--as", name, "-o=json").stdout
    assert json.loads(shown)["status"]["userInfo"]["username"] == name


def test_access_reviews(kubectl: Run, podbay_namespace: str) -> None:
    robot = f"--as=system:serviceaccount:{podbay_namespace}:robot"
    assert kubectl("auth", "can-i", "create", "pods/log").stdout == "yes\n"
    assert kubectl("auth", "can-i", "get", "secrets", robot, code=1).stdout == "no\n"
    kubectl("create", "role", "reader", "--verb=get", "--resource=secrets")
    kubectl("create", "rolebinding", "r", "--role=reader", f"--serviceaccount={podbay_namespace}:robot")
    assert kubectl("auth", "can-i", "get", "secrets", robot).stdout == "yes\n"
    listed = kubectl("auth", "can-i", "--list", robot).stdout
    assert ["secrets", "[]", "[]", "[get]"] in [line.split() for line in listed.splitlines()]


def test_forbidden(kubectl: Run, podbay_namespace: str) -> None:
    said = kubectl("create", "configmap", "one", "--as=ann", code=1).stderr
    assert said == (
        'error: failed to create configmap: configmaps is forbidden: User "ann" cannot create resource '
        f'"configmaps" in API group "" in the namespace "{podbay_namespace}"\n'
    )


def test_invalid(kubectl: Run) -> None:
    said = kubectl("create", "configmap", "Not_Lower", code=1).stderr
    assert 'ConfigMap "Not_Lower" is invalid: metadata.name: Invalid value: "Not_Lower"' in said


def test_run_describe_and_drain(kubectl: Run, podbay_namespace: str) -> None:
    assert kubectl("run", "one", "--image=busybox:1", "--restart=Never").stdout == "pod/one created\n"
    assert "busybox:1" in kubectl("describe", "pod", "one").stdout
    node = json.loads(kubectl("get", "nodes", "-o=json").stdout)["items"][0]["metadata"]["name"]
    assert (
        f"evicting pod {podbay_namespace}/one (server dry run)"
        in kubectl("drain", node, "--force", "--dry-run=server").stdout
    )
    assert 'nodes "none" not found' in kubectl("drain", "none", code=1).stderr
