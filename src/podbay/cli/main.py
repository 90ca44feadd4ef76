"""The `podbay` command: one group per noun, nothing decided here."""

from __future__ import annotations

import typer

from podbay import __version__
from podbay.cli import (
    aws_eks,
    aws_nodegroups,
    cluster,
    connection,
    deploy,
    deploy_check,
    deploy_doctor,
    deploy_secrets,
    heal,
    pod,
    pods,
    registry,
    registry_policy,
    triggerer,
    up,
    usage,
)
from podbay.cli.flags import untyped_flags
from podbay.cli.pod_words import CommandAfterDashes
from podbay.cli.run import run

__all__ = ["app", "main"]

app = typer.Typer(
    name="podbay",
    help="Apache Airflow tasks in Kubernetes pods: on a laptop with no cluster, on any cluster, at scale.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(up.up)
app.command()(up.down)
app.add_typer(cluster.app, name="cluster")
app.add_typer(pod.app, name="pod")
pods.register(app)
app.command(cls=CommandAfterDashes)(pod.render)
deploy.register(app)
app.add_typer(deploy_secrets.app, name="secrets")
app.add_typer(registry.app, name="registry")
app.add_typer(connection.app, name="connection")
aws_eks.register(registry_policy.aws_app)
aws_nodegroups.register(registry_policy.aws_app)
app.add_typer(registry_policy.aws_app, name="aws")
deploy_check.register(app)
deploy_doctor.register(app)
heal.register(app)
app.command()(usage.usage)
app.command(context_settings={"ignore_unknown_options": True})(triggerer.triggerer)


@app.callback(invoke_without_command=True)
def root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
) -> None:
    if version:
        typer.echo(f"podbay {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point of the console script."""
    untyped_flags(typer.main.get_command(app))()
