"""The images of this node on disk: configurations, names, and unpacked layers shared between images.

Compressed layers are not kept. A layer belongs to every image that lists it and goes when the last one does. Methods
block and may be called from any thread; one process at a time uses a store. Not for fetching: registry.py, archive.py.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import orjson

from podbay.errors import InvalidInputError, StateError
from podbay.node.images.layers import unpack_layer
from podbay.node.images.manifest import diff_ids, digest_of, image_config, parse_json, platform_of
from podbay.node.images.reference import Reference
from podbay.node.observed import Image
from podbay.node.trees import remove_tree

__all__ = ["ImageStore", "LayerOpener", "StoredImage"]

LayerOpener: TypeAlias = Callable[[], AbstractContextManager[BinaryIO]]
"""Opens a layer's bytes, compressed or not."""

_VERSION = 1


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One image as the store keeps it."""

    id: str
    config: Mapping[str, Any]
    layers: Sequence[str]
    """Names of the unpacked layers in the layer directory, lowest first."""
    size: int
    tags: Sequence[str] = ()
    digests: Sequence[str] = ()
    loaded: bool = False

    def image(self) -> Image:
        """As the runtime protocol shows it."""
        platform = platform_of(self.config)
        return Image(
            id=self.id,
            tags=tuple(self.tags),
            digests=tuple(self.digests),
            size=self.size,
            loaded=self.loaded,
            os=platform.os,
            architecture=platform.architecture,
            config=image_config(self.config),
        )


@dataclass(slots=True)
class _Layer:
    size: int
    lock: threading.Lock = field(default_factory=threading.Lock)


class ImageStore:
    """See the module docstring. `open` before use."""

    def __init__(self, base: Path, *, user_namespace: bool = False) -> None:
        self.layers = base / "layers"
        self.downloads = base / "downloads"
        self._index = base / "index.json"
        self._user_namespace = user_namespace
        self._images: dict[str, StoredImage] = {}
        self._layers: dict[str, _Layer] = {}
        self._pending: dict[str, int] = {}
        self._lock = threading.RLock()
        self._numbers = itertools.count()

    def open(self) -> None:
        """Read the index, clear away what was never finished. StateError when the index cannot be used."""
        for path in (self.layers, self.downloads):
            path.mkdir(parents=True, exist_ok=True)
        record = self._read_index()
        for entry in record.get("images", []):
            image = StoredImage(
                entry["id"],
                entry["config"],
                tuple(entry["layers"]),
                entry["size"],
                tuple(entry["tags"]),
                tuple(entry["digests"]),
                bool(entry.get("loaded")),
            )
            if all((self.layers / name).is_dir() for name in image.layers):
                self._images[image.id] = image
        sizes = record.get("layers", {})
        known = {name for image in self._images.values() for name in image.layers}
        self._layers = {name: _Layer(sizes.get(name, 0)) for name in known}
        self._sweep()

    def _read_index(self) -> dict[str, Any]:
        try:
            record = orjson.loads(self._index.read_bytes())
        except FileNotFoundError:
            return {}
        except (orjson.JSONDecodeError, OSError) as error:
            raise StateError(
                f"{self._index} cannot be read: {error}; remove it to start without images"
            ) from error
        if not isinstance(record, dict) or record.get("version") != _VERSION:
            raise StateError(
                f"{self._index} was written by another version; remove it to start without images"
            )
        return record

    def _write_index(self) -> None:
        record = {
            "version": _VERSION,
            "layers": {name: layer.size for name, layer in self._layers.items()},
            "images": [
                {
                    "id": image.id,
                    "config": image.config,
                    "layers": list(image.layers),
                    "size": image.size,
                    "tags": list(image.tags),
                    "digests": list(image.digests),
                    "loaded": image.loaded,
                }
                for image in self._images.values()
            ],
        }
        temporary = self._index.with_suffix(".new")
        temporary.write_bytes(orjson.dumps(record))
        temporary.replace(self._index)

    def images(self) -> list[StoredImage]:
        """All images, in the order they came."""
        with self._lock:
            return list(self._images.values())

    def get(self, image_id: str) -> StoredImage | None:
        """By id, or by its first digits if they fit one image alone."""
        with self._lock:
            if image_id in self._images:
                return self._images[image_id]
            digits = image_id.removeprefix("sha256:")
            found = [i for i in self._images.values() if i.id.removeprefix("sha256:").startswith(digits)]
        return found[0] if len(found) == 1 and digits else None

    def find(self, reference: Reference) -> StoredImage | None:
        """By name."""
        wanted = str(reference)
        with self._lock:
            for image in self._images.values():
                if wanted in image.tags or wanted in image.digests:
                    return image
        return None

    def add(
        self,
        config: bytes,
        layers: Sequence[LayerOpener],
        *,
        tags: Iterable[str] = (),
        digests: Iterable[str] = (),
        loaded: bool = False,
    ) -> StoredImage:
        """Unpack the layers that are missing and name the image. Names move here from other images.

        loaded: it comes from an archive; it stays that, also when a registry turns out to have it.
        InvalidInputError when content does not fit its digests; StateError when the disk is full. Nothing is left then.
        """
        content = parse_json(config, "image configuration")
        identities = diff_ids(content)
        if len(identities) != len(layers):
            raise InvalidInputError(f"the image has {len(layers)} layers and {len(identities)} diff_ids")
        names = [_layer_name(identity) for identity in identities]
        with self.reserved(identities):
            for name, identity, opener in zip(names, identities, layers, strict=True):
                self._add_layer(name, identity, opener)
            with self._lock:
                image = self._register(digest_of(config), content, names, list(tags), list(digests))
                return self._mark_loaded(image) if loaded else image

    def _mark_loaded(self, image: StoredImage) -> StoredImage:
        marked = self._images[image.id] = replace(image, loaded=True)
        self._write_index()
        return marked

    def name(
        self, image_id: str, *, tags: Iterable[str] = (), digests: Iterable[str] = ()
    ) -> StoredImage | None:
        """Give an image that is here further names; None when it is not here."""
        with self._lock:
            image = self._images.get(image_id)
            if image is None:
                return None
            return self._register(image.id, image.config, image.layers, list(tags), list(digests))

    def remove(self, image_id: str) -> None:
        """Forget an image and delete the layers no other one has. No error when it is not here."""
        with self._lock:
            if self._images.pop(image_id, None) is None:
                return
            self._write_index()
            self._drop_unused_layers()

    def find_digest(self, digest: str) -> StoredImage | None:
        """By repository digest ("name@sha256:…")."""
        return next((image for image in self.images() if digest in image.digests), None)

    def has_layer(self, identity: str) -> bool:
        """Whether a layer is unpacked here; it stays while it is reserved."""
        return (self.layers / _layer_name(identity)).is_dir()

    def reserved(self, identities: Iterable[str]) -> AbstractContextManager[None]:
        """Keep layers (diff ids) from being deleted, present or coming."""
        return _Reservation(self, [_layer_name(identity) for identity in identities])

    def untagged(self) -> list[StoredImage]:
        """Images whose last tag moved elsewhere, and that were not pulled by digest."""
        return [image for image in self.images() if not image.tags and not image.digests]

    def _add_layer(self, name: str, identity: str, opener: LayerOpener) -> None:
        with self._lock:
            layer = self._layers.setdefault(name, _Layer(0))
        with layer.lock:
            target = self.layers / name
            if target.is_dir():
                return
            temporary = self.layers / f".{name}.{next(self._numbers)}"
            temporary.mkdir(mode=0o755)
            try:
                with opener() as source:
                    layer.size = unpack_layer(
                        source, temporary, identity, user_namespace=self._user_namespace
                    )
                temporary.replace(target)
            except OSError as error:
                _discard(temporary)
                raise StateError(f"failed to unpack layer {identity}: {error.strerror or error}") from error
            except BaseException:
                _discard(temporary)
                raise

    def _register(
        self,
        image_id: str,
        config: Mapping[str, Any],
        layers: Sequence[str],
        tags: list[str],
        digests: list[str],
    ) -> StoredImage:
        old = self._images.get(image_id)
        for other in list(self._images.values()):
            if other.id != image_id and set(other.tags) & set(tags):
                kept = tuple(tag for tag in other.tags if tag not in tags)
                self._images[other.id] = replace(other, tags=kept)
        image = StoredImage(
            image_id,
            config,
            tuple(layers),
            sum(self._layers[name].size for name in layers),
            tuple(dict.fromkeys([*(old.tags if old else ()), *tags])),
            tuple(dict.fromkeys([*(old.digests if old else ()), *digests])),
            loaded=old is not None and old.loaded,
        )
        self._images[image_id] = image
        self._write_index()
        return image

    def _drop_unused_layers(self) -> None:
        used = {name for image in self._images.values() for name in image.layers} | set(self._pending)
        for name in [name for name in self._layers if name not in used]:
            del self._layers[name]
            self._delete(self.layers / name)

    def _delete(self, path: Path) -> None:
        # Out of sight in one step: a half-deleted layer must never be taken for a whole one.
        doomed = path.with_name(f".{path.name}.{next(self._numbers)}")
        try:
            path.replace(doomed)
        except FileNotFoundError:
            return
        remove_tree(doomed)

    def _sweep(self) -> None:
        for path in list(self.layers.iterdir()):
            if path.name.startswith("."):
                remove_tree(path)
            elif path.name not in self._layers:
                self._delete(path)
        for path in list(self.downloads.iterdir()):
            path.unlink(missing_ok=True)


class _Reservation:
    """Keeps layers that are being added from being collected."""

    def __init__(self, store: ImageStore, names: Sequence[str]) -> None:
        self._store = store
        self._names = names

    def __enter__(self) -> None:
        with self._store._lock:
            for name in self._names:
                self._store._pending[name] = self._store._pending.get(name, 0) + 1

    def __exit__(self, *exc: object) -> None:
        with self._store._lock:
            for name in self._names:
                self._store._pending[name] -= 1
                if not self._store._pending[name]:
                    del self._store._pending[name]
            self._store._drop_unused_layers()


def _layer_name(identity: str) -> str:
    # 20 of 64 digits: overlayfs reads all names from one page.
    return identity.removeprefix("sha256:")[:20]


def _discard(path: Path) -> None:
    # What cannot be removed now is swept when the store opens.
    with suppress(OSError):
        remove_tree(path)
