"""File trees of containers: unpacked layers below, the container's own writes on top.

overlayfs where the kernel lets us, else a full copy. The layers themselves belong to the image store.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from podbay.errors import StartError
from podbay.node import kernel
from podbay.node.runc.namespaces import on_own_thread
from podbay.node.trees import remove_tree

__all__ = ["Snapshots"]

_OPTIONS_MAX = 4000
"""mount(2) reads one page of options."""
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


class Snapshots:
    """Makes and removes trees. All methods block. `overlay` says which way is in use, `problem` why not overlay."""

    def __init__(self, layers: Path, *, user_namespace: bool = False) -> None:
        self._layers = layers
        self._extra = ",userxattr" if user_namespace else ""
        self._volatile = ""
        self.overlay = False
        self.problem = ""

    def probe(self, scratch: Path) -> None:
        """Find out whether overlayfs works below the state directory."""
        # Unmounting would wait for the disk otherwise; what a container wrote need not survive a power cut.
        for volatile in (",volatile", ""):
            try:
                self._try(scratch, volatile)
                self.overlay, self.problem, self._volatile = True, "", volatile
                return
            except OSError as error:
                reason = error.strerror or str(error)
                self.problem = (
                    f"file trees are copied for each container, for overlayfs does not work here: {reason}"
                )

    def _try(self, scratch: Path, volatile: str) -> None:
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            for name in ("lower", "upper", "work", "merged"):
                (scratch / name).mkdir(parents=True)
            options = f"lowerdir={scratch}/lower,upperdir={scratch}/upper,workdir={scratch}/work"
            kernel.mount("overlay", scratch / "merged", "overlay", 0, options + self._extra + volatile)
            kernel.detach(scratch / "merged")
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def mount(
        self, layers: Sequence[str], target: Path, *, upper: Path | None, work: Path | None = None
    ) -> None:
        """Show the layers (names in the layer directory, lowest first) at target. Without upper: read-only use.

        Raises StartError; nothing stays mounted.
        """
        target.mkdir(exist_ok=True)
        # overlayfs refuses the same directory twice. Of equal layers the topmost has the say in all they hold.
        layers = list(dict.fromkeys(reversed(layers)))[::-1]
        if not layers:
            raise StartError("CreateContainerError", "the image has no layers")
        try:
            if not self.overlay:
                self._copy(layers, target)
            elif upper is None and len(layers) == 1:
                kernel.bind(self._layers / layers[0], target)
            else:
                self._overlay(layers, target, upper, work)
        except OSError as error:
            message = f"failed to mount rootfs {target.name}: {error.strerror or error}"
            raise StartError("CreateContainerError", message) from error

    def is_mounted(self, target: Path) -> bool:
        """Whether the tree is there to be used (a copy always is)."""
        if not self.overlay:
            return target.is_dir()
        return target.is_mount()

    def _overlay(self, layers: Sequence[str], target: Path, upper: Path | None, work: Path | None) -> None:
        # Topmost first. Relative names keep 128 layers within one page of options.
        lower = ":".join(reversed(layers))
        options = f"lowerdir={lower}"
        if upper is not None:
            assert work is not None
            upper.mkdir(exist_ok=True)
            work.mkdir(exist_ok=True)
            base = self._layers / layers[-1]
            shown = base.stat()
            os.chmod(upper, stat.S_IMODE(shown.st_mode))  # noqa: PTH101
            os.chown(upper, shown.st_uid, shown.st_gid)
            options += f",upperdir={upper},workdir={work}{self._volatile}"
        options += self._extra
        if len(options) > _OPTIONS_MAX:
            raise StartError("CreateContainerError", f"the image has too many layers ({len(layers)})")

        def mount() -> None:
            # A working directory of this thread alone.
            kernel.unshare(kernel.CLONE_FS)
            os.chdir(self._layers)
            kernel.mount("overlay", target, "overlay", 0, options)

        on_own_thread(mount)

    def _copy(self, layers: Sequence[str], target: Path) -> None:
        for layer in layers:
            _merge(self._layers / layer, target)


def _merge(source: Path, target: Path) -> None:
    """Lay one unpacked layer over target, obeying overlayfs's whiteouts."""
    for entry in os.scandir(source):
        path = target / entry.name
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            _delete(path)
        elif entry.is_dir(follow_symlinks=False):
            if not path.is_dir() or path.is_symlink() or _is_opaque(entry.path):
                _delete(path)
                path.mkdir()
            _merge(Path(entry.path), path)
            shutil.copystat(entry.path, path)
            os.chown(path, status.st_uid, status.st_gid)
        else:
            _delete(path)
            _copy_file(entry.path, path, status)


def _copy_file(source: str, target: Path, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        shutil.copyfile(source, target)
    elif stat.S_ISLNK(status.st_mode):
        target.symlink_to(os.readlink(source))  # noqa: PTH115 - the text as it is
    else:
        os.mknod(target, status.st_mode, status.st_rdev)
    os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    shutil.copystat(source, target, follow_symlinks=False)


def _is_opaque(path: str) -> bool:
    for name in _OPAQUE:
        try:
            if os.getxattr(path, name) == b"y":
                return True
        except OSError:
            continue
    return False


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)
