"""Asks a cluster whether tasks can run there with this configuration: one request after the other, until one fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from podbay.aio.clock import Clock
from podbay.connections.steps import (
    PERMISSIONS,
    Permission,
    Step,
    judge_namespace,
    judge_permissions,
    judge_reach,
    judge_user,
    review_of,
)
from podbay.errors import ApiError, CredentialError, PodbayError, UnreachableError
from podbay.kube.client import KubeClient
from podbay.kube.config import Anonymous, ClientCertificate, ClusterConfig
from podbay.kube.retry import Patience
from podbay.objects.meta import Object
from podbay.objects.resource import GVR

__all__ = ["Advice", "probe"]

PATIENCE: Final = Patience(seconds=10.0, before_first_answer=5.0)
"""A person waits for the answer."""
_AGENT: Final = "podbay-connection"
_USERS: Final = GVR("authentication.k8s.io", "v1", "selfsubjectreviews")
_REVIEWS: Final = GVR("authorization.k8s.io", "v1", "selfsubjectaccessreviews")
_NAMESPACES: Final = GVR("", "v1", "namespaces")


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What a platform says to do where Kubernetes itself has only general words."""

    unknown: str = ""
    """For a user that the cluster does not know."""
    denied: str = ""
    """For one who may not do what is needed."""


async def probe(
    config: ClusterConfig, clock: Clock, *, namespace: str = "", advice: Advice | None = None
) -> AsyncIterator[Step]:
    """Each step as soon as it is known. The last one tells: after a failure nothing more is asked."""
    words = advice or Advice()
    # Nobody on purpose: a credential would be shown to an address that may not be the cluster's.
    stranger = replace(config, credential=Anonymous(), certificate=None, impersonation=None)
    async with KubeClient(stranger, clock, agent=_AGENT, patience=PATIENCE) as client:
        steps = judge_reach(config.server, await _trouble(client))
    for step in steps:
        yield step
    if steps[-1].verdict == "failed":
        return
    async with KubeClient(config, clock, agent=_AGENT, patience=PATIENCE) as client:
        async for step in _as_user(client, namespace or config.namespace, words, clock.now()):
            yield step
            if step.verdict == "failed":
                return


async def _trouble(client: KubeClient) -> PodbayError | None:
    try:
        await client.version()
    except (ApiError, UnreachableError) as err:
        return err
    return None


async def _as_user(client: KubeClient, namespace: str, advice: Advice, now: datetime) -> AsyncIterator[Step]:
    try:
        issued = await client.credentials.current()
        ended = await asyncio.to_thread(_ended, issued.certificate, now)
    except CredentialError as err:
        yield Step("credential", "failed", str(err))
        return
    if ended:
        yield Step(
            "credential", "failed", ended, "Take a newer kubeconfig, or set this machine's clock (NTP)."
        )
        return
    yield Step("credential", "ok", "it was had")
    yield judge_user(await _who(client), advice=advice.unknown)
    yield judge_namespace(namespace, await _namespace(client, namespace))
    try:
        answers = await asyncio.gather(*(_may(client, namespace, each) for each in PERMISSIONS))
    except (ApiError, UnreachableError, CredentialError) as err:
        yield Step("permissions", "failed", f"they cannot be asked for: {err}")
        return
    denied = [each for each, allowed in zip(PERMISSIONS, answers, strict=True) if not allowed]
    yield judge_permissions(namespace, denied, advice=advice.denied)


def _ended(certificate: ClientCertificate | None, now: datetime) -> str:
    """Servers end the connection for it, and say no more."""
    if certificate is None:
        return ""
    from cryptography.x509 import load_pem_x509_certificate

    try:
        pem = certificate.cert_path.read_bytes() if certificate.cert_path else certificate.cert_pem.encode()
        end = load_pem_x509_certificate(pem).not_valid_after_utc
    except (OSError, ValueError) as err:
        raise CredentialError(f"the client certificate cannot be read: {err}") from err
    return f"the client certificate ended on {end:%Y-%m-%d %H:%M} UTC" if end < now else ""


async def _who(client: KubeClient) -> Object | PodbayError:
    try:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        return await client.create(_USERS, review)
    except (ApiError, UnreachableError, CredentialError) as err:
        return err


async def _namespace(client: KubeClient, name: str) -> PodbayError | None:
    try:
        await client.get(_NAMESPACES, name)
    except (ApiError, UnreachableError) as err:
        return err
    return None


async def _may(client: KubeClient, namespace: str, permission: Permission) -> bool:
    answer = await client.create(_REVIEWS, review_of(permission, namespace))
    return bool((answer.get("status") or {}).get("allowed"))
