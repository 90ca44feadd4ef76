"""The shape of every Kubernetes object, and small accessors for it.

Objects are plain JSON dictionaries everywhere in Podbay: they come off the wire, go to storage and
back without a model layer in between (design.md D10 gives the cost of one).
"""

from __future__ import annotations

from typing import Any, TypeAlias

__all__ = ["Object", "annotations_of", "labels_of", "metadata_of", "name_of", "namespace_of", "uid_of"]

Object: TypeAlias = dict[str, Any]
"""A Kubernetes API object as JSON: apiVersion, kind, metadata and the rest."""


def metadata_of(obj: Object) -> dict[str, Any]:
    """`metadata`, created when absent or null, so that callers may write into it."""
    metadata = obj.get("metadata")
    if metadata is None:
        metadata = obj["metadata"] = {}
    return metadata


def name_of(obj: Object) -> str:
    """`metadata.name`, or the empty string."""
    return (obj.get("metadata") or {}).get("name") or ""


def namespace_of(obj: Object) -> str:
    """`metadata.namespace`, or the empty string."""
    return (obj.get("metadata") or {}).get("namespace") or ""


def uid_of(obj: Object) -> str:
    """`metadata.uid`, or the empty string."""
    return (obj.get("metadata") or {}).get("uid") or ""


def labels_of(obj: Object) -> dict[str, str]:
    """`metadata.labels`, empty when absent."""
    return (obj.get("metadata") or {}).get("labels") or {}


def annotations_of(obj: Object) -> dict[str, str]:
    """`metadata.annotations`, empty when absent."""
    return (obj.get("metadata") or {}).get("annotations") or {}
