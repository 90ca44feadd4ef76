"""Who this process is for AWS, and roles of nodes: against moto's STS, IAM and CloudFormation over HTTP."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cloud_parts import ACCOUNT, REGION

from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.scripted import ScriptedNode, ScriptedNodes
from podbay.errors import InvalidInputError
from podbay.registries.amazon.ecr import mint_token
from podbay.registries.amazon.instances import roles_of_nodes
from podbay.registries.amazon.node_role import INLINE_NAME, cloudformation_template, grant_calls, pull_policy
from podbay.registries.amazon.session import Aws, AwsCall
from podbay.testing import Environment
from podbay.testing.requests import Requests

OTHER = "210987654321"
HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
PROGRAM = Path(sys.executable).with_name("podbay")
TRUST = '{"Version":"2012-10-17","Statement":[]}'


# Identities, which boto3 finds by itself


async def caller(aws: Aws) -> dict[str, Any]:
    return await aws.do(AwsCall("sts", "get-caller-identity", {}, REGION))


async def test_a_service_account_of_eks(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What EKS puts into a pod: a role, and a token in a file; no key."""
    (tmp_path / "token").write_text("of-the-service-account")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ROLE_ARN", f"arn:aws:iam::{ACCOUNT}:role/refresher")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    aws = Aws()
    assert (await caller(aws))["Arn"].startswith(f"arn:aws:sts::{ACCOUNT}:assumed-role/refresher/")
    assert (await mint_token(aws, HOST)).login.username == "AWS"


async def test_a_role_of_another_account(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cross account from a laptop: a profile that assumes a role there."""
    profile = f"[profile there]\nrole_arn = arn:aws:iam::{OTHER}:role/puller\nsource_profile = here\n"
    (tmp_path / "config").write_text(profile)
    keys = "[here]\naws_access_key_id = testing\naws_secret_access_key = testing\n"
    (tmp_path / "credentials").write_text(keys)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_PROFILE", "there")
    aws = Aws()
    assert (await caller(aws))["Account"] == OTHER
    assert (await mint_token(aws, HOST.replace(ACCOUNT, OTHER))).login.username == "AWS"


async def test_on_nodes_of_the_same_cloud_a_token_is_said_to_be_needless(
    aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "podbay.yaml").write_text("version: 1\nname: etl\nnamespace: etl-1\n")
    words = ("registry", "add", HOST, "--cloud", "--unproven")
    with (
        Environment.start(
            ClusterOptions(nodes=[lambda: ScriptedNodes([ScriptedNode(name=each) for each in ("a", "b")])])
        ) as cluster,
        Requests(cluster.kubeconfig) as api,
    ):
        for name, value in {
            "HOME": str(tmp_path),
            "PODBAY_HOME": str(tmp_path / "podbay"),
            "PODBAY_CLUSTER": str(cluster.kubeconfig),
            "PODBAY_FILE": str(tmp_path / "podbay.yaml"),
        }.items():
            monkeypatch.setenv(name, value)
        podbay("apply", "--yes")
        names = [each["metadata"]["name"] for each in api.call("GET", "/api/v1/nodes")[1]["items"]]
        merge = {"Content-Type": "application/merge-patch+json"}
        said = []
        for name in names:
            spec = {"spec": {"providerID": f"aws:///eu-central-1a/i-{name}"}}
            code, answer = api.call("PATCH", f"/api/v1/nodes/{name}", spec, headers=merge)
            assert code == 200, answer
            said.append(await asyncio.to_thread(podbay, *words))
    # With one node elsewhere the token is needed; on AWS alone it is not.
    assert ["log in by itself" in each for each in said] == [False, True]
    assert "podbay aws node-role ROLE" in said[1]


# Roles of nodes


async def make_roles(aws: Aws, *names: str) -> None:
    for name in names:
        await aws.do(AwsCall("iam", "create-role", {"RoleName": name, "AssumeRolePolicyDocument": TRUST}))


async def attached(aws: Aws, role: str) -> list[str]:
    found = await aws.do(AwsCall("iam", "list-attached-role-policies", {"RoleName": role}))
    return [each["PolicyName"] for each in found["AttachedPolicies"]]


async def test_roles_that_are_none(aws: Aws) -> None:
    with pytest.raises(InvalidInputError, match="IAM has no role absent"):
        await grant_calls(aws, ["absent"], "pull-only")
    with pytest.raises(InvalidInputError, match="not its ARN"):
        await grant_calls(aws, [f"arn:aws:iam::{ACCOUNT}:role/x"], "pull-only")


async def test_a_role_with_many_policies(aws: Aws) -> None:
    """AWS tells them page by page."""
    await make_roles(aws, "crowded")
    for number in range(120):
        policy = {"PolicyName": f"aaa-{number:03}", "PolicyDocument": json.dumps(pull_policy())}
        arn = (await aws.do(AwsCall("iam", "create-policy", policy)))["Policy"]["Arn"]
        await aws.do(AwsCall("iam", "attach-role-policy", {"RoleName": "crowded", "PolicyArn": arn}))
    (call,) = await grant_calls(aws, ["crowded"], "read-only")
    await aws.do(call)
    assert await grant_calls(aws, ["crowded"], "read-only") == []


def podbay(*words: str) -> str:
    done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


async def test_node_role_by_command(aws: Aws) -> None:
    await make_roles(aws, "node-a", "node-b")
    arn = "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly"
    calls = [
        f"aws iam attach-role-policy --role-name {role} --policy-arn {arn}" for role in ("node-a", "node-b")
    ]
    words = ("aws", "node-role", "node-a", "node-b", "node-a")
    assert podbay(*words, "--dry-run").splitlines() == calls
    assert await attached(aws, "node-a") == []
    assert podbay(*words).splitlines() == calls
    assert (
        await attached(aws, "node-a")
        == await attached(aws, "node-b")
        == ["AmazonEC2ContainerRegistryReadOnly"]
    )
    assert "nothing to do" in podbay(*words)
    said = podbay("aws", "node-role", "node-a", "--policy", "pull-only")
    assert said.strip().endswith("policy/AmazonEC2ContainerRegistryPullOnly")
    assert len(await attached(aws, "node-a")) == 2
    said = podbay("aws", "node-role", "node-b", "--partition", "aws-cn", "--dry-run")
    assert "--policy-arn arn:aws-cn:iam::aws:policy/" in said


async def make_instance(aws: Aws, profile: str) -> str:
    """With that instance profile, which has a role of the same name; its provider id as nodes say it."""
    named = {"InstanceProfileName": profile}
    try:
        await aws.do(AwsCall("iam", "get-instance-profile", named))
    except KeyError:
        await make_roles(aws, profile)
        await aws.do(AwsCall("iam", "create-instance-profile", named))
        await aws.do(AwsCall("iam", "add-role-to-instance-profile", {**named, "RoleName": profile}))
    found = await aws.do(AwsCall("ec2", "describe-images", {"Owners": ["amazon"]}, REGION))
    wanted = {
        "ImageId": found["Images"][0]["ImageId"],
        "MinCount": 1,
        "MaxCount": 1,
        "IamInstanceProfile": {"Name": profile},
    }
    made = await aws.do(AwsCall("ec2", "run-instances", wanted, REGION))
    return f"aws:///{REGION}a/{made['Instances'][0]['InstanceId']}"


async def test_the_roles_of_a_cluster_s_nodes(
    aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    provider_ids = [await make_instance(aws, each) for each in ("shared", "shared", "own")]
    names = [f"n-{number}" for number in range(3)]
    with (
        Environment.start(
            ClusterOptions(
                nodes=[lambda: ScriptedNodes([ScriptedNode(name=each) for each in (*names, "else")])]
            )
        ) as cluster,
        Requests(cluster.kubeconfig) as api,
    ):
        merge = {"Content-Type": "application/merge-patch+json"}
        for name, each in zip((*names, "else"), (*provider_ids, "gce://p/z/i"), strict=True):
            code, answer = api.call(
                "PATCH", f"/api/v1/nodes/{name}", {"spec": {"providerID": each}}, headers=merge
            )
            assert code == 200, answer
        words = ("aws", "node-role", "--nodes", "--cluster", str(cluster.kubeconfig))
        said = await asyncio.to_thread(podbay, *words)
        assert "nothing to do" in await asyncio.to_thread(podbay, *words)
    assert sorted(line.split()[4] for line in said.splitlines()) == ["own", "shared"]
    for role in ("own", "shared"):
        assert await attached(aws, role) == ["AmazonEC2ContainerRegistryReadOnly"]


async def test_nodes_whose_role_is_not_known(aws: Aws) -> None:
    with pytest.raises(InvalidInputError, match="no node of this cluster is an instance of EC2"):
        await roles_of_nodes(aws, ["", "gce://p/z/i", "aws:///eu-central-1a/x/fargate-ip-10-0-0-1"])
    with pytest.raises(InvalidInputError, match="does not know every node's instance"):
        await roles_of_nodes(aws, [f"aws:///{REGION}a/i-0123456789abcdef0"])
    bare = {"ImageId": "ami-12c6146b", "MinCount": 1, "MaxCount": 1}
    made = await aws.do(AwsCall("ec2", "run-instances", bare, REGION))
    with pytest.raises(InvalidInputError, match="has no instance profile, so no role"):
        await roles_of_nodes(aws, [f"aws:///{REGION}-lax-1a/{made['Instances'][0]['InstanceId']}"])


async def test_a_custom_policy_by_command(aws: Aws) -> None:
    await make_roles(aws, "node-c")
    words = ("aws", "node-role", "node-c", "--policy", "custom")
    dry = podbay(*words, "--dry-run")
    assert dry.startswith(
        f"aws iam put-role-policy --role-name node-c --policy-name {INLINE_NAME} --policy-document"
    )
    assert podbay(*words) == dry
    written = AwsCall("iam", "get-role-policy", {"RoleName": "node-c", "PolicyName": INLINE_NAME})
    assert (await aws.do(written))["PolicyDocument"] == pull_policy()
    # The seven actions of the source document.
    assert sum(len(each["Action"]) for each in pull_policy()["Statement"]) == 7
    assert "nothing to do" in podbay(*words)


@pytest.mark.parametrize(
    ("choice", "managed"),
    [
        ("custom", ""),
        ("read-only", "AmazonEC2ContainerRegistryReadOnly"),
        ("pull-only", "AmazonEC2ContainerRegistryPullOnly"),
    ],
)
async def test_the_template_is_linted_and_deployed(
    aws: Aws, choice: str, managed: str, tmp_path: Path
) -> None:
    text = cloudformation_template(choice)  # type: ignore[arg-type]
    assert podbay("aws", "node-role", "--cloudformation", "--policy", choice) == text
    path = tmp_path / "node-role.yaml"
    path.write_text(text)
    linted = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), "--regions", REGION, "--", path],
        check=False,
        capture_output=True,
        text=True,
    )
    assert linted.returncode == 0, linted.stdout
    name = f"nodes-{choice}"
    stack = {
        "StackName": name,
        "TemplateBody": text,
        "Capabilities": ["CAPABILITY_NAMED_IAM"],
        "Parameters": [{"ParameterKey": "RoleName", "ParameterValue": name}],
    }
    await aws.do(AwsCall("cloudformation", "create-stack", stack, REGION))
    described = await aws.do(AwsCall("cloudformation", "describe-stacks", {"StackName": name}, REGION))
    outputs = {each["OutputKey"]: each["OutputValue"] for each in described["Stacks"][0]["Outputs"]}
    assert outputs["NodeRoleArn"].endswith(f"role/{name}")
    profile = outputs["NodeInstanceProfileArn"].rpartition("/")[2]
    found = await aws.do(AwsCall("iam", "get-instance-profile", {"InstanceProfileName": profile}))
    assert [each["RoleName"] for each in found["InstanceProfile"]["Roles"]] == [name]
    if managed:
        # moto leaves managed policies of templates out; cfn-lint knows the property.
        role = yaml.safe_load(text)["Resources"]["NodeRole"]
        arns = role["Properties"]["ManagedPolicyArns"]
        assert arns == [{"Fn::Sub": f"arn:${{AWS::Partition}}:iam::aws:policy/{managed}"}]
    else:
        written = AwsCall("iam", "get-role-policy", {"RoleName": name, "PolicyName": INLINE_NAME})
        # moto keeps what a template says in Python's words.
        assert ast.literal_eval(str((await aws.do(written))["PolicyDocument"])) == pull_policy()
