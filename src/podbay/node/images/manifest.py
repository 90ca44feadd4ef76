"""Manifests, indexes and configurations of images: reading and choosing. Pure.

Sources: OCI image-spec (manifest.md, image-index.md, config.md), Docker's image manifest version 2 schema 2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from podbay.errors import InvalidInputError
from podbay.node.observed import ImageConfig

__all__ = [
    "ACCEPTED_TYPES",
    "Descriptor",
    "Platform",
    "choose_manifest",
    "diff_ids",
    "digest_of",
    "image_config",
    "is_index",
    "layers_of",
    "parse_json",
    "platform_of",
    "refuse_schema1",
]

_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
ACCEPTED_TYPES = (*_MANIFESTS, *_INDEXES)
_ATTESTATION = "vnd.docker.reference.type"
_VARIANTS = {"arm64": "v8", "arm": "v7"}
"""What no variant means for an architecture."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A pointer to content: its digest ("sha256:…") and size in bytes."""

    media_type: str
    digest: str
    size: int

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Descriptor:
        """Read one. InvalidInputError."""
        digest, size = value.get("digest"), value.get("size")
        if not isinstance(digest, str) or not isinstance(size, int) or size < 0 or not _is_sha256(digest):
            raise InvalidInputError(f"the manifest has a bad descriptor (digest {digest!r}, size {size!r})")
        return cls(str(value.get("mediaType") or ""), digest, size)


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image was built for."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}" + (f"/{self.variant}" if self.variant else "")

    def runs(self, other: Platform) -> bool:
        """Whether an image for other runs on this platform."""
        if (other.os or "linux", other.architecture) != (self.os, self.architecture):
            return False
        default = _VARIANTS.get(self.architecture, "")
        mine, theirs = self.variant or default, other.variant or default
        # Older variants run on newer machines ("v6" on "v7").
        return theirs <= mine


def digest_of(data: bytes) -> str:
    """The sha256 digest in its written form."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def parse_json(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object. InvalidInputError names what it should have been."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"the {what} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInputError(f"the {what} is not a JSON object")
    return value


def is_index(manifest: Mapping[str, Any], media_type: str = "") -> bool:
    """Whether it lists manifests for several platforms."""
    return (manifest.get("mediaType") or media_type) in _INDEXES or "manifests" in manifest


def refuse_schema1(manifest: Mapping[str, Any], media_type: str) -> None:
    """InvalidInputError for the manifest form that registries stopped writing in 2017."""
    if manifest.get("schemaVersion") == 1 or "distribution.manifest.v1" in media_type:
        raise InvalidInputError(
            f'media type "{media_type}" is no longer supported, please rebuild the image as '
            f'"{_MANIFESTS[1]}" or "{_MANIFESTS[0]}"'
        )


def choose_manifest(index: Mapping[str, Any], wanted: Platform) -> Descriptor:
    """The manifest for a platform; the highest variant that runs. InvalidInputError names what there is."""
    fitting: list[tuple[str, Mapping[str, Any]]] = []
    offered: list[str] = []
    for entry in index.get("manifests") or ():
        if _ATTESTATION in (entry.get("annotations") or {}):
            continue
        value = entry.get("platform") or {}
        platform = Platform(
            str(value.get("os") or ""), str(value.get("architecture") or ""), str(value.get("variant") or "")
        )
        if not platform.architecture or wanted.runs(platform):
            fitting.append((platform.variant, entry))
        else:
            offered.append(str(platform))
    if not fitting:
        known = ", ".join(sorted(set(offered))) or "nothing"
        raise InvalidInputError(
            f"no match for platform in manifest: the image is for {known}, this node is {wanted}"
        )
    return Descriptor.of(max(fitting, key=lambda item: item[0])[1])


def layers_of(manifest: Mapping[str, Any]) -> tuple[Descriptor, list[Descriptor]]:
    """Configuration and layers of an image manifest. InvalidInputError."""
    config, layers = manifest.get("config"), manifest.get("layers")
    if not isinstance(config, dict) or not isinstance(layers, list):
        raise InvalidInputError("the manifest has no config and layers: it is not an image")
    return Descriptor.of(config), [Descriptor.of(layer) for layer in layers]


def platform_of(config: Mapping[str, Any]) -> Platform:
    """What the configuration says the image is for."""
    return Platform(
        str(config.get("os") or "linux"),
        str(config.get("architecture") or ""),
        str(config.get("variant") or ""),
    )


def diff_ids(config: Mapping[str, Any]) -> list[str]:
    """Digests of the uncompressed layers, lowest first. InvalidInputError."""
    found = (config.get("rootfs") or {}).get("diff_ids")
    if not isinstance(found, list) or not all(isinstance(d, str) and _is_sha256(d) for d in found):
        raise InvalidInputError("the image's configuration has no rootfs.diff_ids")
    return found


def image_config(config: Mapping[str, Any]) -> ImageConfig:
    """The part that containers inherit."""
    value = config.get("config") or {}
    return ImageConfig(
        entrypoint=_strings(value.get("Entrypoint")),
        command=_strings(value.get("Cmd")),
        env=_strings(value.get("Env")),
        working_dir=str(value.get("WorkingDir") or ""),
        user=str(value.get("User") or ""),
        stop_signal=str(value.get("StopSignal") or ""),
        volumes=_strings(sorted(value.get("Volumes") or ())),
    )


def _strings(value: object) -> Sequence[str]:
    return tuple(str(item) for item in value) if isinstance(value, (list, tuple)) else ()


def _is_sha256(digest: str) -> bool:
    algorithm, _, encoded = digest.partition(":")
    return algorithm == "sha256" and len(encoded) == 64 and set(encoded) <= set("0123456789abcdef")
