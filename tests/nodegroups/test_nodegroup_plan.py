"""What a DAG may say of a node group, what it becomes, and what follows from what AWS tells: no AWS."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbay.airflow.settings import airflow_name
from podbay.aws.nodegroup import (
    NodegroupOwner,
    NodegroupPlan,
    Observed,
    create_parameters,
    next_of_create,
    next_of_delete,
    nodegroup_name,
    owner_of_tags,
    tags_of,
)
from podbay.errors import InvalidInputError

GOOD = NodegroupPlan(
    kubernetes_conn_id="k8s", node_role="arn:aws:iam::111122223333:role/nodes", group_id="train.gpu"
)
OWNER = NodegroupOwner(
    deployment="d", dag_id="dag", run_id="manual__2026-01-01T00:00:00+00:00", group_id="train.gpu"
)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kubernetes_conn_id": ""}, "kubernetes_conn_id: must name"),
        ({"node_role": "nodes"}, "node_role: must be a role"),
        ({"cluster_name": "c"}, "region: cluster_name and region go together"),
        ({"region": "us-east-1"}, "cluster_name: cluster_name and region go together"),
        ({"cluster_name": "c", "region": "Frankfurt"}, "region: 'Frankfurt' is none"),
        ({"cluster_name": "-c", "region": "us-east-1"}, "cluster_name: '-c' is none"),
        ({"aws_conn_id": "aws"}, "aws_conn_id: goes with cluster_name"),
        ({"subnets": ["net-1"]}, "subnets[0]: 'net-1' is no subnet"),
        ({"subnets": "subnet-1"}, "subnets: must be a list of texts, not a string"),
        ({"instance_types": [1]}, "instance_types: must be a list of texts"),
        ({"nodes": 0}, "nodes: must be a whole number from 1"),
        ({"nodes": 2.5}, "nodes: must be a whole number from 1"),
        ({"gpus": -1}, "gpus: must be a whole number from 0"),
        ({"disk_size": "20"}, "disk_size: must be a whole number of GiB"),
        ({"capacity_type": "spot"}, "capacity_type: must be one of ON_DEMAND, SPOT"),
        ({"create_seconds": 0}, "create_seconds: must be more"),
        ({"labels": {"a": 1}}, "labels: must map texts to texts"),
        ({"labels": {"podbay.dev/nodegroup": "x"}}, "labels['podbay.dev/nodegroup']: is set by Podbay"),
        ({"tags": {"podbay.dev/run": "x"}}, "tags['podbay.dev/run']: is set by Podbay"),
        ({"more": {"nodeRole": "x"}}, "create_nodegroup_kwargs['nodeRole']: is set by Podbay"),
        ({"tags": {"a": "{{ run_id }}"}}, "templates are not rendered here"),
    ],
)
def test_each_field_that_cannot_be_right_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        replace(GOOD, **change).check()
    assert str(caught.value).startswith("EksNodegroup('train.gpu'):")
    assert said in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(InvalidInputError, match=r"3 problems(.|\n)*node_role(.|\n)*nodes(.|\n)*disk_size"):
        replace(GOOD, node_role="", nodes=0, disk_size=0).check()


def test_a_plan_travels_as_json() -> None:
    plan = replace(GOOD, subnets=("subnet-1",), more={"version": "1.36"})
    plan.check()
    assert NodegroupPlan.from_json(plan.to_json()) == replace(plan, subnets=["subnet-1"], instance_types=[])
    with pytest.raises(InvalidInputError, match="not those of a node group"):
        NodegroupPlan.from_json({"of": "another version"})


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_names_and_tags_are_those_aws_takes(run_id: str, group_id: str) -> None:
    owner = replace(OWNER, run_id=run_id, group_id=group_id)
    name = nodegroup_name(owner)
    assert len(name) <= 63
    assert name.replace("-", "a").isascii()
    assert name.replace("-", "a").isalnum()
    assert name == nodegroup_name(owner)
    assert all(len(value) <= 256 for value in tags_of(owner).values())


def test_another_run_has_another_node_group() -> None:
    others = [replace(OWNER, run_id="b"), replace(OWNER, dag_id="b"), replace(OWNER, deployment="b")]
    assert len({nodegroup_name(each) for each in [OWNER, *others]}) == 4


@pytest.mark.parametrize(
    ("deployment", "base_url", "name"),
    [
        ("airflow", "", "airflow"),
        ("airflow", "http://localhost:8080", "airflow"),
        ("airflow", "http://127.0.0.1:8080/", "airflow"),
        ("airflow", "http://[broken", "airflow"),
        ("airflow", "https://Airflow.example.com/", "airflow@airflow.example.com"),
        ("airflow", "https://u:p@example.com:8443/staging/", "airflow@example.com:8443/staging"),
        ("prod", "https://airflow.example.com", "prod"),
    ],
)
def test_an_airflow_without_a_name_goes_by_its_address(deployment: str, base_url: str, name: str) -> None:
    assert airflow_name(deployment, base_url) == name
    owner = replace(OWNER, deployment=name)
    assert owner_of_tags(tags_of(owner)) == owner


def test_tags_tell_whose_it_is() -> None:
    assert owner_of_tags({"team": "x", **tags_of(OWNER)}) == OWNER
    assert owner_of_tags({"podbay.dev/dag": "dag"}) is None
    assert tags_of(replace(OWNER, run_id="a~b#c"))["podbay.dev/run"] == "a_b_c"


def test_what_aws_is_asked_for() -> None:
    plan = replace(
        GOOD,
        instance_types=["m7i.large"],
        nodes=2,
        labels={"pool": "big"},
        tags={"team": "x"},
        more={"updateConfig": {"maxUnavailable": 1}, "labels": {"more": "yes"}},
    )
    name = nodegroup_name(OWNER)
    assert create_parameters(plan, OWNER, "c", ["subnet-1"]) == {
        "clusterName": "c",
        "nodegroupName": name,
        "nodeRole": GOOD.node_role,
        "subnets": ["subnet-1"],
        "scalingConfig": {"minSize": 2, "maxSize": 2, "desiredSize": 2},
        "capacityType": "ON_DEMAND",
        "labels": {"more": "yes", "pool": "big", "podbay.dev/nodegroup": name},
        "taints": [{"key": "podbay.dev/nodegroup", "value": name, "effect": "NO_SCHEDULE"}],
        "tags": {"team": "x", **tags_of(OWNER)},
        "instanceTypes": ["m7i.large"],
        "updateConfig": {"maxUnavailable": 1},
    }


def test_gpu_nodes_have_the_taint_that_gpu_drivers_tolerate() -> None:
    asked = create_parameters(replace(GOOD, gpus=1), OWNER, "c", [])
    assert asked["taints"] == [{"key": "nvidia.com/gpu", "value": "true", "effect": "NO_SCHEDULE"}]


@pytest.mark.parametrize(
    ("status", "made", "step"),
    [
        ("", False, "create"),
        ("", True, "failed"),
        ("CREATING", False, "wait"),
        ("CREATING", True, "wait"),
        ("ACTIVE", False, "done"),
        ("ACTIVE", True, "done"),
        ("UPDATING", True, "wait"),
        ("DELETING", False, "wait"),
        ("CREATE_FAILED", False, "delete"),
        ("CREATE_FAILED", True, "failed"),
        ("DEGRADED", True, "failed"),
        ("DELETE_FAILED", False, "delete"),
    ],
)
def test_what_follows_while_it_is_made(status: str, made: bool, step: str) -> None:
    seen = Observed(status=status, tags=tags_of(OWNER))
    assert next_of_create(seen, tags_of(OWNER), made=made) == step


@pytest.mark.parametrize(
    ("status", "step"),
    [
        ("", "done"),
        ("CREATING", "delete"),
        ("ACTIVE", "delete"),
        ("DELETING", "wait"),
        ("DELETE_FAILED", "delete"),
        ("CREATE_FAILED", "delete"),
    ],
)
def test_what_follows_while_it_is_deleted(status: str, step: str) -> None:
    assert next_of_delete(Observed(status=status, tags=tags_of(OWNER)), tags_of(OWNER)) == step


def test_somebody_elses_is_left_alone() -> None:
    theirs = Observed(status="ACTIVE", tags={"team": "x"})
    assert next_of_create(theirs, tags_of(OWNER), made=False) == "foreign"
    assert next_of_delete(theirs, tags_of(OWNER)) == "foreign"
