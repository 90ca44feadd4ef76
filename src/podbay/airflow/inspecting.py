"""The task pods of DAG files, as far as they are known without a run: read in a process of its own, with Airflow.

    python -m podbay.airflow.inspecting        started by dag_files.py; an order on stdin, a report on stdout, in JSON

DAG files are programs: what they print goes to stderr, and what they do to their process harms nobody. Nothing is judged
here but whether the pod can be built, and whether a credential stands in it in plain text.
"""

from __future__ import annotations

import copy
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from podbay.airflow.checking import KnownPod, known_pod
from podbay.airflow.parameters import PARAMETERS, parameters_of, template_fields_of
from podbay.airflow.portable import MARK, encode, plain, revive
from podbay.airflow.request import main_container_name
from podbay.airflow.running.tracebacks import shorten
from podbay.errors import InvalidInputError
from podbay.objects.meta import Object
from podbay.pods.credentials import plain_credentials
from podbay.pods.identity import TaskIdentity
from podbay.pods.problems import Problem
from podbay.pods.template import load_template

__all__ = ["main"]

_UPSTREAM: Final = "airflow.providers.cncf.kubernetes.operators.pod"
_WORDS: Final = {"cmds": "command", "arguments": "args"}
_VARIABLE: Final = re.compile(r"\.env\[(\d+)\]\.value$")
_WORD: Final = re.compile(r"\.(command|args)\[(\d+)\]$")


def main() -> None:
    report = os.dup(1)
    os.dup2(2, 1)
    order = orjson.loads(sys.stdin.buffer.read())
    places = [(Path(place), Path(root)) for place, root in order]
    found = [_file_report(file, root) for place, root in places for file in _files(place)]
    with os.fdopen(report, "wb") as out:
        out.write(orjson.dumps(found, default=str))
    # What DAG files have started is not waited for.
    sys.stderr.flush()
    os._exit(0)


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    from airflow.utils.file import list_py_file_paths

    return sorted(Path(each) for each in list_py_file_paths(place, safe_mode=True))


def _file_report(file: Path, root: Path) -> dict[str, Any]:
    from airflow.dag_processing.dagbag import BundleDagBag

    bag = BundleDagBag(str(file), bundle_path=root, bundle_name="podbay", safe_mode=False)
    errors = [shorten(text, root) for text in bag.import_errors.values()]
    tasks = [_task(task) for dag in bag.dags.values() for task in dag.tasks if _is_pod(task)]
    return {"file": str(file), "errors": errors, "dags": sorted(bag.dags), "tasks": tasks}


def _is_pod(task: Any) -> bool:
    operator_class = task.operator_class if task.is_mapped else type(task)
    if hasattr(operator_class, "podbay_start"):
        return bool(getattr(operator_class, "podbay_makes_pod", True))
    return any(
        each.__name__ == "KubernetesPodOperator" and each.__module__ == _UPSTREAM
        for each in operator_class.__mro__
    )


def _task(task: Any) -> dict[str, Any]:
    given = _parameters(task)
    said = sorted(name for name, value in given.items() if value)
    report: dict[str, Any] = {"dag": task.dag_id, "task": task.task_id, "queue": task.queue, "said": said}
    identity = TaskIdentity(deployment="check", dag_id=task.dag_id, run_id="check", task_id=task.task_id)
    try:
        known = known_pod(
            given,
            whole=not task.is_mapped,
            identity=identity,
            template=_template(given.get("pod_template_file")),
            transport=_transport(),
            fields=template_fields_of(task),
        )
    except InvalidInputError as error:
        return {**report, "trouble": str(error)}
    found = [{"field": field, "message": message} for field, message in _credentials(known, given)]
    return {**report, "pod": known.pod, "later": sorted(known.later), "credentials": found}


def _parameters(task: Any) -> dict[str, Any]:
    if task.is_mapped:
        from podbay.airflow.mapping import mapped_parameters

        return mapped_parameters(task)
    if hasattr(task, "podbay_parameters"):
        return dict(task.podbay_parameters())
    # Upstream's operators keep what they were given under the same names; their subclasses may have changed it.
    return {name: getattr(task, name, row.default) for name, row in PARAMETERS.items()}


def _transport() -> str:
    from podbay.airflow.task import settings

    return settings().result_transport


def _template(path: Any) -> Object | None:
    """None for none, and for one that is only to be read where the task runs."""
    if not isinstance(path, str) or not Path(path).is_file():
        return None
    return load_template(Path(path).read_bytes(), path)


def _credentials(known: KnownPod, given: Mapping[str, Any]) -> Iterator[Problem]:
    """By parameter where one says it. Beside a template a password may stand as well, so those are looked at as they are."""
    pod = copy.deepcopy(known.pod)
    name = main_container_name(given)
    main: Object = next((each for each in pod["spec"]["containers"] if each["name"] == name), {})
    later = {
        row.name: _written(given.get(row.name)) for row in parameters_of("pod") if row.name in known.later
    }
    if later.get("env_vars"):
        main["env"] = _variables(later["env_vars"])
    for parameter, field in _WORDS.items():
        if later.get(parameter):
            main[field] = later[parameter]
    main_path = next((n for n, each in enumerate(pod["spec"]["containers"]) if each is main), -1)
    for problem in plain_credentials(pod):
        yield _named(problem, main, f"spec.containers[{main_path}]", given)


def _written(value: Any) -> Any:
    """The value as it stands in the file; None where it has no form in JSON."""
    try:
        return plain(revive(_without_references(encode(value))))
    except InvalidInputError:
        return None


def _without_references(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_references(each) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get(MARK) in ("xcom", "group"):
        return "{{ later }}"
    return {key: _without_references(each) for key, each in value.items()}


def _variables(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, Mapping):
        return [{"name": name, "value": each} for name, each in value.items()]
    return [dict(each) for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _named(problem: Problem, main: Object, path: str, given: Mapping[str, Any]) -> Problem:
    if not problem.path.startswith(f"{path}."):
        return problem
    variable, word = _VARIABLE.search(problem.path), _WORD.search(problem.path)
    if variable and given.get("env_vars"):
        return Problem(f"env_vars[{main['env'][int(variable[1])]['name']}]", problem.message)
    if word:
        parameter = next(name for name, field in _WORDS.items() if field == word[1])
        if given.get(parameter):
            return Problem(f"{parameter}[{word[2]}]", problem.message)
    return problem


if __name__ == "__main__":
    main()
