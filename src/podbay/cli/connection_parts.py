"""What `podbay connection add …` has in common: its options, the check as it goes on, and the ways out. Prints, decides
nothing."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podbay.cli.airflow_login import UserOption, airflow_login
from podbay.cli.output import errors, run

if TYPE_CHECKING:
    from podbay.connections.clouds import Opened
    from podbay.connections.entry import ConnectionEntry
    from podbay.connections.probing import Advice
    from podbay.connections.steps import Step
    from podbay.healer.airflow_api import AirflowLogin
    from podbay.kube.config import ClusterConfig

# Functions import what they need, as in cluster.py.

__all__ = [
    "Delivery",
    "NameArgument",
    "check",
    "deliver",
    "delivering",
    "sentence",
    "steps_json",
    "told",
]


class Shape(StrEnum):
    """--output: what is printed where no Airflow is named."""

    env = "env"
    json = "json"


NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="What tasks call it (kubernetes_conn_id).")]
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
    """Where a connection goes, and what is asked before: the options of every `add`."""

    namespace: str
    unproven: bool
    replace: bool
    output: Shape
    airflow_url: str
    airflow_user: str


def _options(
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="For pods that name none; the context's own when absent.")
    ] = "",
    unproven: Annotated[
        bool, typer.Option("--unproven", help="Write it without asking the cluster.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Change a connection that exists in Airflow.")
    ] = False,
    output: Annotated[
        Shape,
        typer.Option(
            "--output",
            "-o",
            help="env: a line AIRFLOW_CONN_…; json: a file for `airflow connections import`.",
        ),
    ] = Shape.env,
    airflow_url: AirflowUrl = "",
    airflow_user: UserOption = "",
) -> None:
    """The signature alone is used."""


def delivering(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameter `to`, a Delivery, is made of options that all such commands have."""
    own = inspect.signature(command, eval_str=True).parameters
    common = inspect.signature(_options, eval_str=True).parameters
    parameters = [each for name, each in own.items() if name != "to"] + list(common.values())

    def wrapped(**given: Any) -> None:
        to = Delivery(**{each.name: given.pop(each.name) for each in fields(Delivery)})
        command(**given, to=to)

    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return wrapped


def deliver(
    entry: ConnectionEntry,
    config: ClusterConfig | None,
    to: Delivery,
    *,
    advice: Advice | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Check and write; config None is not checked. Exit code 1, and nothing written, when a step fails.

    What is said goes to stderr, so that stdout is the connection alone.
    """
    for note in notes:
        errors.print(f"note: {note}", markup=False)
    login = airflow_login(to.airflow_url, to.airflow_user) if to.airflow_url else None
    if config is not None and not to.unproven:
        steps = run(check(config, str(entry.extra.get("namespace") or ""), advice, show=True))
        _stop_after(steps)
    if login is not None:
        done = run(_store(login, entry, replace=to.replace))
        errors.print(f"Connection {entry.name} is {done} in {to.airflow_url}.", markup=False)
    elif to.output is Shape.json:
        sys.stdout.write(entry.import_file() + "\n")
    else:
        sys.stdout.write(entry.environment_line() + "\n")


def told(opened: Opened) -> ClusterConfig:
    """Show what a cloud was asked. Exit code 1 when it has refused."""
    for step in opened.steps:
        errors.print(sentence(step), markup=False)
    _stop_after(opened.steps)
    assert opened.config is not None
    return opened.config


def _stop_after(steps: Sequence[Step]) -> None:
    if any(each.verdict == "failed" for each in steps):
        errors.print("Nothing is written. --unproven writes it all the same.")
        raise typer.Exit(1)


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
