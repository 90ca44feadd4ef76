"""`podbay pods --watch`: the table, then a row for each change that a person would see; as JSON every change."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from podbay.cli.output import print_line, printable
from podbay.cli.rows import COLUMNS, pod_json, row
from podbay.cli.target import connect
from podbay.kube.config import ClusterConfig
from podbay.kube.store import Change
from podbay.kube.watch import Scope
from podbay.objects.meta import Object, uid_of

__all__ = ["watch_pods"]


async def watch_pods(config: ClusterConfig, scope: Scope, *, as_json: bool) -> None:
    """Print until Ctrl-C."""
    changes: asyncio.Queue[Change] = asyncio.Queue()
    table = None if as_json else _GrowingTable(with_namespace=scope.namespace is None)
    async with connect(config) as cluster, cluster.watch(scope) as store:
        await store.wait_synced()
        store.listen(changes.put_nowait)
        while True:
            change = await changes.get()
            if change.object is None:
                continue
            if table is not None:
                table.add(change)
            else:
                print_line({"type": change.type, "pod": pod_json(change.object)})


class _GrowingTable:
    """Rows that come one after another; columns only grow."""

    def __init__(self, *, with_namespace: bool) -> None:
        self._with_namespace = with_namespace
        self._widths = [0] * (len(COLUMNS) + with_namespace)
        self._last: dict[str, tuple[Any, ...]] = {}
        self._print(("NAMESPACE", *COLUMNS) if with_namespace else COLUMNS)

    def add(self, change: Change) -> None:
        pod: Object = change.object or {}
        cells = row(pod, datetime.now(UTC), with_namespace=self._with_namespace)
        if change.type == "DELETED":
            cells[1 + self._with_namespace] = "Gone"
            self._last.pop(uid_of(pod), None)
        else:
            seen = (cells[1 + self._with_namespace], cells[-1])
            if self._last.get(uid_of(pod)) == seen:
                return
            self._last[uid_of(pod)] = seen
        self._print(cells)

    def _print(self, cells: Sequence[str]) -> None:
        self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, cells, strict=True)]
        padded = [cell.ljust(width) for cell, width in zip(cells, self._widths, strict=True)]
        sys.stdout.write(printable("  ".join(padded)).rstrip() + "\n")
        sys.stdout.flush()
