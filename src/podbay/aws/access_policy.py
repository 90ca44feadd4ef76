"""Who may do what in an EKS cluster: what is wanted, and which calls of AWS lead there. Pure.

An access entry makes an IAM principal known to the cluster; an access policy associated with it, or a group of
Kubernetes, lets it do things. Source: https://docs.aws.amazon.com/eks/latest/userguide/access-entries.html; spec 82, 91.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from podbay.errors import ConflictError, InvalidInputError
from podbay.registries.amazon.session import AwsCall

__all__ = ["POLICIES", "TRUST_KINDS", "Access", "EntryFacts", "calls_for", "principal_of", "trust_policy"]

POLICIES: Final = {
    "view": "AmazonEKSViewPolicy",
    "edit": "AmazonEKSEditPolicy",
    "admin": "AmazonEKSAdminPolicy",
    "cluster-admin": "AmazonEKSClusterAdminPolicy",
}
"""Short names; Edit is the least that lets pods be made."""
_PRINCIPAL: Final = re.compile(r"arn:(?P<part>aws[a-z-]*):iam::[0-9]{12}:(role|user)/[\w+=,.@/-]+")
_SESSION: Final = re.compile(r"arn:(aws[a-z-]*):sts::([0-9]{12}):assumed-role/([\w+=,.@-]+)/.+")
_WHOM: Final = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:(root|(role|user)/[\w+=,.@/-]+)|[0-9]{12}")


def principal_of(arn: str) -> str:
    """The principal of an access entry: of a session its role. Raises InvalidInputError."""
    session = _SESSION.fullmatch(arn)
    if session is not None:
        # A session does not tell the role's path: a role that has one must be named itself.
        return f"arn:{session[1]}:iam::{session[2]}:role/{session[3]}"
    if not _PRINCIPAL.fullmatch(arn):
        raise InvalidInputError(
            f"principal {arn!r}: write the ARN of a role or user, such as arn:aws:iam::111122223333:role/NAME"
        )
    return arn


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What is wanted. Without namespaces the policy holds for the whole cluster."""

    cluster: str
    region: str
    principal: str
    policy: str = "edit"
    namespaces: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.policy not in (*POLICIES, ""):
            raise InvalidInputError(f"policy {self.policy!r}: there are {', '.join(POLICIES)}")
        if wrong := [each for each in self.groups if each.startswith("system:")]:
            raise InvalidInputError(
                f"group {wrong[0]}: EKS takes no group that begins with system: in access entries; name one of your own"
            )

    @property
    def policy_arn(self) -> str:
        partition = self.principal.split(":")[1]
        return f"arn:{partition}:eks::aws:cluster-access-policy/{POLICIES[self.policy]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryFacts:
    """What EKS has. groups None: there is no entry."""

    groups: tuple[str, ...] | None = None
    kind: str = "STANDARD"
    scopes: Mapping[str, Mapping[str, Any]] | None = None
    """By the policy's ARN: `type` and `namespaces`."""


def calls_for(wanted: Access, found: EntryFacts) -> list[AwsCall]:
    """What is missing, in order; nothing is taken away. Raises ConflictError for an entry of another kind."""
    about = {"clusterName": wanted.cluster, "principalArn": wanted.principal}
    calls = []
    if found.groups is None:
        more: dict[str, Any] = {"type": "STANDARD"}
        if wanted.groups:
            more["kubernetesGroups"] = list(wanted.groups)
        calls.append(AwsCall("eks", "create-access-entry", about | more, wanted.region))
    elif found.kind != "STANDARD":
        raise ConflictError(
            f"{wanted.principal} has an access entry of type {found.kind} in {wanted.cluster}, which is for nodes. "
            "Name a role of its own for tasks."
        )
    elif missing := [each for each in wanted.groups if each not in found.groups]:
        groups = {"kubernetesGroups": [*found.groups, *missing]}
        calls.append(AwsCall("eks", "update-access-entry", about | groups, wanted.region))
    scope = _scope(wanted, (found.scopes or {}).get(wanted.policy_arn) if wanted.policy else None)
    if wanted.policy and scope is not None:
        more = {"policyArn": wanted.policy_arn, "accessScope": scope}
        calls.append(AwsCall("eks", "associate-access-policy", about | more, wanted.region))
    return calls


def _scope(wanted: Access, found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The scope to set; None when the one that is there is enough."""
    if found is not None and found.get("type") == "cluster":
        return None
    if not wanted.namespaces:
        return {"type": "cluster"}
    there = tuple((found or {}).get("namespaces") or ())
    missing = [each for each in wanted.namespaces if each not in there]
    if not missing:
        return None
    # A policy has one scope: what is associated anew takes the place of the old.
    return {"type": "namespace", "namespaces": [*there, *missing]}


TRUST_KINDS: Final = {
    "caller": "whoever runs Airflow may assume the role that the cluster knows",
    "cluster": "EKS itself",
    "node": "EC2, for the nodes",
    "pod-identity": "pods, by EKS Pod Identity",
    "irsa": "a service account, by the cluster's OIDC provider",
}


def trust_policy(
    kind: str,
    *,
    principals: Sequence[str] = (),
    external_id: str = "",
    provider: str = "",
    service_account: str = "",
) -> dict[str, Any]:
    """Who may assume a role of this kind. Raises InvalidInputError for what is missing."""
    if kind == "caller":
        statement = _of_principals(principals, external_id)
    elif kind in ("cluster", "node"):
        service = "eks.amazonaws.com" if kind == "cluster" else "ec2.amazonaws.com"
        statement = {"Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    elif kind == "pod-identity":
        # EKS tags its sessions, which the role must allow.
        actions = ["sts:AssumeRole", "sts:TagSession"]
        statement = {"Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": actions}
    elif kind == "irsa":
        statement = _of_service_account(provider, service_account)
    else:
        raise InvalidInputError(f"kind {kind!r}: there are {', '.join(TRUST_KINDS)}")
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}


def _of_principals(principals: Sequence[str], external_id: str) -> dict[str, Any]:
    if not principals:
        raise InvalidInputError(
            "nobody is named: give --principal with the ARN of the identity that Airflow runs as"
        )
    whom = [principal_of(each) if ":assumed-role/" in each else each for each in principals]
    for each in whom:
        if not _WHOM.fullmatch(each):
            raise InvalidInputError(
                f"principal {each!r}: write the ARN of a role or user, or an account's 12 digits"
            )
    named: str | list[str] = whom[0] if len(whom) == 1 else list(whom)
    found: dict[str, Any] = {"Principal": {"AWS": named}, "Action": "sts:AssumeRole"}
    if external_id:
        found["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
    return found


def _of_service_account(provider: str, service_account: str) -> dict[str, Any]:
    namespace, _, name = service_account.partition(":")
    match = re.fullmatch(r"arn:aws[a-z-]*:iam::[0-9]{12}:oidc-provider/(?P<issuer>[\w./-]+)", provider)
    if match is None or not namespace or not name:
        raise InvalidInputError(
            "irsa needs --provider arn:aws:iam::ACCOUNT:oidc-provider/ISSUER and --service-account NAMESPACE:NAME"
        )
    issuer = match["issuer"]
    told = {
        f"{issuer}:sub": f"system:serviceaccount:{namespace}:{name}",
        f"{issuer}:aud": "sts.amazonaws.com",
    }
    return {
        "Principal": {"Federated": provider},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": told},
    }
