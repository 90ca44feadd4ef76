"""apiVersion and kind of a body: what it says it is, against what the endpoint takes.

Not for the fields of the object. Source: apimachinery's runtime/serializer/json/meta.go, runtime/error.go,
conversion/converter.go, and apiserver's transformDecodeError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from podbay.apiserver.field import go_quote
from podbay.apiserver.schema.explain import Explainer
from podbay.apiserver.schema.gojson import Number, Pairs
from podbay.apiserver.schema.types import Schema

__all__ = [
    "META_SCHEME",
    "Identity",
    "Target",
    "identify",
    "interpret",
    "not_registered",
    "struct_of",
    "unknown_conversion",
]

SCHEME: Final = "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"
META_SCHEME: Final = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27"
_TYPE_META: Final = (
    'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
)


@dataclass(frozen=True, slots=True)
class Target:
    """What an endpoint takes. `also` lists further apiVersions of the same kind that it accepts (Eviction)."""

    kind: str
    api_version: str
    type_name: str
    also: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Identity:
    """apiVersion and kind as the body gives them, completed from the endpoint."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


def interpret(tree: Any, target: Target) -> Identity:
    """The identity in a parsed body (this one place is blind to the case of keys). ValueError carries the sentence."""
    found = {"apiversion": "", "kind": ""}
    if tree is None:
        tree = Pairs()
    if not isinstance(tree, Pairs):
        raise ValueError(_parse_error(tree, f"Go value of type {_TYPE_META}"))
    for key, value in tree:
        folded = key.lower()
        if folded not in found or value is None:
            continue
        if not isinstance(value, str) or isinstance(value, Number):
            name = "apiVersion" if folded == "apiversion" else "kind"
            raise ValueError(_parse_error(value, f"Go struct field .{name} of type string"))
        found[folded] = value
    return identify(found["apiversion"], found["kind"], target)


def identify(api_version: str, kind: str, target: Target) -> Identity:
    """What is missing comes from the endpoint. ValueError for an apiVersion of more than two parts."""
    group, version = _parse_group_version(api_version)
    if not version and group in ("", target.group):
        group, version = target.group, target.api_version.rpartition("/")[2]
    return Identity(group, version, kind or target.kind)


def _parse_error(value: Any, into: str) -> str:
    word = Explainer.word(value)
    return f"couldn't get version/kind; json parse error: json: cannot unmarshal {word} into {into}"


def _parse_group_version(text: str) -> tuple[str, str]:
    if text in ("", "/"):
        return "", ""
    if text.count("/") > 1:
        raise ValueError(f"unexpected GroupVersion string: {text}")
    group, _, version = text.rpartition("/")
    return group, version


def struct_of(schema: Schema, target: Target, identity: Identity, shown: str) -> str:
    """The struct that the body's own apiVersion and kind ask for; shown is the body for messages.

    ValueError carries the sentence for kinds that do not exist or cannot become the endpoint's.
    """
    if not identity.version:
        raise ValueError(f"Object 'apiVersion' is missing in '{shown}'")
    if identity.kind == target.kind and identity.api_version in (target.api_version, *target.also):
        return target.type_name
    if not schema.knows_kind(identity.api_version, identity.kind):
        raise ValueError(not_registered(identity, SCHEME))
    if identity.kind == target.kind and _internal_package(identity.group) == _internal_package(target.group):
        return target.type_name
    name = f"{_package(identity.group)}/{identity.version}.{identity.kind}"
    if name not in schema:
        raise ValueError(unknown_conversion(identity, target))
    return name


def _package(group: str) -> str:
    return group.partition(".")[0] or "core"


def _internal_package(group: str) -> str:
    """The Go package of the internal type; both Event kinds share one."""
    package = _package(group)
    return "core" if package == "events" else package


def unknown_conversion(identity: Identity, target: Target) -> str:
    internal = f"{_internal_package(target.group)}.{target.kind}"
    return f"converting ({identity.version}.{identity.kind}) to ({internal}): unknown conversion"


def not_registered(identity: Identity, scheme: str) -> str:
    kind, version = go_quote(identity.kind), go_quote(identity.api_version)
    return f"no kind {kind} is registered for version {version} in scheme {go_quote(scheme)}"
