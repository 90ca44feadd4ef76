"""What images cost: requests for each look at one, cold and cached, and a pull against the engines' own.

The registry is Debian's docker-registry on this machine, so the network costs nothing. The floor of a pull is reading all
blobs into memory. Engines (dockerd, Podman) are Debian's, on private directories, as far as they are installed.

Needs docker-registry, htpasswd and busybox; root for pulls. Run: python benchmarks/registries.py
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "node"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "shared"))

import engines
import images

import registries
from podbay.kube.config import SecretText
from podbay.node.images.manifest import Platform
from podbay.node.images.puller import ImagePuller
from podbay.node.images.reference import parse_reference
from podbay.node.images.store import ImageStore
from podbay.node.specs import RegistryAuth
from podbay.registries.cache import ContentCache
from podbay.registries.client import RegistryClient
from podbay.registries.facts import image_facts
from podbay.registries.image_name import parse_image_name
from podbay.registries.logins import ANONYMOUS, Login

LARGE_LAYERS, LAYER_MB, FILES = 4, 24, 500
PLAIN, LOCKED = "without a login", "with a password"


def large() -> images.BuiltImage:
    """As images of tasks are: a few layers of many files, a half of which compresses well."""
    rng, layers = random.Random(1), [images.busybox_layer()]
    size = (LAYER_MB << 20) // FILES
    for number in range(LARGE_LAYERS):
        layer = images.Layer()
        for at in range(FILES):
            data = rng.randbytes(size // 2) + b"podbay " * (size // 14)
            layer.add(f"usr/lib{number}/package{at // 50}/module{at}", data)
        layers.append(layer)
    return images.build(layers)


def push_all(address: str) -> None:
    small, other = images.busybox(), images.build([images.busybox_layer()], architecture="arm64")
    registries.push(address, "bench/small", "1", *small.manifest())
    registries.push(address, "bench/large", "1", *large().manifest())
    both = []
    for image, architecture in ((small, images.ARCHITECTURE), (other, "arm64")):
        manifest, blobs = image.manifest()
        registries.push(address, "bench/both", architecture, manifest, blobs)
        both.append((manifest, {"os": "linux", "architecture": architecture}))
    registries.push(address, "bench/both", "1", registries.index(*both), {})


async def look(name: str, login: Login, directory: Path) -> tuple[int, float]:
    """Requests and seconds of one look by a new process, whose cache on disk is what others left."""
    began = time.perf_counter()
    async with RegistryClient() as client:
        await image_facts(client, parse_image_name(name), login, ContentCache(directory))
        return client.requests, time.perf_counter() - began


async def looks(address: str, login: Login, base: Path, rounds: int) -> None:
    title = PLAIN if login is ANONYMOUS else LOCKED
    for path, kind in (("bench/small", "one platform"), ("bench/both", "two platforms")):
        cold, cached = [], []
        for number in range(rounds):
            directory = base / f"{title}-{kind}-{number}"
            cold.append(await look(f"{address}/{path}:1", login, directory))
            cached.append(await look(f"{address}/{path}:1", login, directory))
        words = [
            f"{found[0][0]} requests, {statistics.median(each[1] for each in found) * 1000:.0f} ms"
            for found in (cold, cached)
        ]
        print(f"| {kind}, {title} | {words[0]} | {words[1]} |")


async def our_pull(name: str, base: Path) -> float:
    """Into an empty store: fetched, checked, unpacked."""
    store = ImageStore(Path(tempfile.mkdtemp(dir=base)))
    store.open()
    async with ImagePuller(store, Platform("linux", images.ARCHITECTURE)) as puller:
        began = time.perf_counter()
        await puller.pull(parse_reference(name), RegistryAuth())
        return time.perf_counter() - began


async def engine_pull(engine: engines.Daemon, name: str) -> float:
    image, _, tag = name.rpartition(":")
    began = time.perf_counter()
    answer = await asyncio.to_thread(engine.call, "POST", f"/images/create?fromImage={image}&tag={tag}")
    seconds = time.perf_counter() - began
    if b'"error' in answer:
        raise RuntimeError(answer.decode()[-500:])
    await asyncio.to_thread(engine.call, "DELETE", f"/images/{name}?force=1")
    return seconds


async def floor(address: str, repository: str, digests: list[str]) -> float:
    def read() -> float:
        began = time.perf_counter()
        for digest in digests:
            with urllib.request.urlopen(f"http://{address}/v2/{repository}/blobs/{digest}") as response:
                while response.read(1 << 20):
                    pass
        return time.perf_counter() - began

    return await asyncio.to_thread(read)


async def pulls(address: str, base: Path, rounds: int) -> None:
    ways: dict[str, Callable[[str], Awaitable[float]]] = {"ours": lambda name: our_pull(name, base)}
    for engine in (engines.DOCKER, engines.PODMAN):
        if engine.available():
            engine.start()
            ways[engine.name] = lambda name, engine=engine: engine_pull(engine, name)
    for path, image in (("bench/small", images.busybox()), ("bench/large", large())):
        blobs = image.manifest()[1]
        size = sum(map(len, blobs.values()))
        # In turn, so that what else the machine does is the same for all.
        found: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, pull in ways.items():
                found[way].append(await pull(f"{address}/{path}:1"))
        read = statistics.median([await floor(address, path, list(blobs)) for _ in range(rounds)])
        ours = statistics.median(found["ours"])
        print(f"| {path}, {size / 1e6:.0f} MB, reading alone | {read:.2f} s | {read / ours:.1f} |")
        for way, seconds in found.items():
            median = statistics.median(seconds)
            print(f"| {way} | {median:.2f} s | {median / ours:.1f} |")


async def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"load of the machine at the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        (base / "locked").mkdir()
        with (
            registries.docker_registry(base) as address,
            registries.docker_registry(base / "locked", auth=True) as locked,
        ):
            push_all(address)
            push_all(locked)
            await looks(address, ANONYMOUS, base, options.rounds)
            good = Login(registries.USER, SecretText(registries.PASSWORD))
            await looks(locked, good, base, options.rounds)
            if os.geteuid() == 0:
                await pulls(address, base, options.rounds)
    print(f"at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    asyncio.run(main())
