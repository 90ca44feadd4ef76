"""Tables: the server-side columns that `kubectl get` prints, and ages in words.

Which columns a kind has is declared in its ResourceType; this module puts the Table object together. Source:
k8s.io/apiserver/pkg/endpoints/handlers/response.go, k8s.io/apimachinery/pkg/util/duration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias

from podbay.apiserver.registry import Column, ResourceType
from podbay.objects.meta import Object

__all__ = [
    "AGE_COLUMN",
    "CREATED_AT_COLUMNS",
    "NAME_COLUMN",
    "IncludeObject",
    "age",
    "column_definitions",
    "created_at_cells",
    "human_duration",
    "partial_metadata",
    "since",
    "table_for",
]

IncludeObject: TypeAlias = Literal["None", "Metadata", "Object"]

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24
_YEAR = 365 * _DAY

NAME_COLUMN = Column(
    "Name",
    "string",
    "Name must be unique within a namespace. Is required when creating resources, although some resources may "
    "allow a client to request the generation of an appropriate name automatically. Name is primarily intended "
    "for creation idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names",
    "name",
)
AGE_COLUMN = Column(
    "Age",
    "string",
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not "
    "guaranteed to be set in happens-before order across separate operations. Clients may not set this value. "
    "It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More "
    "info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
)

CREATED_AT_COLUMNS = (NAME_COLUMN, Column("Created At", "date", AGE_COLUMN.description))
"""Columns of kinds that Kubernetes has no printer for; see created_at_cells."""


def human_duration(seconds: float) -> str:
    """A duration with two or three significant figures: "90s", "5m30s", "3h", "2d4h", "3y120d".

    Up to two seconds into the future count as now; more is "<invalid>".
    """
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 2 * _MINUTE:
        return f"{whole}s"
    minutes = whole // _MINUTE
    if minutes < 10:
        return _pair(minutes, "m", whole % _MINUTE, "s")
    if minutes < 3 * _MINUTE:
        return f"{minutes}m"
    hours = whole // _HOUR
    if hours < 8:
        return _pair(hours, "h", minutes % 60, "m")
    if hours < 2 * _DAY:
        return f"{hours}h"
    if hours < 8 * _DAY:
        return _pair(hours // _DAY, "d", hours % _DAY, "h")
    if hours < 2 * _YEAR:
        return f"{hours // _DAY}d"
    if hours < 8 * _YEAR:
        return _pair(hours // _YEAR, "y", hours // _DAY % 365, "d")
    return f"{hours // _YEAR}y"


def _pair(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


def since(timestamp: str | None, now: datetime) -> str:
    """The age of an RFC 3339 timestamp, "<unknown>" without one."""
    if not timestamp:
        return "<unknown>"
    return human_duration((now - datetime.fromisoformat(timestamp)).total_seconds())


def age(obj: Object, now: datetime) -> str:
    """The age of an object for its Age column."""
    return since((obj.get("metadata") or {}).get("creationTimestamp"), now)


def created_at_cells(obj: Object, now: datetime) -> list[Any]:
    """The cells under CREATED_AT_COLUMNS: a time, not an age."""
    metadata = obj.get("metadata") or {}
    return [metadata.get("name") or "", metadata.get("creationTimestamp")]


def column_definitions(resource_type: ResourceType) -> list[dict[str, Any]]:
    """The `columnDefinitions` of a kind."""
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        }
        for column in resource_type.columns
    ]


def partial_metadata(obj: Object, *, api_version: str = "meta.k8s.io/v1") -> Object:
    """The object as `PartialObjectMetadata`: nothing but its metadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": api_version, "metadata": obj.get("metadata") or {}}


def table_for(
    resource_type: ResourceType,
    objects: Iterable[Object],
    *,
    now: datetime,
    include: IncludeObject = "Metadata",
    list_metadata: Mapping[str, Any] | None = None,
    with_columns: bool = True,
    version: str = "v1",
) -> Object:
    """The `Table` of some objects of one resource.

    list_metadata carries resourceVersion, continue and remainingItemCount; when it is None the table stands for a
    single object and takes its resourceVersion. Later events of a watch leave the columns out.
    """
    api_version = f"meta.k8s.io/{version}"
    rows = []
    metadata = dict(list_metadata or {})
    for obj in objects:
        rows.append(_row(resource_type, obj, now=now, include=include, api_version=api_version))
        if list_metadata is None:
            metadata = {"resourceVersion": (obj.get("metadata") or {}).get("resourceVersion") or ""}
    return {
        "kind": "Table",
        "apiVersion": api_version,
        "metadata": {key: value for key, value in metadata.items() if value not in (None, "")},
        "columnDefinitions": column_definitions(resource_type) if with_columns else [],
        "rows": rows,
    }


def _row(
    resource_type: ResourceType, obj: Object, *, now: datetime, include: IncludeObject, api_version: str
) -> dict[str, Any]:
    row: dict[str, Any] = {"cells": resource_type.cells(obj, now)}
    conditions = resource_type.row_conditions and resource_type.row_conditions(obj)
    if conditions:
        row["conditions"] = conditions
    if include == "Metadata":
        row["object"] = partial_metadata(obj, api_version=api_version)
    elif include == "Object":
        row["object"] = {
            **obj,
            "kind": resource_type.kind,
            "apiVersion": resource_type.gvr.api_version,
        }
    return row
