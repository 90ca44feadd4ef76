"""Which podbay.yaml a command is about, and the cluster that goes with it."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from podbay.cli.output import Output, errors, run
from podbay.cli.target import choose, connect
from podbay.errors import InvalidInputError

if TYPE_CHECKING:
    from podbay.deployment.model import Deployment
    from podbay.kube.client import KubeClient

__all__ = ["FileOption", "OutputOption", "in_file", "load", "on_cluster", "placed", "placed_or_new"]

T = TypeVar("T")

FileOption = Annotated[
    Path,
    typer.Option("--file", "-f", envvar="PODBAY_FILE", show_envvar=False, help="The deployment's file."),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text or json.")]


def load(file: Path) -> Deployment:
    """The deployment of the file. Raises InvalidInputError with everything that is wrong."""
    from podbay.deployment.reading import load_deployment

    return load_deployment(file)


def placed(file: Path, cluster: str | None) -> Deployment:
    """The deployment of the file in its namespace: the file's, else the one that the cluster has under its name.

    Raises InvalidInputError where none has been generated yet.
    """
    deployment = load(file)
    found = deployment if deployment.namespace else _in_cluster(deployment, cluster)
    if found is None:
        raise InvalidInputError(
            f"{file}: namespace: none yet. `podbay apply` generates one and writes it into the file."
        )
    return found


def placed_or_new(file: Path, cluster: str | None, *, write: bool) -> Deployment:
    """As `placed`, with a generated namespace where there is none; `write` keeps it in the file."""
    from podbay.deployment.naming import generate_namespace

    deployment = load(file)
    if deployment.namespace:
        return deployment
    found = _in_cluster(deployment, cluster)
    # Any will do, and nobody is to guess the next one.
    found = found or replace(deployment, namespace=generate_namespace(random.SystemRandom()))
    if write:
        _keep(file, found.namespace)
    else:
        errors.print(
            f"note: {file} has no namespace yet; {found.namespace} stands for the one of apply", markup=False
        )
    return found


def in_file(file: Path) -> Deployment:
    """The deployment by its file alone. Raises InvalidInputError where that says no namespace."""
    deployment = load(file)
    if not deployment.namespace:
        raise InvalidInputError(
            f"{file}: namespace: none yet. `podbay apply` generates one and writes it into the file."
        )
    return deployment


def _in_cluster(deployment: Deployment, cluster: str | None) -> Deployment | None:
    """Where an earlier apply has put it, from a file that was not kept."""
    from podbay.deployment.observe import namespaces_named

    found = on_cluster(cluster, deployment, lambda api: namespaces_named(api, deployment.name))
    if len(found) > 1:
        raise InvalidInputError(
            f"{deployment.source}: namespace: {deployment.name} has several, {', '.join(found)}; write the one you mean"
        )
    return replace(deployment, namespace=found[0]) if found else None


def _keep(file: Path, namespace: str) -> None:
    """Write the namespace into the file. One that cannot be written is found by its deployment's name next time."""
    from podbay.deployment.naming import with_namespace

    draft = file.with_name(f".{file.name}.tmp")
    try:
        draft.write_text(with_namespace(file.read_text(), namespace))
        draft.replace(file)
    except (OSError, InvalidInputError):
        errors.print(
            f"note: write `namespace: {namespace}` into {file}; it cannot be done here", markup=False
        )
        return
    errors.print(f"{file}: namespace {namespace} written", markup=False)


def on_cluster(
    cluster: str | None, deployment: Deployment, work: Callable[[KubeClient], Coroutine[Any, Any, T]]
) -> T:
    """Run `work` with a client of the cluster of --cluster, else of podbay.yaml."""
    config = choose(cluster or deployment.cluster or None, deployment.namespace or None)

    async def connected() -> T:
        async with connect(config) as leased:
            return await work(leased.client)

    return run(connected())
