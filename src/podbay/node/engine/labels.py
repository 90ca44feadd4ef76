"""How containers on the engine say whose they are: names that cannot be given twice, and labels that tell the rest.

Pure. All of the node's state is rebuilt from these. A name is unique on an engine, so making the same thing twice ends
in a conflict instead of a second one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import orjson

from podbay.node.specs import ContainerSpec, SandboxSpec

__all__ = [
    "ATTEMPT",
    "IMAGE",
    "IMAGE_ID",
    "KIND",
    "MESSAGE",
    "NAME",
    "NODE",
    "POD_NAME",
    "POD_NAMESPACE",
    "POD_UID",
    "SANDBOX",
    "SHARED",
    "VOLUME",
    "Names",
    "container_labels",
    "own_labels",
    "sandbox_labels",
]

_PREFIX = "podbay.dev/"
NODE = f"{_PREFIX}node"
KIND = f"{_PREFIX}kind"
"""sandbox, container, keeper or volume."""
POD_UID = f"{_PREFIX}pod-uid"
POD_NAME = f"{_PREFIX}pod-name"
POD_NAMESPACE = f"{_PREFIX}pod-namespace"
ATTEMPT = f"{_PREFIX}attempt"
NAME = f"{_PREFIX}container"
SANDBOX = f"{_PREFIX}sandbox"
SHARED = f"{_PREFIX}share-processes"
IMAGE = f"{_PREFIX}image"
IMAGE_ID = f"{_PREFIX}runs-image"
MESSAGE = f"{_PREFIX}termination-message"
VOLUME = f"{_PREFIX}volume"
_OWN = f"{_PREFIX}labels"
"""The caller's labels as one JSON object: theirs must not meet ours, nor those of the image."""

_UNSAFE = re.compile(r"[^a-zA-Z0-9_.-]")
_READABLE = 40
"""Characters of each part of a name that people read; the identity is in the digest behind them."""


class Names:
    """Names on the engine of one node's things."""

    def __init__(self, node: str) -> None:
        self.node = node
        self._base = f"podbay_{_readable(node)}_{_digest(node)[:6]}"

    @property
    def keeper(self) -> str:
        return f"{self._base}_keeper"

    @property
    def files(self) -> str:
        """The engine's volume that holds files."""
        return f"{self._base}_files"

    @property
    def memory(self) -> str:
        """The engine's volume that is held in memory."""
        return f"{self._base}_memory"

    def volume(self, name: str) -> str:
        """An engine's volume for one of ours alone, and the container that holds it."""
        return f"{self._base}_volume_{_digest(name)[:16]}"

    def sandbox(self, spec: SandboxSpec) -> str:
        identity = _digest(f"{spec.pod_uid}\0{spec.attempt}")[:12]
        return f"{self._base}_pod_{_readable(spec.pod_uid)}_{identity}"

    def container(self, sandbox: Mapping[str, str], sandbox_id: str, spec: ContainerSpec) -> str:
        """sandbox is the labels of the sandbox's own container."""
        identity = _digest(f"{sandbox_id}\0{spec.name}\0{spec.attempt}")[:12]
        pod = f"{_readable(sandbox.get(POD_NAMESPACE, ''))}_{_readable(sandbox.get(POD_NAME, ''))}"
        return f"{self._base}_{pod}_{_readable(spec.name)}_{identity}"


def sandbox_labels(node: str, spec: SandboxSpec) -> dict[str, str]:
    return {
        NODE: node,
        KIND: "sandbox",
        POD_UID: spec.pod_uid,
        POD_NAME: spec.pod_name,
        POD_NAMESPACE: spec.pod_namespace,
        ATTEMPT: str(spec.attempt),
        SHARED: str(spec.share_processes).lower(),
        _OWN: orjson.dumps(dict(spec.labels)).decode(),
    }


def container_labels(sandbox: Mapping[str, str], sandbox_id: str, spec: ContainerSpec) -> dict[str, str]:
    """sandbox is the labels of the sandbox's own container."""
    kept = (NODE, POD_UID, POD_NAME, POD_NAMESPACE)
    return {
        **{key: sandbox[key] for key in kept},
        KIND: "container",
        SANDBOX: sandbox_id,
        NAME: spec.name,
        ATTEMPT: str(spec.attempt),
        IMAGE: spec.image,
        IMAGE_ID: spec.image_id,
        MESSAGE: spec.message_path,
        _OWN: orjson.dumps(dict(spec.labels)).decode(),
    }


def own_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The caller's labels; empty when somebody has changed ours."""
    try:
        found = orjson.loads(labels.get(_OWN, "{}"))
    except orjson.JSONDecodeError:
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _readable(text: str) -> str:
    return _UNSAFE.sub("-", text)[:_READABLE]
