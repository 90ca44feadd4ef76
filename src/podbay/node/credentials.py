"""imagePullSecrets: which credentials fit an image. Pure.

Source: pkg/credentialprovider/keyring.go (matching, order), pkg/credentialprovider/config.go (the two file formats).
"""

from __future__ import annotations

import base64
import fnmatch
import json
from collections.abc import Mapping, Sequence
from typing import Any

from podbay.node.specs import RegistryAuth
from podbay.objects.meta import Object

__all__ = ["matches", "matching_credentials", "read_auth"]

_HUB_KEYS = ("index.docker.io", "docker.io")


def matching_credentials(repository: str, secrets: Sequence[Object]) -> list[RegistryAuth]:
    """Credentials for "registry/path", the most specific first; unreadable secrets count as empty."""
    found: list[tuple[str, RegistryAuth]] = []
    for secret in secrets:
        for key, entry in _entries(secret):
            auth = read_auth(entry)
            if auth is not None and matches(key, repository):
                found.append((_normal(key), auth))
    # Longer keys are more specific; Python's sort keeps the order of secrets among equals.
    found.sort(key=lambda pair: pair[0], reverse=True)
    return [auth for _, auth in found]


def _entries(secret: Object) -> list[tuple[str, Mapping[str, Any]]]:
    data = secret.get("data") or {}
    try:
        if secret.get("type") == "kubernetes.io/dockerconfigjson":
            entries = (_json(data.get(".dockerconfigjson")).get("auths")) or {}
        elif secret.get("type") == "kubernetes.io/dockercfg":
            entries = _json(data.get(".dockercfg"))
        else:
            return []
    except ValueError:
        return []
    return [(key, entry) for key, entry in entries.items() if isinstance(entry, dict)]


def _json(text: str | None) -> dict[str, Any]:
    value = json.loads(base64.b64decode(text or ""))
    return value if isinstance(value, dict) else {}


def read_auth(entry: Mapping[str, Any]) -> RegistryAuth | None:
    """One entry of a docker config; None for one that cannot be read."""
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            username, _, password = base64.b64decode(str(entry["auth"])).decode().rstrip("\0").partition(":")
        except ValueError:
            return None
    return RegistryAuth(
        username=username,
        password=password,
        identity_token=str(entry.get("identitytoken") or ""),
        registry_token=str(entry.get("registrytoken") or ""),
    )


def _normal(key: str) -> str:
    """A key without scheme and API version, so that it compares with a repository."""
    bare = key.split("://", 1)[-1].rstrip("/")
    for version in ("/v1", "/v2"):
        bare = bare.removesuffix(version)
    host, slash, path = bare.partition("/")
    return ("docker.io" if host in _HUB_KEYS else host) + slash + path


def matches(key: str, repository: str) -> bool:
    """Whether a login under this key, a pattern of host and beginning of the path, is for "registry/path"."""
    key_host, _, key_path = _normal(key).partition("/")
    host, _, path = repository.partition("/")
    key_name, key_port = _split_port(key_host)
    name, port = _split_port(host)
    key_parts, parts = key_name.split("."), name.split(".")
    if key_port != port or len(key_parts) != len(parts):
        return False
    if not all(fnmatch.fnmatchcase(part, pattern) for part, pattern in zip(parts, key_parts, strict=True)):
        return False
    return not key_path or path.startswith(key_path)


def _split_port(host: str) -> tuple[str, str]:
    name, _, port = host.rpartition(":")
    return (name, port) if port.isdigit() else (host, "")
