"""`podbay shell`: a terminal in a pod that runs, or in a copy of one that has ended."""

from __future__ import annotations

from typing import Annotated

import typer

from podbay.cli.output import errors_as_sentences, run
from podbay.cli.pod_words import command_of
from podbay.cli.target import ClusterOption, NamespaceOption, choose

# Functions import what they need, as in cluster.py.

__all__ = ["shell"]


def shell(
    context: typer.Context,
    pod: Annotated[str, typer.Argument(metavar="POD", help="Name, or NAMESPACE/NAME.")],
    container: Annotated[
        str | None, typer.Option("--container", "-c", help="Which one, if not the one that runs the task.")
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Another image with a shell, where the container's own has none.")
    ] = None,
    duration: Annotated[
        str, typer.Option("--for", help="It ends by itself after this time, such as 20m or 2h; at most 7d.")
    ] = "1h",
    cluster: ClusterOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Open a shell in a pod, or run the command after `--` there.

    Beside the container of a pod that runs; else in a copy with the same image, environment and volumes, which is
    deleted afterwards.
    """
    with errors_as_sentences():
        from podbay.cli.heal import seconds_of
        from podbay.cli.shelling import Shelling
        from podbay.cli.terminal import is_terminal

        wanted = Shelling(
            config=choose(cluster, pod.rpartition("/")[0] or namespace),
            pod=pod.rpartition("/")[2],
            container=container,
            image=image,
            seconds=seconds_of(duration),
            command=tuple(command_of(context)),
            tty=is_terminal(),
        )
        code = run(wanted.run())
    if code:
        raise typer.Exit(code)
