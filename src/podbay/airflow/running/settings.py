"""airflow.cfg and environment of a private Airflow, purely: what is asked for in, texts out.

A file and not variables: keys stay out of the environment of every task. Everything listens on loopback.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from podbay.airflow.connection import RUN_KUBECONFIG
from podbay.airflow.running.connection import airflow_connection

__all__ = ["BUNDLE", "HEALER", "Keys", "Wanted", "airflow_cfg", "environment", "name_left_out"]

BUNDLE = "podbay"
"""Name of the one DAG bundle."""
HEALER = "healer"
"""Podbay's own process beside Airflow's components."""
SLOTS = 16
"""Worker processes of LocalExecutor: forked from one parent, so an idle one costs 5 MB (airflow.md 6)."""
_KEPT = ("AIRFLOW_CONN_", "AIRFLOW_VAR_", "AIRFLOW__SECRETS__", "AIRFLOW__PODBAY__", "AIRFLOW__KUBERNETES__")
"""What of the user's own Airflow settings goes along: what tasks are given, not how Airflow is run."""
_NAMES = tuple(f"AIRFLOW__PODBAY__DEPLOYMENT{way}" for way in ("", "_CMD", "_SECRET"))
"""But not another Airflow's name, in each way that Airflow reads it. On the same cluster this one's pods would have no owner
for the other's healer, nor the other's for this one's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Secrets of one private Airflow."""

    fernet: str
    jwt: str
    session: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One private Airflow."""

    directory: Path
    """Configuration, logs, database."""
    dags: Path
    database: str
    """SQLAlchemy URL."""
    port: int
    keys: Keys
    deployment: str = ""
    """Its name in Podbay's own options, which no other Airflow has; empty for the default."""
    lasting: bool
    """For `podbay up`: schedules count, files are looked at again. Else for one run."""


def airflow_cfg(wanted: Wanted) -> str:
    """The text of airflow.cfg. Holds secrets."""
    sections = _shared(wanted)
    for section, options in (_lasting(wanted) if wanted.lasting else _once()).items():
        sections.setdefault(section, {}).update(options)
    lines = []
    for section, options in sections.items():
        lines.append(f"[{section}]")
        # Airflow reads the file with interpolation.
        lines += [f"{name} = {value.replace('%', '%%')}" for name, value in options.items()]
    return "\n".join(lines) + "\n"


def _shared(wanted: Wanted) -> dict[str, dict[str, str]]:
    url = f"http://127.0.0.1:{wanted.port}"
    bundle = {
        "name": BUNDLE,
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(wanted.dags)},
    }
    return {
        "core": {
            "dags_folder": str(wanted.dags),
            "executor": "LocalExecutor",
            "parallelism": str(SLOTS),
            "load_examples": "False",
            "fernet_key": wanted.keys.fernet,
            "execution_api_server_url": f"{url}/execution/",
            # The whole traceback: it is shortened to the user's own files where it is shown.
            "dagbag_import_error_traceback_depth": "1000",
        },
        "database": {
            "sql_alchemy_conn": wanted.database,
            "load_default_connections": "False",
            # The host has seen to that before anything starts.
            "check_migrations": "False",
        },
        # The table of old names costs each process a third of a second.
        "metrics": {"legacy_names_on": "False"},
        "logging": {"base_log_folder": str(wanted.directory / "logs"), "colored_console_log": "False"},
        "api": {
            "host": "127.0.0.1",
            "port": str(wanted.port),
            "base_url": url,
            "workers": "1",
            "secret_key": wanted.keys.session,
        },
        "api_auth": {"jwt_secret": wanted.keys.jwt},
        "dag_processor": {"dag_bundle_config_list": orjson.dumps([bundle]).decode()},
        "scheduler": {"scheduler_idle_sleep_time": "0.2"},
        # A supervisor whose task's process closes its pipes before it is gone sleeps for so long (default 5 s).
        "workers": {
            "min_heartbeat_interval": "2",
            # A busy machine takes a quarter of a minute to start the task API; that must cost no try (default: 5, some 9 s).
            "execution_api_retries": "30",
            "execution_api_retry_wait_max": "3",
        },
        "usage_data_collection": {"enabled": "False"},
        "podbay": {"deployment": wanted.deployment} if wanted.deployment else {},
    }


def _once() -> dict[str, dict[str, str]]:
    return {
        "core": {"dags_are_paused_at_creation": "False", "simple_auth_manager_all_admins": "True"},
        # The run that was asked for, and none that the DAG's own schedule would add.
        "scheduler": {"use_job_schedule": "False"},
    }


def _lasting(wanted: Wanted) -> dict[str, dict[str, str]]:
    return {
        "core": {
            "simple_auth_manager_users": "admin:admin",
            "simple_auth_manager_passwords_file": str(wanted.directory / "passwords.json"),
        },
        "dag_processor": {"refresh_interval": "10", "min_file_process_interval": "10"},
    }


def environment(
    directory: Path, kubeconfig: Path, namespace: str, environ: Mapping[str, str]
) -> dict[str, str]:
    """The environment of all its processes: the user's, without his settings for another Airflow."""
    kept = {k: v for k, v in environ.items() if not k.startswith("AIRFLOW") or k.startswith(_KEPT)}
    kept = {k: v for k, v in kept.items() if k not in _NAMES}
    # Where DAGs look for the namespace of their pods; stock Airflow has no [kubernetes] namespace.
    kept.setdefault("AIRFLOW__KUBERNETES__NAMESPACE", namespace)
    return kept | {
        "AIRFLOW__KUBERNETES_EXECUTOR__NAMESPACE": kept["AIRFLOW__KUBERNETES__NAMESPACE"],
        "AIRFLOW_HOME": str(directory),
        "AIRFLOW_CONFIG": str(directory / "airflow.cfg"),
        "AIRFLOW_CONN_KUBERNETES_DEFAULT": airflow_connection(kubeconfig, namespace),
        "KUBECONFIG": str(kubeconfig),
        RUN_KUBECONFIG: str(kubeconfig),
        "PYTHONUNBUFFERED": "1",
    }


def name_left_out(environ: Mapping[str, str]) -> str:
    """What to tell whoever has given another Airflow's name; empty when nobody has."""
    found = [each for each in _NAMES if each in environ]
    if not found:
        return ""
    return (
        f"note: {' and '.join(found)} of the environment is left out: this Airflow has a name of its own, so that its pods "
        "are not taken for those of another"
    )
