"""What a check of a connection has found, step by step, and what each answer of the cluster means. Pure.

Steps in their order: address, tls, credential, authentication, namespace, permissions. After one that has failed the next
ones prove nothing and are not tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from podbay.deployment.access import LAUNCHER_RULES
from podbay.errors import ApiError, PodbayError, UnreachableError
from podbay.objects.meta import Object

__all__ = [
    "PERMISSIONS",
    "Permission",
    "Step",
    "Verdict",
    "judge_namespace",
    "judge_permissions",
    "judge_reach",
    "judge_user",
    "review_of",
    "sentences",
]

Verdict: TypeAlias = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at; `fix` is an imperative sentence where something is to be done."""

    name: str
    verdict: Verdict
    message: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Permission:
    """One verb on one resource. Without an optional one pods run all the same, and less is known of them."""

    verb: str
    resource: str
    optional: bool

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"


_OPTIONAL: Final = {
    "events": "why a pod does not start is told from its status alone",
    "pods/exec": "only upstream's KubernetesPodOperator needs it, for results",
}
PERMISSIONS: Final[tuple[Permission, ...]] = tuple(
    Permission(verb, resource, resource in _OPTIONAL)
    for rule in LAUNCHER_RULES
    for resource in rule["resources"]
    for verb in rule["verbs"]
)


def judge_reach(server: str, error: PodbayError | None) -> list[Step]:
    """Address and TLS, from a request that carries no credential. Any HTTP answer proves both."""
    if not isinstance(error, UnreachableError):
        tls = "its certificate is good" if server.startswith("https") else "none: the address is plain http"
        verdict: Verdict = "ok" if server.startswith("https") else "warning"
        return [Step("address", "ok", f"{server} answers"), Step("tls", verdict, tls)]
    if error.kind == "tls":
        return [
            Step("address", "ok", f"{server} takes connections"),
            Step("tls", "failed", *sentences(str(error))),
        ]
    message, fix = sentences(str(error))
    fix = fix or "Check the address, and that the network leads there from here: a VPN, a proxy, a firewall."
    return [Step("address", "failed", message, fix)]


def sentences(text: str) -> tuple[str, str]:
    """What happened and what to do, as messages of this project are written."""
    message, _, fix = text.partition(". ")
    return message.rstrip("."), fix


def judge_user(answer: Object | PodbayError, *, advice: str = "") -> Step:
    """Who the cluster takes us for, from a SelfSubjectReview. `advice` is the fix for one whom it does not know."""
    unknown = advice or "Log in again, or take a newer kubeconfig: its token may have ended, or was revoked."
    if isinstance(answer, ApiError) and answer.code == 401:
        message = "the cluster takes the credential for nobody's (401)"
        return Step("authentication", "failed", message, unknown)
    if isinstance(answer, ApiError) and answer.code in (403, 404):
        # Before Kubernetes 1.28 nobody could ask. A refusal is no 401, so the cluster knows the name.
        return Step("authentication", "ok", "the cluster knows the credential, and does not say whose it is")
    if isinstance(answer, PodbayError):
        return Step("authentication", "failed", *sentences(str(answer)))
    user = (answer.get("status") or {}).get("userInfo") or {}
    name = str(user.get("username") or "")
    if not name or name == "system:anonymous":
        return Step("authentication", "failed", "the cluster takes us for system:anonymous", unknown)
    return Step("authentication", "ok", f"as {name}")


def judge_namespace(namespace: str, error: PodbayError | None) -> Step:
    """Whether pods have a place to be. May it not be read, that is no fault: few may."""
    if error is None:
        return Step("namespace", "ok", f"{namespace} is there")
    if isinstance(error, ApiError) and error.code == 404:
        fix = f"Make it: kubectl create namespace {namespace}; or name another one with --namespace."
        return Step("namespace", "failed", f"{namespace} does not exist", fix)
    if isinstance(error, ApiError) and error.code == 403:
        return Step("namespace", "ok", f"{namespace}: whether it exists may not be read, which is usual")
    return Step("namespace", "failed", *sentences(str(error)))


def review_of(permission: Permission, namespace: str) -> Object:
    """The SelfSubjectAccessReview that asks for it."""
    resource, _, subresource = permission.resource.partition("/")
    attributes: dict[str, Any] = {"namespace": namespace, "resource": resource, "verb": permission.verb}
    if subresource:
        attributes["subresource"] = subresource
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }


def judge_permissions(namespace: str, denied: Sequence[Permission], *, advice: str = "") -> Step:
    """One step for all of them; `advice` is the fix where the platform has one of its own."""
    needed = [each for each in denied if not each.optional]
    if needed:
        return Step("permissions", "failed", _may_not(namespace, needed), advice or _role(namespace))
    if denied:
        why = "; ".join(_OPTIONAL[each] for each in dict.fromkeys(one.resource for one in denied))
        return Step("permissions", "warning", f"{_may_not(namespace, denied)} ({why})", _role(namespace))
    return Step("permissions", "ok", f"all {len(PERMISSIONS)} verbs in {namespace}")


def _may_not(namespace: str, denied: Sequence[Permission]) -> str:
    return f"may not {', '.join(map(str, denied))} in namespace {namespace}"


def _role(namespace: str) -> str:
    return f"Let its administrator bind a Role with these verbs to this user in namespace {namespace}."
