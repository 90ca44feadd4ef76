"""`podbay registry policy` and `podbay aws node-role`: what a cloud must be told so that nodes may pull."""

from __future__ import annotations

import asyncio
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from podbay.cli.output import console, errors, errors_as_sentences, print_json
from podbay.cli.target import ClusterOption, choose, connect
from podbay.errors import InvalidInputError

if TYPE_CHECKING:
    from podbay.registries.amazon.repository import Repository
    from podbay.registries.amazon.session import Aws

# Functions import what they need, as in cluster.py.

__all__ = ["app", "aws_app"]

app = typer.Typer(help="Who may pull, as clouds write it.", no_args_is_help=True)
ecr_app = typer.Typer(help="Repository policies of Amazon ECR.", no_args_is_help=True)
app.add_typer(ecr_app, name="ecr")
aws_app = typer.Typer(help="What AWS must be told.", no_args_is_help=True)

RepositoryName = Annotated[
    str, typer.Argument(metavar="REPOSITORY", help="Its name, or the whole URI of an image.")
]
Principals = Annotated[list[str] | None, typer.Option("--principal", help="ARN of a role, user or account.")]
Account = Annotated[str, typer.Option("--account", help="12 digits; alone, everybody the account lets.")]
ClusterId = Annotated[
    str, typer.Option("--cluster-id", help="With --account: the role of that cluster's nodes.")
]
Version = Annotated[
    str, typer.Option("--policy-version", help="2012-10-17, or 2008-10-17 as in Astro's pages.")
]
Region = Annotated[str, typer.Option("--region", help="That of the environment or URI when absent.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the calls of AWS instead of making them.")]


class Policy(StrEnum):
    """--policy of node-role"""

    read_only = "read-only"
    pull_only = "pull-only"
    custom = "custom"


def _principals(given: list[str] | None, account: str, cluster_id: str) -> list[str]:
    from podbay.registries.amazon.policy import node_role_arn, root_arn

    found = list(given or ())
    if account:
        found.append(node_role_arn(account, cluster_id) if cluster_id else root_arn(account))
    elif cluster_id:
        raise InvalidInputError("--cluster-id needs --account, in which the cluster is")
    if not found:
        raise InvalidInputError(
            "nobody is named: give --principal, or --account with or without --cluster-id"
        )
    return found


def _repository(text: str, region: str) -> Repository:
    from podbay.registries.amazon.repository import repository_of

    return repository_of(text, region)


@ecr_app.command("write")
def write(
    principal: Principals = None,
    account: Account = "",
    cluster_id: ClusterId = "",
    policy_version: Version = "2012-10-17",
) -> None:
    """Print the policy by which these may pull. Calls nothing."""
    with errors_as_sentences():
        from podbay.registries.amazon.policy import merge_policy

        print_json(merge_policy(None, _principals(principal, account, cluster_id), version=policy_version))


@ecr_app.command("show")
def show(repository: RepositoryName, region: Region = "") -> None:
    """Print the policy that a repository has."""
    with errors_as_sentences():
        from podbay.registries.amazon.repository import current_policy
        from podbay.registries.amazon.session import Aws

        found = asyncio.run(current_policy(Aws(), _repository(repository, region))).policy
        if found is None:
            console.print("It has no policy: only its own account may pull.")
        else:
            print_json(found)


@ecr_app.command("check")
def check(
    repository: RepositoryName,
    principal: Principals = None,
    account: Account = "",
    cluster_id: ClusterId = "",
    region: Region = "",
) -> None:
    """Whether these may pull, and whether too many may. Exit code 1 when something is wrong."""
    problems: list[str] = []
    with errors_as_sentences():
        from podbay.registries.amazon.policy import check_policy
        from podbay.registries.amazon.repository import current_policy
        from podbay.registries.amazon.session import Aws

        wanted = _principals(principal, account, cluster_id)
        found = asyncio.run(current_policy(Aws(), _repository(repository, region)))
        problems = check_policy(found.policy, wanted, owner=found.owner)
        for each in problems or [f"{who} may pull" for who in wanted]:
            console.print(each, markup=False)
    if problems:
        raise typer.Exit(1)


@ecr_app.command("apply")
def apply(
    repository: RepositoryName,
    principal: Principals = None,
    account: Account = "",
    cluster_id: ClusterId = "",
    region: Region = "",
    policy_version: Version = "2012-10-17",
    replace: Annotated[
        bool, typer.Option("--replace", help="Drop the principals of our statement before.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Let these pull: one statement (Sid AllowImagePullAstro) is added or extended, everything else stays."""
    with errors_as_sentences():
        from podbay.registries.amazon.repository import apply_policy
        from podbay.registries.amazon.session import Aws

        place, wanted = _repository(repository, region), _principals(principal, account, cluster_id)
        work = apply_policy(Aws(), place, wanted, version=policy_version, replace=replace, dry_run=dry_run)
        change = asyncio.run(work)
        if change.call is None:
            console.print("Our statement is as wanted: nothing to do.")
        elif dry_run:
            sys.stdout.write(f"{change.call}\n")
        else:
            console.print(f"Set the policy of {place[2]}.", markup=False)
        for each in change.problems:
            errors.print(f"note: {each}", markup=False)


@app.command()
def google(
    image: Annotated[str, typer.Argument(help="LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/NAME")],
    principal: Annotated[
        str, typer.Option(help="The nodes' service account, such as 1-compute@developer.gserviceaccount.com.")
    ],
) -> None:
    """Print the command by which a repository of Artifact Registry lets a principal pull. Calls nothing."""
    with errors_as_sentences():
        from podbay.registries.google import grant_command

        sys.stdout.write(grant_command(image, principal) + "\n")


@aws_app.command("node-role")
def node_role(
    role: Annotated[
        list[str] | None, typer.Argument(metavar="[ROLE]...", help="Names of the nodes' roles.")
    ] = None,
    policy: Annotated[
        Policy, typer.Option(help="read-only and pull-only are AWS's own; custom is the list of actions.")
    ] = Policy.read_only,
    partition: Annotated[str, typer.Option(help="aws, aws-cn or aws-us-gov.")] = "aws",
    cloudformation: Annotated[
        bool,
        typer.Option("--cloudformation", help="Print a template with a new role instead. Calls nothing."),
    ] = False,
    nodes: Annotated[
        bool, typer.Option("--nodes", help="The roles of the cluster's nodes, by their instances.")
    ] = False,
    cluster: ClusterOption = None,
    dry_run: DryRun = False,
) -> None:
    """Let nodes pull from ECR by themselves. A role that may already is left as it is."""
    with errors_as_sentences():
        from podbay.registries.amazon.node_role import cloudformation_template, grant_calls
        from podbay.registries.amazon.session import Aws

        if cloudformation:
            sys.stdout.write(cloudformation_template(policy.value))
            return
        if not role and not nodes:
            raise InvalidInputError(
                "name the roles of the nodes, look at the cluster's: --nodes, or print a template: --cloudformation"
            )

        async def work() -> list[str]:
            aws = Aws()
            found = await _roles_of_cluster(aws, cluster) if nodes else []
            calls = await grant_calls(aws, [*(role or ()), *found], policy.value, partition=partition)
            for call in calls:
                if not dry_run:
                    await aws.do(call)
            return [str(each) for each in calls]

        done = asyncio.run(work())
        for each in done:
            sys.stdout.write(each + "\n")
        if not done:
            console.print("Every role may pull already: nothing to do.")


async def _roles_of_cluster(aws: Aws, cluster: str | None) -> list[str]:
    from podbay.objects.nodes import NODES
    from podbay.registries.amazon.instances import roles_of_nodes

    async with connect(choose(cluster)) as leased:
        listed = (await leased.client.list(NODES)).items
    return await roles_of_nodes(
        aws, [str((each.get("spec") or {}).get("providerID") or "") for each in listed]
    )
