"""The `definitions` of OpenAPI v2 and the `components.schemas` of v3, out of the type table.

Not for paths (openapi_paths.py). The x-kubernetes-* extensions are what kubectl merges by and what server-side
apply clients read. Source: k8s.io/kube-openapi/pkg/{generators,builder,builder3}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from podbay.apiserver.openapi_descriptions import Descriptions
from podbay.apiserver.registry import Registry
from podbay.apiserver.schema.types import Field, Schema, Struct, Type

__all__ = ["SchemaBuilder", "group_version_kinds", "reference"]

_MACHINERY: Final = "io.k8s.apimachinery.pkg."
PATCH: Final = _MACHINERY + "apis.meta.v1.Patch"
STATUS: Final = _MACHINERY + "apis.meta.v1.Status"
DELETE_OPTIONS: Final = _MACHINERY + "apis.meta.v1.DeleteOptions"

_PLAIN: Final[dict[str, dict[str, str]]] = {
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "uint8": {"type": "integer"},
    "float": {"type": "number", "format": "double"},
    "bytes": {"type": "string", "format": "byte"},
    "any": {"type": "object"},
}
_NAMED: Final = {
    "quantity": _MACHINERY + "api.resource.Quantity",
    "intOrString": _MACHINERY + "util.intstr.IntOrString",
    "time": _MACHINERY + "apis.meta.v1.Time",
    "microTime": _MACHINERY + "apis.meta.v1.MicroTime",
    "duration": _MACHINERY + "apis.meta.v1.Duration",
    "fieldsV1": _MACHINERY + "apis.meta.v1.FieldsV1",
    "raw": _MACHINERY + "runtime.RawExtension",
}
_NAMED_SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "quantity": {"type": "string"},
    "intOrString": {"type": "string", "format": "int-or-string"},
    "time": {"type": "string", "format": "date-time"},
    "microTime": {"type": "string", "format": "date-time"},
    "duration": {"type": "string"},
    "fieldsV1": {"type": "object"},
    "raw": {"type": "object"},
}
_NAMED_V3: Final[dict[str, dict[str, Any]]] = {
    "quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "intOrString": {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
}
_ZERO: Final[dict[str, Any]] = {"string": "", "bool": False, "int32": 0, "int64": 0}


def reference(name: str, *, v3: bool) -> dict[str, str]:
    """The $ref of a definition."""
    return {"$ref": f"#/{'components/schemas' if v3 else 'definitions'}/{name}"}


def group_version_kinds(registry: Registry) -> dict[str, list[dict[str, str]]]:
    """Definition name -> the kinds it is the body of, lists included."""
    out: dict[str, list[dict[str, str]]] = {}

    def add(name: str, group: str, version: str, kind: str) -> None:
        entry = {"group": group, "kind": kind, "version": version}
        if name and entry not in out.setdefault(name, []):
            out[name].append(entry)

    for resource in registry:
        group, version = resource.gvr.group, resource.gvr.version
        add(resource.type_name, group, version, resource.kind)
        if "list" in resource.verbs:
            add(resource.type_name + "List", group, version, resource.list_kind)
        if "delete" in resource.verbs:
            add(DELETE_OPTIONS, group, version, "DeleteOptions")
        for sub in resource.subresources:
            if sub.handler is not None and sub.type_name:
                add(sub.type_name, sub.group or group, sub.version or version, sub.kind)
    add(STATUS, "", "v1", "Status")
    return out


class SchemaBuilder:
    """Builds the definitions that are reachable from what is asked for with `require`."""

    def __init__(
        self,
        schema: Schema,
        kinds: Mapping[str, list[dict[str, str]]],
        descriptions: Descriptions,
        *,
        v3: bool,
    ) -> None:
        self._schema = schema
        self._kinds = kinds
        self._descriptions = descriptions
        self._v3 = v3
        self.definitions: dict[str, dict[str, Any]] = {}

    def require(self, names: Iterable[str]) -> None:
        """Add definitions, with everything they refer to. Names that the table lacks become free-form objects."""
        for name in names:
            if name in self.definitions or not name:
                continue
            if name == PATCH or name not in self._schema:
                self.definitions[name] = {"type": "object", **self._extensions(name)}
            else:
                self._add(self._schema.struct(name))

    def _add(self, struct: Struct) -> None:
        out: dict[str, Any] = {"type": "object"}
        self.definitions[struct.name] = out
        texts = self._descriptions.of(struct)
        properties = {
            name: self._property(field, texts.get(name, "")) for name, field in struct.fields.items()
        }
        if properties:
            out["properties"] = properties
        required = [name for name, field in struct.fields.items() if field.required]
        if required:
            out["required"] = required
        if struct.atomic:
            out["x-kubernetes-map-type"] = "atomic"
        out.update(self._extensions(struct.name))

    def _extensions(self, name: str) -> dict[str, Any]:
        kinds = self._kinds.get(name)
        return {"x-kubernetes-group-version-kind": kinds} if kinds else {}

    def _property(self, field: Field, description: str) -> dict[str, Any]:
        out: dict[str, Any] = {}
        if description:
            out["description"] = description
        shape = self._shape(field.type)
        if "$ref" in shape and self._v3:
            out["allOf"] = [shape]
        else:
            out.update(shape)
        default = self._default(field)
        if default is not None:
            out["default"] = default
        if field.list_type:
            out["x-kubernetes-list-type"] = field.list_type
        if field.list_map_keys:
            out["x-kubernetes-list-map-keys"] = list(field.list_map_keys)
        if field.map_type:
            out["x-kubernetes-map-type"] = field.map_type
        if field.patch_merge_key:
            out["x-kubernetes-patch-merge-key"] = field.patch_merge_key
        if field.patch_strategies:
            out["x-kubernetes-patch-strategy"] = ",".join(field.patch_strategies)
        return out

    def _default(self, field: Field) -> Any:
        """Only v3 documents carry defaults: the marker's, or the zero value of what is always there."""
        if not self._v3 or field.pointer:
            return field.default if self._v3 else None
        if field.default is not None:
            return field.default
        if field.kind == "struct":
            return {}
        return None if field.omitempty else _ZERO.get(field.kind)

    def _shape(self, type_: Type) -> dict[str, Any]:
        kind = type_.kind
        if kind == "struct":
            struct = self._schema.struct(type_.struct_name)
            if struct.name not in self.definitions:
                self._add(struct)
            return reference(struct.name, v3=self._v3)
        if kind in _NAMED:
            name = _NAMED[kind]
            if name not in self.definitions:
                self.definitions[name] = (self._v3 and _NAMED_V3.get(kind)) or _NAMED_SCHEMAS[kind]
            return reference(name, v3=self._v3)
        if type_.elem is not None:
            key = "items" if kind == "list" else "additionalProperties"
            return {"type": "array" if kind == "list" else "object", key: self._element(type_.elem)}
        return dict(_PLAIN[kind])

    def _element(self, elem: Type) -> dict[str, Any]:
        shape = self._shape(elem)
        if not self._v3:
            return shape
        if elem.kind == "struct":
            return {"allOf": [shape], "default": {}}
        if elem.kind in _ZERO:
            shape["default"] = _ZERO[elem.kind]
        return shape
