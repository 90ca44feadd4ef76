"""Asking one registry: requests with credentials, manifests and blobs of one repository.

Credentials go only to the registry's own host and to the token server it names. Not for the store: puller.py. Sources:
the OCI distribution-spec, distribution's token authentication.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson

from podbay.aio.authorization import authorized_as
from podbay.errors import PullError
from podbay.node.images.challenge import Challenge, parse_challenges, token_url
from podbay.node.images.manifest import ACCEPTED_TYPES
from podbay.node.images.reference import Reference
from podbay.node.images.trouble import network_words, registry_codes, status_words
from podbay.node.specs import RegistryAuth

__all__ = ["ManifestAnswer", "Repository", "is_loopback", "tls_for"]

_MANIFEST_MAX = 4 << 20
_ERROR_BODY_MAX = 64 << 10
_ATTEMPTS = 5
_PATIENCE = 3.0
"""Seconds of Retry-After that are waited out; more is left to the caller's back-off."""
_NETWORK = (aiohttp.ClientError, OSError, TimeoutError)
_DENIED = "pull access denied, repository does not exist or may require authorization: "
_CERTIFICATES = (Path("/etc/docker/certs.d"), Path("/etc/containers/certs.d"))


@dataclass(frozen=True, slots=True)
class ManifestAnswer:
    """A manifest as it came. data is empty when only its digest was asked for."""

    media_type: str
    digest: str
    data: bytes = b""


def is_loopback(host: str) -> bool:
    """Whether a registry's host, port included, is this machine; those may speak plain HTTP."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    name = name.strip("[]")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def tls_for(host: str) -> ssl.SSLContext:
    """Trust for a registry: the machine's, and certificates put where Docker and Podman look. Blocks."""
    context = ssl.create_default_context()
    for directory in _CERTIFICATES:
        for path in sorted((directory / host).glob("*.c[re]*t")):
            if path.suffix == ".crt":
                context.load_verify_locations(path)
    return context


class Repository:
    """One repository with one set of credentials. Methods raise PullError whose text begins at the failing request."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        reference: Reference,
        auth: RegistryAuth,
        *,
        tls: ssl.SSLContext,
        plain: bool,
    ) -> None:
        self._session = session
        self._reference = reference
        self._auth = auth
        self._tls = tls
        self._schemes = ["http"] if plain else ["https", "http"] if is_loopback(reference.host) else ["https"]
        self._authorization = f"Bearer {auth.registry_token}" if auth.registry_token else ""

    async def resolve(self, name: str) -> ManifestAnswer:
        """The manifest's digest by tag or digest, without its content where the registry tells."""
        url = f"manifests/{name}"
        async with self._request("HEAD", url, {"Accept": ", ".join(ACCEPTED_TYPES)}) as response:
            if response.status == 200 and response.headers.get("Docker-Content-Digest"):
                return ManifestAnswer(_media_type(response), response.headers["Docker-Content-Digest"])
            if response.status not in (200, 404, 405):
                raise PullError("ErrImagePull", await self._unexpected(response))
        # The answer to HEAD has no body, and only the body tells what is missing.
        return await self.manifest(name)

    async def manifest(self, name: str) -> ManifestAnswer:
        """A manifest by tag or digest."""
        headers = {"Accept": ", ".join(ACCEPTED_TYPES)}
        async with self._request("GET", f"manifests/{name}", headers) as response:
            if response.status == 404:
                raise PullError("ErrImagePull", self._missing(await _body(response)))
            if response.status != 200:
                raise PullError("ErrImagePull", await self._unexpected(response))
            data = await _read(response, _MANIFEST_MAX)
        return ManifestAnswer(_media_type(response), response.headers.get("Docker-Content-Digest", ""), data)

    @asynccontextmanager
    async def blob(self, digest: str, offset: int) -> AsyncIterator[tuple[aiohttp.StreamReader, int]]:
        """A blob's bytes from offset on, and where they begin really: a registry may ignore the wish."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        async with self._request("GET", f"blobs/{digest}", headers) as response:
            if response.status == 404:
                text = f"could not fetch content descriptor {digest} from remote: not found"
                raise PullError("ErrImagePull", text)
            if response.status not in (200, 206):
                raise PullError("ErrImagePull", await self._unexpected(response))
            yield response.content, offset if response.status == 206 else 0

    def _missing(self, body: bytes) -> str:
        codes = registry_codes(body)
        words = f"{self._reference}: not found"
        if "NAME_UNKNOWN" in codes:
            return f'{words} (the registry has no repository "{self._reference.path}")'
        if "MANIFEST_UNKNOWN" in codes:
            what = (
                f"digest {self._reference.digest}"
                if self._reference.digest
                else f'tag "{self._reference.tag}"'
            )
            return f'{words} (the repository "{self._reference.path}" has no {what})'
        return words

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        answered = False
        for attempt in range(_ATTEMPTS):
            response = await self._send(method, path, headers)
            try:
                if response.status == 401:
                    if await self._answer_challenge(response, again=answered):
                        answered = True
                        continue
                elif attempt + 1 < _ATTEMPTS and await _worth_waiting(response):
                    continue
                yield response
                return
            finally:
                response.release()
        raise PullError(
            "ErrImagePull", f"failed to authorize: the registry {self._reference.host} asks again and again"
        )

    async def _send(self, method: str, path: str, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        url = ""
        for scheme in list(self._schemes):
            url = f"{scheme}://{self._reference.host}/v2/{self._reference.path}/{path}"
            try:
                response = await self._session.request(
                    method,
                    url,
                    headers=headers,
                    ssl=self._tls,
                    middlewares=(authorized_as(self._authorization, url),),
                )
            except aiohttp.ClientConnectorCertificateError as error:
                raise PullError("ErrImagePull", network_words(method, url, error)) from error
            except aiohttp.ClientSSLError as error:
                if scheme == self._schemes[-1]:
                    raise PullError("ErrImagePull", network_words(method, url, error)) from error
                continue
            except _NETWORK as error:
                raise PullError("ErrImagePull", network_words(method, url, error)) from error
            self._schemes = [scheme]
            return response
        raise PullError(
            "ErrImagePull", f'failed to do request: {method.capitalize()} "{url}": no way to connect'
        )

    async def _unexpected(self, response: aiohttp.ClientResponse) -> str:
        return status_words(
            response.method, str(response.url), response.status, await _body(response), response.headers
        )

    async def _answer_challenge(self, response: aiohttp.ClientResponse, *, again: bool) -> bool:
        """Get what the registry asks for. False when it was given that for this request and still refuses."""
        header = ", ".join(response.headers.getall("WWW-Authenticate", []))
        for challenge in parse_challenges(header):
            if challenge.scheme == "bearer":
                problem = challenge.parameters.get("error", "")
                if again and problem:
                    text = f"{_DENIED}server message: {problem[:64]}: authorization failed"
                    raise PullError("ErrImagePull", text)
                if again:
                    return False
                # Also when there is a token already: it may have expired since.
                self._authorization = f"Bearer {await self._fetch_token(challenge)}"
                return True
            if challenge.scheme == "basic":
                if not self._auth.username or not self._auth.password:
                    raise PullError(
                        "ErrImagePull", f"{_DENIED}authorization failed: no basic auth credentials"
                    )
                wanted = _basic(self._auth)
                if self._authorization == wanted:
                    return False
                self._authorization = wanted
                return True
        return False

    async def _fetch_token(self, challenge: Challenge) -> str:
        url = token_url(challenge, self._reference.path)
        if url is None:
            raise PullError("ErrImagePull", "failed to authorize: the registry names no token server")
        kind = "oauth" if self._auth.username or self._auth.identity_token else "anonymous"
        prefix = f"failed to authorize: failed to fetch {kind} token: "
        method = "POST" if self._auth.identity_token else "GET"
        try:
            async with self._token_request(url, challenge) as response:
                body = await _body(response)
                if response.status != 200:
                    text = status_words(method, str(response.url), response.status, body, response.headers)
                    raise PullError("ErrImagePull", prefix + text)
        except _NETWORK as error:
            raise PullError("ErrImagePull", prefix + network_words(method, url, error)) from error
        try:
            answer = orjson.loads(body)
            return str(answer.get("token") or answer["access_token"])
        except (orjson.JSONDecodeError, KeyError, AttributeError):
            raise PullError("ErrImagePull", f"{prefix}the answer of {url} has no token") from None

    @asynccontextmanager
    async def _token_request(self, url: str, challenge: Challenge) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._auth.identity_token:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": self._auth.identity_token,
                "client_id": "podbay",
                "service": challenge.parameters.get("service", ""),
                "scope": challenge.parameters.get("scope") or f"repository:{self._reference.path}:pull",
            }
            # Not after a redirect: the token in the form would go along.
            async with self._session.post(
                url.partition("?")[0],
                data=form,
                ssl=self._tls,
                allow_redirects=False,
                middlewares=(authorized_as("", url),),
            ) as response:
                yield response
            return
        user = (authorized_as(_basic(self._auth) if self._auth.username else "", url),)
        async with self._session.get(url, ssl=self._tls, middlewares=user) as response:
            yield response


def _basic(auth: RegistryAuth) -> str:
    return "Basic " + b64encode(f"{auth.username}:{auth.password}".encode()).decode()


async def _worth_waiting(response: aiohttp.ClientResponse) -> bool:
    """Wait as a busy registry asks, if that is short. False for any other answer."""
    if response.status not in (429, 503):
        return False
    try:
        seconds = float(response.headers.get("Retry-After", ""))
    except ValueError:
        return False
    if seconds > _PATIENCE:
        return False
    await asyncio.sleep(seconds)
    return True


def _media_type(response: aiohttp.ClientResponse) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip()


async def _body(response: aiohttp.ClientResponse) -> bytes:
    try:
        return await response.content.read(_ERROR_BODY_MAX)
    except _NETWORK:
        return b""


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    try:
        parts: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_chunked(64 << 10):
            parts.append(chunk)
            size += len(chunk)
            if size > limit:
                raise PullError(
                    "ErrImagePull", f"rejecting a manifest of more than {limit} bytes from {response.url}"
                )
        return b"".join(parts)
    except _NETWORK as error:
        raise PullError("ErrImagePull", network_words("Get", str(response.url), error)) from error
