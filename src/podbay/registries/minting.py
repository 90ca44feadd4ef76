"""Logins whose registry is a cloud: minted by the identity that this process has there, by the kind of the host."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

from podbay.errors import InvalidInputError
from podbay.registries.amazon.ecr import is_ecr, mint_token
from podbay.registries.amazon.session import Aws
from podbay.registries.azure import is_azure, mint_azure_token
from podbay.registries.google import is_google, mint_google_token
from podbay.registries.logins import Login

__all__ = ["CLOUDS", "Minted", "Source", "cloud_of", "mint"]

Source: TypeAlias = Literal["login", "docker-config", "ecr", "google", "azure"]
CLOUDS: Final = ("ecr", "google", "azure")
"""Sources that can be minted anew."""


@dataclass(frozen=True, slots=True)
class Minted:
    """A login and the end of its life."""

    login: Login
    expires: datetime | None


def cloud_of(registry: str) -> Source | None:
    """Which cloud's identity opens the registry; None for any other."""
    if is_ecr(registry):
        return "ecr"
    if is_google(registry):
        return "google"
    return "azure" if is_azure(registry) else None


async def mint(source: str, registry: str, aws: Aws | None = None) -> Minted:
    """A new login. Raises CredentialError or RegistryError in the cloud's words, InvalidInputError for no cloud's host."""
    if source == "ecr":
        token = await mint_token(aws or Aws(), registry)
        return Minted(token.login, token.expires)
    if source == "google":
        if not is_google(registry):
            raise InvalidInputError(f"{registry} is not Google's: LOCATION-docker.pkg.dev or gcr.io is")
        google = await mint_google_token()
        return Minted(google.login, google.expires)
    if source == "azure":
        if not is_azure(registry):
            raise InvalidInputError(f"{registry} is not Azure's: NAME.azurecr.io is")
        azure = await mint_azure_token(registry)
        return Minted(azure.login, azure.expires)
    raise InvalidInputError(
        f"{registry}: its login cannot be made anew here; renew it with podbay registry add"
    )
