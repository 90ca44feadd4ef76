"""AWS on this machine, one cluster of it, and an environment that leads nowhere else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from aws_stand_in import AwsStandIn, EksCluster


# One for each module: whoever resets moto in this process must not take it away from others.
@pytest.fixture(scope="module")
def aws() -> Iterator[AwsStandIn]:
    with AwsStandIn.started() as found:
        yield found


@pytest.fixture(scope="module")
def gpu(aws: AwsStandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EksCluster]:
    with aws.cluster("gpu-cluster", tmp_path_factory.mktemp("gpu")) as found:
        yield found


@pytest.fixture
def nobody(aws: AwsStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No identity but what a test gives."""
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.address)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
