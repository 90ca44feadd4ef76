"""Printing: human tables or JSON, and errors as one sentence. Commands decide nothing about looks.

Exit codes of every command: 0 done, 1 an error (one sentence on stderr), 2 wrong usage, 130 Ctrl-C, 141 the reader of
the output went away (as in `podbay pods | head -1`; nothing is said). `pod run` adds the container's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, NoReturn, TypeVar

import orjson
import typer
from rich.cells import cell_len
from rich.console import Console

from podbay.embedded.home import unusable
from podbay.errors import PodbayError

__all__ = [
    "EXIT_INTERRUPTED",
    "Output",
    "console",
    "errors",
    "errors_as_sentences",
    "print_json",
    "print_line",
    "print_table",
    "printable",
    "run",
]

T = TypeVar("T")

EXIT_INTERRUPTED = 130
_EXIT_PIPE = 141
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]+")


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


console = _Console(highlight=False, soft_wrap=True)
errors = _Console(stderr=True, highlight=False, soft_wrap=True)


class Output(StrEnum):
    """--output of every command that a script would read."""

    text = "text"
    json = "json"


def printable(text: str) -> str:
    """Without what a terminal would take for a command: messages come from clusters and their containers."""
    return _CONTROL.sub(" ", text)


def print_json(document: Any) -> None:
    """A document for people and programs: indented."""
    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")


def print_line(document: Any) -> None:
    """One of many documents: a line of its own, at once."""
    sys.stdout.write(orjson.dumps(document).decode() + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their contents: a name that is cut cannot be copied."""
    lines = [list(columns), *([printable(cell).replace("\n", " ") for cell in row] for row in rows)]
    widths = [max(cell_len(line[at]) for line in lines) for at in range(len(columns))]
    for line in lines:
        padded = [cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)]
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end on an event loop of its own."""
    return asyncio.run(coroutine)


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Turn our own errors and those of files into one message on stderr and an exit code.

    Anything else is a bug and shows itself.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError as err:
        _hush()
        raise typer.Exit(_EXIT_PIPE) from err
    except OSError as err:
        _fail(str(unusable(err)))
    except PodbayError as err:
        from podbay.cli.cluster_words import in_words

        _fail(str(in_words(err)))
    except KeyboardInterrupt as err:
        raise typer.Exit(EXIT_INTERRUPTED) from err


def _fail(sentence: str) -> NoReturn:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    errors.print(f"error: {printable(sentence)}", markup=False)
    raise typer.Exit(1)


def _hush() -> None:
    """Nobody reads any more; what is still buffered must not complain at the interpreter's end."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
