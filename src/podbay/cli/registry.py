"""`podbay registry`: logins by which a deployment's pods pull, and what is known of an image before it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podbay.cli import registry_images, registry_pin, registry_policy, registry_refresh
from podbay.cli.deployment_file import FileOption, OutputOption, on_cluster, placed
from podbay.cli.output import Output, console, errors, errors_as_sentences, print_json, print_table
from podbay.cli.registry_login import made_login, prove
from podbay.cli.target import ClusterOption
from podbay.errors import InvalidInputError, PodbayError, StateError

if TYPE_CHECKING:
    from podbay.deployment.model import Deployment
    from podbay.kube.client import KubeClient
    from podbay.registries.pull_secrets import PullSecret

# Functions import what they need, as in cluster.py.

__all__ = ["app"]

app = typer.Typer(help="Private images: logins, tokens that stay valid, facts.", no_args_is_help=True)
app.add_typer(registry_policy.app, name="policy")

FILE = Path("podbay.yaml")
DOCKER_CONFIG = Path("~/.docker/config.json")

Place = Annotated[
    str,
    typer.Argument(
        metavar="REGISTRY", help="Its host, perhaps with a path: ghcr.io, ghcr.io/team, docker.io."
    ),
]
SecretName = Annotated[
    str | None, typer.Option("--name", help="Of the Secret; after the registry when absent.")
]
CaFile = Annotated[
    Path | None, typer.Option("--ca-file", help="Certificate of the registry's authority.", dir_okay=False)
]
PlainHttp = Annotated[bool, typer.Option("--plain-http", help="The registry has no TLS.")]


@app.command()
def add(
    place: Place,
    file: FileOption = FILE,
    cluster: ClusterOption = None,
    username: Annotated[
        str | None, typer.Option("--username", "-u", help="The password is asked for, or read from stdin.")
    ] = None,
    docker_config: Annotated[
        Path | None, typer.Option("--docker-config", help="Take the login that docker has, helpers too.")
    ] = None,
    cloud: Annotated[
        bool,
        typer.Option(
            "--cloud", help="A token of the cloud (Amazon, Google, Azure), kept fresh by `refresh`."
        ),
    ] = False,
    name: SecretName = None,
    image: Annotated[str | None, typer.Option(help="Prove the login with this image, too.")] = None,
    ca_file: CaFile = None,
    plain_http: PlainHttp = False,
    unproven: Annotated[
        bool, typer.Option("--unproven", help="Keep it although this machine cannot reach the registry.")
    ] = False,
    attach: Annotated[
        bool, typer.Option(help="Name the Secret in the file, so that every pod has it.")
    ] = True,
    images: Annotated[
        list[str] | None,
        typer.Option("--for", help="Only for pods with such an image: ghcr.io/team/*; may be repeated."),
    ] = None,
) -> None:
    """Give the deployment a login. What was there stays until the registry has taken the new one."""
    with errors_as_sentences():
        from podbay.registries.pull_secrets import secret_name_for

        deployment = placed(file, cluster)
        _refuse_patterns(images or [], attach=attach)
        made = made_login(place, username, docker_config, cloud=cloud)
        if not unproven:
            prove(made, image, ca_file, plain_http)
        chosen = name or secret_name_for(made.logins[0].place)
        replaced = _store(deployment, cluster, replace(made, name=chosen))
        proven = " without a proof" if unproven else ""
        console.print(f"Secret {chosen} {'is replaced' if replaced else 'is made'}{proven}.", markup=False)
        if attach:
            _attach(file, deployment, chosen, images or [])
        if made.expires is not None:
            errors.print(
                f"note: it ends at {_moment(made.expires)}; keep it fresh: podbay registry refresh, or podbay registry cronjob",
                markup=False,
            )


def _store(deployment: Deployment, cluster: str | None, made: PullSecret) -> bool:
    """Write it; True when it took the place of another."""
    from podbay.registries.minting import CLOUDS
    from podbay.registries.pull_secrets import labels_for, read_pull_secret, write_pull_secret

    async def work(api: KubeClient) -> bool:
        there = await read_pull_secret(api, deployment.namespace, made.name)
        if there is not None and not there.ours:
            raise StateError(
                f"Secret {made.name} is there and was not made by `podbay registry`; give another name: --name"
            )
        wanted = replace(made, version=there.version if there else "")
        labels = labels_for(deployment)
        await write_pull_secret(api, deployment.namespace, wanted, now=datetime.now(UTC), labels=labels)
        if made.source in CLOUDS:
            await _tell_of_nodes(api, made.source)
        return there is not None

    return on_cluster(cluster, deployment, work)


async def _tell_of_nodes(api: KubeClient, source: str) -> None:
    """Nodes of the same cloud log in by themselves: a token would be one thing more that can end."""
    from podbay.errors import ApiError
    from podbay.objects.nodes import NODES

    try:
        nodes = (await api.list(NODES)).items
    except ApiError:
        return
    own, fix = {
        "ecr": ("aws://", "podbay aws node-role ROLE"),
        "google": ("gce://", "podbay registry policy google IMAGE"),
        "azure": ("azure://", "az aks update --attach-acr REGISTRY …"),
    }[source]
    if nodes and all(str((each.get("spec") or {}).get("providerID") or "").startswith(own) for each in nodes):
        errors.print(
            f"note: every node runs in that cloud and can log in by itself; no token is needed when it may pull: {fix}",
            markup=False,
        )


def _refuse_patterns(patterns: list[str], *, attach: bool) -> None:
    """Before anything is asked or written."""
    from podbay.deployment.image_patterns import pattern_errors

    if patterns and not attach:
        raise InvalidInputError("--for says in the file which pods have the Secret; leave out --no-attach")
    for each in patterns:
        for problem in pattern_errors(each):
            raise InvalidInputError(f"--for {each}: {problem}")


def _attach(file: Path, deployment: Deployment, name: str, patterns: list[str]) -> None:
    from podbay.registries.file_entry import (
        with_pull_secret,
        with_secret_for_images,
        without_pull_secret,
    )

    text = before = file.read_text()
    rules = deployment.pods
    if patterns:
        there = [each for each, names in rules.pull_secrets_by_image.items() if name in names]
        if name in rules.pull_secrets:
            # It was every pod's until now.
            text, there, patterns = without_pull_secret(text, name), [], [*there, *patterns]
        for each in dict.fromkeys(patterns):
            if each not in there:
                text = with_secret_for_images(text, name, each)
        where = (
            f"pods.pull_secrets_by_image: pods of Airflow with an image like {' or '.join(patterns)} have it"
        )
    else:
        if name not in rules.pull_secrets:
            text = with_pull_secret(text, name)
        where = "pods.pull_secrets: every pod has it after podbay apply"
    if text != before:
        _rewrite(file, text)
        console.print(f"{file} names it under {where}.", markup=False)


def _rewrite(file: Path, text: str) -> None:
    draft = file.with_name(f".{file.name}.tmp")
    draft.write_text(text)
    draft.replace(file)


@app.command("list")
def list_(file: FileOption = FILE, cluster: ClusterOption = None, output: OutputOption = Output.text) -> None:
    """List the deployment's logins; passwords are never shown."""
    with errors_as_sentences():
        from podbay.registries.pull_secrets import list_pull_secrets

        deployment = placed(file, cluster)
        found = on_cluster(
            cluster,
            deployment,
            lambda api: list_pull_secrets(api, deployment.namespace, deployment.pods.all_pull_secrets),
        )
        rows = [_row(each, deployment) for each in found]
        if output is Output.json:
            print_json(rows)
        elif not rows:
            console.print("No login yet. Add one: podbay registry add REGISTRY --username NAME")
        else:
            table = [
                [
                    r["name"],
                    r["registries"],
                    r["users"],
                    r["source"],
                    r["expires"] or "-",
                    _where(r),
                ]
                for r in rows
            ]
            print_table(["NAME", "REGISTRY", "USER", "FROM", "ENDS", "IN FILE"], table)


def _where(row: dict[str, Any]) -> str:
    if not row["in_file"]:
        return "no"
    return f"for {', '.join(row['images'])}" if row["images"] else "yes"


def _row(secret: PullSecret, deployment: Deployment) -> dict[str, Any]:
    return {
        "name": secret.name,
        "registries": secret.places,
        "users": ", ".join(dict.fromkeys(each.login.username for each in secret.logins)),
        "source": secret.source,
        "expires": _moment(secret.expires) if secret.expires else None,
        "in_file": secret.name in deployment.pods.all_pull_secrets,
        "images": [
            pattern
            for pattern, names in deployment.pods.pull_secrets_by_image.items()
            if secret.name in names
        ],
    }


@app.command("test")
def test_(
    names: Annotated[list[str] | None, typer.Argument(metavar="[SECRET]...", help="All when absent.")] = None,
    file: FileOption = FILE,
    cluster: ClusterOption = None,
    image: Annotated[list[str] | None, typer.Option(help="Besides those under `images` in the file.")] = None,
    ca_file: CaFile = None,
    plain_http: PlainHttp = False,
    output: OutputOption = Output.text,
) -> None:
    """Log in with what the deployment has, and ask for the manifests of its images. Exit code 1 when something fails."""
    failed = False
    with errors_as_sentences():
        from podbay.registries.pull_secrets import list_pull_secrets

        deployment = placed(file, cluster)
        wanted = (*deployment.pods.all_pull_secrets, *(names or ()))
        found = on_cluster(
            cluster, deployment, lambda api: list_pull_secrets(api, deployment.namespace, wanted)
        )
        lacking = set(wanted) - {each.name for each in found}
        images = [*deployment.images.values(), *(image or ())]
        rows = [
            {"subject": f"Secret {each}", "ok": False, "message": "is not in the cluster"}
            for each in sorted(lacking)
        ]
        rows += asyncio.run(proofs(found, images, ca_file, plain_http=plain_http, only=names or ()))
        failed = not all(each["ok"] for each in rows)
        if output is Output.json:
            print_json(rows)
        elif not rows:
            console.print("No login and no image to test.")
        else:
            for each in rows:
                console.print(
                    f"{each['subject']}: {'ok' if each['ok'] else 'FAILED'}: {each['message']}", markup=False
                )
    if failed:
        raise typer.Exit(1)


async def proofs(
    secrets: list[PullSecret],
    images: list[str],
    ca_file: Path | None,
    *,
    plain_http: bool,
    only: Sequence[str] = (),
) -> list[dict[str, object]]:
    """Log in with each (`only` names some), ask for each image by all of them: `subject`, `ok` and `message`."""
    from podbay.registries.client import ClientOptions, RegistryClient
    from podbay.registries.image_name import parse_image_name
    from podbay.registries.logins import fitting

    keyed = [login for each in secrets for login in each.logins]
    parsed = [parse_image_name(each) for each in images]
    hosts = {each.registry for each in keyed} | {each.registry for each in parsed}
    options = ClientOptions(ca_file=ca_file, plain_http=frozenset(hosts) if plain_http else frozenset())
    rows: list[dict[str, object]] = []
    async with RegistryClient(options) as client:
        for secret in secrets:
            for each in secret.logins if not only or secret.name in only else ():
                subject = f"{secret.name} at {each.place}"
                if each.is_pattern:
                    message = "is for many registries; name an image of one: --image"
                    rows.append({"subject": subject, "ok": True, "message": message})
                    continue
                try:
                    asked = await client.log_in(each.registry, each.login)
                    message = "the login is taken" if asked else "the registry asks nobody for a login"
                    rows.append({"subject": subject, "ok": True, "message": message})
                except PodbayError as err:
                    rows.append({"subject": subject, "ok": False, "message": str(err)})
        for name in parsed:
            rows.append(await registry_images.pull_proof(client, name, fitting(keyed, name)))
    return rows


@app.command()
def rm(
    name: Annotated[str, typer.Argument(metavar="SECRET|REGISTRY")],
    file: FileOption = FILE,
    cluster: ClusterOption = None,
) -> None:
    """Remove a login from the cluster and from the file."""
    with errors_as_sentences():
        from podbay.registries.file_entry import without_pull_secret
        from podbay.registries.pull_secrets import remove_pull_secret, secret_name_for

        deployment = placed(file, cluster)
        chosen = secret_name_for(name) if "." in name or "/" in name else name
        there = on_cluster(cluster, deployment, lambda api: remove_pull_secret(api, deployment, chosen))
        console.print(f"Secret {chosen} {'is gone' if there else 'was not there'}.", markup=False)
        if chosen in deployment.pods.all_pull_secrets:
            _rewrite(file, without_pull_secret(file.read_text(), chosen))
            console.print(
                f"{file} does not name it any more; podbay apply takes it from new pods.", markup=False
            )


def _moment(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


app.command()(registry_images.inspect)
app.command()(registry_pin.pin)
app.command()(registry_refresh.refresh)
app.command()(registry_refresh.cronjob)
