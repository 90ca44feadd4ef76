"""Images on the engine: finding, pulling with a pod's credentials, loading from files, removing.

The engine is also other people's: nothing is removed here that was not asked for by its id. No engine refuses an image
of another architecture by itself, so every image is compared with the engine's own.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from podbay.errors import ConflictError, InvalidInputError, PullError
from podbay.node.engine.api import Engine
from podbay.node.engine.keeper_image import REPOSITORY
from podbay.node.engine.oci_layout import Archive, read_archive
from podbay.node.engine.pull_errors import pull_error
from podbay.node.images.manifest import Platform, image_config, platform_of
from podbay.node.images.reference import Reference, parse_reference
from podbay.node.observed import Image
from podbay.node.specs import RegistryAuth

__all__ = ["ImagesOnEngine", "image_of"]

_AT_ONCE = 8


class ImagesOnEngine:
    """See the module docstring."""

    def __init__(self, engine: Engine, platform: Platform) -> None:
        self._engine = engine
        self._platform = platform

    async def images(self) -> Sequence[Image]:
        limit = asyncio.Semaphore(_AT_ONCE)

        async def look(identity: str) -> Any:
            async with limit:
                return await self._engine.find(f"/images/{identity}/json")

        listed = await self._engine.find("/images/json") or ()
        found = await asyncio.gather(*(look(one["Id"]) for one in listed))
        images = [image_of(one) for one in found if one is not None]
        return [image for image in images if not any(tag.startswith(REPOSITORY) for tag in image.tags)]

    async def find_image(self, reference: str) -> Image | None:
        name = parse_reference(reference)
        found = await self._engine.find(f"/images/{name}/json")
        if found is None:
            return None
        self._check_platform(found, f'image "{name}" is of another architecture')
        return image_of(found)

    async def pull_image(self, reference: str, auth: RegistryAuth | None = None) -> Image:
        name = parse_reference(reference)
        headers = {"X-Registry-Auth": _auth_header(name, auth)} if auth is not None else {}
        query = {"fromImage": str(name)}
        async with self._engine.stream("POST", "/images/create", query=query, headers=headers) as stream:
            if stream.status >= 400:
                raise pull_error(str(name), (await stream.answer()).message)
            async for event in stream.objects():
                if event.get("error"):
                    # Docker tells failures before the first byte by the status, later ones, and Podman all, in here.
                    detail = event.get("errorDetail") or {}
                    raise pull_error(str(name), str(detail.get("message") or event["error"]))
        found = await self._engine.find(f"/images/{name}/json")
        if found is None:
            raise PullError("ErrImagePull", "the container engine pulled it and does not have it")
        self._check_platform(found, f'failed to pull image "{name}"')
        return image_of(found)

    async def load_images(self, archive: Path) -> Sequence[Image]:
        content = await asyncio.to_thread(read_archive, archive, self._platform)
        for config, tags in content.images:
            built_for = platform_of(config)
            if not self._platform.runs(built_for):
                names = ", ".join(tags) or "the image"
                raise InvalidInputError(
                    f"{archive}: {names} is built for {built_for}, this node is {self._platform}"
                )
        loaded = await self._engine.call(
            "POST", "/images/load", query={"quiet": 1}, data=_read(content), timeout=None
        )
        problem = _failure(loaded.body) if loaded.ok else loaded.message
        if problem:
            raise InvalidInputError(f"{archive}: the container engine does not take it: {problem}")
        return [await self._named(tag, archive) for _, tags in content.images for tag in tags]

    async def _named(self, tag: str, archive: Path) -> Image:
        """A loaded image under its full name. Podman gives short names to "localhost" instead of Docker Hub."""
        name = parse_reference(tag)
        found = await self._engine.find(f"/images/{name}/json")
        if found is None:
            query = {"repo": name.name, "tag": name.tag}
            await self._engine.post(f"/images/localhost/{tag}/tag", query=query)
            found = await self._engine.find(f"/images/{name}/json")
        if found is None:
            raise InvalidInputError(f"{archive}: the container engine loaded it and does not have {tag}")
        return image_of(found)

    async def remove_image(self, image_id: str) -> None:
        containers = await self._engine.find("/containers/json", {"all": 1}) or ()
        users = [one["Id"][:12] for one in containers if one.get("ImageID") == image_id]
        if users:
            raise ConflictError(f"image {image_id} is in use by container {', '.join(users)}")
        answer = await self._engine.delete(f"/images/{image_id}", {"force": 1})
        if not answer.ok and answer.status != 404:
            raise ConflictError(f"image {image_id} cannot be removed: {answer.message}")

    def _check_platform(self, found: Mapping[str, Any], what: str) -> None:
        built_for = _platform(found)
        if built_for.architecture and not self._platform.runs(built_for):
            raise PullError(
                "ErrImagePull",
                f"{what}: no match for platform in manifest: the image is for {built_for}, "
                f"this node is {self._platform}",
            )


def image_of(found: Mapping[str, Any]) -> Image:
    """The engine's account of an image as the runtime protocol shows it."""
    platform = _platform(found)
    return Image(
        id=_full_id(str(found["Id"])),
        tags=tuple(str(parse_reference(tag)) for tag in found.get("RepoTags") or () if "<none>" not in tag),
        digests=tuple(_digest_name(one) for one in found.get("RepoDigests") or () if "<none>" not in one),
        size=int(found.get("Size") or 0),
        os=platform.os,
        architecture=platform.architecture,
        config=image_config({"config": found.get("Config") or {}}),
    )


def _platform(found: Mapping[str, Any]) -> Platform:
    return platform_of({key.lower(): found.get(key) for key in ("Os", "Architecture", "Variant")})


def _full_id(identity: str) -> str:
    return identity if identity.startswith("sha256:") else f"sha256:{identity}"


def _digest_name(text: str) -> str:
    name, _, digest = text.partition("@")
    return f"{parse_reference(name).name}@{digest}"


def _auth_header(name: Reference, auth: RegistryAuth) -> str:
    fields = {
        "username": auth.username,
        "password": auth.password,
        "identitytoken": auth.identity_token,
        "registrytoken": auth.registry_token,
        "serveraddress": name.domain,
    }
    return base64.urlsafe_b64encode(orjson.dumps({k: v for k, v in fields.items() if v})).decode()


async def _read(content: Archive) -> AsyncGenerator[bytes, None]:
    chunks = content.chunks()
    while chunk := await asyncio.to_thread(next, chunks, b""):
        yield chunk


def _failure(body: bytes) -> str:
    """The error in the lines of progress that an engine answers with."""
    for line in body.splitlines():
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(event, dict) and event.get("error"):
            return str(event["error"])
    return ""
