"""Reading compressed layers and archives by what they begin with, not by what they are called.

zstd needs Python 3.14 or the `zstd` program; without either the error says so.
"""

from __future__ import annotations

import gzip
import importlib
import io
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, cast

from podbay.errors import InvalidInputError

__all__ = ["decompressed"]

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"


@contextmanager
def decompressed(source: BinaryIO) -> Iterator[IO[bytes]]:
    """The plain bytes of source. Damage shows as EOFError, zlib.error or OSError while reading."""
    buffered = source if hasattr(source, "peek") else io.BufferedReader(cast(io.RawIOBase, source), 1 << 20)
    head = buffered.peek(4)[:4]
    if head.startswith(_GZIP):
        with gzip.GzipFile(fileobj=buffered, mode="rb") as plain:
            yield cast(IO[bytes], plain)
    elif head == _ZSTD:
        with _zstd(buffered) as plain:
            yield plain
    else:
        yield cast(IO[bytes], buffered)


@contextmanager
def _zstd(source: BinaryIO) -> Iterator[IO[bytes]]:
    try:
        module = importlib.import_module("compression.zstd")
    except ImportError:
        module = None
    if module is not None:
        with module.ZstdFile(source) as plain:
            yield plain
        return
    program = shutil.which("zstd")
    if program is None:
        raise InvalidInputError("the layer is compressed with zstd: install the package zstd to read it")
    with tempfile.TemporaryFile() as copy:
        # The source may be a part of an archive, which a process cannot read.
        shutil.copyfileobj(source, copy, 1 << 20)
        copy.seek(0)
        with subprocess.Popen([program, "-dcq"], stdin=copy, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            try:
                yield process.stdout
            finally:
                process.stdout.close()
                process.kill()
