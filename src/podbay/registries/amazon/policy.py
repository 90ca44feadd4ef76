"""Repository policies of ECR: the statement that lets nodes pull, merged with what is there, and what is wrong with one. Pure.

Source: spec 56-57 and B-1; https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-policy-examples.html.
"""

from __future__ import annotations

import copy
import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from podbay.errors import InvalidInputError

__all__ = [
    "PULL_ACTIONS",
    "SID",
    "VERSIONS",
    "check_policy",
    "merge_policy",
    "node_role_arn",
    "pull_statement",
    "read_policy",
    "root_arn",
]

SID: Final = "AllowImagePullAstro"
"""As in Astro's documentation, so that a policy made by hand after it is recognised and not doubled."""
PULL_ACTIONS: Final = ("ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage")
VERSIONS: Final = ("2008-10-17", "2012-10-17")
_PRINCIPAL: Final = re.compile(
    r"arn:aws(?:-cn|-us-gov)?:(?:iam|sts)::[0-9]{12}:(?:root|(?:role|user|assumed-role)/[\w+=,.@/-]+)"
)
_ACCOUNT: Final = re.compile("[0-9]{12}")
_OWNER_ACTIONS: Final = ("ecr:SetRepositoryPolicy", "ecr:DeleteRepositoryPolicy")


def node_role_arn(account: str, cluster: str, partition: str = "aws") -> str:
    """The role of an Astro cluster's nodes (spec 56). Raises InvalidInputError."""
    _account(account)
    if not re.fullmatch(r"[\w+=,.@-]+", cluster):
        raise InvalidInputError(
            f"--cluster-id {cluster!r}: the id as the cloud console shows it, without blanks"
        )
    return f"arn:{partition}:iam::{account}:role/EKS-NodeInstanceRole-{cluster}"


def root_arn(account: str, partition: str = "aws") -> str:
    """Everybody in the account whom the account itself lets. Raises InvalidInputError."""
    _account(account)
    return f"arn:{partition}:iam::{account}:root"


def _account(account: str) -> None:
    if not _ACCOUNT.fullmatch(account):
        raise InvalidInputError(f"--account {account!r}: an AWS account has 12 digits")


def pull_statement(principals: Sequence[str]) -> dict[str, Any]:
    """The statement. Raises InvalidInputError for nobody, for everybody, and for what is no principal."""
    if not principals or not all(each.strip() for each in principals):
        raise InvalidInputError(
            "a policy without a principal lets nobody pull: give the ARN of a role or account"
        )
    for each in principals:
        if "*" in each or "?" in each:
            raise InvalidInputError(
                f"principal {each}: with a wildcard the whole world could pull; name roles or accounts"
            )
        if not _PRINCIPAL.fullmatch(each):
            raise InvalidInputError(f"principal {each}: write arn:aws:iam::123456789012:role/NAME or …:root")
    unique = list(dict.fromkeys(principals))
    return {
        "Sid": SID,
        "Effect": "Allow",
        "Principal": {"AWS": unique[0] if len(unique) == 1 else unique},
        "Action": list(PULL_ACTIONS),
    }


def read_policy(text: str, source: str) -> dict[str, Any]:
    """A policy from JSON, its statements as a list. Raises InvalidInputError."""
    try:
        policy = orjson.loads(text)
    except orjson.JSONDecodeError as err:
        raise InvalidInputError(f"{source} is not JSON: {err}") from None
    statements = policy.get("Statement") if isinstance(policy, dict) else None
    if isinstance(statements, dict):
        policy["Statement"] = statements = [statements]
    if not isinstance(statements, list) or not all(isinstance(each, dict) for each in statements):
        raise InvalidInputError(f"{source}: a policy has a list of statements (Statement)")
    return dict(policy)


def merge_policy(
    existing: Mapping[str, Any] | None,
    principals: Sequence[str],
    *,
    version: str = VERSIONS[1],
    replace: bool = False,
) -> dict[str, Any]:
    """The policy with our statement, everything else as it was; principals are added to it, or `replace` its own.

    Raises InvalidInputError for principals that are nobody or everybody, and for a policy that would lock its owner out.
    """
    if version not in VERSIONS:
        raise InvalidInputError(f"--policy-version {version}: one of {', '.join(VERSIONS)}")
    merged: dict[str, Any] = (
        copy.deepcopy(dict(existing)) if existing else {"Version": version, "Statement": []}
    )
    kept: list[dict[str, Any]] = []
    before: list[str] = []
    for statement in merged["Statement"]:
        if statement.get("Sid") != SID:
            kept.append(statement)
        elif not replace:
            before += _aws(statement)
    wanted = pull_statement([*before, *principals])
    places = [number for number, each in enumerate(merged["Statement"]) if each.get("Sid") == SID]
    kept.insert(places[0] if places else len(kept), wanted)
    merged["Statement"] = kept
    for problem in _lock_outs(merged):
        raise InvalidInputError(problem)
    return merged


def check_policy(policy: Mapping[str, Any] | None, principals: Sequence[str]) -> list[str]:
    """What keeps these principals from pulling, and what lets too many, one sentence each."""
    if policy is None:
        return [f"{each} may not pull: the repository has no policy" for each in principals]
    found = [*_lock_outs(policy), *_open_doors(policy)]
    for principal in principals:
        pull_statement([principal])
        lacking = [each for each in PULL_ACTIONS if not _allowed(policy, principal, each)]
        if lacking:
            found.append(f"{principal} may not pull: {', '.join(lacking)} is not allowed")
    return found


def _allowed(policy: Mapping[str, Any], principal: str, action: str) -> bool:
    allowed = False
    for statement in policy["Statement"]:
        if not _covers(statement, principal, action):
            continue
        if statement.get("Effect") == "Deny":
            return False
        # A condition may or may not hold; nothing is promised on its ground.
        allowed = allowed or not statement.get("Condition")
    return allowed


def _covers(statement: Mapping[str, Any], principal: str, action: str) -> bool:
    named = _principals(statement)
    root = re.sub(r":(?:iam|sts)::([0-9]{12}):.*", r":iam::\1:root", principal)
    account = root.split(":")[4]
    who = "*" in named or bool({principal, root, account} & set(named))
    return who and any(
        fnmatch.fnmatchcase(action.lower(), each.lower()) for each in _list(statement.get("Action"))
    )


def _open_doors(policy: Mapping[str, Any]) -> Iterator[str]:
    for statement in policy["Statement"]:
        if (
            statement.get("Effect") == "Allow"
            and "*" in _principals(statement)
            and not statement.get("Condition")
        ):
            yield f"statement {statement.get('Sid') or '(without Sid)'} allows everybody in the world; name principals"


def _lock_outs(policy: Mapping[str, Any]) -> Iterator[str]:
    for statement in policy["Statement"]:
        if (
            statement.get("Effect") != "Deny"
            or "*" not in _principals(statement)
            or statement.get("Condition")
        ):
            continue
        if any(_covers(statement, "arn:aws:iam::000000000000:root", each) for each in _OWNER_ACTIONS):
            sid = statement.get("Sid") or "(without Sid)"
            yield f"statement {sid} forbids everybody, the owner too, to change this policy again; take it out first"


def _principals(statement: Mapping[str, Any]) -> list[str]:
    principal = statement.get("Principal")
    return ["*"] if principal == "*" else _aws(statement)


def _aws(statement: Mapping[str, Any]) -> list[str]:
    principal = statement.get("Principal")
    return _list(principal.get("AWS")) if isinstance(principal, dict) else []


def _list(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]
