"""An image with the Python that runs these tests: its executable, the C libraries it loads, its standard library.

Airflow itself is not in it; worker pods mount the environment that it is installed in. Same paths as on the machine.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from images import BuiltImage, Layer, build, busybox_layer

__all__ = ["python_image"]

SKIPPED = frozenset(
    {"test", "tests", "idlelib", "tkinter", "ensurepip", "lib2to3", "site-packages", "dist-packages"}
)
WHEEL_LIBRARIES = (
    *("libc.so.6", "libdl.so.2", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0"),
    *("libresolv.so.2", "librt.so.1", "libstdc++.so.6", "libutil.so.1"),
)
"""What compiled packages may take for granted (the manylinux policy)."""


def python_image() -> BuiltImage:
    """busybox and Python."""
    executable = Path(sys.executable).resolve()
    standard = Path(sysconfig.get_path("stdlib")).resolve()
    modules = [path for path in _files(standard) if path.suffix == ".so"]
    libraries = _needed([executable, *modules]) | _found_by_loader(WHEEL_LIBRARIES)
    files = {path: path.resolve() for path in sorted(libraries)}
    files |= {path: path for path in [executable, *_files(standard)]}
    layer = Layer()
    for directory in sorted({str(parent) for path in files for parent in path.parents}):
        if directory != "/" and not Path("/bin/busybox").is_relative_to(directory):
            layer.directory(directory.lstrip("/"))
    for path, source in files.items():
        # Cached bytecode is valid only for a source of the very same time.
        info = source.stat()
        layer.add(
            str(path).lstrip("/"), source.read_bytes(), mode=info.st_mode & 0o777, mtime=int(info.st_mtime)
        )
    layer.add("usr/bin/python3", f'#!/bin/sh\nexec {executable} "$@"\n', mode=0o755)
    return build([busybox_layer(), layer], {"Env": ["PATH=/bin:/usr/bin"], "Cmd": ["sh"]})


def _files(directory: Path) -> Iterator[Path]:
    for path in directory.iterdir():
        if path.is_dir() and path.name not in SKIPPED and not path.name.startswith("config-"):
            yield from _files(path)
        elif path.is_file() and ".opt-" not in path.name:
            yield path


def _needed(binaries: list[Path]) -> set[Path]:
    listed = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True, check=True).stdout
    return {Path(found) for found in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", listed, re.MULTILINE)}


def _found_by_loader(names: tuple[str, ...]) -> set[Path]:
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    found = {}
    for name, path in re.findall(r"^\s+(\S+) \(libc6,[^)]*\) => (\S+)$", listed, re.MULTILINE):
        found.setdefault(name, Path(path))
    return {found[name] for name in names if name in found}
