"""How often a token is made: once per life for all tasks, anew before its end and when the cluster refuses it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aws_stand_in import REGION, AwsStandIn, EksCluster
from test_eks_tokens import NAMESPACE, PODS, let_in

from podbay.aio.clock import SystemClock
from podbay.airflow import clouds
from podbay.airflow.connection import choose_cluster
from podbay.aws.eks import eks_config
from podbay.aws.place import AwsLogin, EksPlace, read_aws_login
from podbay.errors import CredentialError
from podbay.kube.client import KubeClient
from podbay.kube.lease import DeskOptions, LeaseDesk

pytestmark = pytest.mark.usefixtures("nobody")
HERE = Path(__file__).parent
TASKS = 100


class Later(SystemClock):
    """The machine's clock, moved on by hand."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


class Connections:
    """Airflow's connections, as a task is told them."""

    def __init__(self, **logins: AwsLogin) -> None:
        self._logins = logins
        self.asked = 0

    async def aws_login(self, connection: str) -> AwsLogin:
        self.asked += 1
        return self._logins[connection]


@pytest.fixture(scope="module")
def often(aws: AwsStandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EksCluster]:
    """A cluster that asks about a token each time."""
    with aws.cluster("often", tmp_path_factory.mktemp("often"), forgetful=True) as found:
        yield found


@pytest.fixture
def login(aws: AwsStandIn, often: EksCluster) -> AwsLogin:
    keys = aws.user("airflow")
    role = aws.role("of-tasks")
    let_in(often, role)
    return read_aws_login("aws", login=keys.access_key, password=keys.secret_key, extra={"role_arn": role})


PLACE = EksPlace(cluster_name="often", region=REGION, aws_conn_id="aws")


async def test_a_hundred_tasks_are_one_token(aws: AwsStandIn, login: AwsLogin) -> None:
    calls: Any = Connections(aws=login)
    extras = {"podbay_eks": PLACE.to_extra()}
    desk = LeaseDesk(DeskOptions(agent="eks"))
    aws.counts.clear()

    async def task(number: int) -> int:
        # Each reads its connection anew, as each trigger does.
        cloud = await clouds.cloud_cluster({}, extras, "k", calls)
        choice = choose_cluster({}, extras, connection="k", cloud=cloud)
        async with desk.lease(choice.config) as cluster:
            found = await cluster.client.list(PODS, namespace=NAMESPACE)
        return len(found.items)

    try:
        await asyncio.gather(*(task(number) for number in range(TASKS)))
    finally:
        await desk.aclose()
    assert aws.counts["eks:GET /clusters/often"] == 1
    # One role for DescribeCluster, one for the token.
    assert aws.counts["sts:AssumeRole"] == 2
    assert calls.asked == 2


async def test_a_cluster_that_is_known_outlives_a_bad_minute_of_aws(
    aws: AwsStandIn, login: AwsLogin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clouds, "KNOWN_SECONDS", 0.0)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    calls: Any = Connections(aws=login)
    extras = {"podbay_eks": PLACE.to_extra()}
    known = await clouds.cloud_cluster({}, extras, "k", calls)
    monkeypatch.setattr(aws, "down", True)
    assert await clouds.cloud_cluster({}, extras, "k", calls) is known
    other = {"podbay_eks": {**PLACE.to_extra(), "external_id": "x"}}
    with pytest.raises(CredentialError, match="AWS: sts assume-role: "):
        await clouds.cloud_cluster({}, other, "k", calls)


async def test_a_token_is_renewed_before_its_end(aws: AwsStandIn, login: AwsLogin) -> None:
    config = await eks_config(PLACE, _as(login))
    clock = Later()
    aws.counts.clear()
    async with KubeClient(config, clock) as client:
        await client.list(PODS, namespace=NAMESPACE)
        clock.ahead = timedelta(minutes=12)
        await client.list(PODS, namespace=NAMESPACE)
        assert aws.counts["sts:AssumeRole"] == 1
        clock.ahead = timedelta(minutes=13)
        await asyncio.gather(*(client.list(PODS, namespace=NAMESPACE) for _ in range(20)))
        assert aws.counts["sts:AssumeRole"] == 2


async def test_a_refused_token_is_made_anew_once(aws: AwsStandIn, login: AwsLogin) -> None:
    config = await eks_config(PLACE, _as(login))
    aws.counts.clear()
    async with KubeClient(config, SystemClock()) as client:
        await client.list(PODS, namespace=NAMESPACE)
        aws.revoked |= aws.seen
        await asyncio.gather(*(client.list(PODS, namespace=NAMESPACE) for _ in range(20)))
    assert aws.counts["sts:AssumeRole"] == 2


def _as(login: AwsLogin) -> Any:
    async def identity() -> AwsLogin:
        return login

    return identity


def with_aws(directory: Path) -> Path:
    """A directory with the program `aws`, and the file of its runs beside it."""
    program = directory / "aws"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE}/aws_program.py" "$@"\n')
    program.chmod(0o755)
    return directory / "runs"


async def test_the_kubeconfig_of_the_aws_command_line(
    aws: AwsStandIn, often: EksCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source document's: context, cluster and user named by the ARN, `aws … eks get-token --role`."""
    runs = with_aws(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("AWS_PROGRAM_RUNS", str(runs))
    for name, value in aws.user("person").environment(aws.address).items():
        monkeypatch.setenv(name, value)
    let_in(often, role := aws.role("of-the-document"))
    args = ["--region", REGION, "eks", "get-token", "--cluster-name", "often", "--role", role]
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1alpha1",
        "command": "aws",
        "args": args,
        "interactiveMode": "IfAvailable",
        "provideClusterInfo": False,
    }
    cluster = often.document["clusters"][0]["cluster"]
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "current-context": often.arn,
        "clusters": [{"name": often.arn, "cluster": cluster}],
        "contexts": [{"name": often.arn, "context": {"cluster": often.arn, "user": often.arn}}],
        "users": [{"name": often.arn, "user": {"exec": plugin}}],
    }
    program = Path(sys.executable).with_name("podbay")
    done = subprocess.run(
        [
            program,
            "connection",
            "add",
            "kubeconfig",
            "k8s",
            "--kubeconfig",
            "-",
            "-n",
            NAMESPACE,
            "-o",
            "json",
        ],
        input=json.dumps(document),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "users[].user.exec.apiVersion is v1beta1 now" in done.stderr
    extras = json.loads(done.stdout)["k8s"]["extra"]
    runs.unlink()
    desk = LeaseDesk(DeskOptions(agent="eks"))

    async def task() -> None:
        given = {"in_cluster": False, "cluster_context": often.arn}
        choice = choose_cluster(given, extras, connection="k8s")
        async with desk.lease(choice.config) as leased:
            await leased.client.list(PODS, namespace=NAMESPACE)

    try:
        await asyncio.gather(*(task() for _ in range(TASKS)))
    finally:
        await desk.aclose()
    assert runs.read_text().splitlines() == [" ".join(args)]
