"""`podbay init`, `plan`, `apply`, `destroy`, `manifests` and `schema`: a deployment from its file to a cluster and back."""

from __future__ import annotations

import random
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podbay.cli.deployment_file import FileOption, OutputOption, in_file, on_cluster, placed, placed_or_new
from podbay.cli.output import Output, console, errors, errors_as_sentences, print_json
from podbay.cli.target import ClusterOption
from podbay.errors import InvalidInputError

if TYPE_CHECKING:
    from podbay.deployment.apply import Applied
    from podbay.deployment.destroy import Removal
    from podbay.deployment.model import Deployment
    from podbay.deployment.plan import Plan
    from podbay.kube.client import KubeClient

# Functions import what they need, as in cluster.py.

__all__ = ["register"]

EXIT_DIFFERENT = 3
"""Of `podbay plan --exit-code` when applying would change something; as of `podbay cluster status`."""
FILE = Path("podbay.yaml")
_COLOURS = {"+": "green", "-": "red", "~": "yellow", "!": "red", "@": "cyan"}

Adopt = Annotated[bool, typer.Option("--adopt", help="Take over objects that were there before.")]
Force = Annotated[bool, typer.Option("--force", help="Set back fields that somebody else has changed.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


class Purpose(StrEnum):
    """--for of manifests"""

    kubectl = "kubectl"
    env = "env"
    helm = "helm"


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (init, plan, apply, destroy, manifests, schema):
        app.command()(command)


def init(
    file: FileOption = FILE,
    name: Annotated[str | None, typer.Option(help="The directory's name when absent.")] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Generated when absent.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Write a podbay.yaml to begin with."""
    with errors_as_sentences():
        from podbay.deployment.naming import generate_namespace
        from podbay.deployment.reading import parse_deployment
        from podbay.deployment.starter import name_from, starter_file

        if file.exists() and not overwrite:
            raise InvalidInputError(f"{file} is there already; edit it, or replace it with --overwrite")
        chosen = name or name_from(file.absolute().parent.name)
        text = starter_file(chosen, namespace or generate_namespace(random.SystemRandom()))
        parse_deployment(text, str(file))
        file.write_text(text)
        console.print(f"Wrote {file}. Look at it, then: podbay plan, podbay apply", markup=False)


def plan(
    file: FileOption = FILE,
    cluster: ClusterOption = None,
    adopt: Adopt = False,
    force: Force = False,
    exit_code: Annotated[
        bool,
        typer.Option("--exit-code", help=f"Exit with {EXIT_DIFFERENT} when apply would change something."),
    ] = False,
    output: OutputOption = Output.text,
) -> None:
    """Show what apply would do, as kubectl diff does. Changes nothing."""
    with errors_as_sentences():
        made = _planned(placed_or_new(file, cluster, write=False), cluster, adopt=adopt, force=force)
        _print_plan(made, output)
    if exit_code and (made.work or made.obstacles):
        raise typer.Exit(EXIT_DIFFERENT)


def apply(
    file: FileOption = FILE,
    cluster: ClusterOption = None,
    adopt: Adopt = False,
    force: Force = False,
    yes: Yes = False,
    output: OutputOption = Output.text,
) -> None:
    """Make the cluster as the file says. Asks before it deletes or takes over anything."""
    failed = False
    with errors_as_sentences():
        deployment = placed_or_new(file, cluster, write=True)
        made = _planned(deployment, cluster, adopt=adopt, force=force)
        _confirm_apply(made, yes=yes)
        results = on_cluster(cluster, deployment, lambda api: _apply(api, made, output))
        failed = any(each.done in ("refused", "withheld") for each in results)
        if output is Output.json:
            print_json(
                {
                    "deployment": deployment.name,
                    "namespace": deployment.namespace,
                    "results": _results(results),
                }
            )
        elif not made.work:
            console.print(f"{deployment.name} is as {file} says: nothing to do.", markup=False)
        for note in made.notes:
            errors.print(f"note: {note}", markup=False)
        if failed:
            errors.print(
                "error: not everything could be applied; mend what is refused and apply again", markup=False
            )
    if failed:
        raise typer.Exit(1)


async def _apply(api: KubeClient, made: Plan, output: Output) -> list[Applied]:
    from podbay.deployment.apply import apply_plan

    def tell(result: Applied) -> None:
        if output is Output.text:
            said = f": {result.message}" if result.message else ""
            console.print(f"{result.change} {result.done}{said}", markup=False)

    return await apply_plan(api, made, told=tell)


def _results(results: list[Applied]) -> list[dict[str, str]]:
    return [
        {"kind": each.change.key[0], "name": each.change.key[1], "done": each.done, "message": each.message}
        for each in results
    ]


def _planned(deployment: Deployment, cluster: str | None, *, adopt: bool, force: bool) -> Plan:
    from podbay.deployment.observe import observe
    from podbay.deployment.plan import make_plan

    observed = on_cluster(cluster, deployment, lambda api: observe(api, deployment))
    return make_plan(deployment, observed, adopt=adopt, force=force)


def _print_plan(made: Plan, output: Output) -> None:
    from podbay.deployment.showing import plan_json, plan_lines

    if output is Output.json:
        print_json(plan_json(made))
        return
    coloured = sys.stdout.isatty()
    for line in plan_lines(made):
        colour = _COLOURS.get(line[:1]) if coloured else None
        sys.stdout.write((typer.style(line, fg=colour) if colour else line) + "\n")
    if not made.work and not made.obstacles:
        console.print(f"{made.deployment.name} is as {made.deployment.source} says.", markup=False)


def _confirm_apply(made: Plan, *, yes: bool) -> None:
    delicate = [
        each for each in made.work if each.action == "delete" or (each.action == "update" and each.force)
    ]
    if yes or not delicate or made.obstacles:
        return
    for each in delicate:
        errors.print(f"{each}: {'delete' if each.action == 'delete' else 'take over'}", markup=False)
    _ask("Go on?")


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise InvalidInputError("nobody is there to confirm this; give --yes")
    typer.confirm(question, abort=True, err=True)


def destroy(
    file: FileOption = FILE,
    cluster: ClusterOption = None,
    yes: Yes = False,
    output: OutputOption = Output.text,
) -> None:
    """Delete the deployment from the cluster: its namespace with everything in it."""
    failed = False
    with errors_as_sentences():
        from podbay.deployment.destroy import removal_of

        deployment = placed(file, cluster)
        removal = on_cluster(cluster, deployment, lambda api: removal_of(api, deployment))
        if removal.changes:
            _confirm_destroy(removal, yes=yes)
        results = on_cluster(cluster, deployment, lambda api: _destroy(api, removal, output))
        failed = any(each.done == "refused" for each in results)
        if output is Output.json:
            print_json(
                {"namespace": deployment.namespace, "results": _results(results), "kept": list(removal.kept)}
            )
        elif not removal.changes:
            console.print(f"{deployment.name} is not in this cluster.", markup=False)
    if failed:
        raise typer.Exit(1)


async def _destroy(api: KubeClient, removal: Removal, output: Output) -> list[Applied]:
    from podbay.aio.clock import SystemClock
    from podbay.deployment.destroy import destroy as delete

    def tell(result: Applied) -> None:
        if output is Output.text:
            said = f": {result.message}" if result.message else ""
            console.print(f"{result.change} {result.done}{said}", markup=False)
            if result.change == removal.changes[-1] and removal.takes_namespace:
                errors.print("waiting until the namespace has ended …", markup=False)

    return await delete(api, removal, SystemClock(), told=tell)


def _confirm_destroy(removal: Removal, *, yes: bool) -> None:
    for change in removal.changes:
        sign, remark = ("-", "") if change.action == "delete" else ("~", " (was there before and stays)")
        errors.print(f"{sign} {change}{remark}", markup=False)
    if removal.running_pods:
        errors.print(f"  with {len(removal.running_pods)} pods that have not ended", markup=False)
    if removal.claims:
        errors.print(f"  with the data of {', '.join(removal.claims)}", markup=False)
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidInputError("nobody is there to confirm this; give --yes")
    namespace = removal.deployment.namespace
    if typer.prompt(f"Type {namespace} to delete it", default="", show_default=False, err=True) != namespace:
        raise InvalidInputError("not confirmed; nothing was deleted")


def manifests(
    file: FileOption = FILE,
    purpose: Annotated[Purpose, typer.Option("--for", help="kubectl, env or helm.")] = Purpose.kubectl,
    in_cluster: Annotated[bool, typer.Option(help="For --for env: Airflow runs in the cluster.")] = True,
    output: OutputOption = Output.text,
) -> None:
    """Print what apply would apply (kubectl), or what an Airflow must be told (env, helm). Needs no cluster."""
    with errors_as_sentences():
        deployment = in_file(file)
        if purpose is Purpose.kubectl:
            _print_objects(deployment, output)
            return
        if in_cluster and not deployment.airflow.service_accounts:
            errors.print(
                "note: airflow.service_accounts names nobody; workers and triggerer of that Airflow may not launch pods",
                markup=False,
            )
        if purpose is Purpose.env:
            _print_environment(deployment, file, in_cluster=in_cluster, output=output)
        else:
            _print_helm_values(deployment, file, output)


def _print_objects(deployment: Deployment, output: Output) -> None:
    from podbay.deployment.desired import desired_objects
    from podbay.pods.render import render

    objects = desired_objects(deployment)
    if output is Output.json:
        print_json({"apiVersion": "v1", "kind": "List", "items": objects})
    else:
        sys.stdout.write("---\n".join(render(each, reveal=True) for each in objects))


def _print_environment(deployment: Deployment, file: Path, *, in_cluster: bool, output: Output) -> None:
    from podbay.deployment.handover import airflow_environment

    kubeconfig, context = ("", "") if in_cluster else _way(deployment.cluster)
    environment = airflow_environment(
        deployment, str(file.absolute()), in_cluster=in_cluster, kubeconfig=kubeconfig, context=context
    )
    if output is Output.json:
        print_json(environment)
    else:
        sys.stdout.writelines(f"{key}={value}\n" for key, value in environment.items())


def _print_helm_values(deployment: Deployment, file: Path, output: Output) -> None:
    from podbay.deployment.handover import helm_values
    from podbay.pods.render import render

    values = helm_values(deployment, file.read_text())
    if output is Output.json:
        print_json(values)
    else:
        sys.stdout.write(render(values, reveal=True))


def _way(cluster: str) -> tuple[str, str]:
    """Kubeconfig and context by which an Airflow on this machine reaches the deployment's cluster."""
    from podbay.embedded.home import cluster_home, cluster_names

    word = cluster or "podbay"
    if word == "podbay" or word.removeprefix("podbay-") in cluster_names():
        return str(cluster_home(word.removeprefix("podbay-")).kubeconfig), ""
    if Path(word).expanduser().is_file():
        return str(Path(word).expanduser().absolute()), ""
    return "", "" if word == "current" else word


def schema() -> None:
    """Print the JSON schema of podbay.yaml, for editors."""
    from podbay.deployment.format import json_schema

    print_json(json_schema())
