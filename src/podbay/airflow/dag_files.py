"""DAG files and their task pods, read by an Airflow of their own: private, empty, gone afterwards.

The reading process gets the deployment's settings, so that `conf.get("kubernetes", "NAMESPACE")` in a DAG file means its
namespace; $PODBAY_FILE is left out, because the pods are judged by whoever asked.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from podbay.airflow.checking import KnownPod
from podbay.airflow.running.home import new_keys
from podbay.airflow.running.requirement import require_airflow
from podbay.airflow.running.settings import Wanted, airflow_cfg, environment
from podbay.deployment.handover import FILE_VARIABLE, airflow_environment
from podbay.deployment.model import Deployment
from podbay.errors import InvalidInputError, StateError
from podbay.pods.problems import Problem

__all__ = ["DagFile", "PodTask", "read_dag_files"]

SECONDS = 600.0
"""For all files; each has Airflow's own limit (core.dagbag_import_timeout, 30 s) as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTask:
    """A task that is a pod, or will be several."""

    dag: str
    task: str
    queue: str
    said: tuple[str, ...]
    """Parameters that say something."""
    known: KnownPod | None
    trouble: str = ""
    """Why its pod cannot be built."""
    credentials: tuple[Problem, ...] = ()
    """In plain text, by parameter or field of the pod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DagFile:
    """A file as Airflow reads it."""

    path: str
    dags: tuple[str, ...]
    tasks: tuple[PodTask, ...]
    errors: tuple[str, ...]
    """Why it, or a DAG of it, cannot be imported."""


def read_dag_files(paths: Sequence[Path], deployment: Deployment) -> list[DagFile]:
    """Read files, and what Airflow finds in directories (.airflowignore heeded). Modules are imported from the directory.

    Raises InvalidInputError without an Airflow that will do, and for what is not there.
    """
    require_airflow()
    for path in paths:
        if not path.exists():
            raise InvalidInputError(f"{path} does not exist")
    places = [path.absolute() for path in paths]
    roots = [each if each.is_dir() else each.parent for each in places]
    with tempfile.TemporaryDirectory(prefix="podbay-check-") as directory:
        home = Path(directory)
        wanted = Wanted(
            directory=home,
            dags=roots[0],
            database=f"sqlite:///{home}/airflow.db",
            port=1,
            keys=new_keys(),
            lasting=False,
        )
        (home / "airflow.cfg").write_text(airflow_cfg(wanted))
        order = orjson.dumps([[str(place), str(root)] for place, root in zip(places, roots, strict=True)])
        done = _run(order, home, _environment(home, deployment))
    try:
        return [_file(each) for each in orjson.loads(done.stdout)]
    except orjson.JSONDecodeError:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2] or "it said nothing"
        raise StateError(
            f"Airflow could not read the DAG files (exit code {done.returncode}): {said}"
        ) from None


def _run(order: bytes, home: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "podbay.airflow.inspecting"]
    try:
        return subprocess.run(
            command, input=order, capture_output=True, env=env, cwd=home, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise StateError(f"reading the DAG files took more than {SECONDS:.0f} s") from None


def _environment(home: Path, deployment: Deployment) -> dict[str, str]:
    found = environment(home, home / "kubeconfig", deployment.namespace, os.environ)
    found |= airflow_environment(deployment, "", in_cluster=True)
    del found[FILE_VARIABLE]
    return found


def _file(report: Mapping[str, Any]) -> DagFile:
    return DagFile(
        path=report["file"],
        dags=tuple(report["dags"]),
        tasks=tuple(_task(each) for each in report["tasks"]),
        errors=tuple(report["errors"]),
    )


def _task(report: Mapping[str, Any]) -> PodTask:
    pod = report.get("pod")
    return PodTask(
        dag=report["dag"],
        task=report["task"],
        queue=report["queue"],
        said=tuple(report["said"]),
        known=None if pod is None else KnownPod(pod, frozenset(report["later"])),
        trouble=report.get("trouble", ""),
        credentials=tuple(Problem(each["field"], each["message"]) for each in report.get("credentials", ())),
    )
