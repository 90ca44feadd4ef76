"""`podbay registry inspect`: an image's digest, platforms, size and entrypoint, and whether the nodes can run it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podbay.cli.deployment_file import OutputOption, on_cluster, placed
from podbay.cli.output import Output, console, errors, errors_as_sentences, print_json, print_table
from podbay.cli.target import ClusterOption
from podbay.errors import InvalidInputError, PodbayError, RegistryError
from podbay.pods.problems import Problem

if TYPE_CHECKING:
    from podbay.deployment.model import Deployment
    from podbay.kube.client import KubeClient
    from podbay.objects.meta import Object
    from podbay.registries.advice import Severity
    from podbay.registries.client import RegistryClient
    from podbay.registries.facts import ImageFacts, PlatformFacts
    from podbay.registries.image_name import ImageName
    from podbay.registries.logins import KeyedLogin, Login

# Functions import what they need, as in cluster.py.

__all__ = ["check_images", "inspect", "pull_proof"]


async def pull_proof(client: RegistryClient, name: ImageName, logins: Sequence[Login]) -> dict[str, object]:
    """Ask for an image's manifest as a kubelet would, and say what came of it."""
    from podbay.registries.logins import ANONYMOUS

    message = ""
    for login in logins or (ANONYMOUS,):
        try:
            digest = (await client.resolve(name, login)).digest
            return {"subject": str(name), "ok": True, "message": digest}
        except PodbayError as err:
            message = str(err)
    return {"subject": str(name), "ok": False, "message": message}


def inspect(
    image: Annotated[str, typer.Argument()],
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", envvar="PODBAY_FILE", show_envvar=False, help="Whose logins to use."),
    ] = None,
    cluster: ClusterOption = None,
    architecture: Annotated[
        list[str] | None,
        typer.Option("--arch", help="Of the nodes; those of the file or of the cluster's nodes when absent."),
    ] = None,
    docker_config: Annotated[Path | None, typer.Option(help="Use docker's logins, and no cluster.")] = None,
    ca_file: Annotated[Path | None, typer.Option("--ca-file", dir_okay=False)] = None,
    plain_http: Annotated[bool, typer.Option("--plain-http", help="The registry has no TLS.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """Say what an image is, by its registry. Exit code 1 when the nodes cannot run it."""
    failed = False
    with errors_as_sentences():
        from podbay.registries.advice import architecture_advice
        from podbay.registries.image_name import parse_image_name

        name = parse_image_name(image)
        keyed, wanted = _known(name, file, cluster, docker_config)
        facts, requests = asyncio.run(_facts(name, keyed, ca_file, plain_http))
        advice = architecture_advice(facts, architecture or wanted)
        failed = advice is not None and advice[0] == "problem"
        if output is Output.json:
            print_json(_json(facts, requests) | {"advice": advice[1] if advice else None, "runs": not failed})
        else:
            _print(facts)
            if advice is not None:
                errors.print(f"{advice[0]}: {advice[1]}", markup=False)
    if failed:
        raise typer.Exit(1)


def check_images(deployment: Deployment, pod: Object, cluster: str | None) -> tuple[list[Problem], list[str]]:
    """What registries say against the pod's images, by field, and what is only to be known."""
    from podbay.pods.resources import all_containers
    from podbay.registries.image_name import parse_image_name

    wanted = {path: str(container.get("image") or "") for path, container in all_containers(pod)}
    keyed, architectures = _of_deployment(deployment, cluster)

    async def work() -> list[tuple[Severity, str] | None]:
        return [await _verdict(each, keyed, architectures) for each in wanted.values()]

    for path, image in wanted.items():
        try:
            parse_image_name(image)
        except InvalidInputError as err:
            return [Problem(f"{path}.image", str(err))], []
    problems, notes = [], []
    for path, verdict in zip(wanted, asyncio.run(work()), strict=True):
        if verdict is not None and verdict[0] == "problem":
            problems.append(Problem(f"{path}.image", verdict[1]))
        elif verdict is not None:
            notes.append(verdict[1])
    return problems, notes


async def _verdict(
    image: str, keyed: list[KeyedLogin], architectures: list[str]
) -> tuple[Severity, str] | None:
    """Raises nothing of a registry: what it refuses is the verdict; that it was not reached from here is a note."""
    from podbay.registries.advice import architecture_advice
    from podbay.registries.image_name import parse_image_name

    try:
        facts, _ = await _facts(parse_image_name(image), keyed, None, False)
    except RegistryError as err:
        known = ("login", "denied", "no-repository", "no-tag", "digest")
        return ("problem" if err.kind in known else "warning"), str(err)
    return architecture_advice(facts, architectures)


def _known(
    name: ImageName, file: Path | None, cluster: str | None, docker_config: Path | None
) -> tuple[list[KeyedLogin], list[str]]:
    """Logins, and the architectures of the nodes as far as they are known."""
    from podbay.registries.credential_helper import login_of, read_docker_config

    if docker_config is not None:
        return asyncio.run(login_of(read_docker_config(docker_config), name.registry)), []
    default = Path("podbay.yaml")
    if file is None and not default.exists():
        return [], []
    return _of_deployment(placed(file or default, cluster), cluster)


def _of_deployment(deployment: Deployment, cluster: str | None) -> tuple[list[KeyedLogin], list[str]]:
    from podbay.registries.pull_secrets import logins_of

    async def work(api: KubeClient) -> tuple[list[KeyedLogin], list[str]]:
        logins = await logins_of(api, deployment)
        return logins, list(deployment.pods.architectures) or await _of_nodes(api)

    return on_cluster(cluster, deployment, work)


async def _of_nodes(api: KubeClient) -> list[str]:
    """Architectures of all nodes; none when they may not be listed."""
    from podbay.errors import ApiError
    from podbay.objects.meta import labels_of
    from podbay.objects.nodes import NODES

    try:
        nodes = (await api.list(NODES)).items
    except ApiError:
        return []
    return sorted({labels_of(each).get("kubernetes.io/arch", "") for each in nodes} - {""})


async def _facts(
    name: ImageName, keyed: list[KeyedLogin], ca_file: Path | None, plain_http: bool
) -> tuple[ImageFacts, int]:
    from podbay.embedded.home import podbay_home
    from podbay.registries.cache import ContentCache
    from podbay.registries.client import ClientOptions, RegistryClient
    from podbay.registries.facts import with_any_login
    from podbay.registries.logins import fitting

    plain = frozenset([name.registry]) if plain_http else frozenset()
    cache = ContentCache(podbay_home() / "registry-cache")
    async with RegistryClient(ClientOptions(ca_file=ca_file, plain_http=plain)) as client:
        return await with_any_login(client, name, fitting(keyed, name), cache), client.requests


def _json(facts: ImageFacts, requests: int) -> dict[str, Any]:
    return {
        "image": str(facts.name),
        "digest": facts.digest,
        "pinned": facts.pinned,
        "requests": requests,
        "platforms": [
            {
                "platform": each.platform,
                "digest": each.digest,
                "size": each.size,
                "entrypoint": list(each.entrypoint),
                "command": list(each.command),
                "user": each.user,
            }
            for each in facts.platforms
        ],
    }


def _print(facts: ImageFacts) -> None:
    console.print(f"{facts.name}", markup=False)
    console.print(f"pinned: {facts.pinned}", markup=False)
    print_table(["PLATFORM", "SIZE", "STARTS", "USER"], [_line(each) for each in facts.platforms])


def _line(each: PlatformFacts) -> list[str]:
    starts = " ".join((*each.entrypoint, *each.command)) or "-"
    size = f"{each.size / 1e6:.1f} MB" if each.size is not None else "-"
    return [each.platform, size, starts, each.user or "root"]
