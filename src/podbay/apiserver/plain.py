"""Paths that are not resources: health, version, discovery, OpenAPI, metrics, token issuer keys.

Authorisation has happened; every function here only reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import orjson

from podbay.apiserver import discovery
from podbay.apiserver.auth import oidc
from podbay.apiserver.result import PlainResult

if TYPE_CHECKING:
    from podbay.apiserver.auth.jwt import VerificationKey
    from podbay.apiserver.core import Core
    from podbay.apiserver.metrics import Metrics
    from podbay.apiserver.openapi import OpenApi
    from podbay.apiserver.request import Request

__all__ = ["PlainPaths"]

_CHECKS = ("ping", "log", "storage", "poststarthook/rbac/bootstrap-roles")


class PlainPaths:
    """Callable as Dispatcher's `plain`. `ready` says whether controllers and nodes are up."""

    def __init__(
        self,
        core: Core,
        *,
        openapi: OpenApi,
        metrics: Metrics,
        keys: Mapping[str, VerificationKey],
        ready: Callable[[], bool],
    ) -> None:
        self._core, self._openapi, self._metrics = core, openapi, metrics
        self._keys, self._ready = keys, ready

    def __call__(self, request: Request) -> PlainResult | None:
        path = request.path.rstrip("/") or "/"
        head = path.split("/")[1]
        if head in ("healthz", "livez", "readyz"):
            return self._health(head, path, request)
        if path == "/version":
            return _json(discovery.version())
        if path == "/metrics":
            return self._render_metrics()
        if head == "openapi":
            return self._openapi.serve(request)
        if path == oidc.JWKS_PATH:
            return _json(oidc.jwks(self._keys.values()), oidc.JWKS_CONTENT_TYPE)
        if path == oidc.CONFIG_PATH:
            return self._openid_configuration(request)
        return self._discover(path, request)

    def _discover(self, path: str, request: Request) -> PlainResult | None:
        if path == "/":
            return _json({"paths": discovery.root_paths(self._core.registry)})
        return discovery.document(self._core.registry, path, request)

    def _health(self, kind: str, path: str, request: Request) -> PlainResult | None:
        failed = [] if kind != "readyz" or self._ready() else ["podbay/nodes"]
        checks = [*_CHECKS, "podbay/nodes"] if kind == "readyz" else list(_CHECKS)
        single = path[len(kind) + 2 :]
        if single:
            if single not in checks:
                return None
            return _health_answer([single], failed, kind, verbose="verbose" in request.query)
        return _health_answer(checks, failed, kind, verbose="verbose" in request.query)

    def _openid_configuration(self, request: Request) -> PlainResult:
        host = request.headers.get("host", "kubernetes.default.svc")
        issuer = self._core.token_issuer.issuer
        document = oidc.openid_configuration(issuer, f"https://{host}{oidc.JWKS_PATH}", self._keys.values())
        return _json(document)

    def _render_metrics(self) -> PlainResult:
        store = self._core.store
        body = self._metrics.render(
            objects={t.key: store.count(t.key) for t in self._core.registry},
            watchers=store.watcher_count,
            version=store.version,
        )
        return PlainResult(body, content_type="text/plain; version=0.0.4; charset=utf-8")


def _health_answer(checks: list[str], failed: list[str], kind: str, *, verbose: bool) -> PlainResult:
    bad = [c for c in checks if c in failed]
    if not bad and not verbose:
        return PlainResult(b"ok")
    lines = [f"[-]{c} failed: reason withheld" if c in bad else f"[+]{c} ok" for c in checks]
    lines.append(f"{kind} check {'failed' if bad else 'passed'}")
    return PlainResult(("\n".join(lines) + "\n").encode(), status=500 if bad else 200)


def _json(document: object, content_type: str = "application/json") -> PlainResult:
    return PlainResult(orjson.dumps(document), content_type=content_type)
