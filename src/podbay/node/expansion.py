"""`$(NAME)` in commands, arguments and environment values. Pure.

`$$` is an escaped `$`; references to unknown names stay as they are. Source: third_party/forked/golang/expansion.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["expand"]

_REFERENCE = re.compile(r"\$(\$|\([^)]*\)|)")


def expand(text: str, *values: Mapping[str, str]) -> str:
    """text with every reference replaced; the first mapping that has a name counts."""

    def replace(match: re.Match[str]) -> str:
        found = match.group(1)
        if found == "$":
            return "$"
        if not found:
            return "$"
        name = found[1:-1]
        for mapping in values:
            if name in mapping:
                return mapping[name]
        return f"$({name})"

    return _REFERENCE.sub(replace, text) if "$" in text else text
