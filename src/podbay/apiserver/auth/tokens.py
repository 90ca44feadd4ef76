"""Service account tokens: what goes into one, and whether one that comes back still holds.

A token is bound to its service account and perhaps to a pod, secret or node; it dies with any of them.
Not for the TokenRequest API (kinds/serviceaccount_token.py) or for other credentials (authenticate.py).
Source: kubernetes pkg/serviceaccount/{claims,jwt}.go, k8s.io/apiserver/pkg/authentication/serviceaccount.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from podbay.aio.clock import Clock
from podbay.apiserver.admission.base import ClusterReader
from podbay.apiserver.auth.jwt import SigningKey, VerificationKey, unverified_claims, verify
from podbay.apiserver.auth.rules import quote_list
from podbay.apiserver.request import User

__all__ = [
    "ISSUER",
    "BoundObject",
    "BoundObjectReader",
    "ObjectRef",
    "TokenBinding",
    "TokenCheck",
    "TokenIssuer",
    "TokenVerifier",
    "bound_object_reader",
    "service_account_user_name",
]

ISSUER = "https://kubernetes.default.svc.cluster.local"
LEEWAY_SECONDS = 60
"""How wrong clocks may be: tokens and deleted objects count this much longer (go-jose's default)."""
_CACHED_TOKENS = 1024
"""Verified signatures kept; each is some 600 bytes and saves 0.1 ms a request."""


class BoundObject(NamedTuple):
    """What a token's validity depends on: the uid of an object, and when it was deleted ("" if it was not)."""

    uid: str
    deleted: str = ""


BoundObjectReader = Callable[[str, str, str], BoundObject | None]
"""(collection key, namespace, name) -> the object, or None. Asked on every request that carries a token."""


def bound_object_reader(reader: ClusterReader) -> BoundObjectReader:
    """A BoundObjectReader that looks into stored objects."""

    def read(key: str, namespace: str, name: str) -> BoundObject | None:
        obj = reader.get(key, namespace, name)
        if obj is None:
            return None
        metadata = obj.get("metadata") or {}
        return BoundObject(metadata.get("uid") or "", metadata.get("deletionTimestamp") or "")

    return read


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """Name and uid of an object that a token names."""

    name: str
    uid: str = ""

    def claim(self) -> dict[str, str]:
        return {key: value for key, value in (("name", self.name), ("uid", self.uid)) if value}


@dataclass(frozen=True, slots=True)
class TokenBinding:
    """Whom a token is for and what it is bound to. A pod may bring its node along, for information only."""

    namespace: str
    service_account: ObjectRef
    pod: ObjectRef | None = None
    node: ObjectRef | None = None
    secret: ObjectRef | None = None

    def claims(self) -> dict[str, Any]:
        """The `kubernetes.io` claim."""
        named = {
            "node": self.node,
            "pod": self.pod,
            "secret": self.secret,
            "serviceaccount": self.service_account,
        }
        refs = {key: ref.claim() for key, ref in named.items() if ref is not None}
        return {"namespace": self.namespace, **refs}

    @classmethod
    def of_claims(cls, claims: Any) -> TokenBinding | None:
        """Read the `kubernetes.io` claim of a verified token; None when it has another shape."""
        if not isinstance(claims, dict):
            return None
        account = _ref(claims.get("serviceaccount"))
        if account is None:
            return None
        pod, node, secret = (_ref(claims.get(key)) for key in ("pod", "node", "secret"))
        return cls(str(claims.get("namespace") or ""), account, pod, node, secret)


def _ref(claim: Any) -> ObjectRef | None:
    if not isinstance(claim, dict):
        return None
    return ObjectRef(str(claim.get("name") or ""), str(claim.get("uid") or ""))


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """Signs service account tokens. new_id gives the token's `jti`, a fresh UUID each time."""

    key: SigningKey
    clock: Clock
    new_id: Callable[[], str]
    issuer: str = ISSUER
    audiences: tuple[str, ...] = (ISSUER,)
    """The API server's own audiences: the default of a request, and what the server itself accepts."""

    def issue(
        self,
        binding: TokenBinding,
        *,
        audiences: Sequence[str],
        lifetime_seconds: int,
        warn_after_seconds: int = 0,
    ) -> str:
        """A signed token. With warn_after_seconds it says from when on it should have been renewed."""
        now = int(self.clock.now().timestamp())
        kubernetes = binding.claims()
        if warn_after_seconds:
            kubernetes["warnafter"] = now + warn_after_seconds
        return self.key.sign(
            {
                "aud": list(audiences),
                "exp": now + lifetime_seconds,
                "iat": now,
                "iss": self.issuer,
                "jti": self.new_id(),
                "kubernetes.io": kubernetes,
                "nbf": now,
                "sub": service_account_user_name(binding.namespace, binding.service_account.name),
            }
        )


@dataclass(frozen=True, slots=True)
class TokenCheck:
    """The verdict on a token: a user and the audiences it is good for, or an error, or (neither) not ours."""

    user: User | None = None
    audiences: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Verified:
    """Claims of a token whose signature and issuer are right, parsed once."""

    audiences: tuple[str, ...]
    expires: float
    not_before: float
    issued: float
    binding: TokenBinding
    user: User


_NOT_OURS = TokenCheck()


@dataclass(slots=True)
class TokenVerifier:
    """Checks service account tokens. Signatures are checked once a token, everything else every time."""

    keys: Mapping[str, VerificationKey]
    clock: Clock
    read: BoundObjectReader
    issuer: str = ISSUER
    audiences: tuple[str, ...] = (ISSUER,)
    issued_after: int = -1
    """Unix second; tokens issued up to it count as expired (a fault expires them all at once)."""
    _cache: OrderedDict[bytes, _Verified] = field(default_factory=OrderedDict, init=False, repr=False)

    def check(self, token: str, audiences: Sequence[str] | None = None) -> TokenCheck:
        """Judge a token for the given audiences (default: this server's)."""
        verified = self._verified(token)
        if isinstance(verified, TokenCheck):
            return verified
        wanted = self.audiences if audiences is None else tuple(audiences)
        offered = verified.audiences or self.audiences
        shared = tuple(audience for audience in offered if audience in wanted)
        if not shared:
            message = f"token audiences {quote_list(offered)} is invalid for the target audiences {quote_list(wanted)}"
            return TokenCheck(error=message)
        if verified.issued <= self.issued_after:
            return TokenCheck(error="service account token has expired")
        now = self.clock.now()
        error = _time_error(verified, now.timestamp()) or self._binding_error(verified.binding, now)
        return TokenCheck(error=error) if error else TokenCheck(verified.user, shared)

    def _verified(self, token: str) -> _Verified | TokenCheck:
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._cache.get(digest)
        if known is not None:
            self._cache.move_to_end(digest)
            return known
        shown = unverified_claims(token)
        if shown is None or shown.get("iss") != self.issuer:
            return _NOT_OURS
        claims = verify(token, self.keys)
        if claims is None:
            return TokenCheck(error="invalid signature, no keys found")
        verified = _parse(claims)
        if verified is None:
            return TokenCheck(error="service account token claims could not be validated")
        self._cache[digest] = verified
        if len(self._cache) > _CACHED_TOKENS:
            self._cache.popitem(last=False)
        return verified

    def _binding_error(self, binding: TokenBinding, now: datetime) -> str:
        """Why the token no longer holds, judged by the objects it is bound to; "" when it does."""
        namespace, account = binding.namespace, binding.service_account
        gone_before = now - timedelta(seconds=LEEWAY_SECONDS)
        found = self.read("serviceaccounts", namespace, account.name)
        if found is None:
            return f'serviceaccounts "{account.name}" not found'
        if found.uid != account.uid:
            return f"service account UID ({found.uid}) does not match claim ({account.uid})"
        if _deleted_before(found, gone_before):
            return f"service account {namespace}/{account.name} has been deleted"
        # A pod's node is information about the pod; only a token without a pod is bound to the node itself.
        node = None if binding.pod else binding.node
        for kind, ref in (("secret", binding.secret), ("pod", binding.pod), ("node", node)):
            if ref is None:
                continue
            found = self.read(kind + "s", "" if kind == "node" else namespace, ref.name)
            if found is None:
                return "service account token has been invalidated"
            if found.uid != ref.uid:
                return f"{kind} UID ({found.uid}) does not match service account {kind} ref claim ({ref.uid})"
            if _deleted_before(found, gone_before):
                return "service account token has been invalidated"
        return ""


def _deleted_before(found: BoundObject, moment: datetime) -> bool:
    return bool(found.deleted) and datetime.fromisoformat(found.deleted) < moment


def _time_error(verified: _Verified, now: float) -> str:
    if now + LEEWAY_SECONDS < verified.not_before:
        return "service account token is not valid yet"
    if now - LEEWAY_SECONDS > verified.expires:
        return "service account token has expired"
    if now + LEEWAY_SECONDS < verified.issued:
        return "service account token is issued in the future"
    return ""


def _parse(claims: Mapping[str, Any]) -> _Verified | None:
    binding = TokenBinding.of_claims(claims.get("kubernetes.io"))
    audience = claims.get("aud") or []
    audiences = [audience] if isinstance(audience, str) else audience
    times = [claims.get(key, 0) for key in ("exp", "nbf", "iat")]
    if binding is None or not isinstance(audiences, list):
        return None
    if not all(isinstance(t, int | float) for t in times) or not times[0]:
        return None
    user = _user(binding, str(claims.get("jti") or ""))
    return _Verified(tuple(map(str, audiences)), times[0], times[1], times[2], binding, user)


def _user(binding: TokenBinding, token_id: str) -> User:
    extra: dict[str, tuple[str, ...]] = {}
    prefix = "authentication.kubernetes.io/"
    if token_id:
        extra[prefix + "credential-id"] = (f"JTI={token_id}",)
    if binding.pod and binding.pod.uid:
        extra[prefix + "pod-name"] = (binding.pod.name,)
        extra[prefix + "pod-uid"] = (binding.pod.uid,)
    if binding.node:
        extra[prefix + "node-name"] = (binding.node.name,)
        if binding.node.uid:
            extra[prefix + "node-uid"] = (binding.node.uid,)
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{binding.namespace}")
    name = service_account_user_name(binding.namespace, binding.service_account.name)
    return User(name, binding.service_account.uid, (*groups, "system:authenticated"), extra)


def service_account_user_name(namespace: str, name: str) -> str:
    """The user name that a service account has in RBAC."""
    return f"system:serviceaccount:{namespace}:{name}"
