"""Where private Airflows live, and what is kept so that the next start is fast.

<home>/airflow/<version>/template.db      an empty database of that version, copied for each run
<home>/airflow/runs/<id>/                 one `podbay run`: configuration, logs, database; the last ten are kept
<home>/airflow/up/                        `podbay up`
                  airflow.cfg kubeconfig passwords.json   private to their owner (0600)
                  process.json lock       the running host's facts, and the lock that it holds
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import orjson

from podbay.airflow.running.settings import Keys
from podbay.embedded.home import podbay_home
from podbay.embedded.private_files import write_private
from podbay.errors import ConflictError, StateError

__all__ = ["AirflowHome", "airflow_root", "new_keys", "new_run_home", "template_database", "up_home"]

KEPT_RUNS = 10


@dataclass(frozen=True, slots=True)
class AirflowHome:
    """The directory of one private Airflow."""

    directory: Path

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    @property
    def database(self) -> Path:
        return self.directory / "airflow.db"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    def log(self, component: str) -> Path:
        """What a component printed."""
        return self.directory / f"{component}.log"

    def last_words(self, component: str) -> str:
        """The last line that a component printed, and where to read on."""
        path = self.log(component)
        lines = path.read_text(errors="replace").split("\n") if path.exists() else []
        told = (line.strip() for line in reversed(lines) if line.strip())
        # SQLAlchemy ends with where to read about its errors in general.
        last = next((line for line in told if not line.startswith("(Background on")), "it said nothing")
        return f"{last}. Its log is {path}"

    def create(self) -> None:
        """Make the directory, private to its owner. Raises StateError with the fix."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as err:
            raise StateError(
                f"cannot create {self.directory}: {err.strerror}. Make its parent writable, or set PODBAY_HOME "
                "to a directory that is."
            ) from err

    def write(self, name: str, text: str) -> None:
        """A file of mode 0600, whole or not at all."""
        write_private(self.directory / name, text.encode())

    def lock(self, *, taken: str) -> IO[bytes]:
        """Hold it until the file is closed. Raises ConflictError(taken) when somebody does."""
        self.create()
        file = (self.directory / "lock").open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            file.close()
            raise ConflictError(taken) from err
        return file

    def is_held(self) -> bool:
        """A live process holds the lock; a pid file alone proves nothing."""
        try:
            with (self.directory / "lock").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def write_process(self, facts: Mapping[str, Any]) -> None:
        self.write("process.json", orjson.dumps(facts).decode())

    def read_process(self) -> dict[str, Any]:
        """What the running host recorded; empty when there is nothing to read."""
        try:
            parsed = orjson.loads((self.directory / "process.json").read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return {}
        return parsed if isinstance(parsed, dict) else {}

    def forget_process(self) -> None:
        (self.directory / "process.json").unlink(missing_ok=True)


def airflow_root() -> Path:
    return podbay_home() / "airflow"


def template_database(version: str) -> Path:
    """The empty database of an Airflow version; made by the first run."""
    return airflow_root() / version / "template.db"


def up_home() -> AirflowHome:
    return AirflowHome(airflow_root() / "up")


def new_run_home(now: datetime) -> tuple[str, AirflowHome]:
    """An id for a run, good as a label value, and its directory; old runs' directories go."""
    runs = airflow_root() / "runs"
    run_id = f"podbay-{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    home = AirflowHome(runs / run_id)
    home.create()
    _forget_old(runs)
    return run_id, home


def _forget_old(runs: Path) -> None:
    for directory in sorted(runs.iterdir())[:-KEPT_RUNS]:
        if not AirflowHome(directory).is_held():
            with contextlib.suppress(OSError):
                shutil.rmtree(directory)


def new_keys() -> Keys:
    return Keys(
        fernet=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        jwt=secrets.token_hex(32),
        session=secrets.token_hex(32),
    )
