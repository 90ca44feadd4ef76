"""Images built on the machine: a busybox in pure Python, from the package busybox-static. Nothing is downloaded.

The same recipe is used by the suite of every runtime.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BUSYBOX = Path("/bin/busybox")
PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\napp:x:1000:1000::/home/app:/bin/sh\n"
GROUP = "root:x:0:\nstaff:x:50:app\napp:x:1000:\nnobody:x:65534:\n"
NSSWITCH = "hosts: files dns\n"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


@dataclass
class Layer:
    """A layer under construction; entries keep their order."""

    entries: list[tuple[tarfile.TarInfo, bytes]] = field(default_factory=list)

    def add(self, name: str, content: bytes | str = b"", **attributes: Any) -> Layer:
        """A file, or with `type` anything else; attributes are those of TarInfo."""
        data = content.encode() if isinstance(content, str) else content
        info = tarfile.TarInfo(name)
        info.size = len(data)
        info.mode = 0o644
        for key, value in attributes.items():
            setattr(info, key, value)
        self.entries.append((info, data))
        return self

    def directory(self, name: str, mode: int = 0o755, **attributes: Any) -> Layer:
        return self.add(name, type=tarfile.DIRTYPE, mode=mode, **attributes)

    def symlink(self, name: str, target: str) -> Layer:
        return self.add(name, type=tarfile.SYMTYPE, linkname=target, mode=0o777)

    def link(self, name: str, target: str) -> Layer:
        # Engines set the mode of a link as well, which is that of the file.
        return self.add(name, type=tarfile.LNKTYPE, linkname=target, mode=0o755)

    def tar(self) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for info, data in self.entries:
                tar.addfile(info, io.BytesIO(data))
        return buffer.getvalue()


def zipped(data: bytes) -> bytes:
    """gzip without a time in it, so that the digest is the same every time."""
    return gzip.compress(data, mtime=0)


@dataclass(frozen=True)
class BuiltImage:
    """The parts of an image, ready for an archive or a registry."""

    config: bytes
    layers: list[bytes]

    @property
    def config_digest(self) -> str:
        return digest(self.config)

    def archive(self, path: Path, *tags: str) -> Path:
        """Write what `docker save` writes."""
        names = [f"{hashlib.sha256(layer).hexdigest()}/layer.tar" for layer in self.layers]
        config_name = f"{self.config_digest.removeprefix('sha256:')}.json"
        manifest = [{"Config": config_name, "RepoTags": list(tags), "Layers": names}]
        with tarfile.open(path, "w") as tar:
            for name, data in [(config_name, self.config), *zip(names, self.layers, strict=True)]:
                _put(tar, name, data)
            _put(tar, "manifest.json", json.dumps(manifest).encode())
        return path

    def manifest(self, compress: Callable[[bytes], bytes] = zipped) -> tuple[bytes, dict[str, bytes]]:
        """An OCI manifest and its blobs by digest."""
        blobs = [compress(layer) for layer in self.layers]
        kind = "application/vnd.oci.image.layer.v1.tar+gzip"
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor(self.config, "application/vnd.oci.image.config.v1+json"),
            "layers": [descriptor(blob, kind) for blob in blobs],
        }
        return json.dumps(manifest).encode(), {digest(data): data for data in [self.config, *blobs]}


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def descriptor(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


def build(
    layers: Sequence[Layer],
    config: Mapping[str, Any] | None = None,
    *,
    architecture: str = ARCHITECTURE,
    os: str = "linux",
) -> BuiltImage:
    """An image of these layers."""
    tars = [layer.tar() for layer in layers]
    content = {
        "architecture": architecture,
        "os": os,
        "config": dict(config or {}),
        "rootfs": {"type": "layers", "diff_ids": [digest(tar) for tar in tars]},
    }
    return BuiltImage(json.dumps(content).encode(), tars)


def busybox_layer() -> Layer:
    """busybox with all its names, and the few files that programs expect."""
    layer = Layer()
    for name in ("bin", "etc", "proc", "sys", "dev", "root", "home", "var", "usr", "usr/bin"):
        layer.directory(name)
    layer.directory("tmp", mode=0o1777)
    layer.directory("home/app", uid=1000, gid=1000)
    layer.add("bin/busybox", BUSYBOX.read_bytes(), mode=0o755)
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in listed:
        if applet != "busybox":
            layer.link(f"bin/{applet}", "bin/busybox")
    layer.add("etc/passwd", PASSWD).add("etc/group", GROUP).add("etc/nsswitch.conf", NSSWITCH)
    return layer


_BUSYBOX: dict[str, BuiltImage] = {}


def busybox() -> BuiltImage:
    """The image that the suites call localhost/bb:1."""
    if "bb" not in _BUSYBOX:
        config = {"Env": ["PATH=/bin:/usr/bin", "FROM_IMAGE=yes"], "Cmd": ["sh"]}
        _BUSYBOX["bb"] = build([busybox_layer()], config)
    return _BUSYBOX["bb"]


def _put(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
