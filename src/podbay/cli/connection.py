"""`podbay connection`: Airflow connections to clusters, checked before they are written."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podbay.cli import connection_clouds
from podbay.cli.airflow_login import UserOption, airflow_login
from podbay.cli.connection_parts import (
    Delivery,
    NameArgument,
    check,
    deliver,
    delivering,
    sentence,
    steps_json,
)
from podbay.cli.deployment_file import OutputOption
from podbay.cli.output import Output, console, errors_as_sentences, print_json, run
from podbay.errors import InvalidInputError

if TYPE_CHECKING:
    from podbay.connections.entry import ConnectionEntry
    from podbay.connections.steps import Step

# Functions import what they need, as in cluster.py.

__all__ = ["app"]

app = typer.Typer(help="Airflow connections to clusters.", no_args_is_help=True)
add = typer.Typer(help="Check a cluster step by step and write a connection to it.", no_args_is_help=True)
app.add_typer(add, name="add")


@add.command("kubeconfig")
@delivering
def add_kubeconfig(
    name: NameArgument,
    to: Delivery,
    kubeconfig: Annotated[
        str | None, typer.Option(help="Its file, or - for stdin; $KUBECONFIG or ~/.kube/config when absent.")
    ] = None,
    context: Annotated[str | None, typer.Option(help="The file's current one when absent.")] = None,
) -> None:
    """From a kubeconfig. Its files are read into it, so workers need none of them."""
    with errors_as_sentences():
        from podbay.connections.entry import ConnectionEntry
        from podbay.connections.reading import read_kubeconfig
        from podbay.kube.kubeconfig_text import kubeconfig_of

        text = sys.stdin.read() if kubeconfig == "-" else ""
        found = read_kubeconfig(kubeconfig, text=text, context=context)
        config = found.config.with_namespace(to.namespace or found.config.namespace)
        extra = {
            "kube_config": kubeconfig_of(config, name=config.context or name, compact=True),
            "namespace": config.namespace,
        }
        deliver(ConnectionEntry(name, extra, f"Cluster {config.server}"), config, to, notes=found.notes)


@add.command("in-cluster")
@delivering
def add_in_cluster(name: NameArgument, to: Delivery) -> None:
    """The cluster that Airflow itself runs in, by the service account of its pods."""
    with errors_as_sentences():
        from podbay.connections.entry import ConnectionEntry
        from podbay.kube.kubeconfig import in_cluster

        config = None if to.unproven else in_cluster()
        extra = {"in_cluster": True} | ({"namespace": to.namespace} if to.namespace else {})
        deliver(ConnectionEntry(name, extra, "The cluster that Airflow runs in"), config, to)


connection_clouds.register(add)


ReadUrl = Annotated[
    str,
    typer.Option("--airflow-url", envvar="PODBAY_AIRFLOW_URL", help="Read the connection from this Airflow."),
]


@app.command("test")
def test_(
    what: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE", help="In $AIRFLOW_CONN_NAME, in --airflow-url, or a file of --output json."
        ),
    ],
    airflow_url: ReadUrl = "",
    airflow_user: UserOption = "",
    output: OutputOption = Output.text,
) -> None:
    """Ask the cluster of a connection, step by step, from here. Exit code 1 when a step fails."""
    failed = False
    with errors_as_sentences():
        documents = []
        for entry in _entries(what, airflow_url, airflow_user):
            steps = run(_steps(entry))
            failed = failed or any(each.verdict == "failed" for each in steps)
            documents.append({"connection": entry.name, "steps": steps_json(steps)})
            if output is Output.text:
                console.print(f"connection {entry.name}", markup=False)
                for step in steps:
                    console.print(f"  {sentence(step)}", markup=False)
        if output is Output.json:
            print_json(documents)
    if failed:
        raise typer.Exit(1)


async def _steps(entry: ConnectionEntry) -> list[Step]:
    from podbay.airflow.connection import choose_cluster, cloud_place

    place = cloud_place({}, entry.extra, connection=entry.name)
    if place is None:
        choice = choose_cluster({}, entry.extra, connection=entry.name)
        return await check(choice.config, choice.namespace, None)
    opened = await connection_clouds.open_cloud(place, str(entry.extra.get("namespace") or ""))
    if opened.config is None:
        return list(opened.steps)
    choice = choose_cluster({}, entry.extra, connection=entry.name, cloud=opened.config)
    return [*opened.steps, *await check(choice.config, choice.namespace, opened.advice)]


def _entries(what: str, url: str, user: str) -> list[ConnectionEntry]:
    from podbay.connections.entry import read_entries, read_variable, variable_of

    if Path(what).is_file():
        return read_entries(Path(what).read_text(), what)
    if url:
        return [run(_fetch(what, url, user))]
    variable = variable_of(what)
    if variable not in os.environ:
        raise InvalidInputError(
            f"connection {what}: {variable} is not set and {what} is no file; name Airflow with --airflow-url"
        )
    return [read_variable(what, os.environ[variable])]


async def _fetch(name: str, url: str, user: str) -> ConnectionEntry:
    from podbay.aio.clock import SystemClock
    from podbay.connections.storing import fetch_connection
    from podbay.healer.airflow_api import AirflowApi

    async with AirflowApi(airflow_login(url, user), SystemClock()) as api:
        return await fetch_connection(api, name)
