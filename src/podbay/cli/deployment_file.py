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

__all__ = ["FileOption", "OutputOption", "load", "must_have_namespace", "on_cluster", "place"]

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


def must_have_namespace(deployment: Deployment) -> Deployment:
    """Raises InvalidInputError where none has been generated yet."""
    if deployment.namespace:
        return deployment
    raise InvalidInputError(
        f"{deployment.source}: namespace: none yet. `podbay apply` generates one and writes it into the file."
    )


def on_cluster(
    cluster: str | None, deployment: Deployment, work: Callable[[KubeClient], Coroutine[Any, Any, T]]
) -> T:
    """Run `work` with a client of the cluster of --cluster, else of podbay.yaml."""
    config = choose(cluster or deployment.cluster or None, deployment.namespace or None)

    async def connected() -> T:
        async with connect(config) as leased:
            return await work(leased.client)

    return run(connected())


def place(file: Path, deployment: Deployment, *, write: bool) -> Deployment:
    """The deployment with a namespace: its own, else a generated one, written into the file if `write`."""
    from podbay.deployment.naming import generate_namespace, with_namespace

    if deployment.namespace:
        return deployment
    # Any will do, and nobody is to guess the next one.
    namespace = generate_namespace(random.SystemRandom())
    if not write:
        errors.print(
            f"note: the file has no namespace yet; {namespace} stands for the one that apply generates"
        )
        return replace(deployment, namespace=namespace)
    text = with_namespace(file.read_text(), namespace)
    draft = file.with_name(f".{file.name}.tmp")
    draft.write_text(text)
    draft.replace(file)
    errors.print(f"{file}: namespace {namespace} generated and written", markup=False)
    return load(file)
