"""Tokens of Azure: Entra's token server, the metadata service and the registry's exchange stand on this machine."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from cloud_parts import jwt, proxy
from self_signed import Authority

from podbay.errors import CredentialError, RegistryError
from podbay.registries.azure import is_azure, mint_azure_token
from podbay.registries.minting import cloud_of, mint
from registries import ScriptedRegistry, error

HOST = "corp.azurecr.io"
WORD = "hidden-word-4711"
ENDS = int(time.time()) + 3 * 3600


@dataclass
class Cloud:
    """What its parts were asked, and answers other than good ones."""

    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    refused: web.Response | None = None
    """Entra's or the metadata service's."""
    exchanged: web.Response | None = None
    token: str = field(default_factory=lambda: jwt({"exp": ENDS}, WORD))

    async def answer(self, request: web.Request) -> web.Response:
        form = {key: str(value) for key, value in (await request.post()).items()}
        self.asked.append((request.path, {**request.query, **form}))
        if request.path == "/oauth2/exchange":
            return self.exchanged or web.json_response({"refresh_token": self.token})
        if "/metadata/" in request.path and request.headers.get("Metadata") != "true":
            return web.Response(status=400)
        return self.refused or web.json_response({"access_token": f"entra-{WORD}", "expires_in": 3600})


@pytest.fixture
async def cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Cloud, dict[str, str]]]:
    """The cloud, and the environment in which the registry's name leads to it."""
    authority = Authority.make(tmp_path, HOST)
    found = Cloud()
    registry, entra = ScriptedRegistry(fault=found.answer), ScriptedRegistry(fault=found.answer)
    async with registry.serve(authority.server()), entra.serve(), proxy({HOST: registry.address}) as through:
        for name, value in {
            "HTTPS_PROXY": through,
            "NO_PROXY": "127.0.0.1",
            "SSL_CERT_FILE": str(authority.certificate),
        }.items():
            monkeypatch.setenv(name, value)
        place = f"http://{entra.address}"
        yield found, {"AZURE_AUTHORITY_HOST": f"{place}/", "AZURE_POD_IDENTITY_AUTHORITY_HOST": place}


SECRET = {"AZURE_TENANT_ID": "t-1", "AZURE_CLIENT_ID": "c-1", "AZURE_CLIENT_SECRET": WORD}


async def test_by_a_client_s_secret(cloud: tuple[Cloud, dict[str, str]]) -> None:
    stand_in, environ = cloud
    found = await mint_azure_token(HOST, environ | SECRET)
    assert found.login.username == "00000000-0000-0000-0000-000000000000"
    assert found.login.password.reveal() == stand_in.token
    assert found.expires is not None
    assert found.expires.timestamp() == ENDS
    assert WORD not in repr(found)
    (entra, form), (exchange, given) = stand_in.asked
    assert (entra, exchange) == ("/t-1/oauth2/v2.0/token", "/oauth2/exchange")
    assert form == {
        "grant_type": "client_credentials",
        "client_id": "c-1",
        "client_secret": WORD,
        "scope": "https://containerregistry.azure.net/.default",
    }
    assert given == {
        "grant_type": "access_token",
        "service": HOST,
        "tenant": "t-1",
        "access_token": f"entra-{WORD}",
    }


async def test_by_workload_identity(cloud: tuple[Cloud, dict[str, str]], tmp_path: Path) -> None:
    stand_in, environ = cloud
    (tmp_path / "token").write_text("of-the-service-account\n")
    workload = {
        "AZURE_TENANT_ID": "t-1",
        "AZURE_CLIENT_ID": "c-1",
        "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token"),
    }
    assert (await mint_azure_token(HOST, environ | workload)).login.password.reveal() == stand_in.token
    form = stand_in.asked[0][1]
    assert form["client_assertion"] == "of-the-service-account"
    assert form["client_assertion_type"].endswith(":jwt-bearer")
    (tmp_path / "token").unlink()
    with pytest.raises(CredentialError, match=r"AZURE_FEDERATED_TOKEN_FILE .* cannot be read"):
        await mint_azure_token(HOST, environ | workload)


async def test_by_the_machine_s_identity(cloud: tuple[Cloud, dict[str, str]]) -> None:
    stand_in, environ = cloud
    stand_in.token = "not-a-jwt"
    found = await mint_azure_token(HOST, environ | {"AZURE_CLIENT_ID": "c-2"})
    assert (found.login.password.reveal(), found.expires) == ("not-a-jwt", None)
    path, query = stand_in.asked[0]
    assert path == "/metadata/identity/oauth2/token"
    assert query["resource"] == "https://containerregistry.azure.net"
    assert query["client_id"] == "c-2"


async def test_what_entra_refuses(cloud: tuple[Cloud, dict[str, str]]) -> None:
    stand_in, environ = cloud
    said = "AADSTS7000215: Invalid client secret provided.\r\nTrace ID: 1-2-3"
    stand_in.refused = web.json_response({"error": "invalid_client", "error_description": said}, status=401)
    with pytest.raises(CredentialError) as caught:
        await mint_azure_token(HOST, environ | SECRET)
    assert "Azure gives no token (401): AADSTS7000215: Invalid client secret provided. Set" in str(
        caught.value
    )
    assert "Trace ID" not in str(caught.value)
    assert WORD not in str(caught.value)
    with pytest.raises(CredentialError, match="AZURE_TENANT_ID and AZURE_CLIENT_ID say whose"):
        await mint_azure_token(HOST, environ | {"AZURE_CLIENT_SECRET": WORD})


async def test_nobody_s_machine(cloud: tuple[Cloud, dict[str, str]]) -> None:
    nowhere = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:9"}
    with pytest.raises(CredentialError, match=r"Azure: no identity here.*az acr login, then --docker-config"):
        await mint_azure_token(HOST, nowhere)
    with pytest.raises(CredentialError, match=r"http://127\.0\.0\.1:9 cannot be reached"):
        await mint_azure_token(HOST, SECRET | {"AZURE_AUTHORITY_HOST": "http://127.0.0.1:9"})


async def test_a_secret_is_not_sent_in_the_clear() -> None:
    with pytest.raises(CredentialError, match="is not https://; nothing is sent there"):
        await mint_azure_token(HOST, SECRET | {"AZURE_AUTHORITY_HOST": "http://login.example"})
    with pytest.raises(CredentialError, match=r"https://login\.invalid cannot be reached"):
        await mint_azure_token(HOST, SECRET | {"AZURE_AUTHORITY_HOST": "login.invalid"})


async def test_what_the_registry_refuses(cloud: tuple[Cloud, dict[str, str]]) -> None:
    stand_in, environ = cloud
    stand_in.exchanged = error(401, "UNAUTHORIZED", "no role of this registry")
    with pytest.raises(
        RegistryError, match=r"\(401\); it needs the role AcrPull there\. .*no role of this"
    ) as caught:
        await mint_azure_token(HOST, environ | SECRET)
    assert WORD not in str(caught.value)
    for odd in (web.json_response({}), web.Response(text="<html>"), web.json_response([])):
        stand_in.exchanged = odd
        with pytest.raises(RegistryError, match="answers the exchange of tokens without one"):
            await mint_azure_token(HOST, environ | SECRET)
    # A registry that forwards elsewhere does not get the token of Entra carried there.
    stand_in.exchanged = web.Response(status=307, headers={"Location": environ["AZURE_AUTHORITY_HOST"]})
    asked = len(stand_in.asked)
    with pytest.raises(RegistryError, match=r"\(307\)"):
        await mint_azure_token(HOST, environ | SECRET)
    assert len(stand_in.asked) == asked + 2


async def test_whose_a_registry_is(
    cloud: tuple[Cloud, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cloud_of("corp.azurecr.io") == "azure"
    assert not is_azure("corp.azurecr.io.evil.example")
    assert not is_azure("azurecr.io")
    stand_in, environ = cloud
    for name, value in (environ | SECRET).items():
        monkeypatch.setenv(name, value)
    minted = await mint("azure", HOST)
    assert (minted.login.password.reveal(), minted.expires is not None) == (stand_in.token, True)
