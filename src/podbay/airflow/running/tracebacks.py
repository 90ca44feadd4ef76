"""A traceback as its reader needs it, purely: the frames in his own files and what was raised."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["shorten"]

_FRAME = re.compile(r'^  File "(?P<file>[^"]+)", line \d+(, in .*)?$')
_LINKS = (
    "During handling of the above exception",
    "The above exception was the direct cause",
    "Traceback (most recent call last)",
)


def shorten(text: str, root: Path) -> str:
    """Keep frames of files below root, without their caret lines, and what was raised at the very end.

    A traceback none of whose frames is below root keeps its last one. Text that is no traceback stays as it is.
    """
    text = text.rstrip()
    start = text.rfind("Traceback (most recent call last)")
    if start < 0:
        return text
    frames, rest = _split(text[start:].splitlines()[1:])
    mine = [frame for frame in frames if _is_below(frame[0], root)]
    is_syntax = bool(rest) and rest[0].startswith("  File ")
    kept = mine or ([] if is_syntax else frames[-1:])
    return "\n".join([*(line for frame in kept for line in frame), *rest])


def _split(lines: list[str]) -> tuple[list[list[str]], list[str]]:
    """Frames, each with the lines that belong to it, and what follows them."""
    frames: list[list[str]] = []
    for at, line in enumerate(lines):
        if _FRAME.match(line) and not (at + 1 < len(lines) and _is_syntax_error(lines[at:])):
            frames.append([line])
        elif frames and line.startswith("    ") and _FRAME.match(frames[-1][0]):
            if line.strip(" ^~"):
                frames[-1].append(line)
        elif line.startswith(_LINKS):
            continue
        else:
            return frames, lines[at:]
    return frames, []


def _is_syntax_error(lines: list[str]) -> bool:
    """The last 'frame' of a SyntaxError is the place of the error: it belongs to what was raised."""
    for line in lines[1:]:
        if _FRAME.match(line):
            return False
        if not line.startswith("    "):
            return line.startswith(("SyntaxError", "IndentationError", "TabError"))
    return False


def _is_below(line: str, root: Path) -> bool:
    found = _FRAME.match(line)
    if found is None:
        return False
    path = Path(found["file"])
    return path.is_relative_to(root) and "site-packages" not in path.parts
