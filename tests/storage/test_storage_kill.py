"""kill -9 at random points: what was acknowledged is there, versions go on, a resumed watch has no gap."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from storage_builders import KEY

from podbay.apiserver.storage import Store

WRITER = Path(__file__).with_name("storage_writer.py")
EVENT_TYPES = {"create": "ADDED", "update": "MODIFIED", "delete": "DELETED"}
ROUNDS = 12


@dataclass(frozen=True)
class Acknowledged:
    version: int
    operation: str
    name: str
    value: int


def _write_until_killed(path: Path, seed: int, dice: random.Random) -> list[Acknowledged]:
    """Let a writer acknowledge some writes, kill it at a random moment, give all that it acknowledged."""
    command = [sys.executable, str(WRITER), str(path), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(dice.uniform(0, 0.06))
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read()
    lines = (first + rest).decode().splitlines()
    writes = [line.split() for line in lines]
    return [Acknowledged(int(version), op, name, int(value)) for version, op, name, value in writes]


def test_no_acknowledged_write_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    dice = random.Random(20260101)
    values: dict[str, int] = {}
    total = last = 0
    for seed in range(ROUNDS):
        writes = _write_until_killed(path, seed, dice)
        first = writes[0].version
        assert [write.version for write in writes] == list(range(first, first + len(writes)))
        assert not last or first == last + 1
        for write in writes:
            if write.operation == "delete":
                del values[write.name]
            else:
                values[write.name] = write.value
        last, values = _check(path, writes, values)
        total += len(writes)
    assert total > 500


def _check(path: Path, writes: list[Acknowledged], values: dict[str, int]) -> tuple[int, dict[str, int]]:
    """Compare the file with what was acknowledged; give the version and state that it is really at.

    One write more than was acknowledged may be there: the one that was on its way.
    """
    with Store.open(path) as store:
        last = writes[-1].version
        assert last <= store.version <= last + 1
        page = store.list(KEY, resource_version=str(last), resource_version_match="Exact")
        assert {e.name: e.object()["spec"]["value"] for e in page.entries} == values
        start = max(store.compacted, writes[0].version)
        with store.watch(KEY, "default", resource_version=str(start)) as watcher:
            seen = []
            while batch := watcher.take(100):
                seen += [(c.type, c.entry.name, c.entry.version) for c in batch]
        expected = [(EVENT_TYPES[w.operation], w.name, w.version) for w in writes if w.version > start]
        assert seen[: len(expected)] == expected
        assert len(seen) == store.version - start
        return store.version, {e.name: e.object()["spec"]["value"] for e in store.entries(KEY)}
