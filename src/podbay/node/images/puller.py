"""Pulling: from a name to an image in the store, with every byte checked against its digest.

Layers that are here already are not fetched; a broken download goes on where it stopped. One pull per name at a time,
layers of one pull side by side.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

import aiohttp

from podbay.errors import InvalidInputError, PullError, StateError
from podbay.node.images.manifest import (
    Descriptor,
    Platform,
    choose_manifest,
    diff_ids,
    digest_of,
    is_index,
    layers_of,
    parse_json,
    platform_of,
    refuse_schema1,
)
from podbay.node.images.reference import Reference
from podbay.node.images.registry import ManifestAnswer, Repository, tls_for
from podbay.node.images.store import ImageStore, LayerOpener, StoredImage
from podbay.node.images.trouble import network_words
from podbay.node.specs import RegistryAuth

__all__ = ["ImagePuller"]

_PARALLEL = 6
"""Downloads at once over all pulls."""
_TRIES = 5
"""Times a download that makes progress is taken up again."""
_CHUNK = 1 << 20
_CONFIG_MAX = 8 << 20
_CONNECT_SECONDS, _SILENCE_SECONDS = 20.0, 60.0
_NETWORK = (aiohttp.ClientError, OSError, TimeoutError)


class ImagePuller:
    """Opened with `async with`. insecure names registries ("host:port") that speak plain HTTP."""

    def __init__(self, store: ImageStore, platform: Platform, *, insecure: Sequence[str] = ()) -> None:
        self._store = store
        self._platform = platform
        self._insecure = frozenset(insecure)
        self._session: aiohttp.ClientSession | None = None
        self._places = asyncio.Semaphore(_PARALLEL)
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _client(self) -> aiohttp.ClientSession:
        # Made on first use: most nodes of a test run never pull.
        if self._session is None:
            timeout = aiohttp.ClientTimeout(
                total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS
            )
            self._session = aiohttp.ClientSession(
                timeout=timeout, trust_env=True, auto_decompress=False, headers={"User-Agent": "podbay"}
            )
        return self._session

    async def pull(self, reference: Reference, auth: RegistryAuth) -> StoredImage:
        """Have the image as the registry has it now. PullError in containerd's words."""
        prefix = f'failed to pull and unpack image "{reference}": '
        async with self._only_one(str(reference)):
            tls = await asyncio.to_thread(tls_for, reference.host)
            repository = Repository(
                self._client(), reference, auth, tls=tls, plain=reference.host in self._insecure
            )
            try:
                answer = await repository.resolve(reference.object)
            except PullError as error:
                raise PullError(
                    error.reason, f'{prefix}failed to resolve reference "{reference}": {error}'
                ) from error
            try:
                return await self._fetch(repository, reference, answer)
            except PullError as error:
                raise PullError(error.reason, f"{prefix}{error}") from error
            except (InvalidInputError, StateError) as error:
                raise PullError("ErrImagePull", f"{prefix}{error}") from error

    @asynccontextmanager
    async def _only_one(self, name: str) -> AsyncIterator[None]:
        lock, users = self._locks.get(name, (asyncio.Lock(), 0))
        self._locks[name] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(name)
            if users > 1:
                self._locks[name] = (lock, users - 1)

    async def _fetch(
        self, repository: Repository, reference: Reference, answer: ManifestAnswer
    ) -> StoredImage:
        tags = [str(reference)] if not reference.digest else []
        digests = [f"{reference.name}@{answer.digest}"] if answer.digest else []
        known = self._store.find_digest(digests[0]) if digests else None
        if known is not None:
            # The registry still means the same content by this name.
            named = self._store.name(known.id, tags=tags, digests=digests)
            if named is not None:
                return named
        top, manifest = await self._manifests(repository, reference, answer)
        digests = [f"{reference.name}@{top}"]
        config_at, layers_at = layers_of(manifest)
        config = await self._small_blob(repository, config_at)
        content = parse_json(config, "image configuration")
        self._check_platform(content)
        identities = diff_ids(content)
        if len(identities) != len(layers_at):
            raise InvalidInputError(f"the image has {len(layers_at)} layers and {len(identities)} diff_ids")
        with self._store.reserved(identities):
            openers = await self._layers(repository, layers_at, identities)
            adding = asyncio.to_thread(self._store.add, config, openers, tags=tags, digests=digests)
            return await asyncio.shield(adding)

    async def _manifests(
        self, repository: Repository, reference: Reference, answer: ManifestAnswer
    ) -> tuple[str, dict[str, Any]]:
        """The digest that names the image, and the manifest for this platform."""
        answer = await self._with_data(repository, answer, reference.digest)
        top = answer.digest
        manifest = parse_json(answer.data, "manifest")
        refuse_schema1(manifest, answer.media_type)
        if is_index(manifest, answer.media_type):
            chosen = choose_manifest(manifest, self._platform)
            inner = await self._with_data(
                repository, ManifestAnswer(chosen.media_type, chosen.digest), chosen.digest
            )
            manifest = parse_json(inner.data, "manifest")
            refuse_schema1(manifest, inner.media_type)
        return top, manifest

    async def _with_data(
        self, repository: Repository, answer: ManifestAnswer, expected: str
    ) -> ManifestAnswer:
        if not answer.data:
            answer = await repository.manifest(expected or answer.digest)
        found = digest_of(answer.data)
        if expected and found != expected:
            raise InvalidInputError(
                f"unexpected digest {found} of the manifest, expected {expected}: failed precondition"
            )
        return ManifestAnswer(answer.media_type, found, answer.data)

    def _check_platform(self, config: dict[str, Any]) -> None:
        built_for = platform_of(config)
        if not self._platform.runs(built_for):
            text = f"no match for platform in manifest: the image is for {built_for}, this node is {self._platform}"
            raise InvalidInputError(text)

    async def _layers(
        self, repository: Repository, layers: Sequence[Descriptor], identities: Sequence[str]
    ) -> list[LayerOpener]:
        try:
            async with asyncio.TaskGroup() as group:
                fetching = [
                    None
                    if self._store.has_layer(identity)
                    else group.create_task(self._download(repository, layer))
                    for layer, identity in zip(layers, identities, strict=True)
                ]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [_opener(task.result() if task else None) for task in fetching]

    async def _small_blob(self, repository: Repository, descriptor: Descriptor) -> bytes:
        if descriptor.size > _CONFIG_MAX:
            raise InvalidInputError(f"the image configuration has {descriptor.size} bytes, which none has")
        path = await self._download(repository, descriptor)
        try:
            return await asyncio.to_thread(path.read_bytes)
        finally:
            path.unlink(missing_ok=True)

    async def _download(self, repository: Repository, descriptor: Descriptor) -> Path:
        """A blob as a file, checked. What a broken attempt got is kept for the next one, also for a later pull."""
        async with self._only_one(descriptor.digest), self._places:
            part = self._store.downloads / f"{descriptor.digest.partition(':')[2]}.part"
            done = part.with_suffix(".blob")
            if done.exists():
                return done
            failures = 0
            while _size(part) < descriptor.size:
                before = _size(part)
                try:
                    await self._continue(repository, descriptor, part)
                except _NETWORK as error:
                    failures = 1 if _size(part) > before else failures + 1
                    if failures >= _TRIES:
                        url = f"blobs/{descriptor.digest}"
                        raise PullError(
                            "ErrImagePull", f"failed to copy: {network_words('Get', url, error)}"
                        ) from error
            await asyncio.to_thread(_check, part, descriptor)
            return part.rename(done)

    async def _continue(self, repository: Repository, descriptor: Descriptor, part: Path) -> None:
        async with repository.blob(descriptor.digest, _size(part)) as (content, offset):
            with part.open("ab") as file:
                file.truncate(offset)
                size = offset
                while data := await _chunk(content):
                    size += len(data)
                    if size > descriptor.size:
                        file.truncate(0)
                        text = f"failed size validation: more than {descriptor.size} bytes for {descriptor.digest}"
                        raise InvalidInputError(f"{text}: failed precondition")
                    await asyncio.to_thread(file.write, data)
        if _size(part) < descriptor.size:
            raise aiohttp.ClientPayloadError("the blob ended early")


async def _chunk(content: aiohttp.StreamReader) -> bytes:
    """As much as has come, gathered so that a thread is not asked for every packet."""
    data = bytearray(await content.readany())
    while data and len(data) < _CHUNK:
        more = content.read_nowait()
        if not more:
            break
        data += more
    return bytes(data)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _check(part: Path, descriptor: Descriptor) -> None:
    with part.open("rb") as file:
        found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    if found != descriptor.digest:
        part.unlink()
        raise InvalidInputError(
            f"unexpected commit digest {found}, expected {descriptor.digest}: failed precondition"
        )


def _opener(path: Path | None) -> LayerOpener:
    @contextmanager
    def opened() -> Iterator[BinaryIO]:
        assert path is not None, "a layer that is in the store is not opened"
        with path.open("rb") as file:
            yield cast(BinaryIO, file)
        path.unlink(missing_ok=True)

    return opened
