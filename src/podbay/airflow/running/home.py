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
import secrets
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from podbay.airflow.running.settings import Keys
from podbay.embedded.home import podbay_home
from podbay.embedded.private_files import write_private
from podbay.embedded.process_home import ProcessHome

__all__ = ["AirflowHome", "airflow_root", "new_keys", "new_run_home", "template_database", "up_home"]

KEPT_RUNS = 10


@dataclass(frozen=True)
class AirflowHome(ProcessHome):
    """The directory of one private Airflow."""

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
        """The last line that a component printed, with what belongs to it, and where to read on."""
        path = self.log(component)
        lines = path.read_text(errors="replace").split("\n") if path.exists() else []
        told: list[str] = []
        for line in reversed(lines):
            # SQLAlchemy ends with where to read about its errors in general.
            if not line.strip() or line.startswith("(Background on"):
                continue
            told.insert(0, line.strip())
            # What PostgreSQL says further is indented.
            if not line.startswith("\t"):
                break
        return f"{' '.join(told) or 'it said nothing'}. Its log is {path}"

    def write(self, name: str, text: str) -> None:
        """A file of mode 0600, whole or not at all."""
        write_private(self.directory / name, text.encode())


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
