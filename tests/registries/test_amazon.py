"""Amazon against moto's server over HTTP: tokens and repository policies."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from cloud_parts import ACCOUNT, REGION

from podbay.errors import CredentialError, InvalidInputError, RegistryError
from podbay.registries.amazon.ecr import ecr_host, is_ecr, mint_token
from podbay.registries.amazon.policy import (
    PULL_ACTIONS,
    SID,
    check_policy,
    merge_policy,
    node_role_arn,
    pull_statement,
    read_policy,
    root_arn,
)
from podbay.registries.amazon.repository import apply_policy, current_policy, repository_of
from podbay.registries.amazon.session import Aws, AwsCall
from registries import ScriptedRegistry

HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/EKS-NodeInstanceRole-abc"


@pytest.mark.parametrize(
    ("host", "account", "region", "partition"),
    [
        (HOST, ACCOUNT, REGION, "aws"),
        (f"{ACCOUNT}.dkr.ecr-fips.us-gov-west-1.amazonaws.com", ACCOUNT, "us-gov-west-1", "aws-us-gov"),
        (f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn", ACCOUNT, "cn-north-1", "aws-cn"),
        (f"{ACCOUNT}.dkr-ecr.{REGION}.on.aws", ACCOUNT, REGION, "aws"),
        ("public.ecr.aws", "", "", "aws"),
    ],
)
def test_hosts(host: str, account: str, region: str, partition: str) -> None:
    found = ecr_host(host)
    assert (found.account, found.region, found.partition) == (account, region, partition)


def test_hosts_of_others() -> None:
    for host in ("ghcr.io", f"{HOST}.evil.example", f"x{HOST}", "12.dkr.ecr.eu-central-1.amazonaws.com"):
        assert not is_ecr(host)
        with pytest.raises(InvalidInputError):
            ecr_host(host)


async def test_a_token(aws: Aws) -> None:
    token = await mint_token(aws, HOST)
    assert token.login.username == "AWS"
    assert token.login.password.reveal()
    assert token.expires.tzinfo is not None
    assert token.login.password.reveal() not in repr(token)


async def test_a_token_in_amazon_s_words(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto's tokens ended in 2015; these have the twelve hours of real ones."""
    ends = datetime(2026, 5, 4, 12, tzinfo=UTC)
    coded = base64.b64encode(b"AWS:with:colons").decode()
    data = {"authorizationToken": coded, "expiresAt": ends.timestamp(), "proxyEndpoint": f"https://{HOST}"}
    registry = ScriptedRegistry(fault=lambda _: web.json_response({"authorizationData": [data]}))
    async with registry.serve():
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{registry.address}")
        token = await mint_token(Aws(), HOST)
    assert (token.login.password.reveal(), token.expires) == ("with:colons", ends)


@pytest.mark.parametrize(
    ("host", "scope"),
    [
        (HOST, "eu-central-1/ecr"),
        (HOST.replace(REGION, "ap-south-1"), "ap-south-1/ecr"),
        ("public.ecr.aws", "us-east-1/ecr-public"),
    ],
)
async def test_a_token_is_had_where_the_registry_is(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, host: str, scope: str
) -> None:
    data = {"authorizationToken": base64.b64encode(b"AWS:word").decode(), "expiresAt": 1_900_000_000.0}
    told = data if host == "public.ecr.aws" else [data]
    registry = ScriptedRegistry(fault=lambda _: web.json_response({"authorizationData": told}))
    async with registry.serve():
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{registry.address}")
        token = await mint_token(Aws(), host)
    assert (token.login.password.reveal(), token.expires.year) == ("word", 2030)
    (_, _, signature) = registry.requests[0]
    assert f"/{scope}/aws4_request" in signature


async def test_an_answer_without_a_token(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = ScriptedRegistry(fault=lambda _: web.json_response({}))
    async with registry.serve():
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{registry.address}")
        with pytest.raises(RegistryError, match="without a token"):
            await mint_token(Aws(), HOST)


async def test_no_credentials(moto: str, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(CredentialError, match=r"no credentials here\. Set AWS_PROFILE"):
        await mint_token(Aws(), HOST)


async def test_nobody_answers(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(CredentialError, match="Could not connect"):
        await mint_token(Aws(), HOST)


@pytest.mark.parametrize(
    ("code", "said", "error", "words"),
    [
        ("AccessDeniedException", "User: arn:aws:iam::1:user/x is not authorized to perform: ecr:GetAuthorizationToken", RegistryError, "perform: ecr:GetAuthorizationToken"),
        ("InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier than", CredentialError, "set this machine's clock"),
        ("ExpiredTokenException", "The security token included in the request is expired", CredentialError, "log in to AWS again"),
        ("UnrecognizedClientException", "The security token included in the request is invalid", CredentialError, "does not know these credentials"),
        ("ThrottledException", "Rate exceeded", RegistryError, "Rate exceeded"),
    ],
)  # fmt: skip
async def test_what_aws_refuses(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, code: str, said: str, error: type[Exception], words: str
) -> None:
    answer = {"__type": code, "message": said}
    registry = ScriptedRegistry(fault=lambda _: web.json_response(answer, status=400))
    async with registry.serve():
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{registry.address}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        with pytest.raises(error, match=re.escape(words)):
            await mint_token(Aws(), HOST)


# Repository policies


def test_the_statement_of_the_documentation() -> None:
    policy = merge_policy(None, [node_role_arn(ACCOUNT, "abc")], version="2008-10-17")
    assert policy == {
        "Version": "2008-10-17",
        "Statement": [
            {
                "Sid": "AllowImagePullAstro",
                "Effect": "Allow",
                "Principal": {"AWS": ROLE},
                "Action": ["ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"],
            }
        ],
    }
    assert root_arn(ACCOUNT) == f"arn:aws:iam::{ACCOUNT}:root"
    newer = merge_policy(None, [node_role_arn(ACCOUNT, "abc")])
    assert newer == {**policy, "Version": "2012-10-17"}
    with pytest.raises(InvalidInputError, match="one of 2008-10-17, 2012-10-17"):
        merge_policy(None, [ROLE], version="2012-10-18")


@pytest.mark.parametrize(
    ("principals", "words"),
    [
        ([], "without a principal lets nobody"),
        ([" "], "without a principal lets nobody"),
        (["*"], "the whole world could pull"),
        ([f"arn:aws:iam::{ACCOUNT}:role/*"], "the whole world could pull"),
        (["somebody"], "write arn:aws:iam"),
        ([f"arn:aws:iam::{ACCOUNT}:role/<ClusterID>"], "write arn:aws:iam"),
    ],
)
def test_principals_that_are_refused(principals: list[str], words: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(words)):
        pull_statement(principals)
    with pytest.raises(InvalidInputError):
        root_arn("1234")


def test_merging_keeps_what_is_there() -> None:
    other = {"Sid": "Ours", "Effect": "Allow", "Principal": {"AWS": root_arn(ACCOUNT)}, "Action": "ecr:*"}
    before = {"Version": "2008-10-17", "Statement": [pull_statement([ROLE]), other]}
    merged = merge_policy(before, [root_arn("210987654321"), ROLE], version="2012-10-17")
    assert merged["Version"] == "2008-10-17"
    assert merged["Statement"][1] == other
    assert merged["Statement"][0]["Principal"] == {"AWS": [ROLE, root_arn("210987654321")]}
    assert merge_policy(merged, [ROLE]) == merged
    replaced = merge_policy(merged, [root_arn("210987654321")], replace=True)
    assert replaced["Statement"][0]["Principal"] == {"AWS": root_arn("210987654321")}
    assert len(merge_policy(None, [ROLE])["Statement"]) == 1


def test_what_was_added_to_our_statement_by_hand_stays() -> None:
    gone, service = "AROAEXAMPLEOFAGONEROLE", {"Service": "lambda.amazonaws.com"}
    by_hand = {
        "Sid": SID,
        "Effect": "Allow",
        "Principal": {"AWS": gone, **service},
        "Action": "ecr:BatchGetImage",
        "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}},
    }
    merged = merge_policy({"Version": "2012-10-17", "Statement": [by_hand]}, [ROLE])
    (statement,) = merged["Statement"]
    assert statement["Principal"] == {"AWS": [gone, ROLE], **service}
    assert statement["Action"] == ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    assert statement["Condition"] == by_hand["Condition"]
    assert merge_policy(merged, [ROLE]) == merged
    # Nothing is promised on the ground of a condition.
    assert check_policy(merged, [ROLE])
    assert merge_policy(merged, [ROLE], replace=True)["Statement"] == [pull_statement([ROLE])]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"Principal": "*"}, "lets the whole world pull already; --replace"),
        ({"Principal": {"AWS": "*"}}, "lets the whole world pull already; --replace"),
        ({"Principal": {"AWS": [ROLE, "*"]}}, "lets the whole world pull already; --replace"),
        ({"Effect": "Deny"}, "--replace makes it anew"),
        ({"NotAction": "ecr:*"}, "--replace makes it anew"),
    ],
)
def test_a_statement_of_our_name_that_is_not_extended(more: dict[str, Any], words: str) -> None:
    there = {"Version": "2012-10-17", "Statement": [{**pull_statement([ROLE]), **more}]}
    with pytest.raises(InvalidInputError, match=re.escape(words)):
        merge_policy(there, [ROLE])
    assert merge_policy(there, [ROLE], replace=True)["Statement"] == [pull_statement([ROLE])]


OWNER = root_arn(ACCOUNT)
STRANGER = root_arn("210987654321")


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"Principal": {"AWS": "*"}},
        {"Principal": {"AWS": [STRANGER, OWNER]}},
        {"Principal": {"AWS": ACCOUNT}},
        {"Action": "ecr:Set*"},
        {"Action": ["ecr:BatchGetImage", "ecr:DeleteRepositoryPolicy"]},
        {"Action": None, "NotAction": list(PULL_ACTIONS)},
        {"Principal": None, "NotPrincipal": {"AWS": STRANGER}},
    ],
)
def test_a_policy_that_locks_its_owner_out(more: dict[str, Any]) -> None:
    deny = {"Sid": "No", "Effect": "Deny", "Principal": "*", "Action": "ecr:*", **more}
    there = {
        "Version": "2012-10-17",
        "Statement": [{key: value for key, value in deny.items() if value is not None}],
    }
    words = "statement No forbids everybody, the owner too, to change this policy again"
    with pytest.raises(InvalidInputError, match=words):
        merge_policy(there, [ROLE], owner=ACCOUNT)
    assert any(words in each for each in check_policy(there, [ROLE], owner=ACCOUNT))


@pytest.mark.parametrize(
    "more",
    [
        {"Action": "ecr:DeleteRepository"},
        {"Principal": {"AWS": STRANGER}},
        {"Condition": {"Bool": {"aws:SecureTransport": "false"}}},
        {"Action": None, "NotAction": "ecr:*"},
        {"Principal": None, "NotPrincipal": {"AWS": [STRANGER, OWNER]}},
    ],
)
def test_a_policy_that_forbids_others(more: dict[str, Any]) -> None:
    deny = {"Sid": "No", "Effect": "Deny", "Principal": "*", "Action": "ecr:*", **more}
    statement = {key: value for key, value in deny.items() if value is not None}
    merged = merge_policy({"Version": "2012-10-17", "Statement": [statement]}, [ROLE], owner=ACCOUNT)
    assert merged["Statement"] == [statement, pull_statement([ROLE])]


def test_checking() -> None:
    policy = merge_policy(None, [ROLE])
    assert check_policy(policy, [ROLE]) == []
    (lacking,) = check_policy(policy, [root_arn("210987654321")])
    assert (
        lacking
        == "arn:aws:iam::210987654321:root may not pull: ecr:GetDownloadUrlForLayer, ecr:BatchGetImage is not allowed"
    )
    by_account = merge_policy(None, [root_arn(ACCOUNT)])
    assert check_policy(by_account, [ROLE]) == []
    half = {"Version": "2012-10-17", "Statement": [{**pull_statement([ROLE]), "Action": "ecr:Get*"}]}
    (lacking,) = check_policy(half, [ROLE])
    assert "ecr:BatchGetImage is not allowed" in lacking
    world = {"Version": "2012-10-17", "Statement": [{**pull_statement([ROLE]), "Principal": "*"}]}
    (door,) = check_policy(world, [ROLE])
    assert "allows everybody in the world" in door
    assert "has no policy" in check_policy(None, [ROLE])[0]
    assert set(PULL_ACTIONS) == set(policy["Statement"][0]["Action"])
    with pytest.raises(InvalidInputError, match="list of statements"):
        read_policy("{}", "x")


async def test_a_policy_on_a_repository(aws: Aws) -> None:
    await aws.do(AwsCall("ecr", "create-repository", {"repositoryName": "team/tool"}, REGION))
    place = repository_of(f"{HOST}/team/tool:1", "")
    assert place == (ACCOUNT, REGION, "team/tool")
    assert (await current_policy(aws, place)).policy is None
    apply = {"version": "2008-10-17", "replace": False}
    shown = await apply_policy(aws, place, [ROLE], dry_run=True, **apply)  # type: ignore[arg-type]
    assert str(shown.call).startswith(
        f"aws ecr set-repository-policy --registry-id {ACCOUNT} --repository-name team/tool"
    )
    assert (await current_policy(aws, place)).policy is None
    done = await apply_policy(aws, place, [ROLE], dry_run=False, **apply)  # type: ignore[arg-type]
    assert (done.call, done.problems) == (shown.call, ())
    found = await current_policy(aws, place)
    assert found.policy is not None
    assert (found.policy["Version"], found.policy["Statement"][0]["Sid"]) == ("2008-10-17", SID)
    again = await apply_policy(aws, place, [ROLE], dry_run=False, **apply)  # type: ignore[arg-type]
    assert again.call is None
    # Somebody denies what we allow: that is said, and who owns the repository comes from ECR.
    forbidden = {"Sid": "No", "Effect": "Deny", "Principal": {"AWS": ROLE}, "Action": "ecr:BatchGetImage"}
    text = json.dumps({**found.policy, "Statement": [*found.policy["Statement"], forbidden]})
    call = AwsCall(
        "ecr", "set-repository-policy", {"repositoryName": "team/tool", "policyText": text}, REGION
    )
    await aws.do(call)
    own = ("", REGION, "team/tool")
    denied = await apply_policy(aws, own, [ROLE], dry_run=True, **apply)  # type: ignore[arg-type]
    assert denied.call is None
    assert denied.problems == (f"{ROLE} may not pull: ecr:BatchGetImage is not allowed",)
    assert (await current_policy(aws, own)).owner == ACCOUNT
    with pytest.raises(InvalidInputError, match="no repository team/none"):
        await current_policy(aws, ("", REGION, "team/none"))
