"""A running cluster as its own commands reach it: a few requests over the wire with its admin certificate.

Not a Kubernetes client: paths in, JSON out, for `podbay cluster` and nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from podbay.embedded.access import client_tls
from podbay.embedded.home import ClusterHome
from podbay.errors import ApiError, StateError

__all__ = ["Remote", "remote"]

TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=600)
"""Reads may be long: loading an image unpacks it before the answer comes."""


class Remote:
    """Requests to one cluster. Raises ApiError for what it refuses, StateError when it does not answer."""

    def __init__(self, home: ClusterHome, session: aiohttp.ClientSession, server: str) -> None:
        self._home, self._session, self._server = home, session, server

    async def get(self, path: str) -> Any:
        return await self.send("GET", path)

    async def send(self, method: str, path: str, body: Any = None, *, file: Path | None = None) -> Any:
        """Send JSON, or a file as it is; returns the parsed answer."""
        try:
            if file is None:
                return await self._request(method, path, json=body)
            with file.open("rb") as content:
                return await self._request(method, path, data=content)
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            raise StateError(
                f"cluster {self._home.name!r} does not answer: {err}. Its log is {self._home.log}"
            ) from err

    async def _request(self, method: str, path: str, **what: Any) -> Any:
        async with self._session.request(method, self._server + path, **what) as response:
            answer = await response.json(content_type=None)
            if response.status >= 300:
                raise ApiError.from_status(answer)
            return answer


@asynccontextmanager
async def remote(home: ClusterHome) -> AsyncIterator[Remote]:
    """Raises StateError when the cluster is not running."""
    if not home.is_running():
        raise StateError(
            f"cluster {home.name!r} is not running. Start it: podbay cluster start --name {home.name}"
        )
    config = yaml.safe_load(home.kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    tls = client_tls(cluster, user)
    assert tls is not None
    connector = aiohttp.TCPConnector(ssl=tls)
    async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session:
        yield Remote(home, session, cluster["server"])
