"""kubectl create: from files, and every generator whose kind is a core one."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

from kubectl_program import Kubectl
from sample_objects import config_map


def test_config_maps_and_secrets(kubectl: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("from a file")
    (tmp_path / "binary").write_bytes(b"\xff\x00\x01")
    (tmp_path / "settings.env").write_text("A=1\nB=two\n")
    kubectl(
        "create", "configmap", "files", f"--from-file={tmp_path}/file.txt", f"--from-file=b={tmp_path}/binary"
    )
    files = kubectl("get", "cm", "files", "-o", "json").json()
    assert files["data"] == {"file.txt": "from a file"}
    assert base64.b64decode(files["binaryData"]["b"]) == b"\xff\x00\x01"
    kubectl("create", "configmap", "env", f"--from-env-file={tmp_path}/settings.env")
    assert kubectl("get", "cm", "env", "-o", "json").json()["data"] == {"A": "1", "B": "two"}

    kubectl("create", "secret", "generic", "pass", "--from-literal=user=me", "--type=example.com/login")
    secret = kubectl("get", "secret", "pass", "-o", "json").json()
    assert secret["type"] == "example.com/login"
    assert base64.b64decode(secret["data"]["user"]) == b"me"
    login = ["--docker-username=u", "--docker-password=p", "--docker-server=registry.example.com"]
    kubectl("create", "secret", "docker-registry", "pull", *login)
    pull = kubectl("get", "secret", "pull", "-o", "json").json()
    assert pull["type"] == "kubernetes.io/dockerconfigjson"
    assert "registry.example.com" in json.loads(base64.b64decode(pull["data"][".dockerconfigjson"]))["auths"]


def test_tls_secret(kubectl: Kubectl, tmp_path: Path, tls_files: tuple[Path, Path]) -> None:
    cert, key = tls_files
    kubectl("create", "secret", "tls", "web", f"--cert={cert}", f"--key={key}")
    secret = kubectl("get", "secret", "web", "-o", "json").json()
    assert secret["type"] == "kubernetes.io/tls"
    assert base64.b64decode(secret["data"]["tls.crt"]) == cert.read_bytes()


def test_namespace_and_account(
    anywhere: Kubectl, kubectl: Kubectl, cluster_scoped: Callable[[str, str], str]
) -> None:
    name = cluster_scoped("namespace", "contract-made")
    assert anywhere("create", "namespace", name).out.strip() == f"namespace/{name} created"
    created = anywhere("get", "ns", name, "-o", "json").json()
    assert created["metadata"]["labels"] == {"kubernetes.io/metadata.name": name}
    assert created["spec"]["finalizers"] == ["kubernetes"]
    kubectl("create", "serviceaccount", "builder")
    assert kubectl("get", "sa", "builder", "-o", "name").lines == ["serviceaccount/builder"]


def test_roles_and_bindings(
    kubectl: Kubectl, anywhere: Kubectl, cluster_scoped: Callable[[str, str], str]
) -> None:
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods,pods/log", "--resource-name=web")
    rules = kubectl("get", "role", "reader", "-o", "json").json()["rules"]
    assert rules == [
        {
            "apiGroups": [""],
            "resources": ["pods", "pods/log"],
            "resourceNames": ["web"],
            "verbs": ["get", "list"],
        }
    ]
    kubectl(
        "create",
        "rolebinding",
        "read",
        "--role=reader",
        "--user=jane",
        f"--serviceaccount={kubectl.namespace}:default",
    )
    subjects = kubectl("get", "rolebinding", "read", "-o", "json").json()["subjects"]
    assert [s["kind"] for s in subjects] == ["User", "ServiceAccount"]
    role = cluster_scoped("clusterrole", "contract")
    binding = cluster_scoped("clusterrolebinding", "contract")
    anywhere("create", "clusterrole", role, "--verb=get", "--non-resource-url=/metrics")
    anywhere("create", "clusterrolebinding", binding, f"--clusterrole={role}", "--group=watchers")
    assert anywhere("get", "clusterrole", role, "-o", "json").json()["rules"] == [
        {"nonResourceURLs": ["/metrics"], "verbs": ["get"]}
    ]
    refers = anywhere("get", "clusterrolebinding", binding, "-o", "json").json()["roleRef"]
    assert refers == {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}


def test_quota_and_priority_class(
    kubectl: Kubectl, anywhere: Kubectl, cluster_scoped: Callable[[str, str], str]
) -> None:
    kubectl("create", "quota", "small", "--hard=pods=3,requests.cpu=1", "--scopes=NotTerminating")
    spec = kubectl("get", "quota", "small", "-o", "json").json()["spec"]
    assert spec == {"hard": {"pods": "3", "requests.cpu": "1"}, "scopes": ["NotTerminating"]}
    name = cluster_scoped("priorityclass", "contract")
    anywhere(
        "create", "priorityclass", name, "--value=17", "--preemption-policy=Never", "--description=for tests"
    )
    made = anywhere("get", "priorityclass", name, "-o", "json").json()
    assert (made["value"], made["preemptionPolicy"], made["description"]) == (17, "Never", "for tests")


def test_services(kubectl: Kubectl) -> None:
    kubectl("create", "service", "clusterip", "inside", "--tcp=80:8080")
    kubectl("create", "service", "nodeport", "node", "--tcp=80:8080")
    kubectl("create", "service", "externalname", "outside", "--external-name=example.com")
    kubectl("create", "service", "clusterip", "headless", "--clusterip=None", "--tcp=80")
    listed = kubectl("get", "services", "-o", "json").json()["items"]
    specs = {s["metadata"]["name"]: s["spec"] for s in listed}
    assert specs["inside"]["type"] == "ClusterIP"
    assert specs["inside"]["clusterIP"] not in ("", "None")
    assert 30000 <= specs["node"]["ports"][0]["nodePort"] <= 32767
    assert specs["outside"]["externalName"] == "example.com"
    assert specs["headless"]["clusterIP"] == "None"


def test_tokens(kubectl: Kubectl) -> None:
    kubectl("create", "serviceaccount", "robot")
    token = kubectl("create", "token", "robot", "--duration=10m", "--audience=tests").out.strip()
    claims = _claims(token)
    assert claims["aud"] == ["tests"]
    assert claims["sub"] == f"system:serviceaccount:{kubectl.namespace}:robot"
    assert claims["exp"] - claims["iat"] == 600
    said = kubectl.refused("create", "token", "robot", "--duration=1m")
    assert "may not specify a duration less than 10 minutes" in said
    assert 'serviceaccounts "nobody" not found' in kubectl.refused("create", "token", "nobody")


def _claims(token: str) -> dict[str, object]:
    payload = token.split(".")[1]
    claims: dict[str, object] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def test_run(kubectl: Kubectl) -> None:
    kubectl("run", "web", "--image=registry.k8s.io/pause:3.10", "--env=A=1", "--port=80", "--labels=a=b,c=d")
    spec = kubectl("get", "pod", "web", "-o", "json").json()
    assert spec["metadata"]["labels"] == {"a": "b", "c": "d"}
    main = spec["spec"]["containers"][0]
    assert (main["name"], main["env"], main["ports"]) == (
        "web",
        [{"name": "A", "value": "1"}],
        [{"containerPort": 80, "protocol": "TCP"}],
    )
    assert 'pods "web" already exists' in kubectl.refused("run", "web", "--image=x")


def test_dry_runs_make_nothing(kubectl: Kubectl) -> None:
    here = kubectl("create", "configmap", "ghost", "--dry-run=client", "-o", "json").json()
    assert "uid" not in here["metadata"]
    there = kubectl("create", "configmap", "ghost", "--dry-run=server", "-o", "json").json()
    assert there["metadata"]["uid"]
    assert "resourceVersion" not in there["metadata"]
    assert kubectl("get", "cm", "ghost", "--ignore-not-found").out == ""
    # The server judges a dry run as it would the real thing.
    assert "a lowercase RFC 1123 subdomain" in kubectl.refused("create", "cm", "Bad_Name", "--dry-run=server")


def test_unknown_fields_are_refused_warned_of_or_dropped(kubectl: Kubectl) -> None:
    wrong = {**config_map("odd"), "dta": {"a": "1"}}
    strict = kubectl.refused("create", "-f", "-", "--validate=strict", stdin=wrong)
    assert (
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "dta"'
        in strict
    )
    warned = kubectl("create", "-f", "-", "--validate=warn", stdin=wrong)
    assert 'Warning: unknown field "dta"' in warned.err
    assert "dta" not in kubectl("get", "cm", "odd", "-o", "json").json()
    kubectl("delete", "cm", "odd")
    assert kubectl("create", "-f", "-", "--validate=ignore", stdin=wrong).err == ""


def test_duplicate_fields(kubectl: Kubectl, tmp_path: Path) -> None:
    """kubectl itself keeps the last of two; only a raw body shows the server both."""
    body = tmp_path / "twice.json"
    body.write_text(
        '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"t"},"data":{"a":"b"},"data":{"c":"d"}}'
    )
    path = f"/api/v1/namespaces/{kubectl.namespace}/configmaps?fieldValidation=Strict"
    assert 'duplicate field "data"' in kubectl.refused("create", "--raw", path, "-f", str(body))


def test_generated_names(kubectl: Kubectl) -> None:
    wanted = config_map("")
    wanted["metadata"] = {"generateName": "made-"}
    first = kubectl("create", "-f", "-", "-o", "name", stdin=wanted).out.strip()
    second = kubectl("create", "-f", "-", "-o", "name", stdin=wanted).out.strip()
    assert first.startswith("configmap/made-")
    assert first != second


def test_existing_objects_and_missing_namespaces(kubectl: Kubectl, anywhere: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=config_map("twice"))
    assert 'configmaps "twice" already exists' in kubectl.refused(
        "create", "-f", "-", stdin=config_map("twice")
    )
    nowhere = anywhere.within("contract-no-such-namespace")
    assert 'namespaces "contract-no-such-namespace" not found' in nowhere.refused("create", "cm", "x")


def test_all_faults_are_named(kubectl: Kubectl) -> None:
    broken = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "P_"}, "spec": {"containers": []}}
    said = kubectl.refused("create", "-f", "-", stdin=broken)
    assert '* metadata.name: Invalid value: "P_"' in said
    assert "* spec.containers: Required value" in said


def test_create_with_raw_body(kubectl: Kubectl, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text(json.dumps(config_map("raw", {"a": "1"})))
    path = f"/api/v1/namespaces/{kubectl.namespace}/configmaps"
    kubectl("create", "--raw", path, "-f", str(body))
    assert kubectl("get", "cm", "raw", "-o", "jsonpath={.data.a}").out == "1"
