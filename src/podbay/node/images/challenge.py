"""How registries ask for credentials: reading WWW-Authenticate, and the URL of the token that answers it. Pure.

Sources: RFC 9110 section 11, distribution's "Token Authentication Specification".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit, urlunsplit

__all__ = ["Challenge", "parse_challenges", "token_url"]

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*')
_SCHEME = re.compile(rf"\s*,?\s*({_TOKEN})(?:\s+|$)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One scheme a server accepts, in lower case, with its parameters."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(header: str) -> list[Challenge]:
    """The challenges of one header line; what cannot be read ends the list."""
    found: list[Challenge] = []
    position = 0
    while position < len(header):
        scheme = _SCHEME.match(header, position)
        if scheme is None:
            break
        position = scheme.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, position):
            quoted = re.sub(r"\\(.)", r"\1", parameter[2]) if parameter[2] is not None else parameter[3]
            parameters[parameter[1].lower()] = quoted
            position = parameter.end()
            if header[position : position + 1] != ",":
                break
            # A comma also stands before the next scheme.
            if not _PARAMETER.match(header, position + 1):
                break
            position += 1
        found.append(Challenge(scheme[1].lower(), parameters))
    return found


def token_url(challenge: Challenge, repository: str) -> str | None:
    """Where a bearer token for pulling is had; None when the challenge names no usable place."""
    parts = urlsplit(challenge.parameters.get("realm", ""))
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return None
    query = [("scope", challenge.parameters.get("scope") or f"repository:{repository}:pull")]
    if challenge.parameters.get("service"):
        query.append(("service", challenge.parameters["service"]))
    joined = "&".join(part for part in (parts.query, urlencode(query)) if part)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, joined, ""))
