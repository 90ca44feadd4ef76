"""Decides when a credential is used, renewed or given up; knows no file, process or clock.

A flow says what to do next (`begin`), is told how that went (`supply`, `failed`) and that a server has refused what it
issued (`refused`). credentials.py does what it says, once for everybody who waits. Rules:

- one fetch for the life of a token: renewed shortly before it ends, and once when the server answers 401;
- a renewal that fails is no harm while the old token still lives;
- what cannot be fetched is an error, never a request as nobody.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeAlias

from podbay.errors import CredentialError
from podbay.kube import config as configs
from podbay.kube.config import ClientCertificate, ClusterConfig, ExecPlugin, TokenFile, TokenSource

__all__ = [
    "AuthFlow",
    "Fetch",
    "Issued",
    "Mint",
    "ReadTokenFile",
    "RunPlugin",
    "Use",
    "bearer",
    "read_token_file",
]

REREAD = timedelta(seconds=60)
"""How often a token file is read again (client-go: 1 minute; the kubelet renews at 80 % of an hour)."""
MARGIN = timedelta(seconds=60)
"""Renew at least this long before the end, or in the last tenth of a life, but never before half of it."""
RETRY = timedelta(seconds=10)
"""After a renewal that failed, while the old token still lives."""
FIRST_COOL_DOWN = timedelta(seconds=1)
COOL_DOWN = timedelta(seconds=30)
"""At most one fetch because of a 401 in this time: a user without access must not start a process per request. It begins
with a second and doubles until a token is accepted, for a token may be refused that was fetched in the moment in which all were revoked."""


@dataclass(frozen=True, slots=True, eq=False)
class Issued:
    """A credential as requests carry it. Compared by identity: each fetch gives another one."""

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    certificate: ClientCertificate | None = None
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class Use:
    """Send requests with this."""

    issued: Issued


@dataclass(frozen=True, slots=True)
class ReadTokenFile:
    path: Path


@dataclass(frozen=True, slots=True)
class RunPlugin:
    plugin: ExecPlugin


@dataclass(frozen=True, slots=True)
class Mint:
    source: TokenSource


Fetch: TypeAlias = ReadTokenFile | RunPlugin | Mint


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The header of a bearer token."""
    return (("Authorization", f"Bearer {token}"),)


def read_token_file(text: str, path: Path) -> Issued:
    """A token file's content as a credential. Raises CredentialError when there is none in it."""
    token = text.strip()
    if not token:
        raise CredentialError(f"token file {path} is empty")
    return Issued(bearer(token))


def _static(config: ClusterConfig) -> Issued:
    credential = config.credential
    if isinstance(credential, configs.StaticToken):
        return Issued(bearer(credential.token.reveal()), config.certificate)
    if isinstance(credential, configs.BasicLogin):
        pair = f"{credential.username}:{credential.password.reveal()}"
        encoded = base64.b64encode(pair.encode()).decode()
        return Issued((("Authorization", f"Basic {encoded}"),), config.certificate)
    return Issued((), config.certificate)


def _fetch(config: ClusterConfig) -> Fetch | None:
    credential = config.credential
    if isinstance(credential, TokenFile):
        return ReadTokenFile(credential.path)
    if isinstance(credential, ExecPlugin):
        return RunPlugin(credential)
    if isinstance(credential, TokenSource):
        return Mint(credential)
    assert isinstance(credential, configs.Anonymous | configs.StaticToken | configs.BasicLogin)
    return None


class AuthFlow:
    """The state of one cluster's credential; see the module docstring. Times are timezone-aware."""

    def __init__(self, config: ClusterConfig) -> None:
        self._fetch = _fetch(config)
        self._certificate = config.certificate
        self._issued = _static(config) if self._fetch is None else None
        self._renew_at: datetime | None = None
        self._refetched_at: datetime | None = None
        self._cool_down = FIRST_COOL_DOWN

    def begin(self, now: datetime) -> Use | Fetch:
        """What to do next."""
        if self._issued is None:
            assert self._fetch is not None
            return self._fetch
        if self._fetch is not None and self._renew_at is not None and now >= self._renew_at:
            return self._fetch
        return Use(self._issued)

    def supply(self, issued: Issued, now: datetime) -> None:
        """A fetch succeeded."""
        if issued.certificate is None and self._certificate is not None:
            issued = Issued(issued.headers, self._certificate, issued.expires)
        self._issued = issued
        self._renew_at = self._next_renewal(issued, now)

    def _next_renewal(self, issued: Issued, now: datetime) -> datetime | None:
        if isinstance(self._fetch, ReadTokenFile):
            return now + REREAD
        if issued.expires is None:
            return None
        life = issued.expires - now
        if life <= timedelta(0):
            # Fresh from its maker and over already: one of the clocks is wrong, and the server's is not ours to judge.
            return now + REREAD
        return issued.expires - min(max(MARGIN, life / 10), life / 2)

    def failed(self, error: CredentialError, now: datetime) -> None:
        """A fetch failed: raises the error, unless the credential there still lives."""
        expires = self._issued.expires if self._issued is not None else None
        if self._issued is None or (expires is not None and now >= expires):
            self._issued = None
            raise error
        self._renew_at = now + RETRY

    def accepted(self, issued: Issued) -> None:
        """The server has answered to issued: fetching it was worth it, and will be again."""
        if issued is self._issued:
            self._cool_down = FIRST_COOL_DOWN

    def refused(self, issued: Issued, now: datetime) -> bool:
        """The server answered 401 to a request that carried issued; says whether another one is worth a try."""
        if self._fetch is None:
            return False
        if issued is not self._issued:
            # Somebody else has met the same 401 and renewed already.
            return True
        if self._refetched_at is not None:
            passed = now - self._refetched_at
            if passed < self._cool_down:
                return False
            again = passed < 2 * COOL_DOWN
            self._cool_down = min(COOL_DOWN, 2 * self._cool_down) if again else FIRST_COOL_DOWN
        self._refetched_at = now
        self._issued = None
        return True
