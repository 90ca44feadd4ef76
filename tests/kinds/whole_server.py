"""A whole API server without sockets: requests in, status codes and bodies out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.asymmetric import ec

from podbay.aio.clock import SystemClock
from podbay.apiserver.auth.jwt import SigningKey
from podbay.apiserver.dispatch import Dispatcher
from podbay.apiserver.registry import ResourceType
from podbay.apiserver.request import Request
from podbay.apiserver.result import ListResult, ObjectResult, shown
from podbay.apiserver.server import SYSTEM, ServerOptions, build_core
from podbay.apiserver.storage import Store
from podbay.apiserver.tables import table_for
from podbay.errors import ApiError

NAMESPACE = "ns"


@dataclass
class Server:
    """Calls go through dispatcher, decoding, admission, strategy and storage, as over the wire."""

    dispatcher: Dispatcher
    store: Store

    def call(self, method: str, path: str, body: Any = None, *, patch: str = "merge") -> tuple[int, Any]:
        """The status code and body of one request; warnings are left in `self.warnings`."""
        parts = urlsplit(path)
        kind = f"application/{patch}-patch+json" if method == "PATCH" else "application/json"
        request = Request(
            method,
            parts.path,
            query=parse_qs(parts.query),
            headers={"content-type": kind, "user-agent": "test"},
            body=b"" if body is None else json.dumps(body).encode(),
            user=SYSTEM,
        )
        self.warnings: list[str] = []
        try:
            result = self.dispatcher.handle(request)
        except ApiError as error:
            return error.code, error.status()
        if isinstance(result, ListResult):
            return 200, [shown(result.type, entry.object()) for entry in result.page.entries]
        assert isinstance(result, ObjectResult)
        self.warnings = list(result.warnings)
        return result.status, result.object()

    def create(self, path: str, body: Any) -> Any:
        """What was stored; fails the test when it was refused."""
        code, answer = self.call("POST", path, body)
        assert code == 201, answer
        return answer

    def refusals(self, method: str, path: str, body: Any, **options: Any) -> list[str]:
        """The causes of a 422, as "field: message"; empty when the request was granted."""
        code, answer = self.call(method, path, body, **options)
        if code < 300:
            return []
        assert code == 422, answer
        return [f"{c.get('field', '')}: {c['message']}" for c in answer["details"]["causes"]]

    def row(self, resource: ResourceType, obj: Any) -> list[Any]:
        """The table row of obj without its age."""
        now = SystemClock().now()
        (row,) = table_for(resource, [obj], now=now)["rows"]
        names = [column.name for column in resource.columns]
        return [cell for name, cell in zip(names, row["cells"], strict=True) if name != "Age"]


@contextmanager
def running_server() -> Iterator[Server]:
    """A fresh server in memory with the namespaces `default` and NAMESPACE."""
    key = SigningKey.of(ec.generate_private_key(ec.SECP256R1()))
    options = ServerOptions(state=None, signing_key=key, verification_keys={key.public.kid: key.public})
    with Store.open(None) as store:
        core = build_core(store, options)
        running = Server(Dispatcher(core, lambda _request: None), store)
        running.create("/api/v1/namespaces", {"metadata": {"name": "default"}})
        running.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        yield running
