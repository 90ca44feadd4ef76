"""The image of our own that the engine gets: one program of 5 KB (keeper/keeper.c) and empty mount points.

Made here and loaded, because no registry may be in reach and no image of the user's may lend a program. Its name holds
the digest of its content, so a newer Podbay never runs an older program.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from importlib.resources import files

import orjson

from podbay.errors import RuntimeUnavailableError
from podbay.node.engine.api import Engine

__all__ = ["FILES", "MEMORY", "PROGRAM", "REPOSITORY", "ensure_keeper_image", "keeper_archive"]

REPOSITORY = "localhost/podbay/keeper"
PROGRAM = "/keeper"
FILES = "files"
"""Where the keeper has the volume on disk."""
MEMORY = "memory"
"""Where it has the one in memory."""


async def ensure_keeper_image(engine: Engine) -> str:
    """The image's name on the engine, which has it now. RuntimeUnavailableError when the engine cannot take it."""
    architecture = str(engine.version.get("Arch", ""))
    name, archive = keeper_archive(architecture)
    if await engine.find(f"/images/{name}/json") is not None:
        return name
    loaded = await engine.call("POST", "/images/load", query={"quiet": 1}, data=archive)
    if await engine.find(f"/images/{name}/json") is None:
        raise RuntimeUnavailableError(
            f"the container engine at {engine.endpoint} does not take images: {loaded.message[:300]}"
        )
    return name


def keeper_archive(architecture: str) -> tuple[str, bytes]:
    """The image's name and a docker-archive of it; the same bytes every time."""
    try:
        program = files(__package__).joinpath("keeper", f"keeper-{architecture}").read_bytes()
    except FileNotFoundError:
        raise RuntimeUnavailableError(
            f'container engines on "{architecture}" are not supported: amd64 and arm64 are'
        ) from None
    layer = _tar({PROGRAM[1:]: program}, directories=(FILES, MEMORY))
    config = orjson.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {"Entrypoint": [PROGRAM], "Cmd": ["pause"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "podbay"}],
        }
    )
    identity = hashlib.sha256(config).hexdigest()
    name = f"{REPOSITORY}:{identity[:16]}"
    manifest = [{"Config": f"{identity}.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    content = {
        f"{identity}.json": config,
        "layer.tar": layer,
        "manifest.json": orjson.dumps(manifest),
    }
    return name, _tar(content)


def _tar(content: dict[str, bytes], directories: tuple[str, ...] = ()) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in directories:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, data in content.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
