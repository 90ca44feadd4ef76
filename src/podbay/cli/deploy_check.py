"""`podbay check`: podbay.yaml, and pods of manifests and DAG files against it and the cluster."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podbay.cli.deployment_file import FileOption, OutputOption, in_file, on_cluster, placed
from podbay.cli.output import Output, console, errors_as_sentences, print_json
from podbay.cli.target import ClusterOption
from podbay.errors import InvalidInputError, StateError, UnreachableError

if TYPE_CHECKING:
    from podbay.deployment.cluster_check import ClusterVerdict
    from podbay.deployment.model import Deployment
    from podbay.kube.client import KubeClient
    from podbay.objects.meta import Object
    from podbay.pods.problems import Problem

# Functions import what they need, as in cluster.py.

__all__ = ["register"]

FILE = Path("podbay.yaml")


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(check)


def check(
    what: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[MANIFEST|DAG_FILE|DIRECTORY]...",
            help="Pod manifests (- is stdin), DAG files (.py) and directories of those. None: the file alone.",
        ),
    ] = None,
    file: FileOption = FILE,
    cluster: ClusterOption = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="By the file's rules alone, without a cluster.")
    ] = False,
    images: Annotated[
        bool,
        typer.Option("--images", help="Ask registries, too, whether images are there and fit the nodes."),
    ] = False,
    output: OutputOption = Output.text,
) -> None:
    """Check podbay.yaml, and pods of manifests and DAG files against it and the cluster, without making any.

    Exit code 1 when something is wrong. DAG files need Airflow here, and are imported.
    """
    failed = False
    with errors_as_sentences():
        if offline and images:
            raise InvalidInputError("--images needs the logins in the cluster; leave --offline out")
        for path in what or ():
            if str(path) != "-" and not path.exists():
                raise InvalidInputError(
                    f"{path} does not exist. Name a pod manifest, a DAG file (.py) or a directory."
                )
        with _or_offline():
            deployment = in_file(file) if offline else placed(file, cluster)
            dags = [path for path in what or () if path.suffix == ".py" or path.is_dir()]
            pods = [(str(path), _pod(path)) for path in what or () if path not in dags]
            reports = [
                _report(deployment, source, pod, cluster, offline=offline, images=images)
                for source, pod in pods
            ]
            files = _dag_reports(deployment, dags, cluster, offline=offline, images=images) if dags else []
        failed = any(each["problems"] for each in (*reports, *files))
        if output is Output.json:
            print_json({"deployment": deployment.name, "ok": not failed, "pods": reports, "files": files})
        else:
            _print_reports(deployment, [*reports, *files])
    if failed:
        raise typer.Exit(1)


@contextmanager
def _or_offline() -> Iterator[None]:
    """Who has no cluster at hand can still have the file's judgement."""
    hint = "or judge by the file alone: --offline"
    try:
        yield
    except StateError as err:
        if "is not running" not in str(err):
            raise
        raise StateError(f"{err}; {hint}") from err
    except UnreachableError as err:
        text = f"{str(err).rstrip('.')}; {hint}"
        raise UnreachableError(err.kind, text, permanent=err.permanent) from err


def _pod(path: Path) -> Object:
    from podbay.pods.template import load_template

    text = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    return load_template(text, "stdin" if str(path) == "-" else str(path))


def _report(
    deployment: Deployment, source: str, pod: Object, cluster: str | None, *, offline: bool, images: bool
) -> dict[str, Any]:
    """The pod as the platform would make it, judged by the file and, unless offline, by the cluster."""
    from podbay.deployment.enforce import enforce
    from podbay.pods.validate import pod_problems

    made = enforce(pod, deployment)
    problems: list[Problem] = [*pod_problems(made.pod), *made.problems]
    notes = list(made.notes)
    if not offline and not problems:
        verdict = on_cluster(cluster, deployment, lambda api: _ask(api, made.pod, deployment))
        problems += verdict.problems
        notes += verdict.notes
    if images:
        from podbay.cli.registry_images import check_images

        wrong, said = check_images(deployment, made.pod, cluster)
        problems += wrong
        notes += said
    return {
        "source": source,
        "problems": [{"path": each.path, "message": each.message} for each in dict.fromkeys(problems)],
        "notes": notes,
    }


async def _ask(api: KubeClient, pod: Object, deployment: Deployment) -> ClusterVerdict:
    from podbay.deployment.cluster_check import check_in_cluster

    return await check_in_cluster(api, pod, deployment.namespace)


def _dag_reports(
    deployment: Deployment, dags: list[Path], cluster: str | None, *, offline: bool, images: bool
) -> list[dict[str, Any]]:
    from podbay.cli.dag_check import DagCheck

    return DagCheck(deployment, cluster, offline=offline, images=images).reports(dags)


def _print_reports(deployment: Deployment, reports: list[dict[str, Any]]) -> None:
    console.print(f"{deployment.source}: ok", markup=False)
    for report in reports:
        count = len(report["problems"])
        word = "ok" if not count else "1 problem" if count == 1 and "dags" in report else f"{count} problems"
        console.print(f"{report['source']}: {word}{_contents(report)}", markup=False)
        for each in report["problems"]:
            console.print(f"  {_placed(each, each['message'])}", markup=False)
        for note in report["notes"]:
            said = note if isinstance(note, str) else _placed(note, note["message"])
            console.print(f"  note: {said}", markup=False)


def _contents(report: dict[str, Any]) -> str:
    """Of a DAG file."""
    if not report.get("dags"):
        return ""
    pods = report["tasks"]
    part = sum(bool(each["later"]) for each in pods)
    known = f", {part} of them known in part" if part else ""
    return f" ({', '.join(report['dags'])}: {len(pods)} pod task{'s' if len(pods) != 1 else ''}{known})"


def _placed(what: dict[str, Any], text: str) -> str:
    """Where it is, as far as that is said: the task, the field."""
    task = f"{what['dag']}.{what['task']}" if what.get("task") else ""
    return ": ".join(each for each in (task, what.get("path") or "", text) if each)
