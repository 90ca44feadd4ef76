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
from pathlib import Path

__all__ = ["COMPONENTS", "component", "import_airflow", "import_like", "migrate"]

COMPONENTS: dict[str, tuple[str, ...]] = {
    # Log servers listen on every address of the machine; here logs are read from files.
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "triggerer": ("triggerer", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "api-server": ("api-server",),
    # Only what worker processes ask: a third of the time to start.
    "task-api": ("api-server", "--apps", "execution"),
}
_MODULES = (
    "airflow.__main__",
    "airflow.api.common.mark_tasks",
    "airflow.api.common.trigger_dag",
    "airflow.api_fastapi.app",
    "airflow.api_fastapi.execution_api.app",
    "airflow.cli.commands.api_server_command",
    "airflow.cli.commands.scheduler_command",
    "airflow.cli.commands.triggerer_command",
    "airflow.dag_processing.dagbag",
    "airflow.dag_processing.collection",
    "airflow.executors.local_executor",
    "airflow.jobs.scheduler_job_runner",
    "airflow.jobs.triggerer_job_runner",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.serialization.serialized_objects",
    "uvicorn",
)
_WHOLE = ("airflow.cli.commands.dag_processor_command", "airflow.api_fastapi.core_api.app")


def import_airflow(*, whole: bool) -> None:
    """Import what several components need, once."""
    importlib.import_module("airflow")
    for name in (*_MODULES, *(_WHOLE if whole else ())):
        importlib.import_module(name)
    from podbay.airflow.running.lean_api import serve_own_version_only

    serve_own_version_only()
    from airflow.cli import cli_parser
    from airflow.providers_manager import ProvidersManager

    ProvidersManager().initialize_providers_configuration()
    cli_parser.get_parser()


def import_like(file: Path) -> None:
    """Import the modules of Airflow and Podbay that a DAG file imports, without running the file."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        # Whoever loads the file says what is wrong with it.
        return
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            if name.split(".")[0] in ("airflow", "podbay"):
                with contextlib.suppress(Exception):
                    importlib.import_module(name)


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
    """Be one of Airflow's components until told to end."""
    from airflow.__main__ import main

    sys.argv = ["airflow", *COMPONENTS[name]]
    main()
