"""`podbay registry refresh` and `cronjob`: tokens of clouds, made anew before they end."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podbay.cli.deployment_file import FileOption, OutputOption, on_cluster, placed
from podbay.cli.output import Output, console, errors, errors_as_sentences, print_json, printable
from podbay.cli.target import ClusterOption, NamespaceOption, choose, connect
from podbay.errors import InvalidInputError

if TYPE_CHECKING:
    from podbay.deployment.model import Deployment
    from podbay.kube.client import KubeClient
    from podbay.registries.pull_secrets import PullSecret
    from podbay.registries.refresh import Refreshed

# Functions import what they need, as in cluster.py.

__all__ = ["cronjob", "refresh"]

FILE = Path("podbay.yaml")


def refresh(
    names: Annotated[list[str] | None, typer.Argument(metavar="[SECRET]...", help="All when absent.")] = None,
    file: FileOption = FILE,
    cluster: ClusterOption = None,
    namespace: NamespaceOption = None,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    every: Annotated[
        float, typer.Option(min=1, help="Seconds between two looks; before a login ends there is one more.")
    ] = 600.0,
    force: Annotated[
        bool, typer.Option("--force", help="Renew also what is not due yet; with --once.")
    ] = False,
    unproven: Annotated[
        bool, typer.Option("--unproven", help="Ask the cloud alone, not the registry.")
    ] = False,
    ca_file: Annotated[Path | None, typer.Option("--ca-file", dir_okay=False)] = None,
) -> None:
    """Make tokens anew when half of their life is over; stays until Ctrl-C, unless --once. Exit code 1 after a failure."""
    failed = False
    with errors_as_sentences():
        if namespace is not None:
            # Inside of a cluster there is no podbay.yaml.
            config = choose(cluster, namespace)
        else:
            deployment = placed(file, cluster)
            config = choose(cluster or deployment.cluster or None, deployment.namespace)

        async def connected() -> list[Refreshed]:
            async with connect(config) as leased:
                work = _Work(
                    leased.client, config.namespace, tuple(names or ()), force=force, unproven=unproven
                )
                return await work.run(ca_file, None if once else every)

        failed = any(each.state == "failed" for each in asyncio.run(connected()))
    if failed:
        raise typer.Exit(1)


class _Work:
    """One run of the command."""

    def __init__(
        self, api: KubeClient, namespace: str, names: tuple[str, ...], *, force: bool, unproven: bool
    ) -> None:
        self._api, self._namespace, self._names = api, namespace, names
        self._force, self._unproven = force, unproven

    async def run(self, ca_file: Path | None, every: float | None) -> list[Refreshed]:
        from podbay.aio.clock import SystemClock
        from podbay.registries.amazon.session import Aws
        from podbay.registries.client import ClientOptions, RegistryClient
        from podbay.registries.logins import KeyedLogin
        from podbay.registries.minting import Minted, mint
        from podbay.registries.refresh import keep_fresh, proof_by
        from podbay.registries.refresh import refresh as renew

        clock, aws = SystemClock(), Aws()

        async def minted(source: str, registry: str) -> Minted:
            return await mint(source, registry, aws)

        async def believed(_: KeyedLogin) -> None:
            return

        async with RegistryClient(ClientOptions(ca_file=ca_file)) as client:
            prove = believed if self._unproven else proof_by(client)

            async def look() -> list[Refreshed]:
                return await renew(
                    self._api,
                    self._namespace,
                    self._names,
                    mint=minted,
                    prove=prove,
                    clock=clock,
                    force=self._force,
                )

            if every is not None:
                await keep_fresh(look, every=every, clock=clock, told=_tell)
            results = await look()
            for each in results:
                _tell(each)
            if not results:
                console.print("No login to refresh. Add one: podbay registry add REGISTRY --cloud")
            return results


def _tell(each: Refreshed) -> None:
    ends = f", ends {each.expires:%Y-%m-%d %H:%M} UTC" if each.expires else ""
    words = {
        "renewed": f"renewed{ends}",
        "fresh": f"still fresh{ends}",
        "fixed": "is not a cloud's; left as it is",
    }
    if each.state == "failed":
        errors.print(f"{each.name}: FAILED, what was there stays: {printable(each.message)}", markup=False)
    else:
        console.print(f"{each.name}: {words[each.state]}", markup=False)


def cronjob(
    image: Annotated[
        str,
        typer.Option(help="With Podbay, and boto3 or google-auth: docs/migration.md tells how to build it."),
    ],
    file: FileOption = FILE,
    cluster: ClusterOption = None,
    name: Annotated[
        list[str] | None, typer.Option("--name", help="Secrets to refresh; those of clouds when absent.")
    ] = None,
    job_namespace: Annotated[
        str, typer.Option(help="Where it runs, apart from the pods.")
    ] = "podbay-registry",
    schedule: Annotated[
        str, typer.Option(help="As in crontab; as often as the logins need when absent.")
    ] = "",
    cloud_secret: Annotated[
        str, typer.Option(help="Secret there with AWS_ACCESS_KEY_ID and the like, outside of the cloud.")
    ] = "",
    role_arn: Annotated[str, typer.Option(help="AWS role of its service account (EKS).")] = "",
    google_account: Annotated[str, typer.Option(help="Google account of its service account (GKE).")] = "",
    azure_client: Annotated[str, typer.Option(help="Client id of its service account (AKS).")] = "",
    output: OutputOption = Output.text,
) -> None:
    """Print the manifests of a CronJob that refreshes in the cluster: podbay registry cronjob … | kubectl apply -f -"""
    with errors_as_sentences():
        from podbay.pods.render import render
        from podbay.registries.cronjob import RefreshJob, refresh_objects, schedule_for

        deployment = placed(file, cluster)
        chosen = _of_clouds(deployment, cluster, name)
        job = RefreshJob(
            namespace=deployment.namespace,
            secrets=[each.name for each in chosen],
            image=image,
            own_namespace=job_namespace,
            schedule=schedule or schedule_for(each.source for each in chosen),
            cloud_secret=cloud_secret,
            role_arn=role_arn,
            google_account=google_account,
            azure_client=azure_client,
        )
        objects = refresh_objects(job)
        if output is Output.json:
            print_json({"apiVersion": "v1", "kind": "List", "items": objects})
        else:
            sys.stdout.write("---\n".join(render(each, reveal=True) for each in objects))


def _of_clouds(deployment: Deployment, cluster: str | None, names: list[str] | None) -> list[PullSecret]:
    """The Secrets that can be renewed, all or these. Raises InvalidInputError for one that is not there or cannot."""
    from podbay.registries.minting import CLOUDS
    from podbay.registries.pull_secrets import list_pull_secrets

    found = on_cluster(
        cluster, deployment, lambda api: list_pull_secrets(api, deployment.namespace, names or ())
    )
    renewed = {each.name: each for each in found if each.source in CLOUDS}
    for each in names or ():
        if each not in renewed:
            raise InvalidInputError(
                f"namespace {deployment.namespace} has no Secret {each} with a cloud's login: podbay registry list"
            )
    return [renewed[each] for each in names or renewed]
