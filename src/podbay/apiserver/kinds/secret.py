"""Secret: its types and what each requires, text that becomes data, immutability, at most 1 MiB.

Errors never show a value. Source: pkg/registry/core/secret, ValidateSecret*.
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Any

from podbay.apiserver.field import FieldError, Path, forbidden, invalid, required, too_long
from podbay.apiserver.metadata import immutable
from podbay.apiserver.registry import Column, ResourceType, Strategy, StrategyContext
from podbay.apiserver.schema import gojson
from podbay.apiserver.tables import AGE_COLUMN, NAME_COLUMN, age
from podbay.objects.equality import semantically_equal
from podbay.objects.meta import Object, annotations_of
from podbay.objects.names import config_map_key_errors
from podbay.objects.resource import GVR

__all__ = ["MAX_SECRET_BYTES", "RESOURCE_TYPES", "SECRET", "immutable_content_errors"]

MAX_SECRET_BYTES = 1024 * 1024
_DATA = Path("data")
_SERVICE_ACCOUNT_NAME = "kubernetes.io/service-account.name"
_JSON_KEYS = {
    "kubernetes.io/dockercfg": ".dockercfg",
    "kubernetes.io/dockerconfigjson": ".dockerconfigjson",
}


class SecretStrategy(Strategy):
    """Values stay base64, as they travel."""

    metadata_repeats = (1, 1)

    def set_defaults(self, obj: Object) -> None:
        text = obj.pop("stringData", None)
        if text:
            encoded = {key: base64.b64encode((value or "").encode()).decode() for key, value in text.items()}
            obj["data"] = {**(obj.get("data") or {}), **encoded}
        if not obj.get("type"):
            obj["type"] = "Opaque"

    def validate(self, obj: Object, ctx: StrategyContext) -> list[FieldError]:
        data = obj.get("data") or {}
        errors: list[FieldError] = []
        total = 0
        for key, value in data.items():
            errors += [invalid(_DATA.key(key), key, message) for message in config_map_key_errors(key)]
            total += _decoded_size(value)
        if total > MAX_SECRET_BYTES:
            errors.append(too_long(_DATA, MAX_SECRET_BYTES))
        return errors + _type_errors(obj, data)

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        errors = immutable(obj.get("type") or "", old.get("type") or "", Path("type"))
        errors += immutable_content_errors(obj, old, ("data",))
        return errors + self.validate(obj, ctx)

    def warnings_on_create(self, obj: Object, ctx: StrategyContext) -> list[str]:
        return _pem_warnings(obj)

    def warnings_on_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[str]:
        return _pem_warnings(obj)


def immutable_content_errors(obj: Object, old: Object, fields: tuple[str, ...]) -> list[FieldError]:
    """What `immutable: true` of the old object forbids, for a Secret or a ConfigMap."""
    if old.get("immutable") is not True:
        return []
    words = "field is immutable when `immutable` is set"
    errors = [] if obj.get("immutable") is True else [forbidden(Path("immutable"), words)]
    errors += [forbidden(Path(f), words) for f in fields if not semantically_equal(obj.get(f), old.get(f))]
    return errors


def _decoded_size(value: str | None) -> int:
    text = value or ""
    return len(text) * 3 // 4 - text.count("=", -2)


def _type_errors(obj: Object, data: dict[str, str]) -> list[FieldError]:
    """The keys that a secret of this type must have."""
    match obj.get("type"):
        case "kubernetes.io/service-account-token":
            if not annotations_of(obj).get(_SERVICE_ACCOUNT_NAME):
                return [required(Path("metadata").child("annotations").key(_SERVICE_ACCOUNT_NAME))]
        case "kubernetes.io/dockercfg" | "kubernetes.io/dockerconfigjson" as kind:
            return _json_errors(data, _JSON_KEYS[kind])
        case "kubernetes.io/basic-auth":
            if "username" not in data and "password" not in data:
                return [required(_DATA.key("username")), required(_DATA.key("password"))]
        case "kubernetes.io/ssh-auth":
            if not data.get("ssh-privatekey"):
                return [required(_DATA.key("ssh-privatekey"))]
        case "kubernetes.io/tls":
            return [required(_DATA.key(key)) for key in ("tls.crt", "tls.key") if key not in data]
    return []


def _json_errors(data: dict[str, str], key: str) -> list[FieldError]:
    if key not in data:
        return [required(_DATA.key(key))]
    try:
        value = gojson.parse(_decode(data[key]))
    except ValueError as error:
        return [invalid(_DATA.key(key), "<secret contents redacted>", str(error))]
    if value is None or isinstance(value, gojson.Pairs):
        return []
    words = f"json: cannot unmarshal {_json_kind(value)} into Go value of type map[string]interface {{}}"
    return [invalid(_DATA.key(key), "<secret contents redacted>", words)]


def _json_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, list):
        return "array"
    return "number" if isinstance(value, gojson.Number | int | float) else "string"


def _decode(value: str) -> bytes:
    try:
        return base64.b64decode(value)
    except binascii.Error:
        return b""


def _pem_warnings(obj: Object) -> list[str]:
    """Go warns when a TLS pair cannot be read; only the absence of PEM blocks is looked for here."""
    if obj.get("type") != "kubernetes.io/tls":
        return []
    data = obj.get("data") or {}
    for key, what in (("tls.crt", "certificate"), ("tls.key", "key")):
        if b"-----BEGIN" not in _decode(data.get(key) or ""):
            return [f"tls: failed to find any PEM data in {what} input"]
    return []


def _cells(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], obj.get("type") or "", len(obj.get("data") or {}), age(obj, now)]


SECRET = ResourceType(
    gvr=GVR("", "v1", "secrets"),
    kind="Secret",
    type_name="io.k8s.api.core.v1.Secret",
    namespaced=True,
    singular="secret",
    strategy=SecretStrategy(),
    fields={"type": lambda obj: obj.get("type") or ""},
    columns=(
        NAME_COLUMN,
        Column(
            "Type",
            "string",
            "Used to facilitate programmatic handling of secret data. More info: "
            "https://kubernetes.io/docs/concepts/configuration/secret/#secret-types",
        ),
        Column(
            "Data",
            "string",
            "Data contains the secret data. Each key must consist of alphanumeric characters, '-', '_' or '.'. The "
            "serialized form of the secret data is a base64 encoded string, representing the arbitrary (possibly "
            "non-string) data value here. Described in https://tools.ietf.org/html/rfc4648#section-4",
        ),
        AGE_COLUMN,
    ),
    cells=_cells,
)

RESOURCE_TYPES: tuple[ResourceType, ...] = (SECRET,)
