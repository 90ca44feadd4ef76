"""Reading images out of tar files: what `docker save` writes, and the OCI image layout.

Blocks. Not for writing them, nor for layers' insides. Sources: Docker's image specification v1.2 (combined image JSON
and filesystem changeset), OCI image-spec image-layout.md.
"""

from __future__ import annotations

import posixpath
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from podbay.errors import InvalidInputError, PullError
from podbay.node.images.manifest import (
    Descriptor,
    Platform,
    choose_manifest,
    digest_of,
    is_index,
    layers_of,
    parse_json,
    platform_of,
)
from podbay.node.images.reference import parse_reference
from podbay.node.images.store import ImageStore, LayerOpener, StoredImage

__all__ = ["load_archive"]

_METADATA_MAX = 8 << 20
"""Bytes; manifests and configurations are far smaller."""
_NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


@dataclass(frozen=True, slots=True)
class _Found:
    config: bytes
    layers: list[LayerOpener]
    tags: list[str]
    manifest_digest: str = ""


def load_archive(store: ImageStore, path: Path, platform: Platform) -> list[StoredImage]:
    """Add every image of the archive to the store. InvalidInputError names the file and what is wrong with it."""
    try:
        with tarfile.open(path, mode="r:*") as tar:
            archive = _Archive(tar)
            return [_add(store, found, platform) for found in archive.images(platform)]
    except FileNotFoundError:
        raise InvalidInputError(f"{path}: there is no such file") from None
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InvalidInputError(f"{path} is not an image archive: {error}") from error
    except (InvalidInputError, PullError) as error:
        raise InvalidInputError(f"{path}: {error}") from error


def _add(store: ImageStore, found: _Found, platform: Platform) -> StoredImage:
    built_for = platform_of(parse_json(found.config, "image configuration"))
    if not platform.runs(built_for):
        names = ", ".join(found.tags) or "the image"
        raise InvalidInputError(f"{names} is built for {built_for}, this node is {platform}")
    references = [parse_reference(tag) for tag in found.tags]
    digests = [f"{r.name}@{found.manifest_digest}" for r in references if found.manifest_digest]
    tags = [str(r) for r in references]
    return store.add(found.config, found.layers, tags=tags, digests=digests, loaded=True)


class _Archive:
    """An open archive; members are found by their clean names, links within it are followed."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._members = {posixpath.normpath(member.name): member for member in tar}

    def images(self, platform: Platform) -> Iterator[_Found]:
        # `docker save` writes both forms nowadays; only the older one has every tag.
        if "manifest.json" in self._members:
            yield from self._docker()
        elif "index.json" in self._members:
            yield from self._oci(platform)
        else:
            raise InvalidInputError("it has neither manifest.json nor index.json: it is no image archive")

    def _docker(self) -> Iterator[_Found]:
        try:
            entries = orjson.loads(self._read("manifest.json"))
            for entry in entries:
                layers = [self._opener(str(name)) for name in entry["Layers"]]
                yield _Found(self._read(str(entry["Config"])), layers, list(entry.get("RepoTags") or ()))
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInputError(f"its manifest.json is damaged: {error!r}") from error

    def _oci(self, platform: Platform) -> Iterator[_Found]:
        index = parse_json(self._read("index.json"), "index.json")
        for entry in index.get("manifests") or ():
            tags = _tags(entry.get("annotations") or {})
            digest, manifest = self._manifest(Descriptor.of(entry), platform)
            config, layers = layers_of(manifest)
            openers = [self._opener(_blob(layer.digest)) for layer in layers]
            yield _Found(self._checked(config.digest), openers, tags, digest)

    def _manifest(self, descriptor: Descriptor, platform: Platform) -> tuple[str, dict[str, Any]]:
        manifest = parse_json(self._checked(descriptor.digest), "manifest")
        if is_index(manifest, descriptor.media_type):
            descriptor = choose_manifest(manifest, platform)
            manifest = parse_json(self._checked(descriptor.digest), "manifest")
        return descriptor.digest, manifest

    def _checked(self, digest: str) -> bytes:
        data = self._read(_blob(digest))
        if digest_of(data) != digest:
            raise InvalidInputError(f"blob {digest} is damaged: its content has digest {digest_of(data)}")
        return data

    def _read(self, name: str) -> bytes:
        member = self._member(name)
        if member.size > _METADATA_MAX:
            raise InvalidInputError(f"{name} is {member.size} bytes long, which no image metadata is")
        file = self._tar.extractfile(member)
        assert file is not None
        return file.read()

    def _member(self, name: str) -> tarfile.TarInfo:
        seen = 0
        while True:
            member = self._members.get(posixpath.normpath(name))
            if member is None or seen > len(self._members):
                raise InvalidInputError(f"it lacks {name}")
            if member.isreg():
                return member
            if not (member.issym() or member.islnk()):
                raise InvalidInputError(f"{name} in it is not a file")
            # Old archives have a layer once and link to it from other images.
            base = posixpath.dirname(member.name) if member.issym() else ""
            name = posixpath.join(base, member.linkname)
            seen += 1

    def _opener(self, name: str) -> LayerOpener:
        @contextmanager
        def opened() -> Iterator[BinaryIO]:
            file = self._tar.extractfile(self._member(name))
            assert file is not None
            with file:
                yield cast(BinaryIO, file)

        return opened


def _tags(annotations: Mapping[str, str]) -> list[str]:
    for name in _NAME_ANNOTATIONS:
        value = annotations.get(name, "")
        # A bare "latest" is a tag without a repository and names nothing.
        if value and ("/" in value or ":" in value):
            return [value]
    return []


def _blob(digest: str) -> str:
    algorithm, _, encoded = digest.partition(":")
    return f"blobs/{algorithm}/{encoded}"
