"""The DAG that a file defines, or one clear sentence why there is none to run. Runs inside Airflow.

Raises InvalidInputError for everything that the file's author or the command's user can mend.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from podbay.airflow.running.settings import BUNDLE
from podbay.airflow.running.tracebacks import shorten
from podbay.errors import InvalidInputError

__all__ = ["load", "needs", "run_conf", "task_facts"]


def load(file: Path, root: Path, dag_id: str | None) -> tuple[Any, Any]:
    """The bag of the file alone, and the DAG to run."""
    from airflow.dag_processing.dagbag import BundleDagBag

    bag = BundleDagBag(str(file), bundle_path=root, bundle_name=BUNDLE, safe_mode=False)
    if bag.import_errors:
        said = "\n".join(shorten(text, root) for text in bag.import_errors.values())
        if "AirflowDagCycleException" in said:
            raise InvalidInputError(f"{file}: {said.partition(': ')[2]}. Tasks must not wait for each other.")
        raise InvalidInputError(f"{file} cannot be imported:\n{said}")
    if not bag.dags:
        raise InvalidInputError(
            f"{file} defines no DAG. A function decorated with @dag must be called, and a DAG must be made at the "
            "top level of the file."
        )
    return bag, _choose(file, bag.dags, dag_id)


def _choose(file: Path, dags: dict[str, Any], dag_id: str | None) -> Any:
    names = ", ".join(sorted(dags))
    if dag_id is not None:
        if dag_id not in dags:
            raise InvalidInputError(f"--dag {dag_id}: {file} defines {names}")
        return dags[dag_id]
    if len(dags) > 1:
        raise InvalidInputError(f"{file} defines several DAGs: {names}. Choose one with --dag ID.")
    return next(iter(dags.values()))


def run_conf(dag: Any, conf: dict[str, Any], params: dict[str, str]) -> dict[str, Any]:
    """What the run is given: --conf, and each --param in the type that the DAG's own param has."""
    found = dict(conf)
    for name, text in params.items():
        if name not in dag.params:
            known = ", ".join(sorted(dag.params)) or "none"
            raise InvalidInputError(
                f"--param {name}: DAG {dag.dag_id} has no such param (it has: {known}). "
                "For dag_run.conf use --conf."
            )
        found[name] = _typed(dag.params.get_param(name), text)
    return found


def _typed(param: Any, text: str) -> Any:
    types = (param.schema or {}).get("type")
    takes_text = "string" in ([types] if isinstance(types, str) else types or ())
    if takes_text or (types is None and isinstance(param.value, str)):
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def needs(dag: Any) -> list[str]:
    """The components that this DAG's run will need for certain; others are started when it turns out."""
    found = []
    tasks = [task for task in dag.tasks if not getattr(task, "inherits_from_empty_operator", False)]
    in_triggerer = [task for task in tasks if getattr(task, "start_from_trigger", False)]
    if len(in_triggerer) < len(tasks):
        found.append("task-api")
    if in_triggerer or any(_defers(task) for task in tasks):
        found.append("triggerer")
    # Callbacks of a DAG, and of tasks that no worker runs, are run by the DAG processor (airflow.md 1).
    callbacks = [dag.has_on_success_callback, dag.has_on_failure_callback]
    names = ("has_on_failure_callback", "has_on_retry_callback")
    callbacks += [getattr(task, name, False) for task in in_triggerer for name in names]
    if any(callbacks):
        found.append("dag-processor")
    return found


def _defers(task: Any) -> bool:
    partial = getattr(task, "partial_kwargs", None)
    return bool(partial.get("deferrable") if partial else getattr(task, "deferrable", False))


def task_facts(dag: Any) -> list[dict[str, Any]]:
    """The tasks in the order in which they are shown."""
    return [
        {
            "task_id": task.task_id,
            "upstream": sorted(task.upstream_task_ids),
            "mapped": bool(getattr(task, "is_mapped", False))
            or task.get_closest_mapped_task_group() is not None,
            "pool": task.pool,
        }
        for task in dag.topological_sort()
    ]
