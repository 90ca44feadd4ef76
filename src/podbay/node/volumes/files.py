"""The files of secret, configMap, downwardAPI and projected volumes. Pure; objects and tokens are handed in.

Source: pkg/volume/{secret,configmap,downwardapi,projected}, pkg/volume/util/atomic_writer.go.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from podbay.errors import StartError
from podbay.node.fields import NodeFacts, field_value, resource_value
from podbay.node.podspec import all_containers
from podbay.node.specs import VolumeFile
from podbay.objects.meta import Object, namespace_of
from podbay.objects.quoting import go_quote

__all__ = ["FileSources", "Files", "is_file_volume", "token_requests", "volume_files", "wants_memory"]

Files: TypeAlias = dict[str, VolumeFile]

_KINDS = ("secret", "configMap", "downwardAPI", "projected")
_DEFAULT_MODE = 0o644
_TOKEN_SECONDS = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSources:
    """Where contents come from. tokens holds one token per (audience, expirationSeconds)."""

    secret: Callable[[str, str], Object | None]
    config_map: Callable[[str, str], Object | None]
    node: NodeFacts
    tokens: Mapping[tuple[str, int], str]


def is_file_volume(volume: Object) -> bool:
    """Whether the volume is made of files that this module computes."""
    return any(volume.get(kind) is not None for kind in _KINDS)


def wants_memory(volume: Object) -> bool:
    """Whether its files must not touch a disk: all but plain config maps."""
    return volume.get("configMap") is None


def token_requests(pod: Object) -> Iterable[tuple[str, int]]:
    """(audience, seconds) of every service account token that the pod's volumes ask for."""
    for volume in pod["spec"].get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            if token := source.get("serviceAccountToken"):
                yield _token_key(token)


def _token_key(token: Object) -> tuple[str, int]:
    return token.get("audience") or "", int(token.get("expirationSeconds") or _TOKEN_SECONDS)


def volume_files(pod: Object, volume: Object, sources: FileSources) -> Files:
    """Relative paths and contents. StartError with reason FailedMount when something named is missing."""
    try:
        files = _files(pod, volume, sources)
    except ValueError as error:
        raise StartError("FailedMount", str(error)) from error
    if (pod["spec"].get("securityContext") or {}).get("fsGroup") is None:
        return files
    # The pod's group may always read what was put there for the pod.
    return {path: VolumeFile(f.data, f.mode | 0o440, f.uid, f.gid) for path, f in files.items()}


def _files(pod: Object, volume: Object, sources: FileSources) -> Files:
    if (source := volume.get("secret")) is not None:
        return _secret(pod, {**source, "name": source.get("secretName")}, sources, _mode(source))
    if (source := volume.get("configMap")) is not None:
        return _config_map(pod, source, sources, _mode(source))
    if (source := volume.get("downwardAPI")) is not None:
        return _downward(pod, source, sources, _mode(source))
    return _projected(pod, volume["projected"], sources)


def _mode(source: Object, default: int = _DEFAULT_MODE) -> int:
    mode = source.get("defaultMode")
    return default if mode is None else int(mode)


def _projected(pod: Object, volume: Object, sources: FileSources) -> Files:
    mode = _mode(volume)
    files: Files = {}
    for source in volume.get("sources") or ():
        if (secret := source.get("secret")) is not None:
            files |= _secret(pod, secret, sources, mode)
        elif (config_map := source.get("configMap")) is not None:
            files |= _config_map(pod, config_map, sources, mode)
        elif (downward := source.get("downwardAPI")) is not None:
            files |= _downward(pod, downward, sources, mode)
        elif (token := source.get("serviceAccountToken")) is not None:
            files[token["path"]] = _token(pod, token, sources, mode)
        else:
            kind = next((k for k, v in source.items() if v is not None), "empty")
            raise ValueError(f"projected source {kind} is not supported by this node")
    return files


def _secret(pod: Object, source: Object, sources: FileSources, mode: int) -> Files:
    name = source.get("name") or ""
    found = sources.secret(namespace_of(pod), name)
    if found is None:
        if source.get("optional"):
            return {}
        raise ValueError(f"secret {go_quote(name)} not found")
    data = {key: base64.b64decode(value or "") for key, value in (found.get("data") or {}).items()}
    return _chosen(data, source, mode, "secret")


def _config_map(pod: Object, source: Object, sources: FileSources, mode: int) -> Files:
    name = source.get("name") or ""
    found = sources.config_map(namespace_of(pod), name)
    if found is None:
        if source.get("optional"):
            return {}
        raise ValueError(f"configmap {go_quote(name)} not found")
    data = {key: value.encode() for key, value in (found.get("data") or {}).items()}
    data |= {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
    return _chosen(data, source, mode, "config")


def _chosen(data: Mapping[str, bytes], source: Object, mode: int, word: str) -> Files:
    items = source.get("items")
    if not items:
        return {key: VolumeFile(value, mode) for key, value in data.items()}
    files: Files = {}
    for item in items:
        if item["key"] not in data:
            if source.get("optional"):
                continue
            article = "non-existent secret key" if word == "secret" else "non-existent config key"
            raise ValueError(f"references {article}: {item['key']}")
        own = item.get("mode")
        files[item["path"]] = VolumeFile(data[item["key"]], mode if own is None else int(own))
    return files


def _downward(pod: Object, source: Object, sources: FileSources, mode: int) -> Files:
    files: Files = {}
    for item in source.get("items") or ():
        if item.get("fieldRef"):
            text = field_value(pod, item["fieldRef"]["fieldPath"], sources.node)
        else:
            text = resource_value(pod, "", item["resourceFieldRef"], sources.node)
        own = item.get("mode")
        files[item["path"]] = VolumeFile(text.encode(), mode if own is None else int(own))
    return files


def _token(pod: Object, token: Object, sources: FileSources, mode: int) -> VolumeFile:
    group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    user = _common_user(pod)
    # Nobody but the pod's own user or group reads a token where there is one of either.
    private = group is not None or user is not None
    owner = user if group is None else None
    return VolumeFile(sources.tokens[_token_key(token)].encode(), 0o600 if private else mode, owner)


def _common_user(pod: Object) -> int | None:
    """The user that every container runs as, None when they differ or one does not say."""
    shared = (pod["spec"].get("securityContext") or {}).get("runAsUser")
    users = set()
    for _, container in all_containers(pod["spec"]):
        own = (container.get("securityContext") or {}).get("runAsUser")
        users.add(shared if own is None else own)
    return users.pop() if len(users) == 1 else None
