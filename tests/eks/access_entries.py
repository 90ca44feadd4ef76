"""Access entries of EKS, which moto lacks: the operations as botocore's model has them, kept in memory.

What an access policy allows is bound in the cluster itself, to a group that the entry's sessions get: EKS has an
authorizer of its own for that, with the same effect.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from podbay.testing.requests import Requests

ROLES = {
    "AmazonEKSAdminPolicy": "admin",
    "AmazonEKSEditPolicy": "edit",
    "AmazonEKSViewPolicy": "view",
    "AmazonEKSClusterAdminPolicy": "cluster-admin",
}
RBAC = "/apis/rbac.authorization.k8s.io/v1"


class AnswerError(Exception):
    """An error of the EKS API."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass
class Entry:
    principal: str
    groups: list[str]
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    kind: str = "STANDARD"

    @property
    def group(self) -> str:
        return "eks-access:" + hashlib.sha256(self.principal.encode()).hexdigest()[:16]


class AccessEntries:
    """Of one cluster."""

    def __init__(self, name: str, cluster: Requests, *, mode: str = "API_AND_CONFIG_MAP") -> None:
        self.name = name
        self.mode = mode
        self.entries: dict[str, Entry] = {}
        self._cluster = cluster

    def user(self, principal: str, session: str) -> dict[str, Any] | None:
        """What a TokenReview says of somebody; None for whom no entry knows."""
        entry = self.entries.get(principal)
        if entry is None:
            return None
        return {"username": session, "uid": principal, "groups": [*entry.groups, entry.group]}

    def answer(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        """`path` is what follows /clusters/NAME/access-entries. Raises AnswerError."""
        if self.mode == "CONFIG_MAP":
            raise AnswerError(
                400,
                "InvalidRequestException",
                "The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this "
                "operation.",
            )
        parts = [unquote(part) for part in path.split("/") if part]
        given = json.loads(body or b"{}")
        if not parts:
            if method == "GET":
                return {"accessEntries": sorted(self.entries)}
            return {"accessEntry": self._described(self._create(given))}
        entry = self.entries.get(parts[0])
        if entry is None:
            raise AnswerError(
                404,
                "ResourceNotFoundException",
                f"The specified principalArn could not be found: {parts[0]}",
            )
        if len(parts) == 1:
            if method == "DELETE":
                del self.entries[parts[0]]
                self._bind(entry, {})
                return {}
            if method == "POST":
                entry.groups = given.get("kubernetesGroups", entry.groups)
            return {"accessEntry": self._described(entry)}
        return self._policies(method, entry, parts[2:], given)

    def _create(self, given: dict[str, Any]) -> Entry:
        principal = given["principalArn"]
        if principal in self.entries:
            raise AnswerError(
                409,
                "ResourceInUseException",
                "The specified access entry resource is already in use on this cluster.",
            )
        if ":assumed-role/" in principal:
            raise AnswerError(
                400, "InvalidParameterException", "The principalArn parameter format is not valid"
            )
        entry = self.entries[principal] = Entry(principal, list(given.get("kubernetesGroups") or ()))
        entry.kind = given.get("type") or entry.kind
        return entry

    def _policies(self, method: str, entry: Entry, parts: list[str], given: dict[str, Any]) -> dict[str, Any]:
        if method == "GET":
            found = [
                {"policyArn": arn, "accessScope": scope, "associatedAt": 0, "modifiedAt": 0}
                for arn, scope in entry.policies.items()
            ]
            return {
                "clusterName": self.name,
                "principalArn": entry.principal,
                "associatedAccessPolicies": found,
            }
        if method == "DELETE":
            entry.policies.pop(parts[0], None)
            self._bind(entry, entry.policies)
            return {}
        arn, scope = given["policyArn"], given["accessScope"]
        if arn.rpartition("/")[2] not in ROLES:
            raise AnswerError(
                400,
                "InvalidParameterException",
                f"The policyArn parameter format is not valid: {arn}",
            )
        entry.policies[arn] = scope
        self._bind(entry, entry.policies)
        return {
            "clusterName": self.name,
            "principalArn": entry.principal,
            "associatedAccessPolicy": {"policyArn": arn, "accessScope": scope},
        }

    def _bind(self, entry: Entry, policies: dict[str, dict[str, Any]]) -> None:
        name = entry.group.replace(":", "-")
        for kind in ("rolebindings", "clusterrolebindings"):
            _, found = self._cluster.call("GET", f"{RBAC}/{kind}?labelSelector=eks-access%3D{name}")
            for each in found["items"]:
                metadata = each["metadata"]
                where = f"namespaces/{metadata['namespace']}/" if metadata.get("namespace") else ""
                self._cluster.call("DELETE", f"{RBAC}/{where}{kind}/{metadata['name']}")
        for arn, scope in policies.items():
            role = ROLES[arn.rpartition("/")[2]]
            body = {
                "metadata": {"name": f"{name}-{role}", "labels": {"eks-access": name}},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": entry.group}],
            }
            if scope["type"] == "cluster":
                self._cluster.call("POST", f"{RBAC}/clusterrolebindings", body)
                continue
            for namespace in scope["namespaces"]:
                code, said = self._cluster.call("POST", f"{RBAC}/namespaces/{namespace}/rolebindings", body)
                # EKS takes namespaces that are not there yet; here the binding would have nowhere to be.
                assert code == 201, said

    def _described(self, entry: Entry) -> dict[str, Any]:
        return {
            "clusterName": self.name,
            "principalArn": entry.principal,
            "kubernetesGroups": entry.groups,
            "type": entry.kind,
            "username": entry.principal,
        }
