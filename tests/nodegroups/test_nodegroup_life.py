"""Node groups made and deleted by boto3 against moto, with nodes that really come and go in an embedded cluster."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import boto3
import pytest
from eks_nodes import EksNodes
from nodegroup_parts import CLUSTER, REGION, ROLE
from patience import eventually

from podbay.aws.nodegroup import NodegroupOwner, NodegroupPlan
from podbay.aws.nodegroup_work import Nodegroup
from podbay.aws.place import EksPlace
from podbay.errors import InvalidInputError, NodegroupError
from podbay.testing.requests import Requests

PLAN = NodegroupPlan(
    kubernetes_conn_id="k8s",
    node_role=ROLE,
    group_id="gpu",
    instance_types=["g5.xlarge"],
    ami_type="AL2023_x86_64_NVIDIA",
    gpus=1,
    create_seconds=100.0,
    delete_seconds=100.0,
    poll_seconds=0.02,
)
PLACE = EksPlace(cluster_name=CLUSTER, region=REGION)


def made(run_id: str, said: list[str] | None = None, **changes: Any) -> Nodegroup:
    owner = NodegroupOwner(deployment="d", dag_id="dag", run_id=run_id, group_id="gpu")
    plan = replace(PLAN, **changes)
    return Nodegroup(plan, owner, PLACE, say=said.append if said is not None else lambda _: None)


def nodes(kube: Requests) -> dict[str, Any]:
    status, answer = kube.call("GET", "/api/v1/nodes")
    assert status == 200
    return {each["metadata"]["name"]: each for each in answer["items"]}


def listed() -> list[str]:
    return list(boto3.client("eks", region_name=REGION).list_nodegroups(clusterName=CLUSTER)["nodegroups"])


async def test_nodes_come_and_go(aws: EksNodes, kube: Requests) -> None:
    said: list[str] = []
    group = made("whole", said, nodes=2)
    assert await group.make() == group.name
    found = nodes(kube)
    assert set(found) == {f"{group.name}-0", f"{group.name}-1"}
    node = found[f"{group.name}-0"]
    assert node["metadata"]["labels"]["podbay.dev/nodegroup"] == group.name
    assert node["spec"]["taints"] == [{"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}]
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "1"
    asked = aws.groups[group.name].asked
    assert asked["subnets"] == ["subnet-a", "subnet-b"], "those of the cluster"
    assert asked["tags"]["podbay.dev/run"] == "whole"
    await group.unmake()
    assert nodes(kube) == {}
    assert listed() == []
    assert [line.rpartition(": ")[2] for line in said if line.startswith(f"{group}: ")] == [
        "not there", "CREATING", "ACTIVE", "DELETING", "gone",
    ] or said[-1].endswith("gone")  # fmt: skip


async def test_a_triggerer_that_goes_on_makes_no_second_one(aws: EksNodes) -> None:
    aws.coming = False
    first = asyncio.create_task(made("twice").make())
    await eventually(lambda: aws.counts["POST"])
    first.cancel()
    aws.coming = True
    group = made("twice")
    await group.make()
    await group.make()
    assert aws.counts["POST"] == 1
    await group.unmake()
    await group.unmake()


async def test_what_aws_says_is_wrong_is_told_and_nothing_stays(aws: EksNodes) -> None:
    aws.failure = "We currently do not have sufficient g5.xlarge capacity"
    group = made("failed")
    with pytest.raises(NodegroupError) as caught:
        await group.make()
    assert "CREATE_FAILED: AsgInstanceLaunchFailures: We currently do not have sufficient" in str(
        caught.value
    )
    assert "It is being deleted" in str(caught.value)
    await eventually(lambda: aws.groups[group.name].status == "gone")
    assert listed() == []


async def test_the_ruin_of_an_earlier_try_is_removed_first(aws: EksNodes) -> None:
    group = made("again")
    aws.failure = "no capacity"
    aws.down = 0
    with pytest.raises(NodegroupError):
        await group.make()
    aws.failure = ""
    # The earlier one may still be DELETING.
    await group.make()
    assert aws.groups[group.name].status == "ACTIVE"
    await group.unmake()


async def test_one_that_does_not_come_in_time_is_deleted(aws: EksNodes) -> None:
    aws.coming = False
    group = made("late", create_seconds=0.2)
    with pytest.raises(
        NodegroupError, match=r"was not ACTIVE within 0\.2 s \(create_timeout\)\. It is being deleted"
    ):
        await group.make()
    await eventually(lambda: aws.groups[group.name].status == "gone")


async def test_one_of_the_same_name_that_is_not_ours_stays(aws: EksNodes) -> None:
    group = made("foreign")
    eks = boto3.client("eks", region_name=REGION)
    eks.create_nodegroup(
        clusterName=CLUSTER, nodegroupName=group.name, nodeRole=ROLE, subnets=["subnet-a"],
        tags={"team": "x"}, scalingConfig={"minSize": 1, "maxSize": 1, "desiredSize": 1},
    )  # fmt: skip
    for work in (group.make, group.unmake):
        with pytest.raises(NodegroupError, match="is not this run's and stays as it is"):
            await work()
    assert not await group.ask_to_delete()
    assert listed() == [group.name]
    eks.delete_nodegroup(clusterName=CLUSTER, nodegroupName=group.name)
    await eventually(lambda: aws.groups[group.name].status == "gone")


async def test_one_that_somebody_deletes_is_not_made_again(aws: EksNodes) -> None:
    aws.coming = False
    group = made("deleted")
    making = asyncio.create_task(group.make())
    await eventually(lambda: group.name in aws.groups)
    await made("deleted").ask_to_delete()
    with pytest.raises(NodegroupError, match="was deleted by somebody before it was ACTIVE"):
        await making
    assert aws.counts["POST"] == 1


async def test_one_that_is_asked_for_while_its_setup_is_ended_is_deleted(aws: EksNodes) -> None:
    aws.slow = True
    group = made("cancelled")
    making = asyncio.create_task(group.make())
    await eventually(lambda: aws.counts["POST"])
    making.cancel()
    await asyncio.gather(making, return_exceptions=True)
    ending = asyncio.create_task(group.ask_to_delete())
    aws.slow = False
    assert await ending
    await eventually(lambda: aws.groups[group.name].status == "gone")


async def test_requests_that_are_lost_are_sent_again(aws: EksNodes) -> None:
    said: list[str] = []
    group = made("network", said)
    aws.down = 3
    await group.make()
    aws.down = 12
    await group.unmake()
    assert sum("asked again" in line for line in said) >= 10
    assert listed() == []


async def test_an_aws_that_never_answers_is_given_up(aws: EksNodes) -> None:
    aws.down = 1000
    with pytest.raises(NodegroupError, match=r"could not be deleted: .*podbay aws nodegroups --remove"):
        await made("nobody", delete_seconds=0.3).make()


async def test_a_deletion_that_takes_too_long_says_what_it_costs(aws: EksNodes) -> None:
    group = made("stuck")
    await group.make()
    aws.down = 1000
    with pytest.raises(NodegroupError, match=r"not gone within 0\.3 s \(delete_timeout\).*costing money"):
        await made("stuck", delete_seconds=0.3).unmake()
    aws.down = 0
    await group.unmake()


async def test_a_cluster_that_is_not_there(aws: EksNodes) -> None:
    group = made("nowhere")
    group.place = EksPlace(cluster_name="other", region=REGION)
    with pytest.raises((NodegroupError, InvalidInputError), match="there is no EKS cluster other"):
        await group.make()
