"""One cluster served by this process until it is told to stop: the background process, or `--foreground`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from podbay import __version__
from podbay.embedded.arguments import command_of_own_user, parse_arguments
from podbay.embedded.cluster import ClusterOptions, EmbeddedCluster
from podbay.embedded.home import unusable
from podbay.embedded.process import READY_FD
from podbay.errors import PodbayError

__all__ = ["run_foreground"]


async def run_foreground(options: ClusterOptions, on_ready: Callable[[EmbeddedCluster], None]) -> None:
    """Run a cluster in this process until SIGINT or SIGTERM."""
    stop_asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop_asked.set)
    async with EmbeddedCluster(options) as cluster:
        assert options.home is not None
        options.home.write_process(_facts(cluster))
        try:
            on_ready(cluster)
            await cluster.wait_until(stop_asked)
        finally:
            options.home.forget_process()


def _facts(cluster: EmbeddedCluster) -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "url": cluster.url,
        "version": __version__,
        "started": cluster.started.isoformat(),
    }


def _report(message: dict[str, Any]) -> None:
    descriptor = os.environ.pop(READY_FD, None)
    if descriptor is not None:
        # Whoever asked may be gone; the cluster is there all the same and `podbay cluster status` finds it.
        with contextlib.suppress(BrokenPipeError), os.fdopen(int(descriptor), "wb") as pipe:
            pipe.write(orjson.dumps(message) + b"\n")


def main(arguments: Sequence[str]) -> int:
    """The child: one cluster, messages to its log, readiness to the pipe."""
    # Whoever starts this process holds interrupts back while doing so, and a child inherits that.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    # Tens of thousands of stored objects live long; looking at them all for garbage every few hundred
    # allocations would cost more than serving requests does.
    gc.set_threshold(50_000, 20, 50)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        again = command_of_own_user(arguments, [sys.executable, "-m", "podbay.embedded.serve", *arguments])
        if again is not None:
            os.execvp(again[0], again)
        options = parse_arguments(arguments)
        asyncio.run(run_foreground(options, lambda cluster: _report(_facts(cluster))))
    except (PodbayError, OSError) as error:
        err = unusable(error) if isinstance(error, OSError) else error
        _report({"error": str(err)})
        logging.getLogger("podbay").error("%s", err)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
