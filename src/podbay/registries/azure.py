"""Azure Container Registry: a refresh token of the registry, valid for three hours, as a password that nodes understand.

Three requests and no library: the identity of this process gives a token of Microsoft Entra ID (client secret, workload
identity, or the managed identity of the machine, as the environment says), and the registry takes that in exchange.
Sources: https://learn.microsoft.com/azure/container-registry/container-registry-authentication; AAD-OAuth.md of Azure/acr;
https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from podbay.aio.authorization import authorized_as
from podbay.errors import CredentialError, RegistryError
from podbay.kube.config import SecretText
from podbay.registries.failures import from_network, registry_words
from podbay.registries.logins import ACR_USER, Login
from podbay.registries.trust import context_for, is_loopback

__all__ = ["AzureToken", "is_azure", "mint_azure_token"]

_HOST: Final = re.compile(r"[a-z0-9][a-z0-9-]*(?:\.[a-z0-9-]+)*\.azurecr\.(?:io|cn|us)")
_AUTHORITY: Final = "https://login.microsoftonline.com"
_METADATA: Final = "http://169.254.169.254"
_AUDIENCE: Final = "https://containerregistry.azure.net"
_SECONDS: Final = 30.0
_METADATA_SECONDS: Final = 5.0
"""It is on the machine or nowhere."""
_BODY_MAX: Final = 1 << 20
_WORDS_MAX: Final = 300
_NETWORK: Final = (aiohttp.ClientError, OSError, TimeoutError)
_WAYS: Final = (
    "Set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, run where a managed or workload identity is attached, or "
    "take the login of a person: az acr login, then --docker-config"
)


@dataclass(frozen=True, slots=True)
class AzureToken:
    """A login and the end of its life."""

    login: Login
    expires: datetime | None


def is_azure(host: str) -> bool:
    """Whether tokens for this registry are had from Azure."""
    return _HOST.fullmatch(host) is not None


async def mint_azure_token(registry: str, environ: Mapping[str, str] = os.environ) -> AzureToken:
    """A new refresh token of the registry. Raises CredentialError, or RegistryError in the registry's words."""
    proof = await _entra_token(environ)
    trust = await asyncio.to_thread(context_for, registry, None)
    form = {"grant_type": "access_token", "service": registry, "access_token": proof}
    if environ.get("AZURE_TENANT_ID"):
        form["tenant"] = environ["AZURE_TENANT_ID"]
    url = f"https://{registry}/oauth2/exchange"
    try:
        async with (
            _session(_SECONDS) as session,
            session.post(
                url, data=form, ssl=trust, allow_redirects=False, middlewares=(authorized_as("", url),)
            ) as response,
        ):
            body, status = await response.content.read(_BODY_MAX), response.status
    except _NETWORK as err:
        raise from_network(registry, err) from err
    if status != 200:
        said = registry_words(body)
        raise RegistryError(
            "denied",
            f"{registry} gives this identity of Azure no token ({status}); it needs the role AcrPull there."
            + (f" The registry says: {said}" if said else ""),
        )
    token = _field(body, "refresh_token")
    if not token:
        raise RegistryError("odd", f"{registry} answers the exchange of tokens without one")
    return AzureToken(Login(ACR_USER, SecretText(token)), _end_of(token))


async def _entra_token(environ: Mapping[str, str]) -> str:
    form = {"client_id": environ.get("AZURE_CLIENT_ID", ""), "scope": f"{_AUDIENCE}/.default"}
    tenant = environ.get("AZURE_TENANT_ID", "")
    if environ.get("AZURE_CLIENT_SECRET"):
        form |= {"client_secret": environ["AZURE_CLIENT_SECRET"]}
    elif environ.get("AZURE_FEDERATED_TOKEN_FILE"):
        form |= {
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": await asyncio.to_thread(_read, environ["AZURE_FEDERATED_TOKEN_FILE"]),
        }
    else:
        return await _managed_identity(environ)
    if not tenant or not form["client_id"]:
        raise CredentialError(
            "Azure: AZURE_TENANT_ID and AZURE_CLIENT_ID say whose secret or token it is; set them both"
        )
    authority = environ.get("AZURE_AUTHORITY_HOST", "").rstrip("/") or _AUTHORITY
    authority = authority if "://" in authority else f"https://{authority}"
    url = f"{authority}/{tenant}/oauth2/v2.0/token"
    host = authority.partition("://")[2]
    if not authority.startswith("https://") and not is_loopback(host):
        raise CredentialError(
            f"Azure: AZURE_AUTHORITY_HOST {authority} is not https://; nothing is sent there"
        )
    trust = await asyncio.to_thread(context_for, host, None)
    try:
        async with (
            _session(_SECONDS) as session,
            session.post(
                url,
                data={**form, "grant_type": "client_credentials"},
                ssl=trust,
                allow_redirects=False,
                middlewares=(authorized_as("", url),),
            ) as response,
        ):
            return _granted("Azure", response.status, await response.content.read(_BODY_MAX))
    except _NETWORK as err:
        raise CredentialError(f"Azure: {authority} cannot be reached: {_why(err)}") from err


async def _managed_identity(environ: Mapping[str, str]) -> str:
    place = environ.get("AZURE_POD_IDENTITY_AUTHORITY_HOST", "").rstrip("/") or _METADATA
    query = {"api-version": "2018-02-01", "resource": _AUDIENCE}
    if environ.get("AZURE_CLIENT_ID"):
        query["client_id"] = environ["AZURE_CLIENT_ID"]
    try:
        # Never by a proxy: the address means this very machine.
        async with (
            _session(_METADATA_SECONDS, proxies=False) as session,
            session.get(
                f"{place}/metadata/identity/oauth2/token", params=query, headers={"Metadata": "true"}
            ) as response,
        ):
            who = "Azure's metadata service"
            return _granted(who, response.status, await response.content.read(_BODY_MAX))
    except _NETWORK as err:
        raise CredentialError(
            f"Azure: no identity here, and the metadata service of Azure's machines does not answer. {_WAYS}."
        ) from err


def _session(seconds: float, *, proxies: bool = True) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds), trust_env=proxies)


def _granted(who: str, status: int, body: bytes) -> str:
    token = _field(body, "access_token") if status == 200 else ""
    if not token:
        # Entra's first line has the code and the cause; trace ids follow.
        said = (
            (_field(body, "error_description") or _field(body, "error"))
            .partition("\n")[0]
            .strip()
            .rstrip(".")
        )
        raise CredentialError(
            f"{who} gives no token ({status}): {said[:_WORDS_MAX] or 'no reason'}. {_WAYS}."
        )
    return token


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as err:
        raise CredentialError(f"Azure: AZURE_FEDERATED_TOKEN_FILE {path} cannot be read: {err}") from err


def _field(body: bytes, name: str) -> str:
    try:
        read = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    return str(read.get(name) or "") if isinstance(read, dict) else ""


def _end_of(token: str) -> datetime | None:
    """The end that a JWT tells of itself; it is the registry that checks it."""
    try:
        part = token.split(".")[1]
        claims: Any = orjson.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return datetime.fromtimestamp(int(claims["exp"]), UTC)
    except (IndexError, ValueError, KeyError, TypeError, OverflowError):
        return None


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
