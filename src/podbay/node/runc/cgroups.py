"""Control groups of pods: version 1, version 2, and machines that have both mounted (hybrid).

runc makes the groups of containers; this makes those of pods, reads counters, kills and removes. Sources: the kernel's
Documentation/admin-guide/cgroup-v1 and cgroup-v2.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from podbay.node.specs import Limits

__all__ = ["Cgroups", "Counters", "cpu_weight", "find_cgroups"]

_MOUNT = re.compile(r"^\S+ \S+ \S+ (?P<root>\S+) (?P<path>\S+) .* - (?P<kind>cgroup2?) \S+ (?P<options>\S+)$")
_V1_CONTROLLERS = ("memory", "cpu", "cpuacct", "pids", "cpuset", "blkio", "devices", "freezer")
_REMOVE_SECONDS = 2.0
"""How long the kernel may need to let go of killed processes' groups before removal is given up."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What a group tells of its use; None where the machine does not tell."""

    cpu_ns: int | None
    memory: int | None
    inactive_file: int
    pids: int | None


def find_cgroups(mountinfo: str) -> Cgroups:
    """Read the machine's hierarchies from the text of /proc/self/mountinfo."""
    v1: dict[str, Path] = {}
    unified: Path | None = None
    everything: list[Path] = []
    for line in mountinfo.splitlines():
        found = _MOUNT.match(line)
        if found is None:
            continue
        everything.append(Path(found["path"]))
        if found["kind"] == "cgroup2":
            unified = Path(found["path"])
        for controller in found["options"].split(","):
            if found["kind"] == "cgroup" and controller in _V1_CONTROLLERS:
                v1[controller] = Path(found["path"])
    if "memory" in v1 or "cpu" in v1:
        return Cgroups(v1, None, everything)
    return Cgroups({}, unified, everything)


class Cgroups:
    """The hierarchies in use. Groups are named by their path from the root ("podbay/node/pod/container")."""

    def __init__(self, v1: Mapping[str, Path], v2: Path | None, everything: Sequence[Path] = ()) -> None:
        self._v1 = dict(v1)
        # runc puts containers into hierarchies without controllers too (systemd's, an idle version 2).
        self._everything = tuple(everything)
        self._v2 = v2

    @property
    def version(self) -> int:
        """1, 2, or 0 for none."""
        return 1 if self._v1 else 2 if self._v2 else 0

    @property
    def swap_accounting(self) -> bool:
        """Whether a limit on memory and swap together can be set."""
        if self._v2 is not None:
            return True
        return "memory" in self._v1 and (self._v1["memory"] / "memory.memsw.limit_in_bytes").exists()

    def controllers(self) -> frozenset[str]:
        """Those that can be used."""
        if self._v2 is None:
            return frozenset(self._v1)
        return frozenset((self._v2 / "cgroup.controllers").read_text().split())

    def paths(self, group: str) -> list[Path]:
        """The group's directories, existing or not."""
        if self._v2 is not None:
            return [self._v2 / group]
        return sorted({path / group for path in self._v1.values()})

    def make(self, group: str, limits: Limits) -> None:
        """Make a group and set its limits. Raises OSError."""
        if self._v2 is not None:
            self._make_v2(group, limits)
            return
        for path in self.paths(group):
            path.mkdir(parents=True, exist_ok=True)
        for (controller, name), value in _v1_values(limits).items():
            if controller in self._v1:
                (self._v1[controller] / group / name).write_text(str(value))

    def _make_v2(self, group: str, limits: Limits) -> None:
        assert self._v2 is not None
        wanted = self.controllers() & {"memory", "cpu", "pids", "io", "cpuset"}
        path = self._v2
        for part in group.split("/"):
            for controller in sorted(wanted):
                (path / "cgroup.subtree_control").write_text(f"+{controller}")
            path = path / part
            path.mkdir(exist_ok=True)
        for name, text in _v2_values(limits).items():
            (path / name).write_text(text)

    def processes(self, group: str) -> set[int]:
        """Ids of all processes in the group and in groups below it."""
        found: set[int] = set()
        for path in self.paths(group)[:1]:
            for directory, _, _ in os.walk(path):
                try:
                    text = (Path(directory) / "cgroup.procs").read_text()
                except OSError:
                    continue
                found.update(int(line) for line in text.split())
        return found - {0}

    def kill(self, group: str) -> None:
        """SIGKILL for every process in the group, also those it forks meanwhile."""
        if self._v2 is not None:
            try:
                (self._v2 / group / "cgroup.kill").write_text("1")
                return
            except OSError:
                pass
        for _ in range(100):
            processes = self.processes(group)
            if not processes:
                return
            for process in processes:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.002)

    def remove(self, group: str) -> bool:
        """Remove the group with those below it. False when the kernel still holds on to it."""
        deadline = time.monotonic() + _REMOVE_SECONDS
        remaining = [path / group for path in self._everything]
        while True:
            remaining = [path for path in remaining if not _remove_tree(path)]
            if not remaining:
                return True
            if time.monotonic() > deadline:
                return False
            self.kill(group)
            time.sleep(0.005)

    def out_of_memory_kills(self, group: str) -> int:
        """How many processes of the group the kernel has killed for want of memory; 0 when the group is gone."""
        if self._v2 is not None:
            return _field(self._v2 / group / "memory.events", "oom_kill") or 0
        if "memory" not in self._v1:
            return 0
        return _field(self._v1["memory"] / group / "memory.oom_control", "oom_kill") or 0

    def counters(self, group: str) -> Counters:
        """The group's use now."""
        if self._v2 is not None:
            path = self._v2 / group
            micros = _field(path / "cpu.stat", "usage_usec")
            return Counters(
                None if micros is None else micros * 1000,
                _number(path / "memory.current"),
                _field(path / "memory.stat", "inactive_file") or 0,
                _number(path / "pids.current"),
            )
        return Counters(
            self._v1_number("cpuacct", group, "cpuacct.usage"),
            self._v1_number("memory", group, "memory.usage_in_bytes"),
            _field(self._v1.get("memory", Path("/")) / group / "memory.stat", "total_inactive_file") or 0,
            self._v1_number("pids", group, "pids.current"),
        )

    def _v1_number(self, controller: str, group: str, name: str) -> int | None:
        return _number(self._v1[controller] / group / name) if controller in self._v1 else None

    def groups_below(self, group: str) -> Iterator[str]:
        """Names of the groups directly below, wherever they exist."""
        names: set[str] = set()
        for path in (base / group for base in self._everything):
            try:
                names.update(entry.name for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False))
            except FileNotFoundError:
                continue
        yield from sorted(names)


def _v1_values(limits: Limits) -> dict[tuple[str, str], int]:
    values: dict[tuple[str, str], int | None] = {
        ("memory", "memory.limit_in_bytes"): limits.memory,
        ("cpu", "cpu.shares"): limits.cpu_shares,
        ("pids", "pids.max"): limits.pids,
    }
    if limits.cpu_quota is not None:
        values["cpu", "cpu.cfs_period_us"] = limits.cpu_period
        values["cpu", "cpu.cfs_quota_us"] = limits.cpu_quota
    return {key: value for key, value in values.items() if value is not None}


def _v2_values(limits: Limits) -> dict[str, str]:
    values: dict[str, str] = {}
    if limits.memory is not None:
        values["memory.max"] = str(limits.memory)
    if limits.cpu_quota is not None:
        values["cpu.max"] = f"{limits.cpu_quota} {limits.cpu_period}"
    if limits.cpu_shares is not None:
        values["cpu.weight"] = str(cpu_weight(limits.cpu_shares))
    if limits.pids is not None:
        values["pids.max"] = str(limits.pids)
    return values


def cpu_weight(shares: int) -> int:
    """Shares 2…262144 as a version 2 weight 1…10000, as runc converts them."""
    return 1 + (max(2, min(shares, 262144)) - 2) * 9999 // 262142


def _remove_tree(path: Path) -> bool:
    for directory, _, _ in os.walk(path, topdown=False):
        try:
            Path(directory).rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return not path.exists()


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _field(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None
