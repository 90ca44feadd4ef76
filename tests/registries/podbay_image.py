"""An image with Podbay and its extra `aws`, as docs/registries.md builds it for the CronJob, from what is installed here;
and in it a cloud of its own: a program that answers as ECR, its registry and the proxy that leads there."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from images import BuiltImage, Layer, digest
from packaging.requirements import Requirement
from worker_image import python_image

import podbay

__all__ = ["CLOUD", "podbay_image"]

PLACE = "opt/podbay"
DATA = ("endpoints.json", "partitions.json", "_retry.json", "sdk-default-configuration.json", "ecr/", "sts/")
"""Of botocore's descriptions of services."""
CLOUD = """
import asyncio, base64, ssl, sys, time
from aiohttp import web

user, password = "AWS", sys.argv[1]

async def token(request):
    data = base64.b64encode(f"{user}:{password}".encode()).decode()
    told = {"authorizationToken": data, "expiresAt": time.time() + 12 * 3600}
    return web.json_response({"authorizationData": [told]})

async def registry(request):
    wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    if request.headers.get("Authorization") == wanted:
        return web.json_response({})
    return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="ecr"'})

async def pipe(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()

async def proxy(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    far, there = await asyncio.open_connection("127.0.0.1", 8443)
    writer.write(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
    await asyncio.gather(pipe(reader, there), pipe(far, writer), return_exceptions=True)

async def serve(handler, port, tls=None):
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()

async def main():
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain("/etc/cloud.crt", "/etc/cloud.key")
    await serve(token, 8001)
    await serve(registry, 8443, tls)
    server = await asyncio.start_server(proxy, "127.0.0.1", 8002)
    await server.serve_forever()

asyncio.run(main())
"""


def podbay_image(certificate: Path, key: Path) -> BuiltImage:
    """Python, Podbay as the command `podbay`, and the cloud's program with its certificate."""
    base = python_image()
    python = Path(sys.executable).resolve()
    layer = Layer().directory(PLACE)
    for name, source in _files():
        # Cached bytecode is valid only for a source of the very same time.
        layer.add(f"{PLACE}/{name}", source.read_bytes(), mtime=int(source.stat().st_mtime))
    call = "import sys; from podbay.cli.main import main; sys.argv[0] = 'podbay'; main()"
    run = f'#!/bin/sh\nPYTHONPATH=/{PLACE} exec {python} -c "{call}" "$@"\n'
    layer.add("usr/bin/podbay", run, mode=0o755)
    layer.add("opt/cloud.py", CLOUD)
    layer.add(
        "usr/bin/cloud", f'#!/bin/sh\nPYTHONPATH=/{PLACE} exec {python} /opt/cloud.py "$@"\n', mode=0o755
    )
    layer.add("etc/cloud.crt", certificate.read_bytes()).add("etc/cloud.key", key.read_bytes())
    tar = layer.tar()
    content = json.loads(base.config)
    content["rootfs"]["diff_ids"].append(digest(tar))
    return BuiltImage(json.dumps(content).encode(), [*base.layers, tar])


def _files() -> Iterator[tuple[str, Path]]:
    """Names below site-packages, of Podbay and all that it needs."""
    own = Path(podbay.__file__).parent
    for path in own.rglob("*"):
        if path.is_file():
            yield f"podbay/{path.relative_to(own)}", path
    for found in _distributions("podbay", "aws"):
        for file in found.files or ():
            name, path = str(file), Path(str(found.locate_file(file)))
            if ".." not in file.parts and _wanted(name) and path.is_file():
                yield name, path


def _wanted(name: str) -> bool:
    if "/tests/" in name:
        return False
    inside = name.removeprefix("botocore/data/")
    return inside == name or inside.startswith(DATA)


def _distributions(root: str, extra: str) -> Iterator[importlib.metadata.Distribution]:
    """What Podbay needs, and what that needs; Podbay itself is installed from its sources."""
    seen: set[str] = set()
    left = [(root, extra)]
    while left:
        name, chosen = left.pop()
        found = importlib.metadata.distribution(name)
        if name != root:
            yield found
        for text in found.requires or ():
            needed = Requirement(text)
            if needed.marker is not None and not needed.marker.evaluate({"extra": chosen}):
                continue
            if needed.name.lower() not in seen:
                seen.add(needed.name.lower())
                left.append((needed.name, ",".join(needed.extras)))
