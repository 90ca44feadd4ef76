"""Node groups that Podbay has made, found by their tags; which of them nobody needs any more; their removal.

Whose run is over only Airflow knows; whoever calls this asks it (RunState). Doubt keeps a node group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from podbay.aws.nodegroup import NodegroupOwner, nodegroup_name, owner_of_tags
from podbay.errors import CredentialError, InvalidInputError, PodbayError, RegistryError
from podbay.registries.amazon.session import Aws, AwsCall

__all__ = ["Found", "FoundNodegroup", "RunState", "find_nodegroups", "leftover_reason", "removal", "remove"]

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


@dataclass
class Found:
    """What there is, and what AWS did not tell."""

    groups: list[FoundNodegroup] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)
    """One sentence for each cluster or node group that could not be looked at."""


async def find_nodegroups(aws: Aws, region: str, *, cluster: str = "", deployment: str = "") -> Found:
    """In one cluster, or in all of the region. Raises CredentialError, InvalidInputError and RegistryError."""
    clusters = [cluster] if cluster else await _all(aws, "list-clusters", {}, "clusters", region)
    found = Found()
    for each in clusters:
        try:
            names = await _all(aws, "list-nodegroups", {"clusterName": each}, "nodegroups", region)
        except KeyError:
            if cluster:
                raise InvalidInputError(
                    f"there is no EKS cluster {cluster}{f' in {region}' if region else ''}"
                ) from None
            continue
        except (CredentialError, RegistryError) as error:
            if cluster:
                raise
            # One cluster that others guard must not hide what costs money in the rest of the region.
            found.untold.append(f"EKS cluster {each} could not be looked at: {error}")
            continue
        for name in names:
            try:
                one = await _described(aws, region, each, name)
            except (CredentialError, RegistryError) as error:
                found.untold.append(
                    f"node group {name} of EKS cluster {each} could not be looked at: {error}"
                )
                continue
            if one is not None and deployment in ("", one.owner.deployment):
                found.groups.append(one)
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


async def remove(aws: Aws, calls: Sequence[AwsCall], say: Callable[[str], None]) -> list[str]:
    """Make all the calls of `removal`; one sentence for each that AWS refuses."""
    refused = []
    for call in calls:
        name = call.parameters["nodegroupName"]
        try:
            await aws.do(call)
        except KeyError:
            continue
        except PodbayError as error:
            cluster = call.parameters["clusterName"]
            refused.append(
                f"node group {name} of EKS cluster {cluster} could not be deleted and goes on costing money: {error}"
            )
            continue
        say(f"{name} is being deleted.")
    return refused
