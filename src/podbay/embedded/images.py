"""Images handed to a running cluster: `podbay cluster load` on one side, the nodes' runtimes on the other.

GET  /podbay.dev/v1/images     {"items": [{"node": …, "id": …, "references": […]}]}
POST /podbay.dev/v1/images     a docker-archive or OCI-layout tar; every node that runs containers gets it
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import orjson
from aiohttp import web

from podbay.apiserver import status
from podbay.apiserver.http import Extension
from podbay.apiserver.request import Request
from podbay.apiserver.result import PlainResult
from podbay.errors import InvalidInputError, PodbayError

__all__ = ["ImageHost", "image_extension"]

PATH = "/podbay.dev/v1/images"
_CHUNK = 1 << 20


@runtime_checkable
class ImageHost(Protocol):
    """A NodeHost that keeps images. Each image is described by node, id and references."""

    async def images(self) -> Sequence[dict[str, Any]]: ...

    async def load_images(self, archive: Path) -> Sequence[dict[str, Any]]:
        """Raises InvalidInputError for a file that is no image archive."""
        ...


def image_extension(hosts: Sequence[object]) -> Extension:
    """Serves PATH for the hosts that keep images."""
    keepers = [host for host in hosts if isinstance(host, ImageHost)]

    async def serve(raw: web.BaseRequest, request: Request) -> PlainResult | None:
        if request.path != PATH:
            return None
        try:
            if request.method == "GET":
                return _answer([image for host in keepers for image in await host.images()])
            if request.method == "POST":
                return _answer(await _load(raw, keepers))
        except InvalidInputError as err:
            raise status.bad_request(str(err)) from err
        except PodbayError as err:
            raise status.internal_error(str(err)) from err
        return None

    return serve


async def _load(raw: web.BaseRequest, keepers: Sequence[ImageHost]) -> list[dict[str, Any]]:
    if not keepers:
        raise InvalidInputError(
            "no node of this cluster runs containers, so there is nowhere to load an image to"
        )
    with tempfile.NamedTemporaryFile(prefix="podbay-image-", suffix=".tar") as file:
        async for chunk in raw.content.iter_chunked(_CHUNK):
            await asyncio.to_thread(file.write, chunk)
        await asyncio.to_thread(file.flush)
        return [image for host in keepers for image in await host.load_images(Path(file.name))]


def _answer(images: Sequence[dict[str, Any]]) -> PlainResult:
    return PlainResult(orjson.dumps({"items": list(images)}) + b"\n", content_type="application/json")
