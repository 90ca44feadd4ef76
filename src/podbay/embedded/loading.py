"""The client side of `podbay cluster load`: a tar file as it is, or an image saved out of the local engine."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

from podbay.embedded.home import ClusterHome
from podbay.embedded.remote import remote
from podbay.errors import InvalidInputError

__all__ = ["load_image"]

PATH = "/podbay.dev/v1/images"
"""The same as on the server's side, whose parts are too heavy to load for it."""


async def load_image(home: ClusterHome, image: str) -> list[dict[str, Any]]:
    """Send an image to the cluster; one entry a node. Raises InvalidInputError when there is no such image."""
    path = Path(image)
    if await asyncio.to_thread(path.is_file):
        return await _send(home, path)
    with tempfile.TemporaryDirectory(prefix="podbay-image-") as directory:
        archive = Path(directory, "image.tar")
        await _save(image, archive)
        return await _send(home, archive)


async def _send(home: ClusterHome, archive: Path) -> list[dict[str, Any]]:
    async with remote(home) as cluster:
        answer = await cluster.send("POST", PATH, file=archive)
    items: list[dict[str, Any]] = answer["items"]
    return items


async def _save(image: str, archive: Path) -> None:
    engine = shutil.which("docker") or shutil.which("podman")
    if engine is None:
        raise InvalidInputError(
            f"{image}: no such file, and neither docker nor podman is here to save an image of that name. "
            "Give the path of a tar file made by `docker save`."
        )
    process = await asyncio.create_subprocess_exec(
        engine,
        "save",
        "--output",
        str(archive),
        image,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, error = await process.communicate()
    if process.returncode:
        words = error.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise InvalidInputError(f"{image}: no such file, and {Path(engine).name} cannot save it: {words[-1]}")
