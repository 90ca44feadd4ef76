"""From the nodes of a cluster to the roles of their instances: by provider id, instance and instance profile.

Source: https://kubernetes.io/docs/reference/node/ (spec.providerID of Amazon's: aws:///ZONE/INSTANCE); spec 59: nodes may
share a role or have one each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from podbay.errors import InvalidInputError
from podbay.registries.amazon.session import Aws, AwsCall

__all__ = ["roles_of_nodes"]

_PROVIDER_ID: Final = re.compile(
    r"aws:///(?P<region>[a-z]{2,}(?:-[a-z]+)+-[0-9]+)[a-z0-9-]*/(?P<instance>i-[0-9a-f]+)"
)
_AT_ONCE: Final = 100


async def roles_of_nodes(aws: Aws, provider_ids: Iterable[str]) -> list[str]:
    """Names of the roles, each once. Raises InvalidInputError when a node's role cannot be known."""
    profiles: dict[str, None] = {}
    for region, instances in _by_region(provider_ids).items():
        for start in range(0, len(instances), _AT_ONCE):
            for each in await _profiles(aws, region, instances[start : start + _AT_ONCE]):
                profiles[each] = None
    roles: dict[str, None] = {}
    for profile in profiles:
        try:
            answer = await aws.do(AwsCall("iam", "get-instance-profile", {"InstanceProfileName": profile}))
        except KeyError as err:
            raise InvalidInputError(
                f"IAM has no instance profile {profile}, which a node's instance names"
            ) from err
        roles |= {str(each["RoleName"]): None for each in answer["InstanceProfile"]["Roles"]}
    return list(roles)


def _by_region(provider_ids: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in provider_ids:
        parts = _PROVIDER_ID.fullmatch(each)
        # Nodes of Fargate and of other places have no instance of the account's own.
        if parts is not None:
            found.setdefault(parts["region"], []).append(parts["instance"])
    if not found:
        raise InvalidInputError("no node of this cluster is an instance of EC2; name the roles")
    return found


async def _profiles(aws: Aws, region: str, instances: list[str]) -> Iterator[str]:
    call = AwsCall("ec2", "describe-instances", {"InstanceIds": instances}, region)
    try:
        answer = await aws.do(call)
    except KeyError as err:
        raise InvalidInputError(
            f"EC2 in {region} does not know every node's instance ({', '.join(instances)}); are the credentials of the "
            "account that the cluster is in?"
        ) from err
    described = [each for reservation in answer["Reservations"] for each in reservation["Instances"]]
    return (_profile_of(each) for each in described)


def _profile_of(instance: Mapping[str, Any]) -> str:
    arn = str((instance.get("IamInstanceProfile") or {}).get("Arn") or "")
    if not arn:
        name = instance.get("InstanceId")
        raise InvalidInputError(
            f"instance {name} has no instance profile, so no role: aws ec2 associate-iam-instance-profile --instance-id {name} …"
        )
    return arn.rpartition("/")[2]
