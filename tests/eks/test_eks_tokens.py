"""Tokens from every kind of identity, judged by an embedded cluster as EKS judges them, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aws_stand_in import REGION, AwsStandIn, EksCluster
from iam_tokens import ACCOUNT

from podbay.aio.clock import SystemClock
from podbay.aws.eks import eks_config, mint_token
from podbay.aws.place import AwsLogin, EksPlace, read_aws_login
from podbay.errors import ApiError, CredentialError, InvalidInputError
from podbay.kube.client import KubeClient
from podbay.objects.resource import GVR

pytestmark = pytest.mark.usefixtures("nobody")
PODS = GVR("", "v1", "pods")
NAMESPACE = "airflow-kpo"
USERS = GVR("authentication.k8s.io", "v1", "selfsubjectreviews")
EDIT = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSEditPolicy"


def place(**more: str) -> EksPlace:
    return EksPlace(cluster_name="gpu-cluster", region=REGION, **more)


def let_in(cluster: EksCluster, principal: str) -> None:
    """An access entry with Edit in the namespace, by EKS's own API."""
    entries = cluster.entries
    if principal not in entries.entries:
        entries.answer("POST", "", json.dumps({"principalArn": principal}).encode())
    quoted = principal.replace("/", "%2F")
    scope = {"type": "namespace", "namespaces": [NAMESPACE]}
    entries.answer(
        "POST",
        f"/{quoted}/access-policies",
        json.dumps({"policyArn": EDIT, "accessScope": scope}).encode(),
    )


async def who(where: EksPlace, login: AwsLogin | None = None) -> str:
    """As whom the cluster sees this identity; it may list pods, too."""

    async def identity() -> AwsLogin:
        assert login is not None
        return login

    config = await eks_config(where, identity if login else None)
    async with KubeClient(config, SystemClock()) as client:
        await client.list(PODS, namespace=NAMESPACE)
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = await client.create(USERS, review)
    return str(answer["status"]["userInfo"]["username"])


@pytest.fixture
def user(aws: AwsStandIn, gpu: EksCluster, monkeypatch: pytest.MonkeyPatch) -> str:
    """Somebody whom the environment names and the cluster knows."""
    keys = aws.user("worker")
    for name, value in keys.environment(aws.address).items():
        monkeypatch.setenv(name, value)
    arn = f"arn:aws:iam::{ACCOUNT}:user/worker"
    let_in(gpu, arn)
    return arn


async def test_keys_of_the_environment(user: str) -> None:
    assert await who(place()) == user


async def test_a_profile(aws: AwsStandIn, gpu: EksCluster, tmp_path: Path) -> None:
    keys = aws.user("profiled")
    let_in(gpu, arn := f"arn:aws:iam::{ACCOUNT}:user/profiled")
    (tmp_path / "credentials").write_text(
        f"[work]\naws_access_key_id = {keys.access_key}\naws_secret_access_key = {keys.secret_key}\n"
    )
    assert await who(place(profile="work")) == arn
    with pytest.raises(CredentialError, match="absent"):
        await who(place(profile="absent"))


async def test_an_assumed_role(aws: AwsStandIn, gpu: EksCluster, user: str) -> None:
    role = aws.role("caller")
    let_in(gpu, role)
    assert await who(place(role_arn=role)) == f"arn:aws:sts::{ACCOUNT}:assumed-role/caller/podbay"


async def test_an_aws_connection_of_airflow(aws: AwsStandIn, gpu: EksCluster) -> None:
    keys = aws.user("stored")
    let_in(gpu, role := aws.role("of-the-connection"))
    login = read_aws_login("aws", login=keys.access_key, password=keys.secret_key, extra={"role_arn": role})
    assert "assumed-role/of-the-connection/" in await who(place(aws_conn_id="aws"), login)


async def test_a_web_identity(
    aws: AwsStandIn, gpu: EksCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """IRSA: a file with a token of the service account, and the role's name."""
    let_in(gpu, role := aws.role("irsa"))
    file = tmp_path / "token"
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(file))
    monkeypatch.setenv("AWS_ROLE_ARN", role)
    with pytest.raises(CredentialError, match="No such file"):
        await mint_token(place())
    file.write_text("a.service.account")
    assert "assumed-role/irsa/" in await who(place())


async def test_pod_identity(
    aws: AwsStandIn, gpu: EksCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    let_in(gpu, role := aws.role("pod-identity"))
    file = tmp_path / "token"
    file.write_text("of-the-pod")
    aws.pod_identity["of-the-pod"] = role
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{aws.address}/container-credentials")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(file))
    assert await who(place()) == f"arn:aws:sts::{ACCOUNT}:assumed-role/pod-identity/pod"


async def test_nobody() -> None:
    with pytest.raises(CredentialError, match="no credentials here"):
        await eks_config(place())


async def test_the_token_itself(user: str, aws: AwsStandIn) -> None:
    before = dict(aws.counts)
    minted = await mint_token(place())
    assert dict(aws.counts) == before, "signing asks nobody"
    token = minted.token.reveal()
    assert token not in repr(minted)
    url = base64.urlsafe_b64decode(token.removeprefix("k8s-aws-v1.") + "==").decode()
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert query["Action"] == "GetCallerIdentity"
    assert query["X-Amz-Expires"] == "60"
    assert query["X-Amz-SignedHeaders"] == "host;x-k8s-aws-id"
    assert minted.expires is not None
    life = minted.expires - datetime.now(UTC)
    assert timedelta(minutes=13, seconds=30) < life <= timedelta(minutes=14)


async def refused_by(cluster: EksCluster, token: str) -> int:
    with cluster.requests as api:
        code, _ = await asyncio.to_thread(
            api.call, "GET", f"/api/v1/namespaces/{NAMESPACE}/pods", token=token
        )
    return code


async def test_a_forged_token_is_refused(user: str, gpu: EksCluster) -> None:
    """So the cluster does judge: another signature, another cluster's name, nobody's key."""
    good = (await mint_token(place())).token.reveal()
    assert await refused_by(gpu, good) == 200
    other = await mint_token(EksPlace(cluster_name="another", region=REGION))
    assert await refused_by(gpu, other.token.reveal()) == 401
    url = base64.urlsafe_b64decode(good.removeprefix("k8s-aws-v1.") + "==").decode()
    last = "0" if url[-1] != "0" else "1"
    forged = base64.urlsafe_b64encode((url[:-1] + last).encode()).decode().rstrip("=")
    assert await refused_by(gpu, f"k8s-aws-v1.{forged}") == 401
    assert await refused_by(gpu, "k8s-aws-v1.nonsense") == 401


async def test_whom_no_entry_knows(aws: AwsStandIn, gpu: EksCluster, user: str) -> None:
    role = aws.role("unknown")
    with pytest.raises(ApiError) as caught:
        await who(place(role_arn=role))
    assert caught.value.code == 401


async def test_a_role_that_may_not_be_assumed(
    aws: AwsStandIn, gpu: EksCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = aws.user("outsider", "sts:GetCallerIdentity")
    for name, value in keys.environment(aws.address).items():
        monkeypatch.setenv(name, value)
    role = aws.role("closed")
    with aws.authorising(), pytest.raises(CredentialError) as caught:
        await mint_token(place(role_arn=role))
    said = str(caught.value)
    assert (
        f"EKS cluster gpu-cluster in {REGION}: role {role} may not be assumed: AWS denies sts:assume-role"
        in said
    )
    assert "podbay aws trust-policy caller --principal" in said


async def test_another_region(user: str, gpu: EksCluster) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await eks_config(EksPlace(cluster_name="gpu-cluster", region="eu-west-1"))
    assert "there is no EKS cluster gpu-cluster in eu-west-1; eu-west-1 has none" in str(caught.value)
    with pytest.raises(InvalidInputError, match=f"{REGION} has gpu-cluster"):
        await eks_config(EksPlace(cluster_name="gpu", region=REGION))


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"endpoint": "", "status": "CREATING"}, "has no address yet: its status is CREATING"),
        ({"certificateAuthority": {"data": "bm9uZQ=="}}, "no certificate authority that can be read"),
    ],
)
async def test_a_cluster_that_is_not_ready(
    user: str, gpu: EksCluster, told: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "described", {**gpu.described, **told})
    with pytest.raises(InvalidInputError, match=said):
        await eks_config(place())
