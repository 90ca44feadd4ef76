"""`podbay pod run` and `podbay render`: a pod from options, run to its end or only shown."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from podbay.cli.output import Output, errors, errors_as_sentences, print_json
from podbay.cli.pod_words import CommandAfterDashes, PodWords, command_of, takes_words
from podbay.cli.target import ClusterOption, NamespaceOption

# Functions import what they need, as in cluster.py.

__all__ = ["Keeping", "RunWords", "app", "render"]

app = typer.Typer(help="One pod, run to its end.", no_args_is_help=True)

OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text or json.")]


class Keeping(StrEnum):
    """--keep"""

    never = "never"
    on_failure = "on_failure"
    always = "always"


@dataclass(frozen=True, kw_only=True)
class RunWords:
    """How patient to be, and what to leave behind."""

    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.0, help="For the whole run; no limit when absent."),
    ] = None
    queue_timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.0, help="Waiting for quota; no limit when absent."),
    ] = None
    schedule_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.0, help="Waiting for a node with room.")
    ] = 600.0
    start_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.0, help="From the node to the running container.")
    ] = 120.0
    keep: Annotated[Keeping, typer.Option(help="When the pod stays after its end.")] = Keeping.never
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing about what is waited for.")] = (
        False
    )


@app.callback()
def group() -> None:
    """One pod, run to its end."""


@app.command("run", cls=CommandAfterDashes)
@takes_words(PodWords, RunWords)
def run_pod(
    words: PodWords,
    patience: RunWords,
    ctx: typer.Context,
    cluster: ClusterOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Run a pod to its end: its log live, its result on stdout, its exit code as yours. Ctrl-C ends the pod.

    stdout carries the result with --result, the outcome with -o json, else the log; all else goes to stderr.
    """
    with errors_as_sentences():
        from podbay.cli.running import Wanted, run_to_the_end

        wanted = Wanted(words, patience, tuple(command_of(ctx)), as_json=output is Output.json)
        code = run_to_the_end(wanted, cluster, namespace)
    raise typer.Exit(code)


@takes_words(PodWords)
def render(
    words: PodWords,
    ctx: typer.Context,
    namespace: NamespaceOption = None,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show what looks like a secret.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """Print the pod that `pod run` would make with the same options, as YAML. Needs no cluster."""
    with errors_as_sentences():
        from podbay.cli.pod_request import pod_request
        from podbay.pods.build import build
        from podbay.pods.render import masked
        from podbay.pods.render import render as as_yaml

        built = build(pod_request(words, command_of(ctx), namespace=namespace))
        if output is Output.json:
            print_json(built.pod if reveal else masked(built.pod))
        else:
            sys.stdout.write(as_yaml(built.pod, reveal=reveal))
        for note in built.notes:
            errors.print(f"note: {note}", markup=False)
