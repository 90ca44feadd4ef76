"""Clouds on this machine: moto behind a front whose tokens are numbered, Google's token server, a registry that takes their
tokens as long as they are good, and a proxy by which the clouds' names lead to it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from self_signed import Authority

from registries import ScriptedRegistry, error

ACCOUNT, REGION = "123456789012", "eu-central-1"
LIFE = 8.0
"""Seconds that a token says it lives. The registry takes it until the test ends it."""


@dataclass
class Tokens:
    """Of one user. `refused` counts the requests with a token that is no more."""

    user: str
    as_jwt: bool = False
    """Whether a token tells its own end, as Azure's do."""
    minted: list[str] = field(default_factory=list)
    good: set[str] = field(default_factory=set)
    used: list[str] = field(default_factory=list)
    """By requests for manifests that were let in."""
    refused: int = 0

    def mint(self) -> str:
        word = f"{self.user}-hidden-token-{len(self.minted) + 1}"
        self.minted.append(jwt({"exp": int(time.time() + LIFE)}, word) if self.as_jwt else word)
        self.good.add(self.minted[-1])
        return self.minted[-1]

    def end(self, tokens: list[str]) -> None:
        self.good -= set(tokens)

    def gate(self, request: web.Request) -> web.Response | None:
        """The answer to whoever has no good token; None for the others. Azure's registries give tokens themselves."""
        if self.as_jwt and request.path == "/oauth2/exchange":
            return web.json_response({"refresh_token": self.mint()})
        kind, _, sent = request.headers.get("Authorization", "").partition(" ")
        user, _, password = base64.b64decode(sent).decode().partition(":")
        if kind != "Basic" or user != self.user or password not in self.good:
            self.refused += bool(sent)
            answer = error(401, "UNAUTHORIZED", "your authorization token has expired")
            answer.headers["WWW-Authenticate"] = 'Basic realm="tests"'
            return answer
        if "/manifests/" in request.path:
            self.used.append(password)
        return web.json_response({}) if request.path == "/v2/" else None


def jwt(claims: dict[str, Any], signature: str) -> str:
    """What is read of one: its claims."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=").decode() for each in ({}, claims)
    ]
    return ".".join([*parts, signature])


@asynccontextmanager
async def cloud_registry(tokens: Tokens, authority: Authority) -> AsyncIterator[ScriptedRegistry]:
    async with ScriptedRegistry(fault=tokens.gate).serve(authority.server()) as registry:
        yield registry


@asynccontextmanager
async def _served(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def amazon(moto: str, tokens: Tokens) -> AsyncIterator[str]:
    """moto, whose own tokens are one word that ended in 2015; here they are new each time and live for a while."""

    async def forward(request: web.Request) -> web.Response:
        kept = {key: value for key, value in request.headers.items() if key.lower() != "host"}
        body = await request.read()
        async with session.request(request.method, moto + request.path_qs, headers=kept, data=body) as answer:
            data = await answer.read()
        if request.headers.get("X-Amz-Target", "").endswith(".GetAuthorizationToken"):
            told = json.loads(data)
            pair = f"{tokens.user}:{tokens.mint()}".encode()
            told["authorizationData"][0] |= {
                "authorizationToken": base64.b64encode(pair).decode(),
                "expiresAt": time.time() + LIFE,
            }
            data = json.dumps(told).encode()
        return web.Response(status=answer.status, body=data, content_type="application/x-amz-json-1.1")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", forward)
    async with aiohttp.ClientSession() as session, _served(app) as address:
        yield address


@asynccontextmanager
async def google(directory: Path, tokens: Tokens) -> AsyncIterator[Path]:
    """The file of a service account whose token server is ours."""

    async def token(_: web.Request) -> web.Response:
        return web.json_response(
            {"access_token": tokens.mint(), "expires_in": int(LIFE), "token_type": "Bearer"}
        )

    app = web.Application()
    app.router.add_post("/token", token)
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    async with _served(app) as address:
        about: dict[str, Any] = {
            "type": "service_account",
            "project_id": "proj",
            "private_key_id": "1",
            "private_key": key.decode(),
            "client_email": "puller@proj.iam.gserviceaccount.com",
            "token_uri": f"{address}/token",
        }
        path = directory / "account.json"
        path.write_text(json.dumps(about))
        yield path


@asynccontextmanager
async def entra() -> AsyncIterator[dict[str, str]]:
    """The environment of a client whose secret Entra knows."""

    async def token(request: web.Request) -> web.Response:
        form = await request.post()
        assert form["client_secret"] == "of-the-client"
        return web.json_response({"access_token": "of-entra", "expires_in": 3600})

    app = web.Application()
    app.router.add_post("/tenant/oauth2/v2.0/token", token)
    async with _served(app) as address:
        yield {
            "AZURE_AUTHORITY_HOST": address,
            "AZURE_TENANT_ID": "tenant",
            "AZURE_CLIENT_ID": "client",
            "AZURE_CLIENT_SECRET": "of-the-client",
        }


@asynccontextmanager
async def proxy(places: dict[str, str]) -> AsyncIterator[str]:
    """CONNECT to the hosts of `places` leads to their addresses here; to any other nowhere."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            place = places.get(head.split()[1].removesuffix(":443"))
            if place is None or not head.startswith("CONNECT "):
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
                return
            host, port = place.split(":")
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(_pipe(reader, far_writer), _pipe(far_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(64 << 10):
            writer.write(data)
            await writer.drain()
    writer.close()


PROVIDER = """#!{python}
import json, sys
from pathlib import Path
host, _, _ = json.load(sys.stdin)["image"].partition("/")
password = (Path(__file__).parent / "password").read_text()
print(json.dumps({{
    "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderResponse",
    "cacheKeyType": "Registry", "cacheDuration": "0s", "auth": {{host: {{"username": "{user}", "password": password}}}},
}}))
"""


@dataclass(frozen=True)
class Plugin:
    """A credential provider of the node, for one repository, and the registry's file of passwords."""

    directory: Path
    htpasswd: Path
    user: str
    python: str

    def config(self, image: str) -> Path:
        program = self.directory / "rotating"
        program.write_text(PROVIDER.format(python=self.python, user=self.user))
        program.chmod(0o755)
        provider = {
            "name": program.name,
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "matchImages": [image],
            "defaultCacheDuration": "0s",
        }
        document = {
            "apiVersion": "kubelet.config.k8s.io/v1",
            "kind": "CredentialProviderConfig",
            "providers": [provider],
        }
        path = self.directory / "providers.yaml"
        path.write_text(json.dumps(document))
        return path

    def rotate(self, password: str) -> None:
        """The registry takes this password from now on and no other; the program knows it."""
        line = subprocess.run(
            ["htpasswd", "-nbB", self.user, password], capture_output=True, text=True, check=True
        ).stdout
        self.htpasswd.write_text(line.strip() + "\n")
        (self.directory / "password").write_text(password)
