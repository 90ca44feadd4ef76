"""Warnings about volumes: sources that do nothing any more, and files that would lie on top of each other.

Source: pkg/api/pod/warnings.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from podbay.apiserver.field import Path, go_quote

__all__ = ["volume_warnings"]

_DEPRECATED = {
    "photonPersistentDisk": ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    "gitRepo": ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    "scaleIO": ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    "flocker": ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    "storageos": ("storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    "quobyte": ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    "glusterfs": ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    "cephfs": ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    "rbd": ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
}
"""JSON field: how the path names it, and since when it does nothing."""

Part = Mapping[str, Any]


def volume_warnings(path: Path, volumes: Sequence[Part]) -> list[str]:
    """Warnings about a pod's volumes; path is `spec.volumes`."""
    warnings = []
    for i, volume in enumerate(volumes):
        for field, (printed, words) in _DEPRECATED.items():
            if volume.get(field) is not None:
                warnings.append(f"{path.index(i).child(printed)}: {words}")
    for volume in volumes:
        warnings += _volume_overlaps(volume)
    return warnings


def _volume_overlaps(volume: Part) -> list[str]:
    name = go_quote(volume.get("name") or "")
    warnings = []
    for field, kind, name_field in (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")):
        source = volume.get(field) or {}
        if source.get("items"):
            subject = f"volume {name} ({kind} {go_quote(source.get(name_field) or '')})"
            warnings += _overlaps(_paths(source), subject)
    downward = volume.get("downwardAPI") or {}
    if downward.get("items"):
        warnings += _overlaps(_paths(downward), f"volume {name} (DownwardAPI)")
    projected = volume.get("projected")
    if projected is not None:
        warnings += _projected_overlaps(name, projected)
    return warnings


def _projected_overlaps(name: str, projected: Part) -> list[str]:
    warnings = []
    earlier: set[str] = set()
    for source in projected.get("sources") or ():
        found = _source_paths(source)
        if found is None:
            if not any(value is not None for value in source.values()):
                warnings.append(f"volume {name} (Projected) has no sources provided")
            continue
        kind, paths = found
        subject = f"volume {name} (Projected {kind})"
        warnings += _overlaps(paths, subject)
        warnings += _overlaps(sorted([*set(paths), *earlier]), subject)
        earlier.update(paths)
    return warnings


def _source_paths(source: Part) -> tuple[str, list[str]] | None:
    for field, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
        named = source.get(field) or {}
        if named.get("items"):
            return f"{kind} {go_quote(named.get('name') or '')}", _paths(named)
    downward = source.get("downwardAPI") or {}
    if downward.get("items"):
        return "DownwardAPI", _paths(downward)
    token = source.get("serviceAccountToken")
    return None if token is None else ("ServiceAccountToken", [token.get("path") or ""])


def _paths(source: Part) -> list[str]:
    return [item.get("path") or "" for item in source.get("items") or ()]


def _overlaps(paths: Iterable[str], subject: str) -> list[str]:
    warnings = []
    seen: dict[str, None] = {}
    for path in (p.rstrip("/") for p in paths):
        hit = next((other for other in seen if _collide(other, path)), "")
        if hit:
            warnings.append(f"{subject}: overlapping paths: {go_quote(path)} with {go_quote(hit)}")
        seen[path] = None
    return warnings


def _collide(one: str, other: str) -> bool:
    if not one or not other:
        return False
    return f"{one}/".startswith(other) or f"{other}/".startswith(one)
