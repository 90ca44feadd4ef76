"""One class, two clusters: an embedded one that is started and stopped here, or any that a kubeconfig names.

Synchronous on the outside, because most tests are; the embedded cluster runs on an event loop in a thread of its own.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from podbay.errors import ClosedError, InvalidInputError

if TYPE_CHECKING:
    from podbay.embedded.cluster import ClusterOptions, EmbeddedCluster

__all__ = ["Environment"]

T = TypeVar("T")


@dataclass(frozen=True)
class Environment:
    """A cluster to test against. `kubeconfig` is all that a client needs.

    `embedded` is the cluster itself when it is ours, for tests of Podbay; tests that must hold on any cluster leave
    it alone.
    """

    kubeconfig: Path
    embedded: EmbeddedCluster | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the embedded cluster's event loop and wait for it."""
        if self._loop is None:
            coroutine.close()
            raise ClosedError("this cluster is not embedded: there is no event loop of its own to run on")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def call(self, function: Callable[[], T]) -> T:
        """Call a function on the embedded cluster's event loop, where its parts may be touched."""

        async def wrapped() -> T:
            return function()

        return self.run(wrapped())

    @classmethod
    def from_kubeconfig(cls, path: Path) -> Environment:
        """An existing cluster; nothing is started and nothing is stopped."""
        if not path.is_file():
            raise InvalidInputError(f"kubeconfig {path} does not exist; give the path of a kubeconfig file")
        return cls(path)

    @classmethod
    @contextmanager
    def start(cls, options: ClusterOptions | None = None) -> Iterator[Environment]:
        """An embedded cluster, ready, until the end of the block."""
        from podbay.embedded.cluster import EmbeddedCluster

        started = threading.Event()
        failed: list[BaseException] = []
        holder: dict[str, Any] = {}

        async def live() -> None:
            stop = holder["stop"] = asyncio.Event()
            holder["loop"] = asyncio.get_running_loop()
            async with EmbeddedCluster(options) as cluster:
                holder["cluster"] = cluster
                started.set()
                await stop.wait()

        def main() -> None:
            try:
                asyncio.run(live())
            except BaseException as err:  # noqa: BLE001 - handed to the thread that waits, which raises it
                failed.append(err)
            finally:
                started.set()

        thread = threading.Thread(target=main, name="podbay-cluster", daemon=True)
        thread.start()
        started.wait()
        if failed:
            raise failed[0]
        with tempfile.TemporaryDirectory(prefix="podbay-") as directory:
            path = Path(directory, "kubeconfig")
            path.touch(mode=0o600)
            path.write_text(holder["cluster"].kubeconfig())
            try:
                yield cls(path, holder["cluster"], holder["loop"])
            finally:
                holder["loop"].call_soon_threadsafe(holder["stop"].set)
                thread.join()
        if failed:
            raise failed[0]
