"""`podbay secrets`: values of secret variables go from a prompt, stdin or a file into the cluster, never through argv."""

from __future__ import annotations

import getpass
import secrets
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podbay.cli.deployment_file import FileOption, OutputOption, on_cluster, placed
from podbay.cli.output import Output, console, errors, errors_as_sentences, print_json, print_table
from podbay.cli.target import ClusterOption
from podbay.errors import InvalidInputError

if TYPE_CHECKING:
    from podbay.deployment.model import Deployment
    from podbay.kube.client import KubeClient
    from podbay.kube.config import SecretText

# Functions import what they need, as in cluster.py.

__all__ = ["app"]

app = typer.Typer(help="Secret variables of a deployment, in the Secret env-secrets.", no_args_is_help=True)

FILE = Path("podbay.yaml")
_GENERATED_BYTES = 32
_MORE = {"allow_extra_args": True}
"""Refused here and not by the parser, which would repeat them."""

Variable = Annotated[str, typer.Argument(metavar="NAME", help="In capitals, as tasks see it.")]
FromFile = Annotated[
    Path | None,
    typer.Option("--from-file", help="Take the value from a file, byte for byte.", dir_okay=False),
]
Generate = Annotated[
    bool, typer.Option("--generate", help="Make up a value of 32 random bytes, never shown.")
]


@app.command("set", context_settings=_MORE)
def set_(
    context: typer.Context,
    name: Variable,
    file: FileOption = FILE,
    cluster: ClusterOption = None,
    from_file: FromFile = None,
    generate: Generate = False,
) -> None:
    """Give a secret variable its value: from a prompt, or from stdin (without its last newline), or from a file."""
    _refuse_values(context)
    _give(name, file, cluster, _Source(from_file, generate), existing=False)


@app.command(context_settings=_MORE)
def rotate(
    context: typer.Context,
    name: Variable,
    file: FileOption = FILE,
    cluster: ClusterOption = None,
    from_file: FromFile = None,
    generate: Generate = False,
) -> None:
    """Replace the value of a secret variable, and name the pods that still hold the old one."""
    _refuse_values(context)
    _give(name, file, cluster, _Source(from_file, generate), existing=True)


@app.command("list")
def list_(file: FileOption = FILE, cluster: ClusterOption = None, output: OutputOption = Output.text) -> None:
    """List secret variables by name; values are never shown."""
    with errors_as_sentences():
        from podbay.deployment.vault import list_variables

        deployment = placed(file, cluster)
        found = on_cluster(cluster, deployment, lambda api: list_variables(api, deployment))
        if output is Output.json:
            print_json(
                [
                    {"name": v.name, "has_value": v.has_value, "declared": v.declared, "set": v.when}
                    for v in found
                ]
            )
            return
        if not found:
            console.print("No secret variable yet. Set one: podbay secrets set NAME")
            return
        rows = [
            [v.name, "yes" if v.has_value else "no", "yes" if v.declared else "no", _moment(v.when)]
            for v in found
        ]
        print_table(["NAME", "VALUE", "IN FILE", "SET"], rows)


@app.command()
def rm(name: Variable, file: FileOption = FILE, cluster: ClusterOption = None) -> None:
    """Remove a secret variable."""
    with errors_as_sentences():
        from podbay.deployment.vault import remove_variable

        deployment = placed(file, cluster)
        there = on_cluster(cluster, deployment, lambda api: remove_variable(api, deployment, name))
        console.print(f"{name} {'is gone' if there else 'was not there'}.", markup=False)
        if there and name in deployment.secrets:
            errors.print(f"note: {deployment.source} still names it under secrets", markup=False)


def _refuse_values(context: typer.Context) -> None:
    """A value on a command line has been seen: by the process list, by the shell's history."""
    if context.args:
        raise typer.BadParameter(
            "no value is taken from the command line, where others can read it. Type it when asked, pipe it, or give "
            "--from-file; and choose another one, for this one has been seen."
        )


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a value comes from; neither: from a prompt or from stdin."""

    file: Path | None
    generate: bool


def _give(name: str, file: Path, cluster: str | None, source: _Source, *, existing: bool) -> None:
    """`existing` refuses a name that has no value yet."""
    with errors_as_sentences():
        deployment = placed(file, cluster)
        _check_name(name)
        _store(name, deployment, cluster, _value(name, source), existing=existing)


def _check_name(name: str) -> None:
    """Before anybody types a value for it."""
    from podbay.deployment.format import secret_name_errors

    wrong = secret_name_errors(name)
    if wrong:
        raise InvalidInputError(f"secret variable {name}: {wrong[0]}")


def _value(name: str, source: _Source) -> SecretText:
    from podbay.kube.config import SecretText

    if source.generate:
        if source.file is not None:
            raise InvalidInputError("--generate and --from-file exclude each other")
        return SecretText(secrets.token_urlsafe(_GENERATED_BYTES))
    if source.file is not None:
        return SecretText(source.file.read_bytes().decode("utf-8", "surrogateescape"))
    if sys.stdin.isatty():
        return SecretText(getpass.getpass(f"Value of {name} (not shown): "))
    text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    # `echo value |` and here-documents end in a newline that nobody means.
    return SecretText(text.removesuffix("\n").removesuffix("\r"))


def _store(
    name: str, deployment: Deployment, cluster: str | None, value: SecretText, *, existing: bool
) -> None:
    from podbay.deployment.vault import pods_using, set_variable

    async def work(api: KubeClient) -> tuple[bool, list[str]]:
        had = await set_variable(api, deployment, name, value, now=datetime.now(UTC), existing=existing)
        return had, await pods_using(api, deployment, name) if had else []

    had, old = on_cluster(cluster, deployment, work)
    console.print(
        f"{name} is {'replaced' if had else 'set'}. Pods see it from their next start on.", markup=False
    )
    if old:
        errors.print(f"note: these pods have the old value until they end: {', '.join(old)}", markup=False)
    if name not in deployment.secrets:
        errors.print(f"note: {deployment.source} does not name it under secrets", markup=False)


def _moment(when: datetime | None) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC") if when is not None else "-"
