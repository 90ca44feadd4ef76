"""`podbay registry pin`: the aliases of podbay.yaml mean the images of today until they are pinned anew."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podbay.cli.deployment_file import FileOption, OutputOption, on_cluster, placed
from podbay.cli.output import Output, console, errors_as_sentences, print_json
from podbay.cli.target import ClusterOption
from podbay.errors import InvalidInputError, RegistryError

if TYPE_CHECKING:
    from podbay.deployment.model import Deployment
    from podbay.registries.client import ClientOptions
    from podbay.registries.image_name import ImageName
    from podbay.registries.logins import KeyedLogin

# Functions import what they need, as in cluster.py.

__all__ = ["pin"]

FILE = Path("podbay.yaml")


def pin(
    aliases: Annotated[
        list[str] | None, typer.Argument(metavar="[ALIAS]...", help="All when absent.")
    ] = None,
    file: FileOption = FILE,
    cluster: ClusterOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 when a tag means another image now.")
    ] = False,
    ca_file: Annotated[Path | None, typer.Option("--ca-file", dir_okay=False)] = None,
    plain_http: Annotated[bool, typer.Option("--plain-http", help="The registry has no TLS.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """Write the digest that each tag under `images` means now into the file; pods that use the alias run exactly that."""
    moved = False
    with errors_as_sentences():
        from podbay.registries.client import ClientOptions
        from podbay.registries.image_name import parse_image_name
        from podbay.registries.pull_secrets import logins_of

        deployment = placed(file, cluster)
        names = {each: parse_image_name(deployment.images[each]) for each in _chosen(deployment, aliases)}
        keyed = on_cluster(cluster, deployment, lambda api: logins_of(api, deployment))
        plain = frozenset(each.registry for each in names.values()) if plain_http else frozenset()
        options = ClientOptions(ca_file=ca_file, plain_http=plain)
        pinned = asyncio.run(_pinned(names, keyed, options))
        rows: list[dict[str, Any]] = [
            {"alias": each, "image": pinned[each], "was": deployment.images[each]} for each in names
        ]
        moved = any(each["image"] != each["was"] for each in rows)
        if not check:
            _write(file, pinned)
        if output is Output.json:
            print_json(rows)
        else:
            for each in rows:
                words = "as it was" if each["image"] == each["was"] else f"was {each['was']}"
                console.print(f"{each['alias']}: {each['image']} ({words})", markup=False)
    if check and moved:
        raise typer.Exit(1)


def _chosen(deployment: Deployment, aliases: list[str] | None) -> list[str]:
    if not deployment.images:
        raise InvalidInputError(
            f"{deployment.source} has no aliases to pin. Name an image: images: {{tool: ghcr.io/team/tool:1}}"
        )
    for each in aliases or ():
        if each not in deployment.images:
            raise InvalidInputError(f"{each} is not under images; there are: {', '.join(deployment.images)}")
    return list(aliases or deployment.images)


async def _pinned(
    names: dict[str, ImageName], keyed: list[KeyedLogin], options: ClientOptions
) -> dict[str, str]:
    """Alias to name with tag and digest. Raises RegistryError of the first that cannot be asked for."""
    from podbay.registries.cache import ContentCache
    from podbay.registries.client import RegistryClient
    from podbay.registries.facts import with_any_login
    from podbay.registries.logins import fitting

    cache, found = ContentCache(), {}
    async with RegistryClient(options) as client:
        for alias, name in names.items():
            if not name.tag:
                found[alias] = str(name)
                continue
            # Without its digest: the question is what the tag means now.
            tagged = replace(name, digest="")
            try:
                found[alias] = (await with_any_login(client, tagged, fitting(keyed, tagged), cache)).pinned
            except RegistryError as err:
                raise RegistryError(err.kind, f"images.{alias}: {err}") from err
    return found


def _write(file: Path, pinned: dict[str, str]) -> None:
    from podbay.registries.file_entry import with_image

    text = before = file.read_text()
    for alias, image in pinned.items():
        text = with_image(text, alias, image)
    if text != before:
        draft = file.with_name(f".{file.name}.tmp")
        draft.write_text(text)
        draft.replace(file)
