"""Requests to registries: manifests, small blobs, tags, and whether a login is good.

A login goes to its registry and to the token server that the registry names, nowhere else. Not for pulling layers: nodes
do that. Sources: the OCI distribution specification; the distribution project's token authentication.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final

import aiohttp
import orjson
from aiohttp.abc import AbstractResolver

from podbay.aio.authorization import authorized_as
from podbay.errors import RegistryError
from podbay.registries.challenge import Challenge, read_challenges, token_address
from podbay.registries.failures import from_answer, from_network, is_plain_http, refused_login, refused_token
from podbay.registries.image_name import ImageName
from podbay.registries.logins import ANONYMOUS, Login
from podbay.registries.trust import context_for, is_loopback

__all__ = ["ClientOptions", "Manifest", "RegistryClient"]

INDEX_TYPES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_IMAGE_TYPES: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_ACCEPT: Final = ", ".join((*INDEX_TYPES, *_IMAGE_TYPES))
_BODY_MAX: Final = 4 << 20
"""Bytes of a manifest, configuration or list of tags."""
_ATTEMPTS: Final = 3
_PATIENCE: Final = 3.0
"""Seconds of Retry-After that are waited out."""
_TAG_PAGES: Final = 5
_NETWORK: Final = (aiohttp.ClientError, OSError, TimeoutError)


@dataclass(frozen=True, kw_only=True)
class ClientOptions:
    """plain_http: registries other than this machine's that may be asked without TLS; seconds: for each request."""

    ca_file: Path | None = None
    plain_http: frozenset[str] = frozenset()
    seconds: float = 30.0
    resolver: AbstractResolver | None = None
    """Where names of hosts point to, if not where DNS says."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """As it came; `data` is empty when only the digest was asked for."""

    media_type: str
    digest: str
    data: bytes = field(default=b"", repr=False)

    @property
    def is_index(self) -> bool:
        return self.media_type in INDEX_TYPES


class RegistryClient:
    """Use with `async with`. Every method raises RegistryError. `requests` counts what went over the network."""

    def __init__(self, options: ClientOptions | None = None) -> None:
        self._options = options or ClientOptions()
        self._session: aiohttp.ClientSession | None = None
        self._trust: dict[str, ssl.SSLContext] = {}
        self._schemes: dict[str, str] = {}
        self._authorized: dict[tuple[str, str, Login], str] = {}
        self.requests = 0

    async def __aenter__(self) -> RegistryClient:
        connector = aiohttp.TCPConnector(resolver=self._options.resolver)
        timeout = aiohttp.ClientTimeout(total=self._options.seconds)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=timeout, trust_env=True, headers={"User-Agent": "podbay"}
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def log_in(self, registry: str, login: Login) -> bool:
        """Prove the login; False when the registry asks nobody for one."""
        name = ImageName(registry, "")
        async with self._send("GET", name, "", {}, ANONYMOUS) as response:
            if response.status == 200:
                return False
            if response.status != 401:
                raise await self._refusal(response, name, "", login)
        async with self._request("GET", name, "", {}, login) as response:
            if response.status != 200:
                raise await self._refusal(response, name, "", login)
        return True

    async def resolve(self, name: ImageName, login: Login = ANONYMOUS) -> Manifest:
        """Digest and type of what the name points to: one request, two where the registry does not tell in short."""
        async with self._request(
            "HEAD", name, f"manifests/{name.wanted}", {"Accept": _ACCEPT}, login
        ) as response:
            digest = response.headers.get("Docker-Content-Digest", "")
            if response.status == 200 and digest:
                return Manifest(_media_type(response), digest)
            if response.status not in (200, 404, 405):
                raise await self._refusal(response, name, _what(name.wanted), login)
        # HEAD has no body, and only a body tells whether the repository lacks or the tag.
        return await self.manifest(name, name.wanted, login)

    async def manifest(self, name: ImageName, reference: str, login: Login = ANONYMOUS) -> Manifest:
        """By tag or digest; the digest is checked."""
        headers = {"Accept": _ACCEPT}
        async with self._request("GET", name, f"manifests/{reference}", headers, login) as response:
            if response.status != 200:
                raise await self._refusal(response, name, _what(reference), login)
            data = await self._read(response, name)
        told = response.headers.get("Docker-Content-Digest", "")
        for digest in {told, reference if ":" in reference else ""} - {""}:
            _check(data, digest, name)
        return Manifest(_media_type(response), told or _digest(data), data)

    async def blob(self, name: ImageName, digest: str, login: Login = ANONYMOUS) -> bytes:
        """A small blob, such as an image's configuration; the digest is checked."""
        async with self._request("GET", name, f"blobs/{digest}", {}, login) as response:
            if response.status != 200:
                raise await self._refusal(response, name, f"blob {digest}", login)
            data = await self._read(response, name)
        _check(data, digest, name)
        return data

    async def tags(self, name: ImageName, login: Login = ANONYMOUS) -> list[str]:
        """Tags of the repository, some thousands at most."""
        found: list[str] = []
        query = "tags/list?n=1000"
        for _ in range(_TAG_PAGES):
            async with self._request("GET", name, query, {}, login) as response:
                if response.status != 200:
                    raise await self._refusal(response, name, "tags", login)
                data = await self._read(response, name)
                more = "next" in response.links
            try:
                page = [str(each) for each in orjson.loads(data)["tags"] or ()]
            except (orjson.JSONDecodeError, KeyError, TypeError):
                raise RegistryError(
                    "odd", f"{name.registry} answers the question for tags with something else"
                ) from None
            found += page
            if not more or not page:
                break
            query = f"tags/list?n=1000&last={page[-1]}"
        return found

    @asynccontextmanager
    async def _request(
        self, method: str, name: ImageName, path: str, headers: Mapping[str, str], login: Login
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One answer, with what the registry asks for sent along; a short rate limit is waited out."""
        answered = False
        for attempt in range(_ATTEMPTS):
            async with self._send(method, name, path, headers, login) as response:
                if response.status == 401 and not answered:
                    answered = True
                    await self._authorize(response, name, login)
                    continue
                if response.status == 401:
                    raise await self._still_refused(response, name, login)
                seconds = _short_wait(response)
                if seconds is None or attempt + 1 == _ATTEMPTS:
                    yield response
                    return
            await asyncio.sleep(seconds)
        raise refused_login(name.registry, login, name.path)

    @asynccontextmanager
    async def _send(
        self, method: str, name: ImageName, path: str, headers: Mapping[str, str], login: Login
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        authorization = self._authorized.get((name.registry, name.path, login), "")
        middle = f"{name.path}/" if name.path else ""
        try:
            response = await self._connect(method, name, f"/v2/{middle}{path}", headers, authorization)
        except _NETWORK as error:
            raise from_network(name.registry, error) from error
        try:
            yield response
        finally:
            response.release()

    async def _connect(
        self, method: str, name: ImageName, path: str, headers: Mapping[str, str], authorization: str
    ) -> aiohttp.ClientResponse:
        assert self._session is not None, "used outside its `async with` block"
        plain = name.registry in self._options.plain_http or is_loopback(name.host)
        url = f"{self._schemes.get(name.host, 'https')}://{name.host}{path}"
        trust = await self._trust_of(name.host)
        self.requests += 1
        try:
            return await self._session.request(
                method, url, headers=headers, ssl=trust, middlewares=(authorized_as(authorization, url),)
            )
        except aiohttp.ClientSSLError as error:
            if (
                not plain
                or isinstance(error, aiohttp.ClientConnectorCertificateError)
                or not is_plain_http(error)
            ):
                raise
        self._schemes[name.host] = "http"
        url = f"http://{name.host}{path}"
        return await self._session.request(
            method, url, headers=headers, middlewares=(authorized_as(authorization, url),)
        )

    async def _trust_of(self, host: str) -> ssl.SSLContext:
        if host not in self._trust:
            self._trust[host] = await asyncio.to_thread(context_for, host, self._options.ca_file)
        return self._trust[host]

    async def _authorize(self, response: aiohttp.ClientResponse, name: ImageName, login: Login) -> None:
        """Get what the registry asks for; RegistryError when there is nothing to answer with."""
        header = ", ".join(response.headers.getall("WWW-Authenticate", []))
        for challenge in read_challenges(header):
            if challenge.scheme == "bearer":
                token = await self._token(challenge, name, login)
                self._authorized[name.registry, name.path, login] = f"Bearer {token}"
                return
            if challenge.scheme == "basic" and login.username:
                self._authorized[name.registry, name.path, login] = _basic(login)
                return
        raise refused_login(name.registry, login, name.path)

    async def _token(self, challenge: Challenge, name: ImageName, login: Login) -> str:
        assert self._session is not None
        address = token_address(challenge, name.path)
        if address is None:
            raise RegistryError("odd", f"{name.registry} asks for a token and does not say where it is had")
        url, query = address
        if (
            url.startswith("http://")
            and not _may_be_plain(url, name, self._options)
            and not login.is_anonymous
        ):
            raise RegistryError(
                "plain-http", f"{name.registry} wants the login sent in the clear to {url}; it is not sent"
            )
        self.requests += 1
        try:
            async with self._token_request(url, query, login) as response:
                body = await response.content.read(_BODY_MAX)
                status = response.status
        except _NETWORK as error:
            raise from_network(f"{name.registry} (its token server {url})", error) from error
        if status in (400, 401, 403):
            raise refused_login(name.registry, login, name.path)
        if status != 200:
            raise from_answer(
                name, "token", status, body, login=login, again=response.headers.get("Retry-After", "")
            )
        try:
            read = orjson.loads(body)
            return str(read.get("token") or read["access_token"])
        except (orjson.JSONDecodeError, KeyError, AttributeError):
            raise RegistryError(
                "odd", f"{name.registry}: its token server {url} answers without a token"
            ) from None

    @asynccontextmanager
    async def _token_request(
        self, url: str, query: Mapping[str, str], login: Login
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self._session is not None
        trust = await self._trust_of(url.split("/")[2])
        if login.identity_token:
            form = {
                **query,
                "grant_type": "refresh_token",
                "refresh_token": login.identity_token.reveal(),
                "client_id": "podbay",
            }
            nobody = (authorized_as("", url),)
            async with self._session.post(
                url, data=form, ssl=trust, allow_redirects=False, middlewares=nobody
            ) as response:
                yield response
            return
        user = (authorized_as(_basic(login) if login.username else "", url),)
        async with self._session.get(url, params=query, ssl=trust, middlewares=user) as response:
            yield response

    async def _still_refused(
        self, response: aiohttp.ClientResponse, name: ImageName, login: Login
    ) -> RegistryError:
        body = await self._body(response)
        bearer = self._authorized.pop((name.registry, name.path, login), "").startswith("Bearer ")
        if bearer and name.path and not login.is_anonymous:
            return refused_token(name.registry, name.path, login, body)
        return refused_login(name.registry, login, name.path)

    async def _refusal(
        self, response: aiohttp.ClientResponse, name: ImageName, what: str, login: Login
    ) -> RegistryError:
        again = response.headers.get("Retry-After", "")
        return from_answer(name, what, response.status, await self._body(response), login=login, again=again)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        try:
            return await response.content.read(_BODY_MAX)
        except _NETWORK:
            return b""

    async def _read(self, response: aiohttp.ClientResponse, name: ImageName) -> bytes:
        data = bytearray()
        try:
            async for chunk in response.content.iter_chunked(64 << 10):
                data += chunk
                if len(data) > _BODY_MAX:
                    raise RegistryError(
                        "odd", f"{name.registry} sends more than {_BODY_MAX} bytes for {name}"
                    )
        except _NETWORK as error:
            raise from_network(name.registry, error) from error
        return bytes(data)


def _may_be_plain(url: str, name: ImageName, options: ClientOptions) -> bool:
    host = url.split("/")[2]
    return is_loopback(host) or (name.registry in options.plain_http and host == name.host)


def _basic(login: Login) -> str:
    pair = f"{login.username}:{login.password.reveal()}".encode("utf-8", "surrogateescape")
    return "Basic " + base64.b64encode(pair).decode()


def _short_wait(response: aiohttp.ClientResponse) -> float | None:
    if response.status not in (429, 503):
        return None
    try:
        seconds = float(response.headers.get("Retry-After", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds <= _PATIENCE else None


def _media_type(response: aiohttp.ClientResponse) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip()


def _what(reference: str) -> str:
    return f"image with digest {reference}" if ":" in reference else f"tag {reference}"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _check(data: bytes, digest: str, name: ImageName) -> None:
    algorithm, _, wanted = digest.partition(":")
    if algorithm not in ("sha256", "sha512"):
        raise RegistryError("digest", f"{name.registry} names a digest of an unknown kind for {name}")
    if hashlib.new(algorithm, data).hexdigest() != wanted:
        raise RegistryError(
            "digest",
            f"{name}: the content does not match its digest {digest}; a proxy or the registry has changed it",
        )
