"""`podbay aws eks-access`, `trust-policy`, `eks-token` and `podbay connection add eks`, against AWS on this machine."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_stand_in import REGION, AwsStandIn, EksCluster
from iam_tokens import ACCOUNT

from podbay.aws.access_policy import Access, principal_of, trust_policy
from podbay.errors import InvalidInputError

NAMESPACE = "airflow-kpo"
EDIT = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSEditPolicy"
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def fresh(aws: AwsStandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EksCluster]:
    """A cluster that forgets at once whom it has asked about."""
    spaces = (NAMESPACE, "second")
    with aws.cluster("fresh", tmp_path_factory.mktemp("fresh"), namespaces=spaces, forgetful=True) as found:
        yield found


class Command:
    """The command line, as somebody."""

    def __init__(self, aws: AwsStandIn, home: Path, user: str) -> None:
        self.keys = aws.user(user)
        self._environment = {
            "HOME": str(home),
            "PODBAY_HOME": str(home / "podbay"),
            "PATH": f"{BIN}:/usr/bin:/bin",
            "AWS_EC2_METADATA_DISABLED": "true",
            **self.keys.environment(aws.address),
        }

    def __call__(self, *words: str, code: int = 0, **more: str) -> tuple[str, str]:
        done = subprocess.run(
            [str(BIN / "podbay"), *words],
            capture_output=True,
            text=True,
            env=self._environment | more,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, done.stdout + done.stderr
        assert self.keys.secret_key not in done.stdout + done.stderr
        return done.stdout, done.stderr


@pytest.fixture
def podbay(aws: AwsStandIn, tmp_path: Path) -> Command:
    return Command(aws, tmp_path, "person")


def test_access_is_shown_made_once_and_widened(aws: AwsStandIn, fresh: EksCluster, podbay: Command) -> None:
    role = aws.role("kpo-caller")
    words = ("aws", "eks-access", "fresh", "--principal", role, "-n", NAMESPACE)
    out, _ = podbay(*words, "--dry-run")
    assert [line.split()[:3] for line in out.splitlines()] == [
        ["aws", "eks", "create-access-entry"],
        ["aws", "eks", "associate-access-policy"],
    ]
    assert f"--policy-arn {EDIT}" in out
    assert role not in fresh.entries.entries
    podbay(*words, "--check", code=1)
    podbay(*words)
    assert fresh.entries.entries[role].policies[EDIT] == {"type": "namespace", "namespaces": [NAMESPACE]}
    out, _ = podbay(*words, "--check")
    assert "nothing to do" in out
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/kpo-caller/somebody"
    out, _ = podbay("aws", "eks-access", "fresh", "--principal", session, "-n", "second", "--group", "team")
    assert "create-access-entry" not in out
    entry = fresh.entries.entries[role]
    assert entry.policies[EDIT] == {"type": "namespace", "namespaces": [NAMESPACE, "second"]}
    assert entry.groups == ["team"]
    podbay("aws", "eks-access", "fresh", "--principal", role, "--everywhere")
    assert entry.policies[EDIT] == {"type": "cluster"}
    out, _ = podbay(*words)
    assert "nothing to do" in out


def test_access_that_cannot_be(podbay: Command, fresh: EksCluster) -> None:
    _, err = podbay("aws", "eks-access", "fresh", code=1)
    assert "say where it holds: --namespace NAME, or --everywhere" in err
    _, err = podbay("aws", "eks-access", "absent", "-n", "x", code=1)
    assert f"there is no EKS cluster absent in {REGION}" in err
    role = f"arn:aws:iam::{ACCOUNT}:role/r"
    with pytest.raises(InvalidInputError, match="write the ARN of a role or user"):
        principal_of("joe")
    with pytest.raises(InvalidInputError, match="policy 'all': there are view, edit, admin, cluster-admin"):
        Access(cluster="fresh", region=REGION, principal=role, policy="all")
    with pytest.raises(InvalidInputError, match="no group that begins with system:"):
        Access(cluster="fresh", region=REGION, principal=role, groups=("system:masters",))


def test_a_cluster_of_the_config_map_alone(
    podbay: Command, fresh: EksCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fresh.described, "accessConfig", {"authenticationMode": "CONFIG_MAP"})
    _, err = podbay("aws", "eks-access", "fresh", "-n", NAMESPACE, code=1)
    assert "knows principals by the ConfigMap aws-auth only" in err
    assert "authenticationMode=API_AND_CONFIG_MAP" in err


def test_a_role_of_nodes(podbay: Command, aws: AwsStandIn, fresh: EksCluster) -> None:
    role = aws.role("nodes")
    body = {"principalArn": role, "type": "EC2_LINUX"}
    fresh.entries.answer("POST", "", json.dumps(body).encode())
    _, err = podbay("aws", "eks-access", "fresh", "--principal", role, "-n", NAMESPACE, code=1)
    assert "has an access entry of type EC2_LINUX in fresh, which is for nodes" in err


def trust(kind: str, **more: Any) -> dict[str, Any]:
    document = trust_policy(kind, **more)
    (statement,) = document["Statement"]
    return dict(statement)


def test_trust_policies(podbay: Command, aws: AwsStandIn) -> None:
    worker = f"arn:aws:iam::{ACCOUNT}:role/airflow"
    assert trust("caller", principals=[worker], external_id="x") == {
        "Effect": "Allow",
        "Principal": {"AWS": worker},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": "x"}},
    }
    assert trust("node")["Principal"] == {"Service": "ec2.amazonaws.com"}
    assert trust("cluster")["Principal"] == {"Service": "eks.amazonaws.com"}
    assert trust("pod-identity")["Action"] == ["sts:AssumeRole", "sts:TagSession"]
    provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.eks.{REGION}.amazonaws.com/id/ABC"
    found = trust("irsa", provider=provider, service_account="airflow:worker")
    issuer = provider.partition("/")[2]
    account = found["Condition"]["StringEquals"][f"{issuer}:sub"]
    assert account == "system:serviceaccount:airflow:worker"
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("caller", {}, "nobody is named"),
        ("caller", {"principals": ["joe"]}, "write the ARN"),
        ("irsa", {}, "irsa needs --provider"),
        ("king", {}, "there are caller, cluster, node, pod-identity, irsa"),
    ]
    for kind, given, said in wrong:
        with pytest.raises(InvalidInputError, match=said):
            trust_policy(kind, **given)
    out, _ = podbay("aws", "trust-policy", "caller", "--principal", worker)
    assert json.loads(out)["Version"] == "2012-10-17"
    # IAM takes it as it is.
    aws.role("printed", json.loads(out))


def test_a_connection_is_checked_and_says_what_to_do(
    aws: AwsStandIn, fresh: EksCluster, podbay: Command, tmp_path: Path
) -> None:
    role = aws.role("connected")
    words = ("connection", "add", "eks", "k8s", "--cluster", "fresh", "--role-arn", role, "-n", NAMESPACE)
    out, err = podbay(*words, code=1)
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == f"identity: ok: as arn:aws:sts::{ACCOUNT}:assumed-role/connected/podbay"
    assert lines[1].startswith(f"cluster: ok: EKS cluster fresh in {REGION} is https://127.0.0.1:")
    advice = f"podbay aws eks-access fresh --region {REGION} --principal {role} --namespace {NAMESPACE}"
    assert lines[5].startswith("authentication: FAILED: ")
    assert lines[5].endswith(f"Let it in: {advice}.")
    assert lines[6].startswith("Nothing is written.")
    podbay(*shlex.split(advice)[1:])
    out, err = podbay(*words)
    assert "permissions: ok: all" in err
    name, _, value = out.strip().partition("=")
    extra = json.loads(value.strip("'"))["extra"]
    assert extra == {
        "podbay_eks": {"cluster_name": "fresh", "region": REGION, "role_arn": role},
        "namespace": NAMESPACE,
    }
    out, _ = podbay("connection", "test", "k8s", **{name: value.strip("'")})
    assert out.count(" ok: ") == 8, out


def test_a_connection_with_the_identity_of_another(
    aws: AwsStandIn, fresh: EksCluster, podbay: Command
) -> None:
    words = ("connection", "add", "eks", "k8s", "--cluster", "fresh", "--aws-conn-id", "aws_other")
    _, err = podbay(*words, code=1)
    assert "AIRFLOW_CONN_AWS_OTHER is not set here" in err
    out, _ = podbay(*words, "--unproven")
    assert '"aws_conn_id":"aws_other"' in out
    keys = aws.user("other")
    login = {"conn_type": "aws", "login": keys.access_key, "password": keys.secret_key}
    variable = {"AIRFLOW_CONN_AWS_OTHER": json.dumps(login)}
    out, err = podbay(*words, code=1, **variable)
    assert f"identity: ok: as arn:aws:iam::{ACCOUNT}:user/other" in err
    assert keys.secret_key not in err
    _, err = podbay(*words, code=1, AIRFLOW_CONN_AWS_OTHER="aws://hidden:word@")
    assert "AIRFLOW_CONN_AWS_OTHER is not JSON" in err
    assert "word" not in err.partition("is not JSON")[0]
    _, err = podbay(*words, "--plugin", code=1)
    assert "a plugin cannot ask Airflow" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--region", "eu-west-1"),
            "cluster: FAILED: there is no EKS cluster fresh in eu-west-1; eu-west-1 has none",
        ),
        (("--region", "moon"), "podbay_eks.region: 'moon' is none; write it as us-east-1"),
        (("--profile", "absent"), "identity: FAILED: "),
    ],
)
def test_connections_that_cannot_be(
    podbay: Command, fresh: EksCluster, words: tuple[str, ...], said: str
) -> None:
    out, err = podbay("connection", "add", "eks", "k8s", "--cluster", "fresh", *words, code=1)
    assert out == ""
    assert said in err


def test_a_role_that_may_not_be_assumed(aws: AwsStandIn, fresh: EksCluster, tmp_path: Path) -> None:
    podbay = Command(aws, tmp_path, "locked-out")
    trusting = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/else"},
        "Action": "sts:AssumeRole",
    }
    role = aws.role("trusts-another", {"Version": "2012-10-17", "Statement": [trusting]})
    with aws.authorising():
        _, err = podbay("connection", "add", "eks", "k8s", "--cluster", "fresh", "--role-arn", role, code=1)
    assert f"identity: FAILED: EKS cluster fresh in {REGION}: role {role} may not be assumed" in err
    assert "Its trust policy must name who asks" in err


def test_a_token_for_other_programs(aws: AwsStandIn, fresh: EksCluster, podbay: Command) -> None:
    """kubectl with `podbay aws eks-token` as its plugin, from the kubeconfig that --plugin writes."""
    role = aws.role("by-plugin")
    podbay("aws", "eks-access", "fresh", "--principal", role, "-n", NAMESPACE)
    out, err = podbay(
        "connection", "add", "eks", "k8s", "--cluster", "fresh", "--role-arn", role, "--plugin", "-n", NAMESPACE, "-o", "json"
    )  # fmt: skip
    assert "Workers and triggerers need the program podbay on the PATH." in err
    extra = json.loads(out)["k8s"]["extra"]
    kubeconfig = json.loads(extra["kube_config"])
    assert kubeconfig["current-context"] == fresh.arn
    (user,) = kubeconfig["users"]
    assert user["user"]["exec"]["command"] == "podbay"
    assert set(user["user"]) == {"exec"}
    out, _ = podbay(
        "aws",
        "eks-token",
        "fresh",
        KUBERNETES_EXEC_INFO='{"apiVersion": "client.authentication.k8s.io/v1beta1"}',
    )
    told = json.loads(out)
    assert told["apiVersion"] == "client.authentication.k8s.io/v1beta1"
    assert told["status"]["token"].startswith("k8s-aws-v1.")
    assert told["status"]["expirationTimestamp"].endswith("Z")
