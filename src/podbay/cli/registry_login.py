"""The login of `podbay registry add`: from where it is had, and its proof by a request to the registry."""

from __future__ import annotations

import asyncio
import getpass
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from podbay.cli.output import errors
from podbay.errors import InvalidInputError

if TYPE_CHECKING:
    from podbay.registries.client import RegistryClient
    from podbay.registries.logins import KeyedLogin
    from podbay.registries.pull_secrets import PullSecret

# Functions import what they need, as in cluster.py.

__all__ = ["made_login", "prove"]


def made_login(place: str, username: str | None, docker_config: Path | None, *, cloud: bool) -> PullSecret:
    """The Secret as it is to be, without a name."""
    from podbay.kube.config import SecretText
    from podbay.registries.image_name import registry_host
    from podbay.registries.logins import KeyedLogin, Login
    from podbay.registries.minting import cloud_of, mint
    from podbay.registries.pull_secrets import PullSecret

    registry, path = registry_host(place)
    if sum([username is not None, docker_config is not None, cloud]) != 1:
        hint = "; here --cloud fits" if cloud_of(registry) else ""
        raise InvalidInputError(
            f"say whose login it is by one of --username, --docker-config and --cloud{hint}"
        )
    if cloud:
        source = cloud_of(registry)
        if source is None:
            raise InvalidInputError(
                f"{registry} is none of Amazon's, Google's and Azure's; give --username or --docker-config"
            )
        minted = asyncio.run(mint(source, registry))
        return PullSecret(
            name="", logins=(KeyedLogin(registry, path, minted.login),), source=source, expires=minted.expires
        )
    if docker_config is not None:
        return PullSecret(
            name="", logins=tuple(_of_docker(docker_config, registry, path)), source="docker-config"
        )
    login = Login(username or "", SecretText(_password(registry, username or "")))
    return PullSecret(name="", logins=(KeyedLogin(registry, path, login),))


def _of_docker(path: Path, registry: str, prefix: str) -> list[KeyedLogin]:
    from podbay.registries.credential_helper import login_of, read_docker_config
    from podbay.registries.logins import for_kubelets

    config = read_docker_config(path)
    found = asyncio.run(login_of(config, registry))
    fitting = [each for each in found if not prefix or each.path in ("", prefix)]
    if not fitting:
        place = f"{registry}/{prefix}" if prefix else registry
        known = ", ".join(sorted({each.place for each in (*config.logins, *found)})) or "none"
        raise InvalidInputError(f"{path} has no login for {place}: docker login {registry}. It has: {known}")
    return [replace(each, path=prefix or each.path, login=for_kubelets(each)) for each in fitting]


def _password(registry: str, username: str) -> str:
    if sys.stdin.isatty():
        text = getpass.getpass(f"Password or token of {username} at {registry} (not shown): ")
    else:
        text = (
            sys.stdin.buffer.read().decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")
        )
    if any("\ud800" <= each <= "\udfff" for each in text):
        raise InvalidInputError(
            f"the password of {username} at {registry} is no UTF-8 text; nodes read no other"
        )
    if not text:
        raise InvalidInputError("the password is empty; type it, or write it to stdin")
    return text


def prove(made: PullSecret, image: str | None, ca_file: Path | None, plain_http: bool) -> None:
    """Log in to the registry, and ask for an image of it. Raises RegistryError, InvalidInputError for an image of another."""
    from podbay.registries.facts import with_any_login
    from podbay.registries.image_name import parse_image_name
    from podbay.registries.logins import fitting

    wanted = parse_image_name(image) if image is not None else None
    logins = fitting(made.logins, wanted) if wanted is not None else []
    if wanted is not None and not logins:
        # Asking for it would give the login to another registry.
        raise InvalidInputError(
            f"--image {image} is not at {made.places}; name an image that this login is for"
        )

    async def work() -> None:
        async with _client(made, ca_file, plain_http) as client:
            for each in made.logins:
                if not await client.log_in(each.registry, each.login):
                    errors.print(
                        f"note: {each.registry} asks nobody for a login; this proves nothing", markup=False
                    )
            if wanted is not None:
                await with_any_login(client, wanted, logins)

    asyncio.run(work())


def _client(secret: PullSecret, ca_file: Path | None, plain_http: bool) -> RegistryClient:
    from podbay.registries.client import ClientOptions, RegistryClient

    plain = frozenset(each.registry for each in secret.logins) if plain_http else frozenset()
    return RegistryClient(ClientOptions(ca_file=ca_file, plain_http=plain))
