"""Environment variables of a container: names, literal values, and the five sources of a value.

Source: ValidateEnv, ValidateEnvFrom and their parts in pkg/apis/core/validation/validation.go; the downward API's
field labels in pkg/apis/core/pods/helpers.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from podbay.apiserver.field import FieldError, Path, invalid, not_found, not_supported, required
from podbay.apiserver.kinds.pod_validation import rules
from podbay.objects import names
from podbay.objects.quantity import Quantity

__all__ = [
    "ENV_FIELDS",
    "env_errors",
    "env_from_errors",
    "field_ref_errors",
    "file_key_ref_volumes_errors",
    "resource_field_ref_errors",
]

ENV_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_KNOWN_FIELDS = frozenset(
    (
        "metadata.annotations",
        "metadata.labels",
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.serviceAccountName",
        "spec.schedulerName",
        "status.phase",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
        "spec.host",
    )
)
"""Field labels the downward API can convert at all; "spec.host" is the old name of spec.nodeName."""

_RESOURCES = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
_HUGE_PAGES = ("limits.hugepages-", "requests.hugepages-")
_DIVISORS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
_SUBSCRIPT = re.compile(r"^(.+?)\['(.*)'\]$", re.DOTALL)


def env_errors(path: Path, variables: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    """`env` of a container."""
    errors = []
    for i, variable in enumerate(variables):
        at = path.index(i)
        name = variable.get("name") or ""
        if not name:
            errors.append(required(at.child("name")))
        else:
            errors += rules.each(at.child("name"), name, names.relaxed_env_var_name_errors(name))
        errors += _value_from_errors(at.child("valueFrom"), variable)
    return errors


def _value_from_errors(path: Path, variable: Mapping[str, Any]) -> list[FieldError]:
    source = variable.get("valueFrom")
    if source is None:
        return []
    errors = []
    count = 0
    if (ref := source.get("fieldRef")) is not None:
        count += 1
        errors += field_ref_errors(path.child("fieldRef"), ref, ENV_FIELDS)
    if (ref := source.get("resourceFieldRef")) is not None:
        count += 1
        errors += resource_field_ref_errors(path.child("resourceFieldRef"), ref, in_volume=False)
    for field in ("configMapKeyRef", "secretKeyRef"):
        if (ref := source.get(field)) is not None:
            count += 1
            errors += _key_ref_errors(path.child(field), ref)
    if (ref := source.get("fileKeyRef")) is not None:
        count += 1
        errors += _file_key_ref_errors(path.child("fileKeyRef"), ref)
    if count == 0:
        words = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        errors.append(invalid(path, "", words))
    elif variable.get("value"):
        errors.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif count > 1:
        errors.append(invalid(path, "", "may not have more than one field specified at a time"))
    return errors


def field_ref_errors(path: Path, ref: Mapping[str, Any], allowed: Sequence[str]) -> list[FieldError]:
    """An ObjectFieldSelector; allowed lists the fields without subscript that may be read here."""
    version = ref.get("apiVersion") or ""
    field_path = ref.get("fieldPath") or ""
    if not version:
        return [required(path.child("apiVersion"))]
    at = path.child("fieldPath")
    if not field_path:
        return [required(at)]
    wrong = _conversion_error(version, field_path)
    if wrong:
        return [invalid(at, field_path, f"error converting fieldPath: {wrong}")]
    plain = "spec.nodeName" if field_path == "spec.host" else field_path
    found = _SUBSCRIPT.match(plain)
    if found is None:
        return [] if plain in allowed else [not_supported(at, plain, sorted(allowed))]
    base, key = found.groups()
    if base == "metadata.annotations":
        return rules.qualified_name(path, key.lower())
    if base == "metadata.labels":
        return rules.qualified_name(path, key)
    return [invalid(path, base, "does not support subscript")]


def _conversion_error(version: str, field_path: str) -> str:
    if version != "v1":
        return f"unsupported pod version: {version}"
    found = _SUBSCRIPT.match(field_path)
    if found is not None:
        if found.group(1) in ("metadata.annotations", "metadata.labels"):
            return ""
        return f"field label does not support subscript: {field_path}"
    return "" if field_path in _KNOWN_FIELDS else f"field label not supported: {field_path}"


def resource_field_ref_errors(path: Path, ref: Mapping[str, Any], *, in_volume: bool) -> list[FieldError]:
    """A ResourceFieldSelector; a volume must name the container."""
    errors = []
    resource = ref.get("resource") or ""
    if in_volume and not ref.get("containerName"):
        errors.append(required(path.child("containerName")))
    elif not resource:
        errors.append(required(path.child("resource")))
    elif resource not in _RESOURCES and not resource.startswith(_HUGE_PAGES):
        errors.append(not_supported(path.child("resource"), resource, _RESOURCES))
    divisor = Quantity.from_json(ref.get("divisor"))
    if not divisor.is_zero:
        errors += _divisor_errors(path.child("divisor"), resource, str(divisor))
    return errors


def _divisor_errors(path: Path, resource: str, divisor: str) -> list[FieldError]:
    _, _, kind = resource.partition(".")
    if kind == "cpu":
        if divisor in ("1m", "1"):
            return []
        return [invalid(path, resource, "only divisor's values 1m and 1 are supported with the cpu resource")]
    words = {"memory": "memory", "ephemeral-storage": "local ephemeral storage"}.get(kind)
    if resource.startswith(_HUGE_PAGES):
        words = "hugepages"
    if words is None or divisor in _DIVISORS:
        return []
    listed = ", ".join(_DIVISORS)
    return [
        invalid(path, resource, f"only divisor's values {listed} are supported with the {words} resource")
    ]


def _key_ref_errors(path: Path, ref: Mapping[str, Any]) -> list[FieldError]:
    errors = rules.name(path.child("name"), ref.get("name") or "")
    key = ref.get("key") or ""
    if not key:
        return [*errors, required(path.child("key"))]
    return errors + rules.each(path.child("key"), key, names.config_map_key_errors(key))


def _file_key_ref_errors(path: Path, ref: Mapping[str, Any]) -> list[FieldError]:
    errors = []
    key, volume, file_path = ref.get("key") or "", ref.get("volumeName") or "", ref.get("path") or ""
    if not key:
        errors.append(required(path.child("key")))
    else:
        errors += rules.each(path.child("key"), key, names.relaxed_env_var_name_errors(key))
    if not volume:
        errors.append(required(path.child("volumeName")))
    else:
        errors += rules.short_name(path.child("volumeName"), volume)
    if not file_path:
        errors.append(required(path.child("path")))
    else:
        errors += rules.no_backsteps(path.child("path"), file_path)
    return errors


def file_key_ref_volumes_errors(path: Path, spec: Mapping[str, Any]) -> list[FieldError]:
    """Files that variables are read from must lie in emptyDir volumes of the pod."""
    volumes = {volume.get("name"): volume for volume in spec.get("volumes") or ()}
    errors = []
    for container, at in rules.all_containers(spec, path):
        for i, variable in enumerate(container.get("env") or ()):
            ref = (variable.get("valueFrom") or {}).get("fileKeyRef")
            if ref is None:
                continue
            where = at.child("env").index(i).child("valueFrom", "fileKeyRef", "volumeName")
            name = ref.get("volumeName") or ""
            if name not in volumes:
                errors.append(not_found(where, name))
            elif volumes[name].get("emptyDir") is None:
                errors.append(invalid(where, name, "referenced volume must be of type emptyDir"))
    return errors


def env_from_errors(path: Path, sources: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    """`envFrom` of a container. Errors about the number of sources carry the list's own path."""
    errors = []
    for i, source in enumerate(sources):
        at = path.index(i)
        prefix = source.get("prefix") or ""
        if prefix:
            errors += rules.each(at.child("prefix"), prefix, names.relaxed_env_var_name_errors(prefix))
        count = 0
        for field in ("configMapRef", "secretRef"):
            ref = source.get(field)
            if ref is None:
                continue
            count += 1
            where = at.child(field, "name")
            value = ref.get("name") or ""
            errors += _reference_name_errors(where, value)
        if count == 0:
            errors.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif count > 1:
            errors.append(invalid(path, "", "may not have more than one field specified at a time"))
    return errors


def _reference_name_errors(path: Path, value: str) -> list[FieldError]:
    if not value:
        return [required(path)]
    # The API checks these as prefixes of generated names, so one trailing dash passes.
    return rules.each(path, value, names.dns1123_subdomain_errors(names.masked_prefix(value)))
