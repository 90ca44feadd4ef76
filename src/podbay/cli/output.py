"""Printing: human tables or JSON, and errors as one sentence. Commands decide nothing about looks."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from podbay.embedded.home import unusable
from podbay.errors import PodbayError

__all__ = ["Output", "console", "errors_as_sentences", "print_json", "print_table"]

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


class Output(StrEnum):
    """--output of every command that a script would read."""

    text = "text"
    json = "json"


def print_json(document: Any) -> None:
    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=None, header_style="", pad_edge=False)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    console.print(table)


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Turn our own errors and those of files into one message on stderr and exit code 1.

    Anything else is a bug and shows itself.
    """
    try:
        yield
    except OSError as err:
        errors.print(f"error: {unusable(err)}", markup=False)
        raise typer.Exit(1) from err
    except PodbayError as err:
        errors.print(f"error: {err}", markup=False)
        raise typer.Exit(1) from err
