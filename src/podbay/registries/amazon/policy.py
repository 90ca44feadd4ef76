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
    owner: str = "",
) -> dict[str, Any]:
    """The policy with our statement, everything else as it was; the statement that is there is extended, or `replace`d.

    `owner` is the repository's account, where it is known. Raises InvalidInputError for principals that are nobody or
    everybody, for a statement that cannot be extended, and for a policy that would lock its owner out.
    """
    if version not in VERSIONS:
        raise InvalidInputError(f"--policy-version {version}: one of {', '.join(VERSIONS)}")
    merged: dict[str, Any] = (
        copy.deepcopy(dict(existing)) if existing else {"Version": version, "Statement": []}
    )
    ours = pull_statement(principals)
    kept: list[dict[str, Any]] = []
    place: int | None = None
    for statement in merged["Statement"]:
        if statement.get("Sid") != SID:
            kept.append(statement)
            continue
        place = len(kept) if place is None else place
        if not replace:
            ours = _extended(statement, ours)
    kept.insert(len(kept) if place is None else place, ours)
    merged["Statement"] = kept
    for problem in _lock_outs(merged, owner):
        raise InvalidInputError(problem)
    return merged


def _extended(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """A statement of our Sid that is there, with what it lacks; what somebody added to it by hand stays."""
    if before.get("Effect") != "Allow" or "NotPrincipal" in before or "NotAction" in before:
        raise InvalidInputError(
            f"the repository's statement {SID} is not one that allows named principals; --replace makes it anew"
        )
    if any("*" in each for each in _principals(before)):
        raise InvalidInputError(
            f"the repository's statement {SID} lets the whole world pull already; --replace leaves the named ones only"
        )
    statement = copy.deepcopy(dict(before))
    # Who is there already may be the id that AWS leaves of a role that is gone: nothing to judge here.
    named = list(dict.fromkeys([*_aws(before), *_aws(wanted)]))
    if named != _aws(before):
        statement["Principal"] = {**statement["Principal"], "AWS": named[0] if len(named) == 1 else named}
    lacking = [each for each in PULL_ACTIONS if not _acts(before, each)]
    if lacking:
        statement["Action"] = [*_list(before.get("Action")), *lacking]
    return statement


def check_policy(
    policy: Mapping[str, Any] | None, principals: Sequence[str], *, owner: str = ""
) -> list[str]:
    """What keeps these principals from pulling, and what lets too many, one sentence each."""
    if policy is None:
        return [f"{each} may not pull: the repository has no policy" for each in principals]
    found = [*_lock_outs(policy, owner), *_open_doors(policy)]
    for principal in principals:
        pull_statement([principal])
        lacking = [each for each in PULL_ACTIONS if not _allowed(policy, principal, each)]
        if lacking:
            found.append(f"{principal} may not pull: {', '.join(lacking)} is not allowed")
    return found


def _allowed(policy: Mapping[str, Any], principal: str, action: str) -> bool:
    allowed = False
    for statement in policy["Statement"]:
        if not (_names(statement, principal) and _acts(statement, action)):
            continue
        if statement.get("Effect") == "Deny":
            return False
        # A condition may or may not hold; nothing is promised on its ground.
        allowed = allowed or not statement.get("Condition")
    return allowed


def _names(statement: Mapping[str, Any], principal: str) -> bool:
    """Whether a statement is about a principal, by itself or by its account."""
    root = re.sub(r":(?:iam|sts)::([0-9]{12}):.*", r":iam::\1:root", principal)
    names = {"*", principal, root, root.split(":")[4]}
    if "NotPrincipal" in statement:
        return not names & set(_listed(statement["NotPrincipal"]))
    return bool(names & set(_principals(statement)))


def _acts(statement: Mapping[str, Any], action: str) -> bool:
    """Whether a statement is about an action."""
    patterns = _list(statement.get("NotAction" if "NotAction" in statement else "Action"))
    found = any(fnmatch.fnmatchcase(action.lower(), each.lower()) for each in patterns)
    return found != ("NotAction" in statement)


def _open_doors(policy: Mapping[str, Any]) -> Iterator[str]:
    for statement in policy["Statement"]:
        everybody = "NotPrincipal" in statement or "*" in _principals(statement)
        if statement.get("Effect") == "Allow" and everybody and not statement.get("Condition"):
            yield f"statement {_sid(statement)} allows everybody in the world; name principals"


def _lock_outs(policy: Mapping[str, Any], owner: str) -> Iterator[str]:
    # An account that nobody names stands for the owner where it is not known.
    root = f"arn:aws:iam::{owner or '000000000000'}:root"
    for statement in policy["Statement"]:
        if statement.get("Effect") != "Deny" or statement.get("Condition"):
            continue
        if not owner and "NotPrincipal" in statement:
            continue
        if _names(statement, root) and any(_acts(statement, each) for each in _OWNER_ACTIONS):
            yield (
                f"statement {_sid(statement)} forbids everybody, the owner too, to change this policy again; "
                "take it out first"
            )


def _sid(statement: Mapping[str, Any]) -> str:
    return str(statement.get("Sid") or "(without Sid)")


def _principals(statement: Mapping[str, Any]) -> list[str]:
    return _listed(statement.get("Principal"))


def _aws(statement: Mapping[str, Any]) -> list[str]:
    principal = statement.get("Principal")
    return _list(principal.get("AWS")) if isinstance(principal, dict) else []


def _listed(principal: Any) -> list[str]:
    return ["*"] if principal == "*" else _aws({"Principal": principal})


def _list(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]
