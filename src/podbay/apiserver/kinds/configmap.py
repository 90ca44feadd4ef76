"""ConfigMap: text and binary entries under one set of keys, immutability, at most 1 MiB.

Source: pkg/registry/core/configmap, ValidateConfigMap*.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from podbay.apiserver.field import FieldError, Path, invalid, too_long
from podbay.apiserver.kinds.secret import MAX_SECRET_BYTES, immutable_content_errors
from podbay.apiserver.registry import Column, ResourceType, Strategy, StrategyContext
from podbay.apiserver.tables import AGE_COLUMN, NAME_COLUMN, age
from podbay.objects.meta import Object
from podbay.objects.names import config_map_key_errors
from podbay.objects.resource import GVR

__all__ = ["CONFIG_MAP", "RESOURCE_TYPES"]

_WHOLE_OBJECT = Path("[]")
"""How the API prints a path without a name; the size belongs to no single field."""


class ConfigMapStrategy(Strategy):
    """Keys of `data` and `binaryData` must not overlap."""

    metadata_repeats = (1, 1)

    def validate(self, obj: Object, ctx: StrategyContext) -> list[FieldError]:
        data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
        errors: list[FieldError] = []
        for key in data:
            path = Path("data").key(key)
            errors += [invalid(path, key, message) for message in config_map_key_errors(key)]
            if key in binary:
                errors.append(invalid(path, key, "duplicate of key present in binaryData"))
        for key in binary:
            path = Path("binaryData").key(key)
            errors += [invalid(path, key, message) for message in config_map_key_errors(key)]
        total = sum(len((value or "").encode()) for value in data.values())
        total += sum(len(value or "") * 3 // 4 - (value or "").count("=", -2) for value in binary.values())
        if total > MAX_SECRET_BYTES:
            errors.append(too_long(_WHOLE_OBJECT, MAX_SECRET_BYTES))
        return errors

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        return immutable_content_errors(obj, old, ("data", "binaryData")) + self.validate(obj, ctx)


def _cells(obj: Object, now: datetime) -> list[Any]:
    entries = len(obj.get("data") or {}) + len(obj.get("binaryData") or {})
    return [obj["metadata"]["name"], entries, age(obj, now)]


CONFIG_MAP = ResourceType(
    gvr=GVR("", "v1", "configmaps"),
    kind="ConfigMap",
    type_name="io.k8s.api.core.v1.ConfigMap",
    namespaced=True,
    singular="configmap",
    short_names=("cm",),
    strategy=ConfigMapStrategy(),
    columns=(
        NAME_COLUMN,
        Column(
            "Data",
            "string",
            "Data contains the configuration data. Each key must consist of alphanumeric characters, '-', '_' or "
            "'.'. Values with non-UTF-8 byte sequences must use the BinaryData field. The keys stored in Data must "
            "not overlap with the keys in the BinaryData field, this is enforced during validation process.",
        ),
        AGE_COLUMN,
    ),
    cells=_cells,
)

RESOURCE_TYPES: tuple[ResourceType, ...] = (CONFIG_MAP,)
