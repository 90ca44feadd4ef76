"""`podbay aws nodegroups`: what is listed, what counts as left behind, what is removed; against moto and an Airflow's words."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import boto3
import pytest
from eks_nodes import EksNodes
from nodegroup_parts import CLUSTER, REGION, ROLE
from patience import until
from typer.testing import CliRunner, Result

from podbay.aws.leftovers import FoundNodegroup, leftover_reason
from podbay.aws.nodegroup import NodegroupOwner, nodegroup_name, tags_of
from podbay.cli.main import app

NOW = datetime(2026, 1, 2, tzinfo=UTC)
OWNER = NodegroupOwner(deployment="prod", dag_id="dag", run_id="run", group_id="gpu")


def owned(run_id: str, deployment: str = "prod") -> NodegroupOwner:
    return replace(OWNER, run_id=run_id, deployment=deployment)


@pytest.fixture
def groups(aws: EksNodes) -> Iterator[dict[str, str]]:
    """Names by run id; and one that Podbay has not made."""
    eks = boto3.client("eks", region_name=REGION)
    size = {"minSize": 1, "maxSize": 1, "desiredSize": 1}
    common = {"clusterName": CLUSTER, "nodeRole": ROLE, "subnets": ["subnet-a"], "scalingConfig": size}
    owners = [owned("going"), owned("over"), owned("gone"), owned("a~b"), owned("over", "other")]
    for owner in owners:
        eks.create_nodegroup(nodegroupName=nodegroup_name(owner), tags=tags_of(owner), **common)
    eks.create_nodegroup(nodegroupName="by-hand", tags={"team": "x"}, **common)
    yield {f"{each.deployment}/{each.run_id}": nodegroup_name(each) for each in owners}
    for name in eks.list_nodegroups(clusterName=CLUSTER)["nodegroups"]:
        eks.delete_nodegroup(clusterName=CLUSTER, nodegroupName=name)
    until(lambda: not eks.list_nodegroups(clusterName=CLUSTER)["nodegroups"])


@pytest.fixture
def airflow() -> Iterator[str]:
    """An Airflow that knows two runs of the DAG."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = self._told(unquote(self.path))
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _told(self, path: str) -> tuple[int, Any]:
            if path == "/auth/token":
                return 201, {"access_token": "t"}
            run = path.rpartition("/")[2]
            states = {"going": "running", "over": "failed"}
            if run in states:
                return 200, {"state": states[run]}
            return 404, {"detail": f"The DagRun with dag_id: `dag` and run_id: `{run}` was not found"}

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def said(*words: str) -> Result:
    return CliRunner().invoke(app, ["aws", "nodegroups", "--region", REGION, *words])


def listed(*words: str) -> dict[str, dict[str, Any]]:
    result = said("-o", "json", *words)
    assert result.exit_code == 0, result.output
    return {each["name"]: each for each in json.loads(result.stdout)}


def test_all_of_podbays_are_listed_with_their_owners(groups: dict[str, str]) -> None:
    found = listed()
    assert set(found) == set(groups.values())
    over = found[groups["prod/over"]]
    assert (over["dag"], over["run"], over["group"], over["deployment"]) == ("dag", "over", "gpu", "prod")
    assert (over["cluster"], over["nodes"], over["runState"], over["leftBehind"]) == (
        CLUSTER,
        1,
        "unknown",
        "",
    )
    text = said("--deployment", "other").stdout
    assert groups["other/over"] in text
    assert groups["prod/over"] not in text


def test_an_empty_region_says_so(aws: EksNodes) -> None:
    result = said("--cluster", CLUSTER)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "No node group of Podbay's" in result.stderr


def test_those_whose_run_is_over_are_removed_and_no_others(
    groups: dict[str, str], airflow: str, aws: EksNodes
) -> None:
    words = ("--deployment", "prod", "--airflow-url", airflow)
    found = listed(*words)
    assert {each["run"]: each["runState"] for each in found.values()} == {
        "going": "going", "over": "over", "gone": "over", "a_b": "unknown",
    }  # fmt: skip
    told = said(*words, "--remove", "--dry-run")
    calls = [line for line in told.stdout.splitlines() if line.startswith("aws ")]
    assert sorted(calls) == sorted(
        f"aws eks delete-nodegroup --cluster-name {CLUSTER} --nodegroup-name {groups[name]} --region {REGION}"
        for name in ("prod/over", "prod/gone")
    )
    assert aws.counts["DELETE"] == 0
    removed = said(*words, "--remove")
    assert removed.exit_code == 0, removed.output
    assert removed.stderr.count("is being deleted") == 2
    until(lambda: set(listed()) == set(groups.values()) - {groups["prod/over"], groups["prod/gone"]})


def test_an_airflow_without_a_name_is_asked_when_it_is_the_only_one(
    airflow: str, aws: EksNodes, groups: dict[str, str]
) -> None:
    owner = owned("over", "airflow")
    boto3.client("eks", region_name=REGION).create_nodegroup(
        nodegroupName=nodegroup_name(owner), tags=tags_of(owner), clusterName=CLUSTER, nodeRole=ROLE,
        subnets=["subnet-a"], scalingConfig={"minSize": 1, "maxSize": 1, "desiredSize": 1},
    )  # fmt: skip
    found = listed("--deployment", "airflow", "--airflow-url", airflow, "--only-airflow")
    assert {each["leftBehind"] for each in found.values()} == {"its run is over"}


def test_one_that_may_not_be_deleted_keeps_no_other(
    groups: dict[str, str], airflow: str, aws: EksNodes
) -> None:
    kept, goes = sorted((groups["prod/over"], groups["prod/gone"]))
    aws.guarded.add(kept)
    removed = said("--deployment", "prod", "--airflow-url", airflow, "--remove")
    assert removed.exit_code == 1
    assert f"error: node group {kept} of EKS cluster {CLUSTER} could not be deleted" in removed.stderr
    assert "AWS denies eks:delete-nodegroup" in removed.stderr
    until(lambda: goes not in listed())
    assert kept in listed()
    aws.guarded.clear()


def test_a_cluster_that_may_not_be_looked_at_hides_no_other(groups: dict[str, str], aws: EksNodes) -> None:
    eks = boto3.client("eks", region_name=REGION)
    for name in ("a-guarded", "guarded"):
        eks.create_cluster(name=name, roleArn=ROLE, resourcesVpcConfig={"subnetIds": ["subnet-a"]})
        aws.guarded.add(name)
    try:
        result = said("-o", "json")
        assert result.exit_code == 1
        assert {each["name"] for each in json.loads(result.stdout)} == set(groups.values())
        for name in ("a-guarded", "guarded"):
            assert f"error: EKS cluster {name} could not be looked at: AWS denies" in result.stderr
        alone = said("--cluster", "guarded")
        assert (alone.exit_code, alone.stdout) == (1, "")
        assert "AWS denies eks:list-nodegroups" in alone.stderr
    finally:
        for name in ("a-guarded", "guarded"):
            eks.delete_cluster(name=name)


def test_old_ones_are_removed_without_airflow(groups: dict[str, str], aws: EksNodes) -> None:
    assert not any(each["leftBehind"] for each in listed("--older-than", "1h").values())
    assert said("--older-than", "1h", "--remove").exit_code == 0
    assert aws.counts["DELETE"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--remove",), "which are left behind? --airflow-url"),
        (("--airflow-url", "http://127.0.0.1:1"), "needs --deployment NAME"),
        (
            ("--airflow-url", "http://127.0.0.1:1", "--deployment", "airflow"),
            "every Airflow that nobody has named",
        ),
        (
            ("--airflow-url", "http://127.0.0.1:1", "--deployment", "airflow", "--remove", "--dry-run"),
            "say --only-airflow if no other makes node groups here",
        ),
        (("--older-than", "soon"), "--older-than soon: say a time such as 90m"),
        (("--cluster", "none"), f"there is no EKS cluster none in {REGION}"),
    ],
)
def test_what_cannot_be_meant(aws: EksNodes, words: tuple[str, ...], message: str) -> None:
    result = said(*words)
    assert result.exit_code == 1
    assert message in result.stderr


def test_an_airflow_that_does_not_answer_removes_nothing(groups: dict[str, str], aws: EksNodes) -> None:
    result = said("--deployment", "prod", "--airflow-url", "http://127.0.0.1:1", "--remove")
    assert result.exit_code == 1
    assert "cannot be reached" in result.stderr
    assert aws.counts["DELETE"] == 0


@pytest.mark.parametrize(
    ("run", "hours", "status", "name", "why"),
    [
        ("over", 1, "ACTIVE", "", "its run is over"),
        ("going", 1, "ACTIVE", "", ""),
        ("unknown", 1, "ACTIVE", "", ""),
        ("unknown", 7, "ACTIVE", "", "it is older than 21600 s"),
        ("going", 7, "ACTIVE", "", "it is older than 21600 s"),
        ("over", 7, "DELETING", "", ""),
        ("over", 1, "CREATE_FAILED", "", "its run is over"),
        # Tags that do not give the run's id as it is.
        ("over", 1, "ACTIVE", "podbay-gpu-other", ""),
    ],
)
def test_what_counts_as_left_behind(run: Any, hours: int, status: str, name: str, why: str) -> None:
    group = FoundNodegroup(
        cluster="c",
        region="",
        name=name or nodegroup_name(OWNER),
        status=status,
        nodes=1,
        owner=OWNER,
        created_at=NOW - timedelta(hours=hours),
    )
    assert leftover_reason(group, run, older_than=21600.0, now=NOW) == why
