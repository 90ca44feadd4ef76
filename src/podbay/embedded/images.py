"""Images handed to a running cluster: `podbay cluster load` on one side, the nodes' runtimes on the other.

GET  /podbay.dev/v1/images     {"items": [{"node": …, "id": …, "references": […]}]}
POST /podbay.dev/v1/images     a docker-archive or OCI-layout tar; every node that runs containers gets it
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from podbay.apiserver import status
from podbay.apiserver.http import Extension
from podbay.apiserver.request import Request
from podbay.apiserver.result import PlainResult
from podbay.errors import InvalidInputError, PodbayError
from podbay.node.agent import NodeAgent
from podbay.node.observed import Image

__all__ = ["PATH", "image_extension"]

PATH = "/podbay.dev/v1/images"
_CHUNK = 1 << 20


def image_extension(hosts: Sequence[object]) -> Extension:
    """Serves PATH for those of the hosts that run containers."""
    agents = [host for host in hosts if isinstance(host, NodeAgent)]

    async def serve(raw: web.BaseRequest, request: Request) -> PlainResult | None:
        if request.path != PATH:
            return None
        try:
            if request.method == "GET":
                return _answer([_row(a, image) for a in agents for image in await a.runtime.images()])
            if request.method == "POST":
                return _answer(await _load(raw, agents))
        except InvalidInputError as err:
            raise status.bad_request(str(err)) from err
        except PodbayError as err:
            raise status.internal_error(str(err)) from err
        return None

    return serve


async def _load(raw: web.BaseRequest, agents: Sequence[NodeAgent]) -> list[dict[str, Any]]:
    if not agents:
        raise InvalidInputError(
            "no node of this cluster runs containers, so there is nowhere to load an image to"
        )
    with tempfile.NamedTemporaryFile(prefix="podbay-image-", suffix=".tar") as file:
        async for chunk in raw.content.iter_chunked(_CHUNK):
            await asyncio.to_thread(file.write, chunk)
        await asyncio.to_thread(file.flush)
        archive = Path(file.name)
        return [_row(a, image) for a in agents for image in await a.runtime.load_images(archive)]


def _row(agent: NodeAgent, image: Image) -> dict[str, Any]:
    """An image on a node, as the API tells it; size in bytes."""
    (node,) = agent.streams
    return {
        "node": node,
        "id": image.id,
        "references": list(image.tags),
        "size": image.size,
        "architecture": image.architecture,
    }


def _answer(images: Sequence[dict[str, Any]]) -> PlainResult:
    return PlainResult(orjson.dumps({"items": list(images)}) + b"\n", content_type="application/json")
