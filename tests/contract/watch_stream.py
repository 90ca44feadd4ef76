"""Watches read line by line over a plain connection: the bytes of the protocol, no client between."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import yaml

from podbay.embedded.access import client_tls

Object = dict[str, Any]


class Stream:
    """Events of one watch."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response

    def next(self) -> Object | None:
        """The next event; None at the end of the stream."""
        line = self._response.readline()
        return json.loads(line) if line else None

    def until(self, kind: str) -> list[Object]:
        """Events up to and with the first of this type."""
        seen: list[Object] = []
        while True:
            event = self.next()
            assert event is not None, f"the stream ended before {kind}: {seen}"
            seen.append(event)
            if event["type"] == kind:
                return seen

    def rest(self) -> list[Object]:
        """Events to the end of the stream."""
        return list(iter(self.next, None))


@contextmanager
def watch(kubeconfig: Path, path: str, **options: object) -> Iterator[Stream]:
    """Open a watch of a collection. Options are query parameters; a refusal is an AssertionError with its text."""
    query = urlencode({"watch": "true", "timeoutSeconds": 100, **options})
    server, tls, headers = _access(kubeconfig)
    where = urlsplit(server)
    assert tls is not None
    connection = http.client.HTTPSConnection(where.hostname or "", where.port, timeout=120, context=tls)
    try:
        connection.request("GET", f"{path}?{query}", headers=headers)
        response = connection.getresponse()
        if response.status != 200:
            raise AssertionError(f"{response.status}: {response.read().decode()}")
        yield Stream(response)
    finally:
        connection.close()


def _access(kubeconfig: Path) -> tuple[str, ssl.SSLContext | None, dict[str, str]]:
    config = yaml.safe_load(kubeconfig.read_text())
    context = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
    cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == context["cluster"])
    user = next(u["user"] for u in config["users"] if u["name"] == context["user"])
    headers = {"Authorization": f"Bearer {user['token']}"} if user.get("token") else {}
    return cluster["server"], client_tls(cluster, user), headers
