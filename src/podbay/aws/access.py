"""Looks up what an EKS cluster knows of a principal, and makes what is missing, by AWS's own API."""

from __future__ import annotations

from typing import Any, Final

from podbay.aws.access_policy import Access, EntryFacts, calls_for
from podbay.errors import InvalidInputError
from podbay.registries.amazon.session import Aws, AwsCall

__all__ = ["caller_arn", "grant_access", "missing_access"]

_BY_CONFIG_MAP: Final = "CONFIG_MAP"


async def caller_arn(aws: Aws, region: str = "") -> str:
    """Who we are for AWS. Needs no permission."""
    return str((await aws.do(AwsCall("sts", "get-caller-identity", {}, region)))["Arn"])


async def missing_access(aws: Aws, wanted: Access) -> list[AwsCall]:
    """The calls that make it so; none when it is. Raises InvalidInputError for a cluster that takes no entries."""
    cluster = await _cluster(aws, wanted)
    mode = str((cluster.get("accessConfig") or {}).get("authenticationMode") or "")
    if mode == _BY_CONFIG_MAP:
        raise InvalidInputError(
            f"EKS cluster {wanted.cluster} knows principals by the ConfigMap aws-auth only. Let it take access entries: "
            f"aws eks update-cluster-config --name {wanted.cluster} "
            "--access-config authenticationMode=API_AND_CONFIG_MAP; there is no way back."
        )
    return calls_for(wanted, await _facts(aws, wanted))


async def grant_access(aws: Aws, wanted: Access) -> list[AwsCall]:
    """Make what is missing; the calls that were made."""
    calls = await missing_access(aws, wanted)
    for call in calls:
        await aws.do(call)
    return calls


async def _cluster(aws: Aws, wanted: Access) -> dict[str, Any]:
    call = AwsCall("eks", "describe-cluster", {"name": wanted.cluster}, wanted.region)
    try:
        return dict((await aws.do(call))["cluster"])
    except KeyError:
        raise InvalidInputError(
            f"there is no EKS cluster {wanted.cluster} in {wanted.region or 'the chosen region'}. Check name, region "
            "and account."
        ) from None


async def _facts(aws: Aws, wanted: Access) -> EntryFacts:
    about = {"clusterName": wanted.cluster, "principalArn": wanted.principal}
    try:
        entry = (await aws.do(AwsCall("eks", "describe-access-entry", about, wanted.region)))["accessEntry"]
    except KeyError:
        return EntryFacts()
    scopes: dict[str, Any] = {}
    more: dict[str, str] = {}
    while True:
        call = AwsCall("eks", "list-associated-access-policies", about | more, wanted.region)
        answer = await aws.do(call)
        scopes |= {each["policyArn"]: each["accessScope"] for each in answer["associatedAccessPolicies"]}
        if not answer.get("nextToken"):
            break
        more = {"nextToken": answer["nextToken"]}
    return EntryFacts(groups=tuple(entry.get("kubernetesGroups") or ()), kind=entry["type"], scopes=scopes)
