"""What a registry asks for: WWW-Authenticate read, and where the token is had that answers it. Pure.

Source: RFC 9110 section 11; the distribution project's token authentication.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

__all__ = ["Challenge", "read_challenges", "token_address"]

_WORD = r"[^\s=,\"]+"
_PIECE = re.compile(rf'\s*,?\s*(?:({_WORD})\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^\s,"]*))|({_WORD}))')


@dataclass(frozen=True, slots=True)
class Challenge:
    """One scheme, in lower case, with its parameters."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def read_challenges(header: str) -> list[Challenge]:
    """All of a header; what cannot be read ends the list."""
    found: list[tuple[str, dict[str, str]]] = []
    position = 0
    while (piece := _PIECE.match(header, position)) is not None:
        position = piece.end()
        if piece[4] is not None:
            found.append((piece[4].lower(), {}))
        elif found:
            value = re.sub(r"\\(.)", r"\1", piece[2]) if piece[2] is not None else piece[3]
            found[-1][1][piece[1].lower()] = value
    return [Challenge(scheme, parameters) for scheme, parameters in found]


def token_address(challenge: Challenge, repository: str) -> tuple[str, dict[str, str]] | None:
    """(URL, query) of the token for pulling; no repository: to log in only. None when the realm is no address."""
    parts = urlsplit(challenge.parameters.get("realm", ""))
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return None
    query = dict(parse_qsl(parts.query))
    if challenge.parameters.get("service"):
        query["service"] = challenge.parameters["service"]
    if repository:
        # Asked for always, also where the challenge names less: with it one token serves manifests and blobs.
        query["scope"] = f"repository:{repository}:pull"
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode({}), "")), query
