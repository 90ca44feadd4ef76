"""Who makes a request: a client certificate, a static bearer token, a service account token, or nobody.

Acting as somebody else comes after it (impersonate.py), permission after that (authorize.py). Reads headers
and the certificate's subject, never a socket. Source: k8s.io/apiserver/pkg/authentication/request/
{bearertoken,websocket,x509}, group/authenticated_group_adder.go.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from podbay.apiserver import status
from podbay.apiserver.auth.certificates import CertificateSubject
from podbay.apiserver.auth.tokens import TokenCheck, TokenVerifier
from podbay.apiserver.request import ANONYMOUS, User
from podbay.errors import ApiError

__all__ = ["AUTHENTICATED", "UNAUTHENTICATED", "Authenticator", "fold_headers"]

AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
_WEBSOCKET_TOKEN = "base64url.bearer.authorization.k8s.io."
_INVALID = "invalid bearer token"


def fold_headers(raw: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Header lines as a mapping of lower-case names. Repeated lines are joined by ", ", but those of
    impersonation by a line feed, which no header can hold: a group's name may have a comma in it."""
    headers: dict[str, str] = {}
    for name, value in raw:
        key = name.lower()
        if key in headers:
            value = headers[key] + ("\n" if key.startswith("impersonate-") else ", ") + value
        headers[key] = value
    return headers


class Authenticator:
    """Turns credentials into a user.

    static_tokens maps bearer tokens (the cluster's admin token) to users; only their digests are kept. elsewhere judges
    tokens that are none of ours.
    """

    def __init__(
        self,
        *,
        tokens: TokenVerifier,
        static_tokens: Mapping[str, User],
        elsewhere: Callable[[str], Awaitable[TokenCheck]] | None = None,
    ) -> None:
        self._tokens = tokens
        self._elsewhere = elsewhere
        self._static = [(_digest(token), _with_group(user)) for token, user in static_tokens.items()]

    def authenticate(self, headers: Mapping[str, str], certificate: CertificateSubject | None = None) -> User:
        """The user of a request; headers as `fold_headers` gives them, certificate as TLS has verified it.

        Without credentials that is system:anonymous. Raises the 401 for a bearer token that does not hold,
        unless a certificate speaks for the client as well.
        """
        user = certificate.user() if certificate is not None else None
        if user is not None:
            return _with_group(user)
        token = _token(headers)
        if token is None:
            return ANONYMOUS
        check = self.check_token(token)
        if check.user is None:
            # Why a token is refused is for TokenReview only; a stranger learns nothing.
            raise status.unauthorized()
        return check.user

    async def identify(
        self, headers: Mapping[str, str], certificate: CertificateSubject | None = None
    ) -> User:
        """As `authenticate`, and asks elsewhere about a token that does not hold here."""
        try:
            return self.authenticate(headers, certificate)
        except ApiError:
            token = _token(headers)
            if self._elsewhere is None or not token:
                raise
            check = await self._elsewhere(token)
            if check.user is None:
                raise
            return _with_group(check.user)

    def expire_tokens(self, now: float) -> None:
        """Let every service account token issued up to the second of `now` (Unix time) count as expired."""
        self._tokens.issued_after = int(now)

    def check_token(self, token: str, audiences: Sequence[str] | None = None) -> TokenCheck:
        """Judge a bearer token as TokenReview does; audiences None means this server's own."""
        found: User | None = None
        digest = _digest(token)
        for known, user in self._static:
            # No early exit: the time taken must not tell which token came close.
            if hmac.compare_digest(known, digest):
                found = user
        if found is not None:
            own = self._tokens.audiences
            wanted = own if audiences is None else audiences
            shared = tuple(audience for audience in own if audience in wanted)
            return TokenCheck(found, shared) if shared else TokenCheck(error=_INVALID)
        check = self._tokens.check(token, audiences)
        if check.user is not None:
            return check
        return TokenCheck(error=f"[{_INVALID}, {check.error}]" if check.error else _INVALID)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _with_group(user: User) -> User:
    if user.name == ANONYMOUS.name or AUTHENTICATED in user.groups or UNAUTHENTICATED in user.groups:
        return user
    return replace(user, groups=(*user.groups, AUTHENTICATED))


def _token(headers: Mapping[str, str]) -> str | None:
    token = _bearer_token(headers.get("authorization", ""))
    if token is None and headers.get("upgrade", "").lower() == "websocket":
        return _websocket_token(headers.get("sec-websocket-protocol", ""))
    return token


def _bearer_token(header: str) -> str | None:
    parts = header.strip().split(" ", 2)
    if len(parts) < 2 or parts[0].lower() != "bearer":
        return None  # another scheme is no credential here, so the client is anonymous
    return parts[1] or None


def _websocket_token(header: str) -> str | None:
    """Browsers cannot set Authorization on a WebSocket; they offer the token as a subprotocol beside another one.

    Gives "" for one that is offered wrongly, which no check accepts.
    """
    offered = [protocol.strip() for protocol in header.split(",")]
    tokens = [p.removeprefix(_WEBSOCKET_TOKEN) for p in offered if p.startswith(_WEBSOCKET_TOKEN)]
    if not tokens:
        return None
    if len(tokens) > 1:
        return ""
    try:
        token = base64.b64decode(
            tokens[0] + "=" * (-len(tokens[0]) % 4), altchars=b"-_", validate=True
        ).decode()
    except (binascii.Error, ValueError):
        return ""
    if not token:
        return None
    return token if len(offered) > 1 else ""
