"""Volumes as directories in the node's own volume on the engine, written in one step as the kubelet does.

Volumes in memory share one tmpfs; those with a size limit get one of their own, held by a container. Source of the
update scheme: pkg/volume/util/atomic_writer.go: files live in one directory, `..data` points to it, what users see are
symbolic links through `..data`.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import PurePosixPath
from weakref import WeakValueDictionary

import orjson

from podbay.errors import InvalidInputError
from podbay.node.engine.api import Engine
from podbay.node.engine.files import RemoteFiles
from podbay.node.engine.keeper import Keeper, Place
from podbay.node.engine.keeper_image import FILES
from podbay.node.engine.labels import VOLUME, Names
from podbay.node.specs import VolumeFile, VolumeSpec

__all__ = ["VolumePlaces"]

_DATA = "..data"
_PAGE = os.sysconf("SC_PAGE_SIZE")
"""Bytes of a page of memory, taken to be the engine's as well."""
_STEPS_MAX = 255
"""Parts and links of a sub path that are followed; the kernel follows 40 links."""


class VolumePlaces:
    """The volumes of one node."""

    def __init__(self, engine: Engine, keeper: Keeper, names: Names) -> None:
        self._engine = engine
        self._keeper = keeper
        self._names = names
        self._places: dict[str, Place] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def create(self, spec: VolumeSpec) -> None:
        """Make it; an existing one is left as it is."""
        _check_name(spec.name)
        async with self._locked(spec.name):
            if await self.find(spec.name) is not None:
                return
            mode, gid = spec.mode, spec.group or 0
            if spec.group is not None:
                # New files get the group too (fsGroup), and the group may write.
                mode |= stat.S_ISGID | 0o070
            if spec.memory and spec.size_limit is not None:
                size = f"size={spec.size_limit}"
                if self._engine.podman:
                    # It takes "size" for a quota on disk and refuses it; the kernel knows another word.
                    size = f"nr_blocks={-(-spec.size_limit // _PAGE)}"
                await self._create_alone(spec, f"{size},mode={mode:o},gid={gid}")
                return
            path = f"volumes/{spec.name}"
            place = self._keeper.memory(path) if spec.memory else self._keeper.disk(path)
            files = self._keeper.files
            await files.make_directory(f"{place.root}/volumes")
            if "/" in spec.name:
                await files.make_directory(place.in_keeper.rpartition("/")[0])
            await files.make_directory(place.in_keeper, mode=mode, gid=gid)
            self._places[spec.name] = place

    async def _create_alone(self, spec: VolumeSpec, options: str) -> None:
        volume = self._names.volume(spec.name)
        labels = {VOLUME: spec.name}
        await self._keeper.make_volume(volume, options, labels)
        await self._keeper.hold(volume, labels)
        self._places[spec.name] = Place(volume, FILES, "")

    async def find(self, name: str) -> Place | None:
        """Where it is, None when it does not exist."""
        known = self._places.get(name)
        if known is not None and not known.path:
            return known
        for place in (self._keeper.disk(f"volumes/{name}"), self._keeper.memory(f"volumes/{name}")):
            if known in (None, place) and await self._keeper.files.look(place.in_keeper) is not None:
                return self._places.setdefault(name, place)
        self._places.pop(name, None)
        volume = self._names.volume(name)
        if await self._engine.find(f"/volumes/{volume}") is not None:
            await self._keeper.hold(volume, {VOLUME: name})
            return self._places.setdefault(name, Place(volume, FILES, ""))
        return None

    async def write(self, name: str, files: Mapping[str, VolumeFile]) -> None:
        """Make it hold exactly these files. InvalidInputError when there is no such volume or a path leads out."""
        for relative in files:
            _check_relative(relative)
        async with self._locked(name):
            place = await self._existing(name)
            async with self._files(place) as remote:
                await _write(remote, place.in_keeper, files)

    async def resolve(self, place: Place, sub_path: str) -> Place:
        """The place that a sub path means, following links inside the volume and making what is missing.

        InvalidInputError when it leads out of the volume.
        """
        async with self._files(place) as remote:
            found = await _walk(remote, place.in_keeper, sub_path)
        return place.below(found) if found else place

    async def usage(self, name: str) -> int:
        """Bytes in use; 0 when it does not exist."""
        place = await self.find(name)
        if place is None:
            return 0
        async with self._files(place, slow=True) as remote:
            return await remote.usage(place.in_keeper)

    async def remove(self, name: str) -> None:
        """Remove it with its content; no error when it does not exist."""
        async with self._locked(name):
            place = await self.find(name)
            self._places.pop(name, None)
            if place is None:
                return
            if not place.path:
                await self._remove_alone(place.volume)
                return
            # Moved first, so that a removal cut short leaves no half of a volume under its name.
            trash = f"{place.root}/removed-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
            remote = self._keeper.slow_files
            await remote.remove(trash)
            await self._keeper.files.rename(place.in_keeper, trash)
            await remote.remove(trash)
            if "/" in name and not await self._names_above(place):
                await remote.remove(place.in_keeper.rpartition("/")[0])

    async def reset(self) -> None:
        """Forget all places; the engine's volumes are removed by the caller."""
        self._places.clear()

    async def _names_above(self, place: Place) -> list[str]:
        try:
            return await self._keeper.files.names(place.in_keeper.rpartition("/")[0])
        except FileNotFoundError:
            return []

    async def _remove_alone(self, volume: str) -> None:
        await self._engine.delete(f"/containers/{volume}", {"force": 1})
        await self._engine.delete(f"/volumes/{volume}", {"force": 1})

    async def _existing(self, name: str) -> Place:
        place = await self.find(name)
        if place is None:
            raise InvalidInputError(f'there is no volume "{name}"')
        return place

    @asynccontextmanager
    async def _files(self, place: Place, *, slow: bool = False) -> AsyncGenerator[RemoteFiles, None]:
        if place.path:
            yield self._keeper.slow_files if slow else self._keeper.files
            return
        held = self._keeper.held_files(place.volume)
        try:
            yield held
        finally:
            await held.aclose()

    def _locked(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())


async def _write(remote: RemoteFiles, base: str, files: Mapping[str, VolumeFile]) -> None:
    fresh = _digest(files)
    current = await remote.look(f"{base}/{_DATA}")
    if current is not None and current.target == fresh:
        return
    volume = await remote.look(base)
    gid = volume.gid if volume is not None else 0
    await remote.remove(f"{base}/{fresh}")
    await remote.make_directory(f"{base}/{fresh}", gid=gid)
    for directory in _directories(files):
        await remote.make_directory(f"{base}/{fresh}/{directory}", gid=gid)
    for relative, file in files.items():
        await remote.write_file(
            f"{base}/{fresh}/{relative}",
            file.data,
            mode=file.mode,
            uid=file.uid or 0,
            gid=gid if file.gid is None else file.gid,
        )
    await remote.remove(f"{base}/..data_tmp")
    await remote.make_link(f"{base}/..data_tmp", fresh)
    await remote.rename(f"{base}/..data_tmp", f"{base}/{_DATA}")
    await _show(remote, base, {PurePosixPath(relative).parts[0] for relative in files}, keep=fresh)


async def _show(remote: RemoteFiles, base: str, wanted: set[str], *, keep: str) -> None:
    """Links for what there is, none for what is gone, and nothing of earlier writes."""
    present = set(await remote.names(base))
    for name in sorted(wanted - present):
        await remote.make_link(f"{base}/{name}", f"{_DATA}/{name}")
    for name in sorted(present - wanted - {_DATA, keep}):
        entry = await remote.look(f"{base}/{name}")
        if entry is not None and (entry.is_link or name.startswith("..")):
            await remote.remove(f"{base}/{name}")


async def _walk(remote: RemoteFiles, base: str, sub_path: str) -> str:
    """The path below base without links. Each link is read here: the other side follows none."""
    if sub_path.startswith("/"):
        raise InvalidInputError(f'subPath "{sub_path}" must be a relative path')
    todo = [part for part in sub_path.split("/") if part not in ("", ".")][::-1]
    done: list[str] = []
    for _ in range(_STEPS_MAX):
        if not todo:
            return "/".join(done)
        part = todo.pop()
        if part == "..":
            if not done:
                break
            done.pop()
            continue
        here = "/".join((base, *done, part))
        entry = await remote.look(here)
        if entry is not None and entry.is_link:
            if entry.target.startswith("/"):
                break
            todo += [step for step in entry.target.split("/") if step not in ("", ".")][::-1]
            continue
        if entry is None:
            await _make_below(remote, "/".join((base, *done)), here)
        elif todo and not entry.is_directory:
            raise InvalidInputError(f'subPath "{sub_path}": {"/".join((*done, part))} is not a directory')
        done.append(part)
    raise InvalidInputError(f'subPath "{sub_path}" leads out of its volume')


async def _make_below(remote: RemoteFiles, parent: str, path: str) -> None:
    """A directory with its parent's mode, as the kubelet makes them for sub paths."""
    above = await remote.look(parent)
    if above is None or not above.is_directory:
        raise NotADirectoryError(errno.ENOTDIR, "not a directory", parent)
    gid = above.gid if above.mode & stat.S_ISGID else 0
    await remote.make_directory(path, mode=stat.S_IMODE(above.mode), gid=gid)


def _directories(files: Mapping[str, VolumeFile]) -> list[str]:
    found = {str(parent) for relative in files for parent in PurePosixPath(relative).parents}
    return sorted(found - {"."})


def _digest(files: Mapping[str, VolumeFile]) -> str:
    digest = hashlib.sha256()
    for relative in sorted(files):
        file = files[relative]
        head = (relative, file.mode, file.uid, file.gid, len(file.data))
        digest.update(orjson.dumps(head))
        digest.update(file.data)
    # Hidden from listings that follow the kubelet's convention, as its timestamped names are.
    return f"..{digest.hexdigest()[:32]}"


def _check_relative(relative: str) -> None:
    parts = PurePosixPath(relative).parts
    if (
        not parts
        or relative.startswith("/")
        or ".." in parts
        or parts[0].startswith("..")
        or "\0" in relative
    ):
        raise InvalidInputError(f'"{relative}" is no path inside a volume')


def _check_name(name: str) -> None:
    parts = name.split("/")
    if not 1 <= len(parts) <= 2 or any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise InvalidInputError(f'"{name}" is no volume name')
