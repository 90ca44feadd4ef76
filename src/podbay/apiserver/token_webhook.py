"""Bearer tokens that another server judges, by TokenReviews: what EKS does with tokens of IAM.

Asked last, after static and service account tokens; an answer counts for two minutes, no answer is a refusal that is not
remembered. Source: k8s.io/apiserver/plugin/pkg/authenticator/token/webhook, pkg/authentication/token/cache.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import orjson

from podbay.aio.clock import Clock
from podbay.apiserver.auth.tokens import ISSUER, TokenCheck
from podbay.apiserver.request import User

__all__ = ["TokenWebhook", "WebhookTokens"]

log = logging.getLogger(__name__)

REQUEST_SECONDS: Final = 30.0
MOST_KNOWN: Final = 1024
_REFUSED: Final = TokenCheck(error="the webhook does not know the token")


@dataclass(frozen=True, kw_only=True)
class TokenWebhook:
    """Where to ask."""

    url: str
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    token: str = field(default="", repr=False)
    """Of this server, for the webhook."""
    remember_seconds: float = 120.0


class WebhookTokens:
    """Judges tokens. Many requests with one token are one question."""

    def __init__(self, webhook: TokenWebhook, clock: Clock) -> None:
        self._webhook = webhook
        self._clock = clock
        self._known: dict[bytes, tuple[float, TokenCheck]] = {}
        self._asking: dict[bytes, asyncio.Task[TokenCheck]] = {}

    async def check(self, token: str) -> TokenCheck:
        """The verdict; never raises for a webhook that fails."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._known.get(digest)
        if known is not None and self._clock.monotonic() < known[0]:
            return known[1]
        task = self._asking.get(digest)
        if task is None:
            task = self._asking[digest] = asyncio.create_task(self._judge(digest, token))
            task.add_done_callback(lambda _: self._asking.pop(digest, None))
        # A client that leaves must not take the answer from the others that wait.
        return await asyncio.shield(task)

    async def _judge(self, digest: bytes, token: str) -> TokenCheck:
        try:
            found = _verdict(await self._ask(token))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as err:
            log.warning(
                "the token webhook %s gives no answer: %s", self._webhook.url, err or type(err).__name__
            )
            return TokenCheck(error="the webhook gives no answer")
        if len(self._known) >= MOST_KNOWN:
            now = self._clock.monotonic()
            self._known = {key: each for key, each in self._known.items() if now < each[0]}
        self._known[digest] = (self._clock.monotonic() + self._webhook.remember_seconds, found)
        return found

    async def _ask(self, token: str) -> Any:
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [ISSUER]},
        }
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._webhook.token:
            headers["Authorization"] = f"Bearer {self._webhook.token}"
        patience = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        # A connection for each question: there is one in two minutes for each token.
        async with (
            aiohttp.ClientSession(timeout=patience) as session,
            session.post(
                self._webhook.url, data=orjson.dumps(review), headers=headers, ssl=self._webhook.tls or True
            ) as answer,
        ):
            if answer.status not in (200, 201):
                raise ValueError(f"status {answer.status}")
            return orjson.loads(await answer.read())


def _verdict(review: Any) -> TokenCheck:
    status = review.get("status") if isinstance(review, Mapping) else None
    if not isinstance(status, Mapping):
        raise ValueError("its answer is no TokenReview")
    if not status.get("authenticated"):
        return TokenCheck(error=str(status["error"])) if status.get("error") else _REFUSED
    audiences = status.get("audiences") or [ISSUER]
    user = status.get("user")
    if ISSUER not in audiences or not isinstance(user, Mapping) or not user.get("username"):
        return _REFUSED
    extra = user.get("extra") or {}
    return TokenCheck(
        User(
            str(user["username"]),
            str(user.get("uid") or ""),
            tuple(map(str, user.get("groups") or ())),
            {str(key): tuple(map(str, values)) for key, values in extra.items()},
        ),
        (ISSUER,),
    )
