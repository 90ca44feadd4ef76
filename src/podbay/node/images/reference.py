"""Names of images, read as Docker and the kubelet read them.

Not for asking registries. Source of grammar and wording: github.com/distribution/reference (regexp.go, normalize.go,
reference.go) and pkg/util/parsers of Kubernetes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from podbay.errors import PullError

__all__ = ["Reference", "parse_reference"]

_DOMAIN_PART = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?"
_PATH_PART = "[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*"
_PATH = rf"{_PATH_PART}(?:/{_PATH_PART})*"
_TAG = r"[\w][\w.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = re.compile(
    rf"(?P<domain>{_DOMAIN})/(?P<path>{_PATH})(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?", re.ASCII
)
_IDENTIFIER = re.compile("[a-f0-9]{64}")
_DIGEST_SIZES = {"sha256": 64, "sha384": 96, "sha512": 128}
_PATH_MAX = 255
"""Characters of the repository path (distribution/reference RepositoryNameTotalLengthMax)."""

_HUB = "docker.io"
_HUB_HOST = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class Reference:
    """A complete image name: the hub's short forms written out, "latest" put in. tag or digest may be empty, not both."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Domain and repository without tag and digest."""
        return f"{self.domain}/{self.path}"

    @property
    def host(self) -> str:
        """Where the registry answers; Docker Hub's is not the one in its names."""
        return _HUB_HOST if self.domain == _HUB else self.domain

    @property
    def object(self) -> str:
        """What stands in the manifest's URL: a digest wins over a tag."""
        return self.digest or self.tag

    def __str__(self) -> str:
        """As containerd prints it: with a digest the tag is left out."""
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag}"


def parse_reference(image: str) -> Reference:
    """Read an image name. PullError InvalidImageName in the kubelet's words."""
    try:
        return _parse(image)
    except ValueError as problem:
        message = f'couldn\'t parse image name "{image}": {problem}'
        raise PullError("InvalidImageName", message) from None


def _parse(image: str) -> Reference:
    if _IDENTIFIER.fullmatch(image):
        raise ValueError(f"invalid repository name ({image}), cannot specify 64-byte hexadecimal strings")
    domain, remainder = _split_domain(image)
    path = remainder.split(":", 1)[0]
    if path.lower() != path:
        raise ValueError(f"invalid reference format: repository name ({path}) must be lowercase")
    found = _REFERENCE.fullmatch(f"{domain}/{remainder}")
    if found is None:
        raise ValueError("invalid reference format")
    if len(found["path"]) > _PATH_MAX:
        raise ValueError(f"repository name must not be more than {_PATH_MAX} characters")
    tag, digest = found["tag"] or "", found["digest"] or ""
    if digest:
        _check_digest(digest)
    if not tag and not digest:
        tag = "latest"
    return Reference(found["domain"], found["path"], tag, digest)


def _split_domain(image: str) -> tuple[str, str]:
    first, slash, rest = image.partition("/")
    if not slash:
        return _HUB, f"library/{image}"
    if first == "index.docker.io":
        domain, remainder = _HUB, rest
    elif first == "localhost" or "." in first or ":" in first or first.lower() != first:
        domain, remainder = first, rest
    else:
        domain, remainder = _HUB, image
    if domain == _HUB and "/" not in remainder:
        remainder = f"library/{remainder}"
    return domain, remainder


def _check_digest(digest: str) -> None:
    algorithm, _, encoded = digest.partition(":")
    size = _DIGEST_SIZES.get(algorithm)
    if size is None:
        raise ValueError("unsupported digest algorithm")
    if len(encoded) != size:
        raise ValueError("invalid checksum digest length")
    if not re.fullmatch("[a-f0-9]+", encoded):
        raise ValueError("invalid checksum digest format")
