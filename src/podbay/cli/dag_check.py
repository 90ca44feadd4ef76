"""`podbay check` of DAG files: every pod task as the platform would make its pod, judged by podbay.yaml and the cluster.

What a template, another task or a mapping says is known when the task runs, and judged then; what is known is judged here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podbay.airflow.dag_files import DagFile, PodTask, read_dag_files
from podbay.airflow.foreseeing import SIZED_BY, judge, named
from podbay.cli.deployment_file import on_cluster
from podbay.deployment.cluster_check import check_in_cluster
from podbay.deployment.model import Deployment
from podbay.objects.meta import Object, namespace_of
from podbay.pods.problems import Problem

if TYPE_CHECKING:
    from podbay.kube.client import KubeClient

__all__ = ["DagCheck"]


@dataclass(slots=True)
class _Judged:
    """One task."""

    task: PodTask
    pod: Object | None = None
    """As it would be made; None where there is nothing for the cluster to judge."""
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refused: bool = False
    """By podbay.yaml; what the cluster says would be the same once more."""


class DagCheck:
    """Checks with one deployment."""

    def __init__(self, deployment: Deployment, cluster: str | None, *, offline: bool, images: bool) -> None:
        self._deployment = deployment
        self._cluster = cluster
        self._offline = offline
        self._images = images

    def reports(self, paths: Sequence[Path]) -> list[dict[str, Any]]:
        """By file, as `--output json` has them. Raises what stands in the way of checking."""
        files = read_dag_files(paths, self._deployment)
        judged = [[self._judge(task) for task in file.tasks] for file in files]
        everything = [each for found in judged for each in found]
        if not self._offline:
            on_cluster(self._cluster, self._deployment, lambda api: self._ask(api, everything))
        if self._images:
            for each in everything:
                self._look_at_images(each)
        meant = {path.absolute() for path in paths}
        return [
            _report(file, found, expected=Path(file.path) in meant)
            for file, found in zip(files, judged, strict=True)
        ]

    def _judge(self, task: PodTask) -> _Judged:
        if task.known is None:
            return _Judged(task, problems=[Problem("", task.trouble)])
        found = judge(task.known, self._deployment, queue=task.queue)
        judged = _Judged(task, problems=[named(each, task.said) for each in found.problems])
        judged.refused = bool(found.problems)
        judged.problems += task.credentials
        judged.notes += found.notes
        namespace = namespace_of(task.known.pod)
        if namespace in ("", self._deployment.namespace):
            judged.pod = found.pod
        else:
            judged.notes.append(f"runs in namespace {namespace}, where {self._deployment.name} has no say")
        return judged

    async def _ask(self, api: KubeClient, judged: Iterable[_Judged]) -> None:
        for each in judged:
            if each.pod is None or each.refused or each.task.known is None:
                continue
            is_sized = not each.task.known.later & SIZED_BY
            verdict = await check_in_cluster(api, each.pod, self._deployment.namespace, dry_run=is_sized)
            each.problems += [named(problem, each.task.said) for problem in verdict.problems]
            each.notes += verdict.notes

    def _look_at_images(self, judged: _Judged) -> None:
        from podbay.cli.registry_images import check_images

        known = judged.task.known
        if judged.pod is None or known is None or known.later & {"image", "*"}:
            return
        problems, notes = check_images(self._deployment, judged.pod, self._cluster)
        judged.problems += problems
        judged.notes += notes


def _report(file: DagFile, judged: Sequence[_Judged], *, expected: bool) -> dict[str, Any]:
    problems: list[dict[str, Any]] = [
        {"path": "", "message": f"cannot be imported:\n{each}"} for each in file.errors
    ]
    if expected and not file.dags and not file.errors:
        problems.append({"path": "", "message": "defines no DAG"})
    notes: list[dict[str, Any]] = []
    for each in judged:
        place = {"dag": each.task.dag, "task": each.task.task}
        problems += [
            {**place, "path": problem.path, "message": problem.message}
            for problem in dict.fromkeys(each.problems)
        ]
        notes += [{**place, "message": note} for note in dict.fromkeys(each.notes)]
    tasks = [
        {
            "dag": each.task.dag,
            "task": each.task.task,
            "later": sorted(each.task.known.later) if each.task.known else [],
        }
        for each in judged
    ]
    return {
        "source": _shown(file.path),
        "dags": list(file.dags),
        "tasks": tasks,
        "problems": problems,
        "notes": notes,
    }


def _shown(path: str) -> str:
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
