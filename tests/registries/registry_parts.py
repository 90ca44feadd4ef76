"""Registries for the client's tests: Debian's docker-registry with TLS and htpasswd, and behind real token authentication."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from images import Layer, build

import registries
from podbay.kube.config import SecretText
from podbay.registries.logins import Login
from registries import PASSWORD, USER

GOOD = Login(USER, SecretText(PASSWORD))
WRONG = Login(USER, SecretText("not-the-word"))
SERVICE = "tests-registry"

SMALL = build(
    [Layer().add("etc/name", "small")], {"Entrypoint": ["/bin/tool"], "Cmd": ["--help"], "User": "1000"}
)
ARM = build([Layer().add("etc/name", "arm")], {"Entrypoint": ["/bin/tool"]}, architecture="arm64")
FOREIGN = build([Layer().add("f", "foreign")], architecture="s390x")


@dataclass(frozen=True)
class Shelf:
    """A plain registry without a password, where its data are, and what was pushed."""

    address: str
    data: Path
    directory: Path
    digest: str
    index: str


@dataclass
class TokenServer:
    """Hands out tokens that docker-registry believes: to USER, and to nobody else but for `open/…`."""

    key: rsa.RSAPrivateKey
    certificate: bytes
    seconds: float = 300.0
    requests: list[dict[str, str]] = field(default_factory=list)
    address: str = ""

    @classmethod
    def make(cls, bundle: Path) -> TokenServer:
        key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tokens")])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        bundle.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        return cls(key, made.public_bytes(serialization.Encoding.DER))

    @asynccontextmanager
    async def serve(self, address: str) -> AsyncIterator[TokenServer]:
        app = web.Application()
        app.router.add_get("/token", self._get)
        app.router.add_post("/token", self._post)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        host, port = address.split(":")
        await web.TCPSite(runner, host, int(port)).start()
        self.address = address
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _get(self, request: web.Request) -> web.Response:
        self.requests.append({"method": "GET", **request.query})
        sent = request.headers.get("Authorization", "")
        known = sent == "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if sent and not known:
            return registries.error(401, "UNAUTHORIZED", "incorrect username or password")
        return self._answer(known, request.query.get("scope", ""))

    async def _post(self, request: web.Request) -> web.Response:
        form = {key: str(value) for key, value in (await request.post()).items()}
        self.requests.append({"method": "POST", **form})
        if form.get("refresh_token") != PASSWORD:
            return registries.error(401, "UNAUTHORIZED", "unknown refresh token")
        return self._answer(True, form.get("scope", ""))

    def _answer(self, known: bool, scope: str) -> web.Response:
        kind, _, rest = scope.partition(":")
        path = rest.rpartition(":")[0]
        may = kind == "repository" and (
            path.startswith("open/") or (known and not path.startswith("closed/"))
        )
        access = [{"type": "repository", "name": path, "actions": ["pull"]}] if may else []
        return web.json_response({"token": self._token(access)})

    def _token(self, access: list[dict[str, Any]]) -> str:
        now = time.time()
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(self.certificate).decode()]}
        claims = {
            "iss": "tokens",
            "aud": SERVICE,
            "sub": "tests",
            "iat": int(now),
            "nbf": int(now) - 60,
            "exp": int(now + self.seconds),
            "jti": "1",
            "access": access,
        }
        text = f"{_part(json.dumps(header).encode())}.{_part(json.dumps(claims).encode())}"
        return f"{text}.{_part(self.key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
