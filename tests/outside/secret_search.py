"""Looking for one value everywhere: files, tables, objects of a cluster, command lines and environments of processes."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from podbay.testing.requests import Requests

__all__ = ["Sampler", "forms", "in_database", "in_files", "in_objects"]

INTERVAL_SECONDS = 0.1


def forms(value: str) -> list[bytes]:
    """As it is, in base64 at each of the three places it can have in a longer text, and in hexadecimal."""
    raw = value.encode()
    found = [raw, raw.hex().encode()]
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw)
        # Letters at both ends depend on what stands beside the value.
        found.append(encoded[4 if before else 0 : -4])
    return found


def has(wanted: list[bytes], text: bytes | str) -> bool:
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    return any(form in data for form in wanted)


def in_files(wanted: list[bytes], root: Path) -> set[str]:
    """Files below root that hold it; sockets, mounts of other file systems and what goes meanwhile are left out."""
    found, device = set(), root.stat().st_dev
    for directory, names, files in os.walk(root):
        names[:] = [each for each in names if _is_on(device, Path(directory, each))]
        for name in files:
            path = Path(directory, name)
            try:
                if path.is_file() and not path.is_symlink() and has(wanted, path.read_bytes()):
                    found.add(str(path))
            except OSError:
                continue
    return found


def _is_on(device: int, path: Path) -> bool:
    try:
        return path.lstat().st_dev == device
    except OSError:
        return False


def in_database(wanted: list[bytes], path: Path) -> set[str]:
    """Tables of an SQLite file that hold it in any row, whatever pages they are spread over."""
    found = set()
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in database.execute(f'SELECT * FROM "{table}"'):
                if any(isinstance(each, str | bytes) and has(wanted, each) for each in row):
                    found.add(table)
    database.close()
    return found


def in_objects(wanted: list[bytes], kube: Requests) -> dict[str, set[str]]:
    """Kind to names of all objects of the cluster that hold it."""
    found: dict[str, set[str]] = {}
    for path in _lists(kube):
        status, answer = kube.call("GET", path)
        if status != 200:
            continue
        for item in answer.get("items", ()):
            if has(wanted, json.dumps(item)):
                found.setdefault(path.rsplit("/", 1)[-1], set()).add(item["metadata"]["name"])
    return found


def _lists(kube: Requests) -> Iterator[str]:
    groups = kube.call("GET", "/apis")[1]["groups"]
    versions = ["/api/v1", *(f"/apis/{each['preferredVersion']['groupVersion']}" for each in groups)]
    for version in versions:
        for resource in kube.call("GET", version)[1]["resources"]:
            if "list" in resource["verbs"]:
                yield f"{version}/{resource['name']}"


@dataclass
class Sampler:
    """Looks at all processes, and at pods and events of the cluster, as long as it is open."""

    wanted: list[bytes]
    kubeconfig: Path
    commands: set[str] = field(default_factory=set)
    """Of processes whose command line holds it."""
    environments: set[str] = field(default_factory=set)
    """Of processes outside of containers whose environment holds it."""
    inside: int = 0
    """How often a process in a container had it in its environment."""
    objects: dict[str, set[str]] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _failed: list[BaseException] = field(default_factory=list)

    def __enter__(self) -> Sampler:
        self._threads = [
            threading.Thread(target=self._repeat, args=(each,)) for each in (self._processes, self._cluster)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._failed and exc is None:
            raise self._failed[0]

    def _repeat(self, look: Any) -> None:
        try:
            while not self._stop.wait(INTERVAL_SECONDS):
                look()
        except BaseException as error:  # noqa: BLE001 - raised where the block ends
            self._failed.append(error)

    def _processes(self) -> None:
        here = Path("/proc/self/ns/mnt").readlink()
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                command = (directory / "cmdline").read_bytes()
                environment = (directory / "environ").read_bytes()
                is_outside = (directory / "ns/mnt").readlink() == here
            except OSError:
                continue
            words = command.replace(b"\0", b" ").decode("utf-8", "replace")
            if has(self.wanted, command):
                self.commands.add(words)
            if has(self.wanted, environment):
                self.inside += not is_outside
                if is_outside:
                    self.environments.add(words)

    def _cluster(self) -> None:
        with Requests(self.kubeconfig) as kube:
            while not self._stop.wait(INTERVAL_SECONDS * 3):
                for kind in ("pods", "events"):
                    for item in kube.call("GET", f"/api/v1/{kind}")[1]["items"]:
                        if has(self.wanted, json.dumps(item)):
                            self.objects.setdefault(kind, set()).add(item["metadata"]["name"])
