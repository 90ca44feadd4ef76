"""`podbay pods`, `logs`, `explain` and `kill`: pods of any cluster, whoever made them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podbay.cli.output import (
    Output,
    console,
    errors,
    errors_as_sentences,
    print_json,
    print_table,
    printable,
    run,
)
from podbay.cli.target import ClusterOption, NamespaceOption, choose, connect
from podbay.errors import InvalidInputError, StateError

if TYPE_CHECKING:
    from podbay.kube.config import ClusterConfig
    from podbay.objects.meta import Object

# Functions import what they need, as in cluster.py.

__all__ = ["register"]

_KINDS = ("pod", "pods", "po")
"""What kubectl takes in front of a name. Of a namespace that is called so, pods are named with --namespace."""
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text or json.")]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")]
Selector = Annotated[str, typer.Option("--selector", "-l", help="Labels, such as dag_id=etl,try_number!=1.")]
PodName = Annotated[str, typer.Argument(metavar="POD", help="Name, or NAMESPACE/NAME.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (pods, logs, explain, kill):
        app.command()(command)


def pods(
    cluster: ClusterOption = None,
    namespace: NamespaceOption = None,
    all_namespaces: AllNamespaces = False,
    selector: Selector = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on with every change.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """List pods: what each does or waits for, and whose task it is."""
    with errors_as_sentences():
        from podbay.kube.lease import pods_of

        config = choose(cluster, namespace)
        scope = pods_of(None if all_namespaces else config.namespace, selector)
        if watch:
            from podbay.cli.watching import watch_pods

            run(watch_pods(config, scope, as_json=output is Output.json))
        else:
            _print_pods(run(_list(config, scope.namespace, selector)), config, scope.namespace, output)


async def _list(config: ClusterConfig, namespace: str | None, selector: str) -> list[Object]:
    from podbay.kube.client import PODS

    async with connect(config) as cluster:
        found = await cluster.client.list(PODS, namespace=namespace, label_selector=selector)
    return found.items


def _print_pods(found: list[Object], config: ClusterConfig, namespace: str | None, output: Output) -> None:
    from podbay.cli.rows import COLUMNS, pod_json, row

    if output is Output.json:
        print_json([pod_json(pod) for pod in found])
    elif not found:
        where = "any namespace" if namespace is None else f"namespace {namespace}"
        errors.print(f"No pods in {where} of {config.context or config.server}.", markup=False)
    else:
        columns = COLUMNS if namespace is not None else ("NAMESPACE", *COLUMNS)
        now = datetime.now(UTC)
        print_table(columns, [row(pod, now, with_namespace=namespace is None) for pod in found])


def logs(
    pod: PodName,
    cluster: ClusterOption = None,
    namespace: NamespaceOption = None,
    container: Annotated[
        list[str] | None,
        typer.Option("--container", "-c", help="Only this one; repeatable. All when absent."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the pod has ended.")] = False,
    previous: Annotated[
        bool, typer.Option("--previous", "-p", help="Of the run before a container's last restart.")
    ] = False,
    timestamps: Annotated[bool, typer.Option("--timestamps", help="When each line was written.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """Print the logs of a pod: all containers, every line once."""
    with errors_as_sentences():
        if follow and previous:
            raise InvalidInputError(
                "--follow and --previous: a container that has ended writes no more; use one"
            )
        from podbay.cli.log_writer import LogWriter
        from podbay.cli.showing import show_logs

        space, name = _split(pod, namespace)
        config = choose(cluster, space)
        run(
            show_logs(
                config,
                name,
                containers=container or (),
                follow=follow,
                previous=previous,
                writer=lambda names: LogWriter(
                    sys.stdout, names=names, timestamps=timestamps, as_json=output is Output.json
                ),
            )
        )


def _split(pod: str, namespace: str | None) -> tuple[str | None, str]:
    """POD or NAMESPACE/POD, as tables with --all-namespaces and sentences name it; kubectl's pod/POD is POD."""
    kind, _, bare = pod.partition("/")
    space, slash, name = (bare if kind in _KINDS and bare else pod).rpartition("/")
    if not name or "/" in space:
        raise InvalidInputError(f"{pod!r} is not a pod's name. Write NAME or NAMESPACE/NAME")
    if slash and namespace is not None and namespace != space:
        raise InvalidInputError(f"{pod} with --namespace {namespace}: two namespaces. Leave one out")
    return (space if slash else namespace), name


def explain(
    pod: Annotated[str | None, typer.Argument(metavar="POD", help="Name, or NAMESPACE/NAME.")] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="From what `kubectl get pods,events,nodes -o yaml` wrote; no cluster is asked.",
        ),
    ] = None,
    cluster: ClusterOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Say why a pod does not start, does not go on or has failed, and what to do."""
    with errors_as_sentences():
        from podbay.cli.explaining import explain_file, explain_pod, explanation_json, explanation_text

        if pod is None and file is None:
            raise InvalidInputError("explain needs a pod's name, or a file: podbay explain POD | -f FILE")
        space, name = _split(pod, namespace) if pod is not None else (namespace, None)
        if file is not None:
            text = sys.stdin.read() if file == "-" else _saved(Path(file))
            found = explain_file(text, "stdin" if file == "-" else file, namespace=space, name=name)
        else:
            assert name is not None
            found = run(explain_pod(choose(cluster, space), name))
        if output is Output.json:
            print_json(explanation_json(found))
        else:
            sys.stdout.write(printable(explanation_text(found, datetime.now(UTC))))


def _saved(path: Path) -> str:
    if not path.is_file():
        why = "is a directory" if path.is_dir() else "does not exist"
        raise InvalidInputError(
            f"{path} {why}. Name a file that `kubectl get pods,events,nodes -o yaml` wrote."
        )
    try:
        return path.read_text()
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path}: not YAML or JSON") from None


def kill(
    names: Annotated[list[str], typer.Argument(metavar="POD...", help="Names, or NAMESPACE/NAME.")],
    cluster: ClusterOption = None,
    namespace: NamespaceOption = None,
    now: Annotated[
        bool, typer.Option("--now", help="Give pods one second to end instead of their grace period.")
    ] = False,
    output: OutputOption = Output.text,
) -> None:
    """End pods and wait until they are gone."""
    with errors_as_sentences():
        from podbay.cli.killing import kill_pods

        wanted = [_split(name, namespace) for name in names]
        config = choose(cluster, namespace)
        ended = run(kill_pods(config, [(space or config.namespace, name) for space, name in wanted], now=now))
        if output is Output.json:
            print_json([each.to_json() for each in ended])
        else:
            for each in ended:
                if each.error is None:
                    console.print(each.sentence(), markup=False)
        failed = [each.error for each in ended if each.error is not None]
        if failed:
            raise StateError("\nerror: ".join(map(str, failed)))
