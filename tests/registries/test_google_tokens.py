"""Tokens of Google by a service account's file, from a token server of our own; and the grant."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from podbay.errors import CredentialError, InvalidInputError
from podbay.registries.google import grant_command, is_google, mint_google_token
from podbay.registries.minting import cloud_of

WORD = "hidden-word-4711"


@pytest.fixture
async def server() -> AsyncIterator[dict[str, Any]]:
    state: dict[str, Any] = {"forms": [], "status": 200}

    async def token(request: web.Request) -> web.Response:
        state["forms"].append(dict(await request.post()))
        if state["status"] != 200:
            return web.json_response(
                {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, status=400
            )
        return web.json_response({"access_token": WORD, "expires_in": 3600, "token_type": "Bearer"})

    app = web.Application()
    app.router.add_post("/token", token)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    state["url"] = f"http://127.0.0.1:{runner.addresses[0][1]}/token"
    yield state
    await runner.cleanup()


@pytest.fixture
def account(server: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    about = {
        "type": "service_account",
        "project_id": "proj",
        "private_key_id": "1",
        "private_key": key.decode(),
        "client_email": "puller@proj.iam.gserviceaccount.com",
        "token_uri": server["url"],
    }
    (tmp_path / "account.json").write_text(json.dumps(about))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))


async def test_a_token_of_a_service_account(account: None, server: dict[str, Any]) -> None:
    token = await mint_google_token()
    assert token.login.username == "oauth2accesstoken"
    assert token.login.password.reveal() == WORD
    assert WORD not in repr(token)
    assert token.expires is not None
    assert token.expires.tzinfo is not None
    assert server["forms"][0]["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"


async def test_a_token_that_is_refused(account: None, server: dict[str, Any]) -> None:
    server["status"] = 400
    with pytest.raises(
        CredentialError, match=r"Google gives no token: .*Invalid JWT Signature.*GOOGLE_APPLICATION"
    ):
        await mint_google_token()


async def test_a_token_of_the_metadata_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine of Google's, where nothing is configured."""

    async def answer(request: web.Request) -> web.Response:
        headers = {"Metadata-Flavor": "Google"}
        if request.path.endswith("/token"):
            told = {"access_token": WORD, "expires_in": 3600, "token_type": "Bearer"}
            return web.json_response(told, headers=headers)
        if request.path.endswith("/service-accounts/default/"):
            told = {
                "email": "1-compute@developer.gserviceaccount.com",
                "scopes": ["all"],
                "aliases": ["default"],
            }
            return web.json_response(told, headers=headers)
        return web.Response(text="proj", headers=headers)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    place = f"127.0.0.1:{runner.addresses[0][1]}"
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    for name, value in {
        "GCE_METADATA_HOST": place,
        "GCE_METADATA_IP": place,
        "CLOUDSDK_CONFIG": str(tmp_path),
        "HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    # google-auth reads the first of them once, when it is imported.
    monkeypatch.setattr("google.auth.compute_engine._metadata._GCE_METADATA_HOST", place, raising=False)
    try:
        token = await mint_google_token()
    finally:
        await runner.cleanup()
    assert (token.login.username, token.login.password.reveal()) == ("oauth2accesstoken", WORD)
    assert token.expires is not None


@pytest.mark.parametrize("impersonated", [False, True])
async def test_a_token_by_workload_identity(
    impersonated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Federation: the token of another identity provider is exchanged, perhaps for that of a service account."""
    asked: list[tuple[str, dict[str, Any], str]] = []

    async def exchange(request: web.Request) -> web.Response:
        asked.append(("exchange", dict(await request.post()), ""))
        kind = "urn:ietf:params:oauth:token-type:access_token"
        told = {"access_token": "federated", "issued_token_type": kind, "token_type": "Bearer"}
        return web.json_response(
            {**told, "access_token": "federated" if impersonated else WORD, "expires_in": 3600}
        )

    async def impersonate(request: web.Request) -> web.Response:
        asked.append(("impersonate", await request.json(), request.headers["Authorization"]))
        return web.json_response({"accessToken": WORD, "expireTime": "2030-01-01T00:00:00Z"})

    app = web.Application()
    app.router.add_post("/exchange", exchange)
    app.router.add_post("/v1/{account:.*}", impersonate)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    place = f"http://127.0.0.1:{runner.addresses[0][1]}"
    (tmp_path / "token").write_text("of-the-cluster")
    pool = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/cluster"
    target = "projects/-/serviceAccounts/puller@proj.iam.gserviceaccount.com:generateAccessToken"
    about = {
        "type": "external_account",
        "audience": pool,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{place}/exchange",
        "credential_source": {"file": str(tmp_path / "token")},
        **({"service_account_impersonation_url": f"{place}/v1/{target}"} if impersonated else {}),
    }
    (tmp_path / "federated.json").write_text(json.dumps(about))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "federated.json"))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "proj")
    try:
        token = await mint_google_token()
    finally:
        await runner.cleanup()
    assert (token.login.username, token.login.password.reveal()) == ("oauth2accesstoken", WORD)
    assert token.expires is not None
    assert (asked[0][1]["subject_token"], asked[0][1]["audience"]) == ("of-the-cluster", pool)
    assert [each[2] for each in asked[1:]] == (["Bearer federated"] if impersonated else [])


async def test_an_account_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    with pytest.raises(CredentialError, match=r"nowhere\.json"):
        await mint_google_token()


def test_the_grant() -> None:
    image = "europe-west1-docker.pkg.dev/proj/repo/tool:1"
    assert grant_command(image, "1-compute@developer.gserviceaccount.com") == (
        "gcloud artifacts repositories add-iam-policy-binding repo --project=proj --location=europe-west1 "
        "--member=serviceAccount:1-compute@developer.gserviceaccount.com --role=roles/artifactregistry.reader"
    )
    for wrong in ("allUsers", "*", "serviceAccount:*@x"):
        with pytest.raises(InvalidInputError):
            grant_command(image, wrong)
    with pytest.raises(InvalidInputError, match=r"LOCATION-docker\.pkg\.dev"):
        grant_command("ghcr.io/a/b", "user:a@b")


def test_whose_a_registry_is() -> None:
    assert is_google("europe-west1-docker.pkg.dev")
    assert is_google("eu.gcr.io")
    assert not is_google("evil-docker.pkg.dev.example")
    assert cloud_of("public.ecr.aws") == "ecr"
    assert cloud_of("gcr.io") == "google"
    assert cloud_of("ghcr.io") is None
