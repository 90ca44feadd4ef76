"""Reads and sets the policy of a repository; never with `force`, so AWS refuses one that locks its owner out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from podbay.errors import InvalidInputError
from podbay.registries.amazon.ecr import ecr_host
from podbay.registries.amazon.policy import merge_policy, read_policy
from podbay.registries.amazon.session import Aws, AwsCall
from podbay.registries.image_name import parse_image_name

__all__ = ["Repository", "apply_policy", "current_policy", "policy_call", "repository_of"]

Repository = tuple[str, str, str]
"""Account (empty: the caller's own), region and name."""


def repository_of(text: str, region: str) -> Repository:
    """From a name, or a whole URI such as 1….dkr.ecr.eu-central-1.amazonaws.com/team/tool. Raises InvalidInputError."""
    if ".amazonaws." not in text and ".on.aws" not in text:
        return "", region, text
    name = parse_image_name(text)
    host = ecr_host(name.registry)
    return host.account, host.region, name.path


async def current_policy(aws: Aws, repository: Repository) -> dict[str, Any] | None:
    """What is set; None for no policy. Raises InvalidInputError when there is no such repository."""
    try:
        answer = await aws.do(_call("get-repository-policy", repository))
    except KeyError as err:
        if err.args[0] == "RepositoryPolicyNotFoundException":
            return None
        raise InvalidInputError(
            f"ECR has no repository {repository[2]} in region {repository[1] or '(the default)'}"
        ) from err
    return read_policy(str(answer["policyText"]), f"the policy of {repository[2]}")


def policy_call(repository: Repository, policy: Mapping[str, Any]) -> AwsCall:
    """What sets it."""
    return _call("set-repository-policy", repository, policyText=orjson.dumps(policy).decode())


async def apply_policy(
    aws: Aws, repository: Repository, principals: Sequence[str], *, version: str, replace: bool, dry_run: bool
) -> AwsCall | None:
    """Merge and set; the call that was (or would be) made, None when everything is as wanted already."""
    existing = await current_policy(aws, repository)
    wanted = merge_policy(existing, principals, version=version, replace=replace)
    if wanted == existing:
        return None
    call = policy_call(repository, wanted)
    if not dry_run:
        await aws.do(call)
    return call


def _call(operation: str, repository: Repository, **more: Any) -> AwsCall:
    account, region, name = repository
    owner = {"registryId": account} if account else {}
    return AwsCall("ecr", operation, {**owner, "repositoryName": name, **more}, region)
