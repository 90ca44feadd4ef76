"""Node groups that Podbay has made, found by their tags; which of them nobody needs any more; their removal.

Whose run is over only Airflow knows; whoever calls this asks it (RunState). Doubt keeps a node group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from podbay.aws.nodegroup import NodegroupOwner, nodegroup_name, owner_of_tags
from podbay.errors import InvalidInputError
from podbay.registries.amazon.session import Aws, AwsCall

__all__ = ["FoundNodegroup", "RunState", "find_nodegroups", "leftover_reason", "removal"]

RunState: TypeAlias = Literal["going", "over", "unknown"]
_PAGES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundNodegroup:
    """One that Podbay has made."""

    cluster: str
    region: str
    name: str
    status: str
    nodes: int
    owner: NodegroupOwner
    created_at: datetime | None

    @property
    def is_exact(self) -> bool:
        """The tags tell the run's id as it is: ids with characters that AWS does not take are changed there."""
        return nodegroup_name(self.owner) == self.name

    def age(self, now: datetime) -> float | None:
        """Seconds."""
        return None if self.created_at is None else (now - self.created_at).total_seconds()


async def find_nodegroups(
    aws: Aws, region: str, *, cluster: str = "", deployment: str = ""
) -> list[FoundNodegroup]:
    """In one cluster, or in all of the region. Raises CredentialError, InvalidInputError and RegistryError."""
    clusters = [cluster] if cluster else await _all(aws, "list-clusters", {}, "clusters", region)
    found = []
    for each in clusters:
        try:
            names = await _all(aws, "list-nodegroups", {"clusterName": each}, "nodegroups", region)
        except KeyError:
            if cluster:
                raise InvalidInputError(
                    f"there is no EKS cluster {cluster}{f' in {region}' if region else ''}"
                ) from None
            continue
        for name in names:
            one = await _described(aws, region, each, name)
            if one is not None and deployment in ("", one.owner.deployment):
                found.append(one)
    return found


async def _all(aws: Aws, operation: str, parameters: Mapping[str, str], key: str, region: str) -> list[str]:
    names: list[str] = []
    asked = dict(parameters)
    for _ in range(_PAGES):
        answer = await aws.do(AwsCall("eks", operation, asked, region))
        names += answer.get(key) or ()
        token = answer.get("nextToken")
        if not token:
            break
        asked["nextToken"] = token
    return names


async def _described(aws: Aws, region: str, cluster: str, name: str) -> FoundNodegroup | None:
    call = AwsCall("eks", "describe-nodegroup", {"clusterName": cluster, "nodegroupName": name}, region)
    try:
        told: Mapping[str, Any] = (await aws.do(call))["nodegroup"]
    except KeyError:
        return None
    owner = owner_of_tags(told.get("tags") or {})
    if owner is None:
        return None
    return FoundNodegroup(
        cluster=cluster,
        region=region,
        name=name,
        status=str(told.get("status") or ""),
        nodes=int((told.get("scalingConfig") or {}).get("desiredSize") or 0),
        owner=owner,
        created_at=told.get("createdAt"),
    )


def leftover_reason(group: FoundNodegroup, run: RunState, *, older_than: float | None, now: datetime) -> str:
    """Why nobody needs it any more; empty when somebody may. Pure."""
    if group.status == "DELETING":
        return ""
    if run == "over" and group.is_exact:
        return "its run is over"
    age = group.age(now)
    if older_than is not None and age is not None and age > older_than:
        return f"it is older than {older_than:g} s"
    return ""


def removal(groups: Sequence[FoundNodegroup]) -> list[AwsCall]:
    """The calls that delete them."""
    return [
        AwsCall(
            "eks", "delete-nodegroup", {"clusterName": each.cluster, "nodegroupName": each.name}, each.region
        )
        for each in groups
    ]
