"""What a client asks a connection to become, and whether we speak it. Pure but for the shape of the refusals.

Source: k8s.io/streaming/pkg/httpstream (Handshake, IsUpgradeRequest), wsstream/conn.go (handshake),
k8s.io/apimachinery/pkg/util/proxy/upgradeaware.go.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from aiohttp import web
from multidict import CIMultiDict

from podbay.apiserver import status

__all__ = ["Wanted", "choose", "refuse_spdy", "refuse_websocket", "spdy_headers", "wanted_upgrade"]

_UPGRADE_TOKEN = re.compile(r"(^|.*,\s*)upgrade($|\s*,)")
_SPDY = "spdy/3.1"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The protocol of the connection, and the subprotocols the client offers, best first ([""] for none)."""

    kind: Literal["websocket", "spdy"]
    protocols: Sequence[str]


def wanted_upgrade(raw: web.BaseRequest) -> Wanted:
    """Raises ApiError 400 when the request asks for no upgrade that there is."""
    connection = ",".join(raw.headers.getall("Connection", ())).lower()
    upgrade = raw.headers.get("Upgrade", "").lower().strip()
    if "upgrade" not in connection:
        raise status.bad_request("Upgrade request required")
    if upgrade == "websocket" and _UPGRADE_TOKEN.match(connection):
        return Wanted("websocket", _listed(raw, "Sec-WebSocket-Protocol") or [""])
    if _SPDY in upgrade:
        return Wanted("spdy", _listed(raw, "X-Stream-Protocol-Version") or [""])
    raise status.bad_request("unable to upgrade: missing upgrade headers in request")


def _listed(raw: web.BaseRequest, name: str) -> list[str]:
    return [
        part.strip() for value in raw.headers.getall(name, ()) for part in value.split(",") if part.strip()
    ]


def choose(offered: Sequence[str], spoken: Sequence[str]) -> str | None:
    """The first offered protocol that we speak."""
    return next((protocol for protocol in offered if protocol in spoken), None)


def refuse_websocket() -> web.Response:
    """No subprotocol in common: Go's WebSocket server answers with a bare 403."""
    return web.Response(status=403)


def refuse_spdy(offered: Sequence[str], spoken: Sequence[str]) -> web.Response:
    """No subprotocol in common."""
    text = (
        f"unable to upgrade: unable to negotiate protocol: client supports [{' '.join(offered)}], "
        f"server accepts [{' '.join(spoken)}]"
    )
    headers = CIMultiDict([("X-Accepted-Stream-Protocol-Versions", protocol) for protocol in spoken])
    return web.Response(status=403, text=text, headers=headers)


def spdy_headers(protocol: str) -> dict[str, str]:
    """The headers of a 101 answer."""
    headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}
    if protocol:
        headers["X-Stream-Protocol-Version"] = protocol
    return headers
