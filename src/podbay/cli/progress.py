"""One line about what is being waited for, at the bottom of a terminal; ordinary lines where there is none.

On a terminal the line is rewritten in place and disappears; elsewhere each new state is a line, once.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from typing import TextIO

from podbay.cli.output import printable

__all__ = ["Progress"]


class Progress:
    """`show` a state, `clear` it before anything else is written to the terminal."""

    def __init__(
        self,
        stream: TextIO = sys.stderr,
        *,
        quiet: bool = False,
        plain: bool = True,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._stream = stream
        self._quiet = quiet
        self._terminal = stream.isatty() and environ.get("TERM") != "dumb"
        self._plain = plain
        """Without a terminal states are lines; else nothing."""
        self._shown = ""
        self._told: set[str] = set()

    def show(self, text: str) -> None:
        if self._quiet:
            return
        if self._terminal:
            self.clear()
            width = shutil.get_terminal_size().columns - 1
            line = printable(text).replace("\n", " ")
            self._shown = line if len(line) <= width else line[: width - 1] + "…"
            self._stream.write(f"\x1b[2m{self._shown}\x1b[0m")
        elif self._plain and text not in self._told:
            # Backing off and trying again take turns; once each is enough.
            self._told.add(text)
            self._stream.write(printable(text) + "\n")
        self._stream.flush()

    def clear(self) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._shown = ""

    def say(self, text: str) -> None:
        """A line that stays, also when quiet."""
        self.clear()
        self._stream.write(printable(text) + "\n")
        self._stream.flush()
