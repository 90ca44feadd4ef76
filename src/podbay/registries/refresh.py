"""Keeps logins that expire alive: looks at the Secrets, mints anew when half of a login's life is over, proves, writes.

Half: an ECR token of 12 hours is replaced after 6, so six hours of failures are survived. An old Secret stays until the
registry has taken the new login. A metadata server, as Google's, gives the same token until the last minutes of its life,
so a login is looked at then, too. `due` and `pause` decide, `refresh` acts; the loop is `keep_fresh`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

from podbay.aio.clock import Clock
from podbay.deployment.apply import Writer
from podbay.errors import ConflictError, PodbayError
from podbay.registries.client import RegistryClient
from podbay.registries.logins import KeyedLogin
from podbay.registries.minting import CLOUDS, Minted
from podbay.registries.pull_secrets import (
    PullSecret,
    Unreadable,
    look_at_pull_secrets,
    write_pull_secret,
)

__all__ = ["Mint", "Refreshed", "due", "keep_fresh", "pause", "proof_by", "refresh"]

Mint: TypeAlias = Callable[[str, str], Awaitable[Minted]]
"""From source and registry to a new login."""
Prove: TypeAlias = Callable[[KeyedLogin], Awaitable[None]]
State: TypeAlias = Literal["renewed", "fresh", "failed", "fixed"]

_UNKNOWN_LIFE: Final = timedelta(minutes=30)
"""After which a cloud's login is renewed that does not say how long it lives."""
_SKEW: Final = timedelta(minutes=5)
_SHORTEST_SLEEP: Final = 1.0
_LAST: Final = timedelta(minutes=5)
"""Before its end: from then on a login is due at each look, and a metadata server has a new token. Source:
https://cloud.google.com/compute/docs/access/authenticate-workloads."""
_HURRY: Final = timedelta(minutes=4)
"""Before its end: the look that is to renew it, with a minute for clocks that differ."""
_HURRIED: Final = 60.0
"""Seconds between looks from then on."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What became of one Secret; `message` tells why it failed."""

    name: str
    state: State
    expires: datetime | None = None
    message: str = ""


def due(secret: PullSecret) -> datetime | None:
    """When to renew; None for a login that nobody here can mint."""
    if secret.source not in CLOUDS:
        return None
    if secret.renewed is None:
        return secret.expires and secret.expires - timedelta(hours=6)
    if secret.expires is None or secret.expires <= secret.renewed:
        return secret.renewed + _UNKNOWN_LIFE
    return min(secret.renewed + (secret.expires - secret.renewed) / 2, secret.expires - _LAST)


def pause(results: Sequence[Refreshed], every: float, now: datetime) -> float:
    """Seconds until the next look: `every`, or fewer where a login comes near its end before."""
    seconds = every
    for each in results:
        if each.state == "fixed" or each.expires is None:
            continue
        left = each.expires - now
        if left > _HURRY:
            seconds = min(seconds, (left - _HURRY).total_seconds())
        elif left > -_HURRY:
            # What has ended for longer is refused for a reason that a minute does not mend.
            seconds = min(seconds, _HURRIED)
    return max(_SHORTEST_SLEEP, seconds)


def proof_by(client: RegistryClient) -> Prove:
    """Proof by a request to the registry."""

    async def prove(keyed: KeyedLogin) -> None:
        await client.log_in(keyed.registry, keyed.login)

    return prove


async def refresh(
    api: Writer,
    namespace: str,
    names: Sequence[str],
    *,
    mint: Mint,
    prove: Prove,
    clock: Clock,
    force: bool = False,
) -> list[Refreshed]:
    """Renew what is due among these Secrets (none named: all that Podbay keeps). Failures are told, not raised.

    One that is missing or cannot be read has failed, and the others are renewed. Raises when the cluster cannot be asked.
    """
    return [
        Refreshed(each.name, "failed", None, each.reason)
        if isinstance(each, Unreadable)
        else await _one(api, namespace, each, mint, prove, clock, force)
        for each in await look_at_pull_secrets(api, namespace, names)
    ]


async def _one(
    api: Writer, namespace: str, secret: PullSecret, mint: Mint, prove: Prove, clock: Clock, force: bool
) -> Refreshed:
    when = due(secret)
    if secret.source not in CLOUDS:
        return Refreshed(secret.name, "fixed", secret.expires)
    now = clock.now()
    # Written by a clock that is ahead of ours: what it says of the login's life is not believed.
    ahead = secret.renewed is not None and secret.renewed > now + _SKEW
    if not (force or ahead) and when is not None and now < when:
        return Refreshed(secret.name, "fresh", secret.expires)
    try:
        renewed, expires = [], []
        for each in secret.logins:
            minted = await mint(secret.source, each.registry)
            new = replace(each, login=minted.login)
            await prove(new)
            renewed.append(new)
            expires += [minted.expires] if minted.expires else []
        wanted = replace(secret, logins=tuple(renewed), expires=min(expires, default=None))
        await write_pull_secret(api, namespace, wanted, now=clock.now())
    except ConflictError:
        # Another one that does the same work has been faster.
        return Refreshed(secret.name, "fresh", secret.expires)
    except PodbayError as err:
        return Refreshed(secret.name, "failed", secret.expires, str(err))
    return Refreshed(secret.name, "renewed", wanted.expires)


async def keep_fresh(
    once: Callable[[], Awaitable[list[Refreshed]]],
    *,
    every: float,
    clock: Clock,
    told: Callable[[Refreshed], None],
) -> None:
    """Refresh every so many seconds, and before a login's end, until cancelled; a cluster that is away fails like others."""
    results: list[Refreshed] = []
    while True:
        began = clock.monotonic()
        try:
            results = await once()
            for each in results:
                told(each)
        except PodbayError as err:
            # When the logins end is known from the look before.
            told(Refreshed("cluster", "failed", None, str(err)))
        await clock.sleep(pause(results, every - (clock.monotonic() - began), clock.now()))
