"""What is known of an image before it runs: digest, platforms, size, what it starts.

Costs one request when everything else is cached, for content is found by its digest and never changes.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from podbay.errors import RegistryError
from podbay.registries.cache import ContentCache
from podbay.registries.client import Manifest, RegistryClient
from podbay.registries.image_name import ImageName
from podbay.registries.logins import ANONYMOUS, Login

__all__ = ["ImageFacts", "PlatformFacts", "image_facts", "with_any_login"]

_NEAREST: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformFacts:
    """One image for one kind of machine. size in bytes, compressed, as it is pulled; None and empty: not looked into."""

    platform: str
    """Such as linux/amd64 or linux/arm/v7."""
    digest: str
    size: int | None = None
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        """As in the label kubernetes.io/arch of nodes."""
        return self.platform.split("/")[1] if "/" in self.platform else self.platform


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What a name points to now."""

    name: ImageName
    digest: str
    platforms: tuple[PlatformFacts, ...]

    @property
    def pinned(self) -> str:
        return self.name.pinned(self.digest)

    @property
    def architectures(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(each.architecture for each in self.platforms))


async def with_any_login(
    client: RegistryClient, name: ImageName, logins: Sequence[Login], cache: ContentCache | None = None
) -> ImageFacts:
    """The facts by the first login that works, as a kubelet tries them; without any, as nobody. Raises RegistryError."""
    *first, last = logins or (ANONYMOUS,)
    for login in first:
        try:
            return await image_facts(client, name, login, cache)
        except RegistryError as err:
            if err.kind not in ("login", "denied", "no-repository"):
                raise
    return await image_facts(client, name, last, cache)


async def image_facts(
    client: RegistryClient, name: ImageName, login: Login = ANONYMOUS, cache: ContentCache | None = None
) -> ImageFacts:
    """Ask the registry. Raises RegistryError; for a tag that is not there it names the nearest ones."""
    cache = cache or ContentCache()
    try:
        top = await _top(client, name, login, cache)
    except RegistryError as err:
        if err.kind != "no-tag" or name.digest:
            raise
        raise RegistryError("no-tag", str(err) + await _nearest(client, name, login)) from err
    document = _document(top.data, name)
    if not top.is_index:
        facts = await _image(client, name, login, cache, top.digest, document, "")
        return ImageFacts(name=name, digest=top.digest, platforms=(facts,))
    entries = [(each, _platform(each.get("platform") or {})) for each in document.get("manifests") or ()]
    # Attestations of builds are listed beside images, for a platform that does not exist.
    real = [(each, platform) for each, platform in entries if not platform.startswith("unknown/")]
    found = await asyncio.gather(
        *(_entry(client, name, login, cache, each, platform) for each, platform in real)
    )
    return ImageFacts(name=name, digest=top.digest, platforms=tuple(found))


async def _top(client: RegistryClient, name: ImageName, login: Login, cache: ContentCache) -> Manifest:
    answer = await client.resolve(name, login)
    data = answer.data or await cache.get(answer.digest)
    if data is None:
        fetched = await client.manifest(name, answer.digest, login)
        data, media_type = fetched.data, fetched.media_type or answer.media_type
    else:
        media_type = answer.media_type
    await cache.put(answer.digest, data)
    return Manifest(media_type, answer.digest, data)


async def _entry(
    client: RegistryClient,
    name: ImageName,
    login: Login,
    cache: ContentCache,
    entry: Mapping[str, Any],
    platform: str,
) -> PlatformFacts:
    digest = str(entry.get("digest") or "")
    data = await cache.get(digest)
    if data is None:
        data = (await client.manifest(name, digest, login)).data
        await cache.put(digest, data)
    return await _image(client, name, login, cache, digest, _document(data, name), platform)


async def _image(
    client: RegistryClient,
    name: ImageName,
    login: Login,
    cache: ContentCache,
    digest: str,
    manifest: Mapping[str, Any],
    platform: str,
) -> PlatformFacts:
    try:
        config_digest = str(manifest["config"]["digest"])
        size = sum(int(each["size"]) for each in (manifest["config"], *manifest["layers"]))
    except (KeyError, TypeError, ValueError):
        raise RegistryError(
            "odd",
            f"{name}: its manifest is not that of an image (an old schema 1, or no image at all); push it anew",
        ) from None
    data = await cache.get(config_digest)
    if data is None:
        data = await client.blob(name, config_digest, login)
        await cache.put(config_digest, data)
    config = _document(data, name)
    starts = config.get("config") or {}
    return PlatformFacts(
        platform=platform or _platform(config),
        digest=digest,
        size=size,
        entrypoint=tuple(map(str, starts.get("Entrypoint") or ())),
        command=tuple(map(str, starts.get("Cmd") or ())),
        user=str(starts.get("User") or ""),
        labels={str(key): str(value) for key, value in (starts.get("Labels") or {}).items()},
    )


def _platform(parts: Mapping[str, Any]) -> str:
    words = [str(parts.get("os") or "unknown"), str(parts.get("architecture") or "unknown")]
    return "/".join([*words, str(parts["variant"])] if parts.get("variant") else words)


def _document(data: bytes, name: ImageName) -> dict[str, Any]:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise RegistryError("odd", f"{name}: {name.registry} sends a manifest that is not JSON")
    return document


async def _nearest(client: RegistryClient, name: ImageName, login: Login) -> str:
    """A sentence with tags that look like the wanted one; empty when they are not told.

    Raises RegistryError when it is the repository that lacks.
    """
    try:
        tags = await client.tags(name, login)
    except RegistryError as err:
        if err.kind == "no-repository":
            # Some registries say of a manifest only that it is unknown; of tags they say more.
            raise
        return ""
    near = difflib.get_close_matches(name.tag, tags, n=_NEAREST, cutoff=0.4) or sorted(tags)[-_NEAREST:]
    return f" Nearest: {', '.join(near)}." if near else " It has no tags at all."
