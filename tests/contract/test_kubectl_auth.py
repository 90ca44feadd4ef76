"""kubectl auth, --as, and tokens: who may do what, as the cluster sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml
from kubectl_program import Kubectl
from sample_objects import Object, config_map


def role(name: str, *verbs: str) -> Object:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": name},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": list(verbs)}],
    }


def binding(name: str, user: str) -> Object:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
    }


def test_whoami(anywhere: Kubectl) -> None:
    review = anywhere("auth", "whoami", "--as=jane", "--as-group=devs", "--as-uid=u-1", "-o", "json").json()
    info = review["status"]["userInfo"]
    assert (info["username"], info["uid"]) == ("jane", "u-1")
    assert info["groups"] == ["devs", "system:authenticated"]
    assert "Username" in anywhere("auth", "whoami").out


def test_can_i(kubectl: Kubectl) -> None:
    assert kubectl("auth", "can-i", "create", "pods").out == "yes\n"
    no = kubectl("auth", "can-i", "create", "pods", "--as=contract-jane", code=1)
    assert no.out == "no\n"
    kubectl("create", "-f", "-", stdin=[role("reader", "get", "list"), binding("reader", "contract-jane")])
    assert kubectl("auth", "can-i", "list", "configmaps", "--as=contract-jane").out == "yes\n"
    assert kubectl("auth", "can-i", "get", "cm/any", "--as=contract-jane").out == "yes\n"
    assert kubectl("auth", "can-i", "delete", "configmaps", "--as=contract-jane", code=1).out == "no\n"
    assert (
        kubectl("auth", "can-i", "get", "pods", "--subresource=log", "--as=contract-jane", code=1).out
        == "no\n"
    )
    assert kubectl("auth", "can-i", "get", "/version", "--as=contract-jane").out == "yes\n"
    assert kubectl("auth", "can-i", "get", "/metrics", "--as=contract-jane", code=1).out == "no\n"
    assert kubectl("auth", "can-i", "get", "cm", "--quiet", "--as=contract-jane").out == ""


def test_the_list_of_rights(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=[role("reader", "get", "list"), binding("reader", "contract-jane")])
    rows = kubectl("auth", "can-i", "--list", "--as=contract-jane", "--no-headers").lines
    assert any(row.startswith("configmaps ") and row.endswith("[get list]") for row in rows)
    assert any(row.startswith("selfsubjectreviews.authentication.k8s.io ") for row in rows)
    assert any("[/version]" in row for row in rows)


def test_refusals_name_user_verb_and_resource(kubectl: Kubectl) -> None:
    ns = kubectl.namespace
    said = kubectl.refused("get", "secrets", "--as=contract-jane")
    assert said == (
        'Error from server (Forbidden): secrets is forbidden: User "contract-jane" cannot list resource '
        f'"secrets" in API group "" in the namespace "{ns}"\n'
    )
    said = kubectl.refused("get", "nodes", "--as=contract-jane")
    assert (
        'nodes is forbidden: User "contract-jane" cannot list resource "nodes" in API group "" at the cluster scope'
        in said
    )
    said = kubectl.refused("delete", "pod", "x", "--as=contract-jane")
    assert 'pods "x" is forbidden: User "contract-jane" cannot delete resource "pods"' in said


def test_rights_cannot_be_given_by_who_lacks_them(kubectl: Kubectl) -> None:
    maker = role("maker", "create")
    maker["rules"].append(
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["create"]}
    )
    kubectl("create", "-f", "-", stdin=[maker, binding("maker", "contract-jane")])
    said = kubectl.refused("create", "-f", "-", "--as=contract-jane", stdin=role("more", "delete"))
    assert "is attempting to grant RBAC permissions not currently held" in said
    kubectl("create", "-f", "-", "--as=contract-jane", stdin=role("same", "create"))


def test_impersonation_is_a_right(kubectl: Kubectl, tmp_path: Path) -> None:
    kubeconfig = with_token(kubectl, tmp_path)
    said = kubectl.refused("--kubeconfig", str(kubeconfig), "get", "cm", "--as=root")
    assert (
        f'is forbidden: User "system:serviceaccount:{kubectl.namespace}:default" cannot impersonate' in said
    )


def with_token(kubectl: Kubectl, directory: Path) -> Path:
    """A kubeconfig that shows a fresh token of the default service account and nothing else."""
    token = kubectl("create", "token", "default").out.strip()
    config = yaml.safe_load(kubectl.kubeconfig.read_text())
    context = next(c for c in config["contexts"] if c["name"] == config["current-context"])["context"]
    cluster = next(c for c in config["clusters"] if c["name"] == context["cluster"])
    own = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [cluster],
        "users": [{"name": "robot", "user": {"token": token}}],
        "contexts": [{"name": "robot", "context": {"cluster": cluster["name"], "user": "robot"}}],
        "current-context": "robot",
    }
    path = directory / "robot-kubeconfig"
    path.write_text(yaml.safe_dump(own))
    path.chmod(0o600)
    return path


def test_service_account_tokens(kubectl: Kubectl, tmp_path: Path) -> None:
    ns = kubectl.namespace
    robot = ["--kubeconfig", str(with_token(kubectl, tmp_path))]
    info = kubectl(*robot, "auth", "whoami", "-o", "json").json()["status"]["userInfo"]
    assert info["username"] == f"system:serviceaccount:{ns}:default"
    assert info["groups"] == [
        "system:serviceaccounts",
        f"system:serviceaccounts:{ns}",
        "system:authenticated",
    ]
    assert "is forbidden" in kubectl.refused(*robot, "get", "cm")
    account = f"--serviceaccount={ns}:default"
    kubectl("create", "-f", "-", stdin=role("reader", "get", "list"))
    kubectl("create", "rolebinding", "robot", "--role=reader", account)
    kubectl(*robot, "get", "cm")


def test_reconcile(kubectl: Kubectl) -> None:
    # kubectl auth reconcile does not fill in the namespace.
    here = {"name": "reader", "namespace": kubectl.namespace}
    wanted = [
        {**role("reader", "get"), "metadata": here},
        {**binding("reader", "contract-jane"), "metadata": here},
    ]
    first = kubectl("auth", "reconcile", "-f", "-", stdin=wanted)
    assert first.err.count("reconciliation required create") == 2
    again = kubectl("auth", "reconcile", "-f", "-", stdin=wanted)
    assert "required" not in again.err
    wider = kubectl("auth", "reconcile", "-f", "-", stdin={**role("reader", "get", "list"), "metadata": here})
    assert "missing rules added" in wider.err
    assert kubectl("auth", "can-i", "list", "cm", "--as=contract-jane").out == "yes\n"


def test_aggregated_cluster_roles(anywhere: Kubectl, cluster_scoped: Callable[[str, str], str]) -> None:
    whole = cluster_scoped("clusterrole", "contract-whole")
    part = cluster_scoped("clusterrole", "contract-part")
    anywhere("create", "clusterrole", whole, f"--aggregation-rule={whole}=true")
    anywhere("create", "clusterrole", part, "--verb=get", "--resource=nodes")
    anywhere("label", "clusterrole", part, f"{whole}=true")
    anywhere("wait", "--for=jsonpath={.rules[0].verbs[0]}=get", f"clusterrole/{whole}", "--timeout=100s")


def test_as_another_user_objects_are_made(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=[role("maker", "create"), binding("maker", "contract-jane")])
    assert (
        kubectl("create", "-f", "-", "--as=contract-jane", stdin=config_map("mine")).out
        == "configmap/mine created\n"
    )
