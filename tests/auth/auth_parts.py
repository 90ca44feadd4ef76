"""A cluster's objects in a dictionary, and the parts around it that these tests need."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric import ec

from podbay.apiserver.auth.authenticate import Authenticator
from podbay.apiserver.auth.authorize import Authorizer
from podbay.apiserver.auth.jwt import SigningKey
from podbay.apiserver.auth.tokens import (
    ObjectRef,
    TokenBinding,
    TokenIssuer,
    TokenVerifier,
    bound_object_reader,
)
from podbay.apiserver.registry import StrategyContext
from podbay.apiserver.request import Request, RequestInfo, User, parse_request_info
from podbay.objects.meta import Object

NOW = datetime(2026, 9, 1, 12, 0, 0, tzinfo=UTC)
KEY = SigningKey.of(ec.generate_private_key(ec.SECP256R1()))
ADMIN = User("kubernetes-admin", groups=("system:masters", "system:authenticated"))


class HandClock:
    """A clock that stands until it is moved."""

    def __init__(self, now: datetime = NOW) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def forward(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Objects:
    """Stored objects by collection, namespace and name, read as admission and authorization read them."""

    def __init__(self, *objects: Object) -> None:
        self._objects: dict[str, dict[tuple[str, str], Object]] = {}
        self._version = 0
        self.lists = 0
        for obj in objects:
            self.put(obj)

    def put(self, obj: Object) -> None:
        self._version += 1
        meta = obj["metadata"]
        key = _collection(obj["kind"])
        self._objects.setdefault(key, {})[meta.get("namespace") or "", meta["name"]] = obj

    def drop(self, key: str, namespace: str, name: str) -> None:
        self._version += 1
        del self._objects[key][namespace, name]

    def get(self, key: str, namespace: str, name: str) -> Object | None:
        return self._objects.get(key, {}).get((namespace, name))

    def list(self, key: str, namespace: str | None = None) -> list[Object]:
        self.lists += 1
        found = self._objects.get(key, {})
        return [obj for (ns, _), obj in found.items() if namespace in (None, ns)]

    def version(self, key: str) -> int:
        return self._version

    def update_status(self, key: str, namespace: str, name: str, status: Object) -> None:
        raise AssertionError("nothing here writes status")


def _collection(kind: str) -> str:
    rbac = kind.startswith(("Role", "ClusterRole"))
    return kind.lower() + "s" + (".rbac.authorization.k8s.io" if rbac else "")


class Server:
    """What review and token handlers see of the server."""

    def __init__(self, *objects: Object) -> None:
        self.clock = HandClock()
        self.reader = Objects(*objects)
        self.authorizer = Authorizer(self.reader)
        self.token_issuer = TokenIssuer(KEY, self.clock, lambda: str(uuid.uuid4()))
        keys = {KEY.public.kid: KEY.public}
        self.tokens = TokenVerifier(keys, self.clock, bound_object_reader(self.reader))
        self.authenticator = Authenticator(tokens=self.tokens, static_tokens={"admin-token-1": ADMIN})

    def token(self, binding: TokenBinding, *, seconds: int = 3600, audiences: Sequence[str] = ()) -> str:
        return self.token_issuer.issue(
            binding, audiences=audiences or self.token_issuer.audiences, lifetime_seconds=seconds
        )

    def context(self, user: User = ADMIN) -> StrategyContext:
        return StrategyContext(now=self.clock.now(), user=user)


def account(name: str = "default", namespace: str = "x", uid: str = "sa-1", **meta: Any) -> Object:
    return {"kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace, "uid": uid, **meta}}


def thing(kind: str, name: str, uid: str, namespace: str = "", **meta: Any) -> Object:
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace, "uid": uid, **meta}}


def binding_for(**bound: ObjectRef) -> TokenBinding:
    """A token of the service account x/default, bound to what is named."""
    return TokenBinding("x", ObjectRef("default", "sa-1"), **bound)


def role(name: str, rules: list[Object], namespace: str = "", **more: Any) -> Object:
    kind = "Role" if namespace else "ClusterRole"
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace}, "rules": rules, **more}


def bind(name: str, role_ref: str, subjects: list[str], namespace: str = "") -> Object:
    """A binding: role_ref as "Role/r" or "ClusterRole/r", subjects as "User/u", "Group/g", "ServiceAccount/ns/n"."""
    role_kind, _, role_name = role_ref.partition("/")
    return {
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role_name},
        "subjects": [_subject(s) for s in subjects],
    }


def _subject(text: str) -> Object:
    kind, _, name = text.partition("/")
    if kind == "ServiceAccount" and "/" in name:
        namespace, _, name = name.partition("/")
        return {"kind": kind, "name": name, "namespace": namespace}
    return {"kind": kind, "name": name}


def rule(verbs: str, resources: str = "", groups: str = "core", names: str = "", urls: str = "") -> Object:
    made: Object = {"verbs": verbs.split()}
    if urls:
        made["nonResourceURLs"] = urls.split()
        return made
    made["apiGroups"] = ["" if g == "core" else g for g in groups.split()]
    made["resources"] = resources.split()
    if names:
        made["resourceNames"] = names.split()
    return made


def request_info(method: str, url: str) -> RequestInfo:
    path, _, query = url.partition("?")
    return parse_request_info(Request(method, path, parse_qs(query, keep_blank_values=True)))
