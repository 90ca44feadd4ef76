"""Names of images, from a person's words to registry, repository, tag and digest. Pure.

Source: the distribution project's reference grammar, with Docker Hub's short forms.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from podbay.errors import InvalidInputError

__all__ = ["HUB", "HUB_KEY", "ImageName", "parse_image_name", "registry_host"]

HUB: Final = "docker.io"
HUB_KEY: Final = "https://index.docker.io/v1/"
"""Under this name docker keeps the login of Docker Hub."""
_HUB_NAMES: Final = ("docker.io", "index.docker.io", "registry-1.docker.io")
_HUB_HOST: Final = "registry-1.docker.io"

_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?")
_PART = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile("sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")


@dataclass(frozen=True, slots=True)
class ImageName:
    """A complete name. `registry` is as people write it (docker.io); tag or digest may be empty, not both."""

    registry: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def host(self) -> str:
        """Where the registry answers."""
        return _HUB_HOST if self.registry == HUB else self.registry

    @property
    def repository(self) -> str:
        return f"{self.registry}/{self.path}"

    @property
    def wanted(self) -> str:
        """What stands in the manifest's URL: a digest wins over a tag."""
        return self.digest or self.tag

    def pinned(self, digest: str) -> str:
        """The same image by digest; the tag stays for readers."""
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}@{digest}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")


def parse_image_name(text: str) -> ImageName:
    """Read a name as `docker pull` does. Raises InvalidInputError."""
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise InvalidInputError(
            f"image {text}: what follows @ is not a digest such as sha256:<64 hex digits>"
        )
    registry, rest = _split(rest)
    path, colon, tag = rest.partition(":")
    if path != path.lower():
        raise InvalidInputError(f"image {text}: the repository must be in lower case: {path.lower()}")
    if not _HOST.fullmatch(registry) or not _PATH.fullmatch(path) or (colon and not _TAG.fullmatch(tag)):
        raise InvalidInputError(f"image {text}: not an image name such as registry.example.com/team/tool:1.2")
    return ImageName(registry, path, tag or ("" if digest else "latest"), digest)


def _split(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if not slash:
        return HUB, f"library/{text}"
    if not (first == "localhost" or "." in first or ":" in first or first != first.lower()):
        first, rest = HUB, text
    if first in _HUB_NAMES:
        return HUB, rest if "/" in rest else f"library/{rest}"
    return first, rest


def registry_host(text: str, *, patterns: bool = False) -> tuple[str, str]:
    """(registry, path prefix or "") of what a person or a docker config calls a registry. Raises InvalidInputError.

    With `patterns` parts of the host may be patterns, as kubelets read them in pull secrets.
    """
    bare = text.strip().split("://", 1)[-1].rstrip("/")
    host, _, path = bare.partition("/")
    if host in _HUB_NAMES:
        return HUB, "" if path in ("v1", "v2") else path
    if path in ("v1", "v2"):
        path = ""
    known = _HOST.fullmatch(host.replace("*", "x") if patterns else host)
    if not known or (path and not _PATH.fullmatch(path)):
        raise InvalidInputError(
            f"registry {text}: write its host, such as registry.example.com or ghcr.io/team"
        )
    return host, path
