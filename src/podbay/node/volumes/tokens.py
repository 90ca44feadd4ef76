"""Service account tokens of pods: asked for once, renewed before they end.

Source: pkg/kubelet/token/token_manager.go (when a token is renewed).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from podbay.aio.clock import Clock
from podbay.errors import ApiError, StartError
from podbay.node.volumes.files import token_requests
from podbay.objects.api import ClusterApi
from podbay.objects.meta import Object, name_of, namespace_of, uid_of
from podbay.objects.resource import GVR

__all__ = ["PodTokens"]

_ACCOUNTS = GVR("", "v1", "serviceaccounts")
_MAX_AGE = 24 * 3600.0
_LIVED = 0.8
"""A token is renewed when this share of its life is over, or after a day."""


@dataclass(slots=True)
class _Token:
    text: str = field(repr=False)
    renew_at: float


class PodTokens:
    """Tokens by pod, audience and lifetime."""

    def __init__(self, api: ClusterApi, clock: Clock) -> None:
        self._api, self._clock = api, clock
        self._tokens: dict[str, dict[tuple[str, int], _Token]] = {}

    async def for_pod(self, pod: Object) -> Mapping[tuple[str, int], str]:
        """All tokens that the pod's volumes ask for, fresh ones where needed. StartError FailedMount on refusal."""
        own = self._tokens.setdefault(uid_of(pod), {})
        for key in token_requests(pod):
            if key not in own or own[key].renew_at <= self._clock.monotonic():
                own[key] = await self._request(pod, *key)
        return {key: token.text for key, token in own.items()}

    def renew_seconds(self, pod: Object) -> float | None:
        """Seconds until the first token of the pod is due; None without tokens."""
        own = self._tokens.get(uid_of(pod))
        return min(t.renew_at for t in own.values()) - self._clock.monotonic() if own else None

    def forget(self, pod: Object) -> None:
        self._tokens.pop(uid_of(pod), None)

    async def _request(self, pod: Object, audience: str, seconds: int) -> _Token:
        reference = {"apiVersion": "v1", "kind": "Pod", "name": name_of(pod), "uid": uid_of(pod)}
        spec: dict[str, Any] = {"expirationSeconds": seconds, "boundObjectRef": reference}
        spec["audiences"] = [audience] if audience else []
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        account = pod["spec"].get("serviceAccountName") or "default"
        try:
            answer = await self._api.create(
                _ACCOUNTS, body, namespace=namespace_of(pod), name=account, subresource="token"
            )
        except ApiError as error:
            raise StartError("FailedMount", f"failed to fetch token: {error.message}") from error
        ends = datetime.fromisoformat(answer["status"]["expirationTimestamp"])
        life = (ends - self._clock.now()).total_seconds()
        return _Token(answer["status"]["token"], self._clock.monotonic() + min(life * _LIVED, _MAX_AGE))
