"""Reads and sets the policy of a repository; never with `force`, so AWS refuses one that locks its owner out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from podbay.errors import InvalidInputError
from podbay.registries.amazon.ecr import ecr_host
from podbay.registries.amazon.policy import check_policy, merge_policy, read_policy
from podbay.registries.amazon.session import Aws, AwsCall
from podbay.registries.image_name import parse_image_name

__all__ = [
    "PolicyChange",
    "Repository",
    "RepositoryPolicy",
    "apply_policy",
    "current_policy",
    "repository_of",
]

Repository = tuple[str, str, str]
"""Account (empty: the caller's own), region and name."""


def repository_of(text: str, region: str) -> Repository:
    """From a name, or a whole URI such as 1….dkr.ecr.eu-central-1.amazonaws.com/team/tool. Raises InvalidInputError."""
    if ".amazonaws." not in text and ".on.aws" not in text:
        return "", region, text
    name = parse_image_name(text)
    host = ecr_host(name.registry)
    return host.account, host.region, name.path


@dataclass(frozen=True, slots=True)
class RepositoryPolicy:
    """What is set, None for nothing, and the account that the repository belongs to, as far as it is known."""

    policy: dict[str, Any] | None
    owner: str


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """The call that was (or would be) made, None when everything is as wanted, and what still keeps them from pulling."""

    call: AwsCall | None
    problems: tuple[str, ...]


async def current_policy(aws: Aws, repository: Repository) -> RepositoryPolicy:
    """What is set. Raises InvalidInputError when there is no such repository."""
    try:
        answer = await aws.do(_call("get-repository-policy", repository))
    except KeyError as err:
        if err.args[0] == "RepositoryPolicyNotFoundException":
            return RepositoryPolicy(None, repository[0])
        raise InvalidInputError(
            f"ECR has no repository {repository[2]} in region {repository[1] or '(the default)'}"
        ) from err
    policy = read_policy(str(answer["policyText"]), f"the policy of {repository[2]}")
    return RepositoryPolicy(policy, str(answer.get("registryId") or repository[0]))


async def apply_policy(
    aws: Aws, repository: Repository, principals: Sequence[str], *, version: str, replace: bool, dry_run: bool
) -> PolicyChange:
    """Merge and set."""
    found = await current_policy(aws, repository)
    wanted = merge_policy(found.policy, principals, version=version, replace=replace, owner=found.owner)
    problems = tuple(check_policy(wanted, principals, owner=found.owner))
    if wanted == found.policy:
        return PolicyChange(None, problems)
    call = _call("set-repository-policy", repository, policyText=orjson.dumps(wanted).decode())
    if not dry_run:
        await aws.do(call)
    return PolicyChange(call, problems)


def _call(operation: str, repository: Repository, **more: Any) -> AwsCall:
    account, region, name = repository
    owner = {"registryId": account} if account else {}
    return AwsCall("ecr", operation, {**owner, "repositoryName": name, **more}, region)
