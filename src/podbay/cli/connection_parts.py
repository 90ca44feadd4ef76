"""What `podbay connection add …` has in common: the check as it goes on, and the ways out. Prints, decides nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podbay.cli.airflow_login import airflow_login
from podbay.cli.output import errors, run

if TYPE_CHECKING:
    from podbay.connections.entry import ConnectionEntry
    from podbay.connections.probing import Advice
    from podbay.connections.steps import Step
    from podbay.healer.airflow_api import AirflowLogin
    from podbay.kube.config import ClusterConfig

# Functions import what they need, as in cluster.py.

__all__ = [
    "AirflowUrl",
    "Delivery",
    "NameArgument",
    "Namespace",
    "Replace",
    "Shape",
    "ShapeOption",
    "Unproven",
    "check",
    "deliver",
    "sentence",
    "steps_json",
]


class Shape(StrEnum):
    """--output: what is printed where no Airflow is named."""

    env = "env"
    json = "json"


NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="What tasks call it (kubernetes_conn_id).")]
Namespace = Annotated[
    str, typer.Option("--namespace", "-n", help="For pods that name none; the context's own when absent.")
]
Unproven = Annotated[bool, typer.Option("--unproven", help="Write it without asking the cluster.")]
Replace = Annotated[bool, typer.Option("--replace", help="Change a connection that exists in Airflow.")]
ShapeOption = Annotated[
    Shape,
    typer.Option(
        "--output", "-o", help="env: a line AIRFLOW_CONN_…; json: a file for `airflow connections import`."
    ),
]
AirflowUrl = Annotated[
    str,
    typer.Option(
        "--airflow-url",
        envvar="PODBAY_AIRFLOW_URL",
        help="Write it into this Airflow instead of printing it.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Where a connection goes."""

    shape: Shape
    url: str
    user: str
    replace: bool
    unproven: bool


def deliver(
    entry: ConnectionEntry,
    config: ClusterConfig | None,
    delivery: Delivery,
    *,
    advice: Advice | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Check and write; config None is not checked. Exit code 1, and nothing written, when a step fails.

    What is said goes to stderr, so that stdout is the connection alone.
    """
    for note in notes:
        errors.print(f"note: {note}", markup=False)
    login = airflow_login(delivery.url, delivery.user) if delivery.url else None
    if config is not None and not delivery.unproven:
        steps = run(check(config, str(entry.extra.get("namespace") or ""), advice, show=True))
        if any(each.verdict == "failed" for each in steps):
            errors.print("Nothing is written. --unproven writes it all the same.")
            raise typer.Exit(1)
    if login is not None:
        done = run(_store(login, entry, replace=delivery.replace))
        errors.print(f"Connection {entry.name} is {done} in {delivery.url}.", markup=False)
    elif delivery.shape is Shape.json:
        sys.stdout.write(entry.import_file() + "\n")
    else:
        sys.stdout.write(entry.environment_line() + "\n")


async def check(
    config: ClusterConfig, namespace: str, advice: Advice | None, *, show: bool = False
) -> list[Step]:
    """All steps; shown on stderr as they come."""
    from podbay.aio.clock import SystemClock
    from podbay.connections.probing import probe

    found = []
    async for step in probe(config, SystemClock(), namespace=namespace, advice=advice):
        found.append(step)
        if show:
            errors.print(sentence(step), markup=False)
    return found


def sentence(step: Step) -> str:
    """One step on one line."""
    verdict = "FAILED" if step.verdict == "failed" else step.verdict
    fix = f". {step.fix}" if step.fix else ""
    return f"{step.name}: {verdict}: {step.message}{fix}"


def steps_json(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """For --output json."""
    return [
        {"step": each.name, "verdict": each.verdict, "message": each.message, "fix": each.fix}
        for each in steps
    ]


async def _store(login: AirflowLogin, entry: ConnectionEntry, *, replace: bool) -> str:
    from podbay.aio.clock import SystemClock
    from podbay.connections.storing import store_connection
    from podbay.healer.airflow_api import AirflowApi

    async with AirflowApi(login, SystemClock()) as api:
        return await store_connection(api, entry, replace=replace)
