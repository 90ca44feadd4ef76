"""The commands of docs/nodegroups.md print what the page says."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest
from eks_nodes import EksNodes
from nodegroup_parts import ROLE
from patience import until
from typer.testing import CliRunner

import podbay.cli.aws_nodegroups as commands
from podbay.aws.nodegroup import NodegroupOwner, nodegroup_name, tags_of
from podbay.cli.main import app

PAGE = Path(__file__).parents[2] / "docs" / "nodegroups.md"
OWNER = NodegroupOwner(
    deployment="airflow", dag_id="training", run_id="scheduled__2026-01-02T00:00:00+00:00", group_id="gpu"
)


def steps() -> Iterator[tuple[list[str], str]]:
    """Commands and what they print."""
    for block in re.findall(r"^```shell-session\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = step.partition("\n")
            yield shlex.split(command), output


def pattern(output: str) -> str:
    """`…` is anything, runs of blanks are alike."""
    words = [re.escape(word).replace("…", ".*") for word in output.split()]
    return r"\s*" + r"\s+".join(words) + r"\s*"


class Later(datetime):
    """Nine hours from now, by which the node group of the page has become old."""

    @classmethod
    def now(cls, tz: object = None) -> datetime:
        return datetime.fromtimestamp(datetime.now(UTC).timestamp() + 9 * 3600, UTC)


def test_the_commands_print_what_the_page_says(aws: EksNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(commands, "datetime", Later)
    eks = boto3.client("eks")
    eks.create_cluster(name="gpu-cluster", roleArn=ROLE, resourcesVpcConfig={"subnetIds": ["subnet-a"]})
    name = nodegroup_name(OWNER)
    eks.create_nodegroup(
        clusterName="gpu-cluster", nodegroupName=name, nodeRole=ROLE, subnets=["subnet-a"], tags=tags_of(OWNER),
        scalingConfig={"minSize": 1, "maxSize": 1, "desiredSize": 1},
    )  # fmt: skip
    try:
        until(lambda: aws.groups[name].status == "ACTIVE")
        played = 0
        for command, output in steps():
            assert command[0] == "podbay"
            result = CliRunner().invoke(app, command[1:])
            assert result.exit_code == 0, result.output
            assert re.fullmatch(pattern(output), result.stdout, re.DOTALL), result.stdout
            played += 1
        assert played == 2
    finally:
        eks.delete_nodegroup(clusterName="gpu-cluster", nodegroupName=name)
        until(lambda: aws.groups[name].status == "gone")
        eks.delete_cluster(name="gpu-cluster")
