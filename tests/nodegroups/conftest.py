"""moto, an embedded cluster whose nodes are those of node groups, and an environment that leads nowhere else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from eks_nodes import EksNodes
from moto.server import ThreadedMotoServer
from nodegroup_parts import CLUSTER, REGION, ROLE

from podbay.embedded.cluster import ClusterOptions
from podbay.testing import Environment
from podbay.testing.requests import Requests


@pytest.fixture(scope="package")
def bare() -> Iterator[Environment]:
    """A cluster without nodes."""
    with Environment.start(ClusterOptions(nodes=())) as environment:
        yield environment


@pytest.fixture(scope="package")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    eks = boto3.client(
        "eks", endpoint_url=address, region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b"
    )
    eks.create_cluster(name=CLUSTER, roleArn=ROLE, resourcesVpcConfig={"subnetIds": ["subnet-a", "subnet-b"]})
    yield address
    server.stop()


@pytest.fixture
def aws(moto: str, bare: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[EksNodes]:
    with EksNodes.started(moto, bare) as found:
        for name in [each for each in os.environ if each.startswith("AWS_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.address)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        # boto3 asks so often before it gives up; here requests that are cut are meant to be seen.
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        yield found


@pytest.fixture
def kube(bare: Environment) -> Iterator[Requests]:
    with Requests(bare.kubeconfig) as requests:
        yield requests
