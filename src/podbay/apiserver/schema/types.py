"""The Go types behind the Kubernetes API: fields, element types, how lists and maps merge.

For decoding, patches, server-side apply and OpenAPI. It knows structure only: no defaults beyond the markers of
the type, no validation, no descriptions. The table is `kubernetes-1.36.json`, made by script/update-schema out of
k8s.io/api, k8s.io/apimachinery and k8s.io/metrics; types are parsed out of it when first asked for.

Format of the table: `structs` maps a type ("core/v1.Container") to its fields in Go order, each a line
`TYPE [omitempty] [omitzero] [required] [list=set|atomic|map:key,key] [map=atomic] [patch=a,b]
[key=name] [default=JSON] [#NUMBER]`; TYPE is a Go type with packages shortened (`*core/v1.Probe`, `[]string`,
`map[string]quantity`). `scalars` maps named Go types to what they are named for; `atomic` lists the structs that
server-side apply owns as a whole; `kinds` lists every kind the release knows, also those that have no struct here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, cached_property
from importlib import resources
from typing import Any, Final, Literal, TypeAlias

import orjson

__all__ = ["Field", "Kind", "Schema", "Struct", "Type"]

Kind: TypeAlias = Literal[
    "struct",
    "list",
    "map",
    "string",
    "bool",
    "int32",
    "int64",
    "uint8",
    "float",
    "bytes",
    "quantity",
    "intOrString",
    "time",
    "microTime",
    "duration",
    "fieldsV1",
    "raw",
    "any",
]
"""What a value is on the wire. `fieldsV1` and `raw` are JSON that the Go type keeps unread; `any` is interface{}."""

_GO_BUILTIN: Final[Mapping[str, tuple[Kind, str]]] = {
    "string": ("string", "string"),
    "bool": ("bool", "bool"),
    "int": ("int64", "int"),
    "int32": ("int32", "int32"),
    "int64": ("int64", "int64"),
    "uint8": ("uint8", "uint8"),
    "float64": ("float", "float64"),
    "bytes": ("bytes", "[]uint8"),
    "quantity": ("quantity", "resource.Quantity"),
    "intOrString": ("intOrString", "intstr.IntOrString"),
    "time": ("time", "v1.Time"),
    "microTime": ("microTime", "v1.MicroTime"),
    "duration": ("duration", "v1.Duration"),
    "fieldsV1": ("fieldsV1", "v1.FieldsV1"),
    "raw": ("raw", "runtime.RawExtension"),
    "any": ("any", "interface {}"),
}
_MACHINERY = "io.k8s.apimachinery.pkg.apis."
_METRICS = "io.k8s.metrics.pkg.apis."
_API = "io.k8s.api."


class Type:
    """One Go type. `go` is how Go prints it ("[]v1.Container"), without the pointer."""

    __slots__ = ("_schema", "elem", "go", "kind", "pointer", "struct_name")

    def __init__(
        self, schema: Schema, kind: Kind, go: str, *, pointer: bool, elem: Type | None, struct_name: str
    ) -> None:
        self._schema = schema
        self.kind: Kind = kind
        self.go = go
        self.pointer = pointer
        self.elem = elem
        """Of a list its items, of a map its values, else None."""
        self.struct_name = struct_name

    @property
    def struct(self) -> Struct:
        """The fields of a struct; of a list or map of structs, those of its elements. KeyError for others."""
        if self.struct_name:
            return self._schema.struct(self.struct_name)
        if self.elem is not None:
            return self.elem.struct
        raise KeyError(f"{self.go} is not a struct")

    @property
    def is_struct_like(self) -> bool:
        """A struct, or a list or map whose elements are structs."""
        return bool(self.struct_name) or (self.elem is not None and self.elem.is_struct_like)

    def __repr__(self) -> str:
        return f"<Type {'*' if self.pointer else ''}{self.go}>"


class Field:
    """One field of a struct, as JSON, patches and server-side apply see it."""

    __slots__ = (
        "default",
        "list_map_keys",
        "list_type",
        "map_type",
        "name",
        "numbers",
        "omitempty",
        "omitzero",
        "patch_merge_key",
        "patch_strategies",
        "required",
        "type",
    )

    def __init__(self, name: str, type_: Type, flags: list[str]) -> None:
        self.name = name
        self.type = type_
        self.omitempty = "omitempty" in flags
        self.omitzero = "omitzero" in flags
        self.required = "required" in flags
        """The OpenAPI schema lists it under `required`; validation decides what that means."""
        found = dict(flag.split("=", 1) for flag in flags if "=" in flag)
        list_type, _, keys = found.get("list", "").partition(":")
        self.list_type = list_type
        """atomic, set, map, or empty when the type does not say (then server-side apply takes atomic)."""
        self.list_map_keys = tuple(keys.split(",")) if keys else ()
        self.map_type = found.get("map", "")
        """atomic for a map or struct field that is owned as a whole, else empty (granular)."""
        self.patch_strategies = tuple(found["patch"].split(",")) if "patch" in found else ()
        """merge, replace, retainKeys: what strategic merge patch does; empty means replace."""
        self.patch_merge_key = found.get("key", "")
        self.default: Any = orjson.loads(found["default"]) if "default" in found else None
        """The `+default` marker of a scalar (ContainerPort.protocol: TCP), else None."""

        self.numbers = tuple(int(n) for f in flags if f.startswith("#") for n in f[1:].split("."))
        """Where protobuf has it: field numbers from the message inwards (embedded structs are messages); empty if not."""

    @property
    def kind(self) -> Kind:
        return self.type.kind

    @property
    def elem(self) -> Type | None:
        return self.type.elem

    @property
    def pointer(self) -> bool:
        return self.type.pointer

    @property
    def struct(self) -> Struct:
        """See Type.struct."""
        return self.type.struct

    @property
    def atomic(self) -> bool:
        """Server-side apply owns the value as a whole, whatever is inside."""
        if self.kind == "list":
            return self.list_type in ("", "atomic")
        if self.kind == "struct":
            return self.map_type == "atomic" or self.struct.atomic
        return self.map_type == "atomic" if self.kind == "map" else True

    def __repr__(self) -> str:
        return f"<Field {self.name} {self.type!r}>"


class Struct:
    """A Go struct: its JSON fields in declaration order, embedded structs flattened as JSON does."""

    def __init__(self, schema: Schema, key: str, lines: Mapping[str, str], *, atomic: bool) -> None:
        self._schema = schema
        self._lines = lines
        self.key = key
        """"core/v1.Container"."""
        self.go = key.rsplit("/", 1)[-1]
        """As Go prints the type, "v1.Container"."""
        self.go_name = self.go.rsplit(".", 1)[-1]
        self.atomic = atomic

    @property
    def name(self) -> str:
        """The name of the definition in OpenAPI, "io.k8s.api.core.v1.Container"."""
        return definition_name(self.key)

    @cached_property
    def fields(self) -> dict[str, Field]:
        out = {}
        for name, line in self._lines.items():
            type_text, *flags = line.split(" ")
            out[name] = Field(name, self._schema.type(type_text), flags)
        return out

    def __repr__(self) -> str:
        return f"<Struct {self.key}>"


class Schema:
    """Every type of the table, by name. Build it with load(); it is never changed afterwards."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self._structs: Mapping[str, Mapping[str, str]] = table["structs"]
        self._scalars: Mapping[str, str] = table["scalars"]
        self._atomic = frozenset(table["atomic"])
        self._kinds = {version: frozenset(kinds.split()) for version, kinds in table["kinds"].items()}
        self._built: dict[str, Struct] = {}
        self._types: dict[str, Type] = {}

    @staticmethod
    @cache
    def load() -> Schema:
        """The table of Kubernetes 1.36; one instance a process."""
        data = resources.files(__package__).joinpath("kubernetes-1.36.json").read_bytes()
        return Schema(orjson.loads(data))

    def struct(self, name: str) -> Struct:
        """A struct by its definition name ("io.k8s.api.core.v1.Pod") or its key ("core/v1.Pod"); KeyError if none."""
        found = self._built.get(name)
        if found is None:
            key = struct_key(name)
            found = self._built.get(key)
            if found is None:
                found = Struct(self, key, self._structs[key], atomic=key in self._atomic)
                self._built[key] = found
            self._built[name] = found
        return found

    def __contains__(self, name: str) -> bool:
        return struct_key(name) in self._structs

    def names(self) -> list[str]:
        """Definition names of all structs of the table, sorted."""
        return sorted(definition_name(key) for key in self._structs)

    def knows_kind(self, api_version: str, kind: str) -> bool:
        """Kubernetes has this kind (the table need not hold its struct)."""
        return kind in self._kinds.get(api_version, ())

    def type(self, text: str) -> Type:
        """A type out of its text in the table ("[]core/v1.Container"); the same object for the same text."""
        found = self._types.get(text)
        if found is None:
            found = self._types[text] = self._parse(text)
        return found

    def _parse(self, text: str) -> Type:
        if text.startswith("*"):
            inner = self.type(text[1:])
            return Type(
                self, inner.kind, inner.go, pointer=True, elem=inner.elem, struct_name=inner.struct_name
            )
        if text in _GO_BUILTIN:
            kind, go = _GO_BUILTIN[text]
            return Type(self, kind, go, pointer=False, elem=None, struct_name="")
        if text.startswith("[]"):
            elem = self.type(text[2:])
            star = "*" if elem.pointer else ""
            return Type(self, "list", f"[]{star}{elem.go}", pointer=False, elem=elem, struct_name="")
        if text.startswith("map["):
            key, _, rest = text[4:].partition("]")
            elem = self.type(rest)
            go = f"map[{key.rsplit('/', 1)[-1]}]{elem.go}"
            return Type(self, "map", go, pointer=False, elem=elem, struct_name="")
        go = text.rsplit("/", 1)[-1]
        if text in self._scalars:
            inner = self.type(self._scalars[text])
            return Type(self, inner.kind, go, pointer=False, elem=inner.elem, struct_name="")
        return Type(self, "struct", go, pointer=False, elem=None, struct_name=text)


def definition_name(key: str) -> str:
    """core/v1.Pod -> io.k8s.api.core.v1.Pod; meta/v1.Status -> io.k8s.apimachinery.pkg.apis.meta.v1.Status."""
    package, _, name = key.rpartition(".")
    base = {"meta": _MACHINERY, "metrics": _METRICS}.get(package.partition("/")[0], _API)
    return f"{base}{package.replace('/', '.')}.{name}"


def struct_key(name: str) -> str:
    """The inverse of definition_name; a key passes through."""
    for base in (_MACHINERY, _METRICS, _API):
        if name.startswith(base):
            group, version, kind = name.removeprefix(base).split(".")
            return f"{group}/{version}.{kind}"
    return name
