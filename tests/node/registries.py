"""Registries for tests: Debian's docker-registry as it is, and one of our own for faults that one cannot be brought to."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import images
from aiohttp import web
from patience import until

USER, PASSWORD = "puller", "s3cret-word"


def has_registry() -> bool:
    return shutil.which("docker-registry") is not None and shutil.which("htpasswd") is not None


@contextmanager
def docker_registry(directory: Path, *, auth: bool = False) -> Iterator[str]:
    """The address ("127.0.0.1:port") of a real registry with data of its own, with a password if wanted."""
    with serve(directory, directory / "data", auth=htpasswd(directory) if auth else None) as address:
        yield address


@contextmanager
def serve(
    directory: Path, data: Path, *, auth: dict[str, Any] | None = None, tls: dict[str, str] | None = None
) -> Iterator[str]:
    """A real registry over data that others may serve, too; `auth` and `tls` are those parts of its configuration."""
    address = free_address()
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(data)}},
        "http": {"addr": address, **({"tls": tls} if tls else {})},
        **({"auth": auth} if auth else {}),
    }
    path = directory / f"{address.rpartition(':')[2]}.yml"
    path.write_text(json.dumps(config))
    process = subprocess.Popen(
        ["docker-registry", "serve", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: _listens(address))
        yield address
    finally:
        process.terminate()
        process.wait()


def htpasswd(directory: Path) -> dict[str, Any]:
    """Its configuration by which it takes USER with PASSWORD."""
    line = subprocess.run(
        ["htpasswd", "-nbB", USER, PASSWORD], capture_output=True, text=True, check=True
    ).stdout.strip()
    (directory / "htpasswd").write_text(f"{line}\n")
    return {"htpasswd": {"realm": "tests", "path": str(directory / "htpasswd")}}


def free_address() -> str:
    """An address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _listens(address: str) -> bool:
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True


def push(address: str, repository: str, tag: str, manifest: bytes, blobs: dict[str, bytes]) -> str:
    """Put an image (or index) into a real registry; gives its digest."""
    base = f"http://{address}/v2/{repository}"
    for digest, data in blobs.items():
        location = _call("POST", f"{base}/blobs/uploads/", b"")["Location"]
        if location.startswith("/"):
            location = f"http://{address}{location}"
        joint = "&" if "?" in location else "?"
        _call("PUT", f"{location}{joint}digest={digest}", data, "application/octet-stream")
    media_type = json.loads(manifest)["mediaType"]
    _call("PUT", f"{base}/manifests/{tag}", manifest, media_type)
    return images.digest(manifest)


def _call(method: str, url: str, data: bytes, content_type: str = "") -> Any:
    request = urllib.request.Request(url, data=data, method=method)
    request.add_header("Authorization", "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
    if content_type:
        request.add_header("Content-Type", content_type)
    with urllib.request.urlopen(request) as response:
        return response.headers


def index(*entries: tuple[bytes, dict[str, str]]) -> bytes:
    """An OCI index over manifests, each with its platform."""
    manifests = [
        {**images.descriptor(manifest, "application/vnd.oci.image.manifest.v1+json"), "platform": platform}
        for manifest, platform in entries
    ]
    kind = "application/vnd.oci.image.index.v1+json"
    return json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": manifests}).encode()


Answer = Callable[[web.Request], web.StreamResponse | None]


@dataclass
class ScriptedRegistry:
    """Answers as its content says, unless `fault` has another answer for a request."""

    manifests: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    fault: Callable[[web.Request], Any] = lambda _: None
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and Authorization of each."""
    address: str = ""

    def put(self, tag: str, image: images.BuiltImage) -> str:
        manifest, blobs = image.manifest()
        self.blobs.update(blobs)
        digest = images.digest(manifest)
        self.manifests[tag] = self.manifests[digest] = manifest
        return digest

    @asynccontextmanager
    async def serve(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedRegistry]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        self.address = f"127.0.0.1:{port}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path, request.headers.get("Authorization", "")))
        answer = self.fault(request)
        if answer is not None:
            return await answer if hasattr(answer, "__await__") else answer
        kind, _, name = request.path.rpartition("/")
        if kind.endswith("/manifests") and name in self.manifests:
            data = self.manifests[name]
            headers = {
                "Docker-Content-Digest": images.digest(data),
                "Content-Type": json.loads(data)["mediaType"],
            }
            return web.Response(body=data, headers=headers)
        if kind.endswith("/blobs") and name in self.blobs:
            return web.Response(body=self.blobs[name], content_type="application/octet-stream")
        return error(404, "MANIFEST_UNKNOWN", "manifest unknown")


def error(status: int, code: str, message: str, **headers: str) -> web.Response:
    """An error as registries write it."""
    body = {"errors": [{"code": code, "message": message}]}
    return web.json_response(
        body, status=status, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )
