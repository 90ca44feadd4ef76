"""Image archives in the OCI layout, for engines that read only what `docker save` writes (Docker before 25).

The tar is sent as it is with one more file at its end, the manifest.json of the older form, which may name any paths
inside the archive. Blocks. Sources: OCI image-spec image-layout.md, Docker's image specification v1.2.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from podbay.errors import InvalidInputError
from podbay.node.images.compression import decompressed
from podbay.node.images.manifest import Descriptor, Platform, choose_manifest, is_index, layers_of, parse_json
from podbay.node.images.reference import parse_reference

__all__ = ["Archive", "read_archive"]

_METADATA_MAX = 8 << 20
"""Bytes; manifests and configurations are far smaller."""
_CHUNK = 1 << 20
_NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


class Archive:
    """An archive that an engine can take. images are (configuration, tags) of each in it."""

    def __init__(
        self, path: Path, images: list[tuple[dict[str, Any], list[str]]], end: int, added: bytes
    ) -> None:
        self.images = images
        self._path = path
        self._end = end
        self._added = added

    def chunks(self) -> Iterator[bytes]:
        """The bytes to send. Raises OSError."""
        with self._path.open("rb") as file:
            if not self._added:
                while chunk := file.read(_CHUNK):
                    yield chunk
                return
            with decompressed(file) as plain:
                left = self._end
                while left and (chunk := plain.read(min(left, _CHUNK))):
                    left -= len(chunk)
                    yield chunk
        yield self._added


def read_archive(path: Path, platform: Platform) -> Archive:
    """Look through an archive. InvalidInputError names the file and what is wrong with it."""
    try:
        with tarfile.open(path, mode="r:*") as tar:
            members = {member.name.removeprefix("./"): member for member in tar}
            reader = _Reader(tar, members)
            if "manifest.json" in members:
                return Archive(
                    path, [reader.described(entry) for entry in reader.list_of("manifest.json")], 0, b""
                )
            if "index.json" not in members:
                raise InvalidInputError("it has neither manifest.json nor index.json: it is no image archive")
            entries = [
                reader.entry(one, platform) for one in reader.object("index.json").get("manifests") or ()
            ]
            images = [reader.described(entry) for entry in entries]
            return Archive(path, images, tar.offset, _tar_end("manifest.json", orjson.dumps(entries)))
    except FileNotFoundError:
        raise InvalidInputError(f"{path}: there is no such file") from None
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InvalidInputError(f"{path} is not an image archive: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(f"{path}: its manifest is damaged: {error!r}") from error
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from error


class _Reader:
    def __init__(self, tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo]) -> None:
        self._tar = tar
        self._members = members

    def read(self, name: str) -> bytes:
        member = self._members.get(name)
        file = self._tar.extractfile(member) if member is not None else None
        if member is None or file is None or member.size > _METADATA_MAX:
            raise InvalidInputError(f"it lacks {name}")
        return file.read()

    def object(self, name: str) -> dict[str, Any]:
        return parse_json(self.read(name), name)

    def list_of(self, name: str) -> list[dict[str, Any]]:
        try:
            found = orjson.loads(self.read(name))
        except orjson.JSONDecodeError as error:
            raise InvalidInputError(f"the {name} is not JSON: {error}") from error
        return list(found)

    def described(self, entry: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        for layer in entry["Layers"]:
            if layer not in self._members:
                raise InvalidInputError(f"it lacks {layer}")
        return self.object(entry["Config"]), list(entry.get("RepoTags") or ())

    def entry(self, descriptor: dict[str, Any], platform: Platform) -> dict[str, Any]:
        """One image of the layout as an entry of manifest.json."""
        pointer = Descriptor.of(descriptor)
        manifest = self.object(_blob(pointer.digest))
        if is_index(manifest, pointer.media_type):
            manifest = self.object(_blob(choose_manifest(manifest, platform).digest))
        config, layers = layers_of(manifest)
        names = [str((descriptor.get("annotations") or {}).get(key) or "") for key in _NAME_ANNOTATIONS]
        # A bare "latest" is a tag without a repository and names nothing.
        tags = [str(parse_reference(name)) for name in names if "/" in name or ":" in name][:1]
        return {
            "Config": _blob(config.digest),
            "RepoTags": tags,
            "Layers": [_blob(layer.digest) for layer in layers],
        }


def _blob(digest: str) -> str:
    algorithm, _, encoded = digest.partition(":")
    return f"blobs/{algorithm}/{encoded}"


def _tar_end(name: str, data: bytes) -> bytes:
    """One more member and the end of the archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(data), 0o644
        tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
