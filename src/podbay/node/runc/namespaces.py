"""Namespaces without a process in them: made by a thread, kept alive by a bind mount.

A thread that has changed its namespace is never used for anything else: each piece of work gets a thread of its own
that ends with it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from podbay.node import kernel

__all__ = ["in_namespace", "keep_namespaces", "on_own_thread"]

T = TypeVar("T")

_FLAGS = {"net": kernel.CLONE_NEWNET, "ipc": kernel.CLONE_NEWIPC, "uts": kernel.CLONE_NEWUTS}


def on_own_thread(work: Callable[[], T]) -> T:
    """Run work on a fresh thread and wait for it; its error is raised here."""
    result: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread
            failure.append(error)

    thread = threading.Thread(target=run, name="podbay-namespace", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def keep_namespaces(files: Mapping[str, Path], inside: Callable[[], T]) -> T:
    """Make the namespaces ("net", "ipc", "uts"), run inside in them, keep each at its file. Raises OSError.

    On failure nothing stays mounted.
    """

    def work() -> T:
        flags = 0
        for kind in files:
            flags |= _FLAGS[kind]
        kernel.unshare(flags)
        try:
            for kind, path in files.items():
                path.touch()
                kernel.bind(f"/proc/thread-self/ns/{kind}", path)
            return inside()
        except BaseException:
            for path in files.values():
                kernel.detach(path)
            raise

    return on_own_thread(work)


def in_namespace(path: Path, kind: str, work: Callable[[], T]) -> T:
    """Run work in a kept namespace. Raises OSError when the namespace is gone."""

    def inside() -> T:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            kernel.setns(descriptor, _FLAGS[kind])
        finally:
            os.close(descriptor)
        return work()

    return on_own_thread(inside)
