"""The smallest possible client, for fixtures and for tests that look at raw answers: a path in, status and JSON out.

Not a Kubernetes client; tests of behaviour use the clients that people use.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import yaml

from podbay.embedded.access import client_tls
from podbay.errors import ApiError, InvalidInputError

__all__ = ["Requests"]

WAIT_SECONDS = 60.0
FRESH_SECONDS = 30.0
"""How long a connection may lie idle and still be used: API servers close theirs after a minute and a half."""


class Requests:
    """HTTP to the cluster of a kubeconfig's current context, by client certificate or token."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        contexts = {c["name"]: c["context"] for c in config["contexts"]}
        context = contexts.get(config.get("current-context"))
        if context is None:
            raise InvalidInputError(f"{kubeconfig}: current-context names no context of the file")
        cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == context["cluster"])
        user = next(u["user"] for u in config["users"] if u["name"] == context["user"])
        self.server: str = cluster["server"]
        self._address = urlsplit(self.server)
        self._tls = client_tls(cluster, user)
        self._token = user.get("token", "")
        self._connection: http.client.HTTPConnection | None = None
        self._used_at = 0.0

    def __enter__(self) -> Requests:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            self._connection.close()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        token: str | None = None,
    ) -> tuple[int, Any]:
        """Status and body: parsed JSON, or text. body may be bytes, text or an object; token "" is anonymous."""
        data = body if isinstance(body, bytes | str) or body is None else json.dumps(body)
        sent = {"Accept": "application/json", **(headers or {})}
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        bearer = self._token if token is None else token
        if bearer:
            sent["Authorization"] = f"Bearer {bearer}"
        connection = self._connect(anonymous=token is not None)
        try:
            connection.request(method, path.replace(" ", "%20"), body=data, headers=sent)
            response = connection.getresponse()
            text = response.read().decode("utf-8", "replace")
        except (http.client.HTTPException, OSError):
            # The next call opens a fresh connection.
            connection.close()
            raise
        if token is not None:
            connection.close()
        try:
            return response.status, json.loads(text)
        except ValueError:
            return response.status, text

    def _connect(self, *, anonymous: bool) -> http.client.HTTPConnection:
        if anonymous:
            # A token is to be judged alone, so this connection shows no certificate.
            return self._open(_anonymous(self._tls))
        if self._connection is None:
            self._connection = self._open(self._tls)
        now = time.monotonic()
        if now - self._used_at > FRESH_SECONDS:
            # It is opened anew with the next request.
            self._connection.close()
        self._used_at = now
        return self._connection

    def _open(self, tls: ssl.SSLContext | None) -> http.client.HTTPConnection:
        host, port = self._address.hostname or "", self._address.port
        if tls is None:
            return http.client.HTTPConnection(host, port, timeout=60)
        return http.client.HTTPSConnection(host, port, timeout=60, context=tls)

    def create_namespace(self, name: str) -> None:
        """Create a namespace and wait for its default service account, without which no pod starts."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        self._must("POST", "/api/v1/namespaces", body)
        deadline = time.monotonic() + WAIT_SECONDS
        while self.call("GET", f"/api/v1/namespaces/{name}/serviceaccounts/default")[0] != 200:
            if time.monotonic() > deadline:
                raise ApiError(504, "Timeout", f"namespace {name} got no default service account")
            time.sleep(0.02)

    def delete_namespace(self, name: str) -> None:
        """Ask for its deletion; does not wait for the end of it."""
        self._must("DELETE", f"/api/v1/namespaces/{name}", None)

    def _must(self, method: str, path: str, body: Any) -> Any:
        code, answer = self.call(method, path, body)
        if code >= 300:
            raise ApiError.from_status(
                answer if isinstance(answer, dict) else {"code": code, "message": answer}
            )
        return answer


def _anonymous(tls: ssl.SSLContext | None) -> ssl.SSLContext | None:
    if tls is None:
        return None
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
