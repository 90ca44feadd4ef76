"""What the host does with Airflow itself: import it whole, bring a database up to date, become a component.

Runs inside Airflow's own environment (AIRFLOW_HOME, AIRFLOW_CONFIG).
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import os
import sqlite3
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from podbay.airflow.running.forking import end_with_parent
from podbay.airflow.running.in_cluster import lead_hooks_to_the_run
from podbay.airflow.running.settings import HEALER

__all__ = ["COMPONENTS", "component", "import_airflow", "import_like", "likely", "migrate"]

COMPONENTS: dict[str, tuple[str, ...]] = {
    # Log servers listen on every address of the machine; here logs are read from files.
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "triggerer": ("triggerer", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "api-server": ("api-server",),
    # Only what worker processes ask: no UI, half the time to start.
    "task-api": ("api-server", "--apps", "execution"),
}
_CORE = (
    "airflow.__main__",
    "airflow.api.common.mark_tasks",
    "airflow.api.common.trigger_dag",
    "airflow.cli.commands.scheduler_command",
    "airflow.cli.commands.triggerer_command",
    "airflow.dag_processing.bundles.manager",
    "airflow.dag_processing.collection",
    "airflow.dag_processing.dagbag",
    "airflow.executors.local_executor",
    "airflow.jobs.scheduler_job_runner",
    "airflow.jobs.triggerer_job_runner",
    "airflow.providers.standard.operators.python",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.serialization.serialized_objects",
)
_WHOLE = (
    "airflow.api_fastapi.core_api.app",
    "airflow.api_fastapi.execution_api.app",
    "airflow.cli.commands.api_server_command",
    "airflow.cli.commands.dag_processor_command",
    "uvicorn",
)
WARM_SECONDS = 120.0
_SIGNS = {
    "task-api": (b"airflow.providers", b"airflow.operators", b"@task"),
    "triggerer": (b"podbay", b"deferrable"),
}
_OURS = ("podbay.airflow.triggers", "podbay.airflow.work", "podbay.lifecycle.engine")
"""What a triggerer imports when the first of our tasks comes."""


def import_airflow(*, whole: bool) -> None:
    """Import what all components need, once; `whole` also what only the API server needs.

    For one run the latter is left to that server's process, where it goes on beside the rest.
    """
    lead_hooks_to_the_run()
    importlib.import_module("airflow")
    for name in (*_CORE, *(_WHOLE + _OURS if whole else ())):
        importlib.import_module(name)
    from airflow.cli import cli_parser
    from airflow.providers_manager import ProvidersManager
    from sqlalchemy.orm import configure_mappers

    configure_mappers()
    ProvidersManager().initialize_providers_configuration()
    cli_parser.get_parser()


def likely(file: Path) -> list[str]:
    """A guess, before the file is loaded, which components its tasks will need."""
    try:
        text = file.read_bytes()
    except OSError:
        return []
    return [name for name, signs in _SIGNS.items() if any(sign in text for sign in signs)]


def import_like(file: Path) -> None:
    """Import the modules of Airflow and Podbay that a DAG file imports, without running the file."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        # Whoever loads the file says what is wrong with it.
        return
    names = [name for node in ast.walk(tree) for name in _imported(node)]
    if any(name.startswith("podbay") for name in names):
        names += _OURS
    for name in names:
        if name.split(".")[0] in ("airflow", "podbay"):
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []


def migrate(database: Path | None, template: Path) -> None:
    """Make this Airflow's database, or bring it up to date. A new SQLite file is kept as the template of others."""
    from airflow.utils import db

    if database is not None:
        db.initdb()
        template.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = template.with_name(f".{os.getpid()}.db")
        with contextlib.closing(sqlite3.connect(database)) as connection:
            # One whole file; a copy would leave out what still stands in the write-ahead log.
            connection.execute("VACUUM INTO ?", (str(draft),))
        draft.replace(template)
        return
    try:
        db.check_migrations(1)
    except TimeoutError:
        db.initdb()


def component(name: str) -> None:
    """Be one of Airflow's components, or the healer, until told to end."""
    if name == HEALER:
        from podbay.airflow.running.healing import heal

        heal()
        return
    from airflow.__main__ import main

    if name == "scheduler":
        from podbay.airflow.running.considerate_scheduler import rest_between_looks

        rest_between_looks()
        # Its workers and their tasks. What a task forks is the task's own business.
        end_with_parent(2)
    if name in ("scheduler", "dag-processor"):
        from podbay.airflow.running.patient_sqlite import wait_for_writers

        wait_for_writers()
    elif name == "triggerer":
        from podbay.airflow.running.tuning import tune_triggerer

        tune_triggerer()
    else:
        from podbay.airflow.running.lean_api import serve_own_version_only

        serve_own_version_only()
        threading.Thread(target=_warm, daemon=True).start()
    sys.argv = ["airflow", *COMPONENTS[name]]
    main()


def _warm() -> None:
    """Ask first: the routes of the task API are made when the first question comes, and a task would wait for that."""
    from airflow.configuration import conf

    url = conf.get("core", "execution_api_server_url") + "health/ping"
    deadline = time.monotonic() + WARM_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=WARM_SECONDS):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
