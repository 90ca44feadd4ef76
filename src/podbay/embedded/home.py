"""Where a named cluster keeps its things: state, certificates, kubeconfig, log, and the lock of its process.

<home>/clusters/<name>/state.db        every object and the recent history
                       pki/            CA, serving certificate, signing keys (0600)
                       kubeconfig      admin access (0600)
                       process.json    address and pid of the running server
                       lock            held by the running server
                       server.log      what it printed
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from podbay.embedded.process_home import ProcessHome
from podbay.errors import InvalidInputError, StateError
from podbay.node.trees import remove_tree

__all__ = ["ClusterHome", "cluster_home", "cluster_names", "podbay_home", "unusable"]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?\Z")


def podbay_home(environ: Mapping[str, str] = os.environ) -> Path:
    """PODBAY_HOME, else $XDG_DATA_HOME/podbay, else ~/.local/share/podbay."""
    explicit = environ.get("PODBAY_HOME")
    if explicit:
        return Path(explicit).expanduser()
    data = environ.get("XDG_DATA_HOME")
    base = Path(data) if data else Path(environ.get("HOME") or "~").expanduser() / ".local" / "share"
    return base / "podbay"


def cluster_home(name: str, home: Path | None = None) -> ClusterHome:
    """The directory of a cluster; raises InvalidInputError for a name that cannot be one."""
    if not _NAME.match(name):
        raise InvalidInputError(
            f"cluster name {name!r} is not usable: use up to 40 lower-case letters, digits and '-', "
            "beginning and ending with a letter or digit"
        )
    return ClusterHome((home or podbay_home()) / "clusters" / name, name)


def cluster_names(home: Path | None = None) -> list[str]:
    """Names of the clusters that have a directory, sorted."""
    root = (home or podbay_home()) / "clusters"
    try:
        return sorted(p.name for p in root.iterdir() if p.is_dir() and _NAME.match(p.name))
    except FileNotFoundError:
        return []
    except OSError as err:
        raise unusable(err) from err


def unusable(err: OSError) -> StateError:
    """What to say of a file that cannot be used for a reason nobody has foreseen."""
    if err.filename and not _is_ours(os.fsdecode(err.filename)):
        if isinstance(err, FileNotFoundError):
            return StateError(f"{os.fsdecode(err.filename)} does not exist. Correct the path.")
        return StateError(
            f"{os.fsdecode(err.filename)}: {err.strerror or err}. Correct that, or name another."
        )
    subject = f"{os.fsdecode(err.filename)}: " if err.filename else ""
    return StateError(
        f"{subject}{err.strerror or err}. Correct that, or set PODBAY_HOME to a directory that is yours."
    )


def _is_ours(path: str) -> bool:
    """Whether another PODBAY_HOME would help: what lies below it, and the directories on the way to it."""
    home = podbay_home().absolute()
    found = Path(path).absolute()
    return found.is_relative_to(home) or home.is_relative_to(found)


@dataclass(frozen=True)
class ClusterHome(ProcessHome):
    """Paths of one cluster and what can be read from them without its server."""

    name: str

    @property
    def state(self) -> Path:
        return self.directory / "state.db"

    @property
    def pki(self) -> Path:
        return self.directory / "pki"

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    def lock(self) -> IO[bytes]:
        """Hold the cluster for this process until the file is closed. Raises ConflictError when it is held."""
        return self.hold(
            taken=f"cluster {self.name!r} is already running. Use it (podbay cluster status), stop it "
            "(podbay cluster stop), or give another --name."
        )

    def is_running(self) -> bool:
        """Its server lives."""
        return self.is_held()

    @property
    def last_port(self) -> int:
        """The port of the last run, 0 when there was none: kubeconfigs that people hold stay good."""
        try:
            return int((self.directory / "port").read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def remember_port(self, port: int) -> None:
        (self.directory / "port").write_text(str(port))

    def remove(self) -> None:
        """Delete everything of a stopped cluster."""
        try:
            remove_tree(self.directory)
        except FileNotFoundError:
            return
        except OSError as err:
            raise StateError(f"cannot remove {self.directory}: {err.strerror}. Remove it by hand.") from err
