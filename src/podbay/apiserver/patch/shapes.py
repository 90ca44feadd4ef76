"""The Kubernetes types as server-side apply sees them: what is owned as a whole, what key tells list items apart.

Source: k8s.io/kube-openapi/pkg/schemaconv, which makes the schema of structured-merge-diff out of OpenAPI: a list
without a list type is atomic, a struct or map without a map type is granular, a list item's key falls back to the
field's default and, where Go always prints the field, to its zero value.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal, TypeAlias

from podbay.apiserver.schema.types import Field, Schema, Struct, Type

__all__ = ["NO_DEFAULT", "Shape", "Shapes"]

ScalarKind: TypeAlias = Literal["string", "numeric", "boolean", "untyped"]

_SCALARS: dict[str, ScalarKind] = {
    "string": "string",
    "bytes": "string",
    "duration": "string",
    "bool": "boolean",
    "int32": "numeric",
    "int64": "numeric",
    "uint8": "numeric",
    "float": "numeric",
}
_ZEROS: dict[str, Any] = {"string": "", "bool": False, "int32": 0, "int64": 0, "uint8": 0, "float": 0}
NO_DEFAULT = object()
"""A key field that an item may really lack."""


class Shape:
    """One type. Exactly one of is_map, is_list and is_scalar is true, except that free-form JSON is `any`.

    `leaf` types are owned as a whole. A list that is no leaf is a set when `keys` is empty, else its items are
    told apart by those fields.
    """

    def __init__(
        self, shapes: Shapes, type_: Type, *, atomic: bool = False, keys: tuple[str, ...] = ()
    ) -> None:
        self._shapes = shapes
        self._type = type_
        kind = type_.kind
        self.any = kind in ("any", "raw", "fieldsV1")
        self.is_map = kind in ("struct", "map")
        self.is_list = kind == "list"
        self.is_scalar = not (self.any or self.is_map or self.is_list)
        self.scalar: ScalarKind = _SCALARS.get(kind, "untyped")
        self.keys = keys
        self.leaf = atomic or self.any or self.is_scalar

    @property
    def struct(self) -> Struct | None:
        return self._type.struct if self._type.kind == "struct" else None

    @cached_property
    def fields(self) -> dict[str, Shape]:
        """The declared fields of a struct; empty for maps."""
        struct = self.struct
        return {} if struct is None else {name: self._shapes.field(f) for name, f in struct.fields.items()}

    @cached_property
    def element(self) -> Shape | None:
        """Of list items, or of the values of a map that is no struct."""
        return None if self._type.elem is None else self._shapes.type(self._type.elem)

    def member(self, name: str) -> Shape | None:
        """The shape under one key of a map; None for a field that the type does not have."""
        return self.fields.get(name) or (self.element if self.is_map else None)

    @cached_property
    def key_defaults(self) -> dict[str, Any]:
        """What an item's key field counts as when absent, by field."""
        fields = self._type.struct.fields if self.keys else {}
        return {name: _key_default(fields[name]) for name in self.keys}


def _key_default(field: Field) -> Any:
    if field.default is not None:
        return field.default
    if field.omitempty or field.pointer:
        return NO_DEFAULT
    return _ZEROS.get(field.kind, NO_DEFAULT)


class Shapes:
    """Compiled shapes of one schema; shared by all requests."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._by_type: dict[int, Shape] = {}
        self._by_field: dict[int, Shape] = {}

    def of(self, type_name: str) -> Shape:
        """The shape of a struct, by key or definition name. KeyError if there is none."""
        return self.type(self._schema.type(self._schema.struct(type_name).key))

    def type(self, type_: Type) -> Shape:
        found = self._by_type.get(id(type_))
        if found is None:
            atomic = type_.kind == "list" or (type_.kind == "struct" and type_.struct.atomic)
            found = self._by_type[id(type_)] = Shape(self, type_, atomic=atomic)
        return found

    def field(self, field: Field) -> Shape:
        if field.kind not in ("struct", "map", "list"):
            return self.type(field.type)
        found = self._by_field.get(id(field))
        if found is None:
            found = self._by_field[id(field)] = self._compile(field)
        return found

    def _compile(self, field: Field) -> Shape:
        if field.kind != "list":
            atomic = field.map_type == "atomic" or (
                field.kind == "struct" and not field.map_type and field.struct.atomic
            )
            return Shape(self, field.type, atomic=atomic)
        if field.list_type in ("map", "set"):
            return Shape(self, field.type, keys=field.list_map_keys)
        merges = not field.list_type and "merge" in field.patch_strategies
        keys = (field.patch_merge_key,) if merges and field.patch_merge_key else ()
        return Shape(self, field.type, atomic=not merges, keys=keys)
