"""A node group of EKS for one run of a DAG: what is wanted, its name and tags, what AWS is asked for, what follows from what
AWS tells. Pure.

Source: EKS API, CreateNodegroup and DescribeNodegroup; states as in spec 95.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

import orjson

from podbay.aws.place import EksPlace
from podbay.errors import InvalidInputError
from podbay.pods.problems import Problem, kind_of, refuse

__all__ = [
    "GPU",
    "NODE_LABEL",
    "TAGS",
    "NodegroupOwner",
    "NodegroupPlan",
    "Observed",
    "Step",
    "create_parameters",
    "health_of",
    "next_of_create",
    "next_of_delete",
    "nodegroup_name",
    "owner_of_tags",
    "tags_of",
    "taint_key",
]

NODE_LABEL: Final = "podbay.dev/nodegroup"
"""On the nodes, with the node group's name; also the key of their taint."""
GPU: Final = "nvidia.com/gpu"
TAGS: Final = {
    "deployment": "podbay.dev/deployment",
    "dag_id": "podbay.dev/dag",
    "run_id": "podbay.dev/run",
    "group_id": "podbay.dev/group",
}
_ROLE: Final = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+")
_SUBNET: Final = re.compile(r"subnet-[\w-]+")
_UNTAGGABLE: Final = re.compile(r"[^\w .:/=+@-]")
_TAG_LENGTH: Final = 256
_OURS: Final = ("clusterName", "nodegroupName", "nodeRole", "subnets", "taints", "clientRequestToken")
"""Parameters of CreateNodegroup that have a field here, or follow from the run."""
_CAPACITY: Final = ("ON_DEMAND", "SPOT", "CAPACITY_BLOCK")
_MOST_NODES: Final = 450
"""AWS's own limit for a node group."""

Step: TypeAlias = Literal["create", "wait", "done", "delete", "failed", "foreign"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodegroupOwner:
    """Whose node group it is: one group of one run."""

    deployment: str
    dag_id: str
    run_id: str
    group_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodegroupPlan:
    """What a DAG file says of a node group. Plain values, so that it can travel as JSON; holds no secret."""

    kubernetes_conn_id: str
    node_role: str
    group_id: str = ""
    deployment: str = ""
    """The Airflow that has read the DAG file; empty: known to whoever runs the task."""
    cluster_name: str = ""
    """Empty: the connection says which cluster of EKS it means."""
    region: str = ""
    aws_conn_id: str = ""
    subnets: Sequence[str] = ()
    """Empty: the cluster's."""
    instance_types: Sequence[str] = ()
    ami_type: str = ""
    capacity_type: str = "ON_DEMAND"
    disk_size: int | None = None
    """GiB of each node; None is AWS's own size."""
    nodes: int = 1
    gpus: int = 0
    """That each pod asks for."""
    labels: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further parameters of CreateNodegroup, as boto3 names them."""
    create_seconds: float = 1800.0
    delete_seconds: float = 1800.0
    poll_seconds: float = 15.0

    def check(self) -> None:
        """Raise InvalidInputError that names every field which cannot be right."""
        problems = [*self._cluster_problems(), *self._node_problems(), *self._word_problems()]
        refuse(f"EksNodegroup({self.group_id!r})", problems)

    def _cluster_problems(self) -> list[Problem]:
        found = []
        if not isinstance(self.kubernetes_conn_id, str) or not self.kubernetes_conn_id:
            found.append(Problem("kubernetes_conn_id", "must name the connection of the EKS cluster"))
        if bool(self.cluster_name) != bool(self.region):
            missing = "region" if self.cluster_name else "cluster_name"
            found.append(
                Problem(missing, "cluster_name and region go together; or leave both to the connection")
            )
        elif self.cluster_name:
            try:
                EksPlace(cluster_name=self.cluster_name, region=self.region)
            except InvalidInputError as error:
                name, _, message = str(error).partition(".")[2].partition(": ")
                found.append(Problem(name, message))
        if self.aws_conn_id and not self.cluster_name:
            found.append(
                Problem("aws_conn_id", "goes with cluster_name; else the cluster's connection names it")
            )
        if not isinstance(self.node_role, str) or not _ROLE.fullmatch(self.node_role):
            found.append(Problem("node_role", "must be a role: arn:aws:iam::111122223333:role/NAME"))
        for index, each in enumerate(_texts(self.subnets, "subnets", found)):
            if not _SUBNET.fullmatch(each):
                found.append(Problem(f"subnets[{index}]", f"{each!r} is no subnet; write it as subnet-0abc"))
        return found

    def _node_problems(self) -> list[Problem]:
        found: list[Problem] = []
        _texts(self.instance_types, "instance_types", found)
        for name, least, most in (("nodes", 1, _MOST_NODES), ("gpus", 0, 16)):
            value = getattr(self, name)
            if not _is_whole(value) or not least <= value <= most:
                found.append(Problem(name, f"must be a whole number from {least} to {most}"))
        if self.disk_size is not None and (not _is_whole(self.disk_size) or self.disk_size < 1):
            found.append(Problem("disk_size", "must be a whole number of GiB"))
        if self.capacity_type not in _CAPACITY:
            found.append(Problem("capacity_type", f"must be one of {', '.join(_CAPACITY)}"))
        if not isinstance(self.ami_type, str):
            found.append(Problem("ami_type", f"must be a text, not {kind_of(self.ami_type)}"))
        for name in ("create_seconds", "delete_seconds", "poll_seconds"):
            if getattr(self, name) <= 0:
                found.append(Problem(name, "must be more than nothing"))
        return found

    def _word_problems(self) -> list[Problem]:
        found = []
        for name in ("labels", "tags"):
            words = getattr(self, name)
            if not isinstance(words, Mapping) or not all(
                isinstance(each, str) for pair in words.items() for each in pair
            ):
                found.append(Problem(name, "must map texts to texts"))
                continue
            taken = {NODE_LABEL} if name == "labels" else set(TAGS.values())
            found += [Problem(f"{name}[{each!r}]", "is set by Podbay") for each in sorted(taken & set(words))]
        given = set(self.more)
        found += [
            Problem(f"create_nodegroup_kwargs[{each!r}]", "is set by Podbay or has a parameter of its own")
            for each in sorted(given & set(_OURS))
        ]
        if "{{" in repr(self) or "{%" in repr(self):
            found.append(Problem("", "templates are not rendered here; write the values themselves"))
        return found

    def to_json(self) -> dict[str, Any]:
        """By field; lists and mappings as plain ones."""
        return {each.name: _plain(getattr(self, each.name)) for each in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> NodegroupPlan:
        """Raises InvalidInputError for what is none."""
        try:
            return cls(**data)
        except TypeError as error:
            raise InvalidInputError(f"the task's arguments are not those of a node group: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _texts(values: Any, name: str, problems: list[Problem]) -> Sequence[str]:
    if (
        isinstance(values, Sequence)
        and not isinstance(values, str)
        and all(isinstance(v, str) for v in values)
    ):
        return values
    problems.append(Problem(name, f"must be a list of texts, not {kind_of(values)}"))
    return ()


def nodegroup_name(owner: NodegroupOwner) -> str:
    """The same for the same run, so that what is done again makes no second one. At most 63 characters (EKS)."""
    told = orjson.dumps([owner.deployment, owner.dag_id, owner.run_id, owner.group_id])
    slug = re.sub(r"[^a-z0-9]+", "-", owner.group_id.lower()).strip("-")[:36].strip("-")
    return f"podbay-{slug or 'group'}-{hashlib.sha256(told).hexdigest()[:12]}"


def tags_of(owner: NodegroupOwner) -> dict[str, str]:
    """As AWS takes them: other characters become _, and long values are cut."""
    return {key: _taggable(getattr(owner, name)) for name, key in TAGS.items()}


def _taggable(text: str) -> str:
    return _UNTAGGABLE.sub("_", text)[:_TAG_LENGTH]


def owner_of_tags(tags: Mapping[str, str]) -> NodegroupOwner | None:
    """Who made a node group; None for one that Podbay has not made."""
    if any(key not in tags for key in TAGS.values()):
        return None
    return NodegroupOwner(**{name: tags[key] for name, key in TAGS.items()})


def taint_key(gpus: int) -> str:
    """GPU nodes get the taint that GPU drivers tolerate: another one would keep the device plugin away."""
    return GPU if gpus else NODE_LABEL


def create_parameters(
    plan: NodegroupPlan, owner: NodegroupOwner, cluster: str, subnets: Sequence[str]
) -> dict[str, Any]:
    """Of CreateNodegroup."""
    name = nodegroup_name(owner)
    size = {"minSize": plan.nodes, "maxSize": plan.nodes, "desiredSize": plan.nodes}
    said: dict[str, Any] = {
        "clusterName": cluster,
        "nodegroupName": name,
        "nodeRole": plan.node_role,
        "subnets": list(subnets),
        "scalingConfig": size,
        "capacityType": plan.capacity_type,
        "labels": {**plan.labels, NODE_LABEL: name},
        "taints": [
            {"key": taint_key(plan.gpus), "value": "true" if plan.gpus else name, "effect": "NO_SCHEDULE"}
        ],
        "tags": {**plan.tags, **tags_of(owner)},
    }
    if plan.instance_types:
        said["instanceTypes"] = list(plan.instance_types)
    if plan.ami_type:
        said["amiType"] = plan.ami_type
    if plan.disk_size is not None:
        said["diskSize"] = plan.disk_size
    for key, value in plan.more.items():
        own = said.get(key)
        said[key] = {**value, **own} if key in ("labels", "tags") and isinstance(own, dict) else value
    return said


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What AWS tells of a node group."""

    status: str
    """As spec 95; "" for one that is not there."""
    tags: Mapping[str, str] = field(default_factory=dict)
    health: str = ""
    created_at: datetime | None = None


def health_of(described: Mapping[str, Any]) -> str:
    """What AWS says is wrong, in its words; empty for nothing."""
    issues = (described.get("health") or {}).get("issues") or ()
    return "; ".join(f"{each.get('code')}: {each.get('message')}" for each in issues)


def next_of_create(seen: Observed, tags: Mapping[str, str], *, made: bool) -> Step:
    """Towards ACTIVE. `made`: this try has created it; an earlier try's ruin is removed first."""
    if not seen.status:
        # One that this try has made and somebody has deleted is not made again and again.
        return "failed" if made else "create"
    if any(seen.tags.get(key) != value for key, value in tags.items()):
        return "foreign"
    if seen.status == "ACTIVE":
        return "done"
    if seen.status in ("CREATE_FAILED", "DELETE_FAILED", "DEGRADED"):
        return "failed" if made else "delete"
    return "wait"


def next_of_delete(seen: Observed, tags: Mapping[str, str]) -> Step:
    """Towards nothing. A refused deletion is asked for again: what held it may have gone."""
    if not seen.status:
        return "done"
    if any(seen.tags.get(key) != value for key, value in tags.items()):
        return "foreign"
    return "wait" if seen.status == "DELETING" else "delete"
