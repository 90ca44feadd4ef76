"""The tag of an image name, by the grammar of image references.

Only what the default pull policy needs; the node agent has its own reader of references. Source: pkg/util/parsers,
github.com/distribution/reference.
"""

from __future__ import annotations

import re

__all__ = ["tag_of"]

_DOMAIN_PART = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?"
_PATH_PART = "[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*"
_PATH = rf"{_PATH_PART}(?:/{_PATH_PART})*"
_TAG = r"[\w][\w.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = re.compile(rf"(?:{_DOMAIN}/)?{_PATH}(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?", re.ASCII)
_IDENTIFIER = re.compile("[a-f0-9]{64}")
_NAME_MAX = 255


def tag_of(image: str) -> str:
    """The tag, "latest" when neither tag nor digest is given, empty with a digest alone or when image is no reference."""
    if _IDENTIFIER.fullmatch(image):
        return ""
    found = _REFERENCE.fullmatch(image)
    if found is None or len(image.split("@")[0]) > _NAME_MAX:
        return ""
    tag: str | None = found["tag"]
    return tag or ("" if found["digest"] else "latest")
