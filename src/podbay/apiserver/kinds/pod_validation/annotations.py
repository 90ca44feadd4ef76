"""Annotations with a meaning for pods: mirror pods, deletion cost, tolerations, seccomp and AppArmor of old.

Source: ValidatePodSpecificAnnotations, validateSeccompAnnotationsAndFields,
validateAppArmorAnnotationsAndFieldsMatchOnCreate in pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from podbay.apiserver.field import FieldError, Path, forbidden, go_quote, invalid
from podbay.apiserver.kinds.pod_validation import rules
from podbay.apiserver.kinds.pod_validation.scheduling import tolerations_errors

__all__ = [
    "APP_ARMOR_PREFIX",
    "MIRROR",
    "annotation_change_errors",
    "annotations_errors",
    "profile_mismatch_errors",
]

MIRROR = "kubernetes.io/config.mirror"
APP_ARMOR_PREFIX = "container.apparmor.security.beta.kubernetes.io/"
_TOLERATIONS = "scheduler.alpha.kubernetes.io/tolerations"
_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_PREFIX = "container.seccomp.security.alpha.kubernetes.io/"
_LOCALHOST = "localhost/"
_INT32 = range(-(2**31), 2**31)

Annotations = Mapping[str, str]


def annotations_errors(path: Path, annotations: Annotations, spec: Mapping[str, Any]) -> list[FieldError]:
    """Annotations of a pod by themselves. path is `metadata.annotations`."""
    errors: list[FieldError] = []
    if MIRROR in annotations and not spec.get("nodeName"):
        words = "must set spec.nodeName if mirror pod annotation is set"
        errors.append(invalid(path.key(MIRROR), annotations[MIRROR], words))
    if annotations.get(_TOLERATIONS):
        errors += _tolerations_annotation_errors(path, annotations[_TOLERATIONS])
    cost = annotations.get(_DELETION_COST)
    if cost is not None and not _is_deletion_cost(cost):
        errors.append(invalid(path.key(_DELETION_COST), cost, "must be a 32bit integer"))
    for key, value in annotations.items():
        if key == _SECCOMP_POD or key.startswith(_SECCOMP_PREFIX):
            errors += _seccomp_errors(path.child(key), value)
    known = {container.get("name") for container, _ in rules.all_containers(spec, Path("spec"))}
    for key, value in annotations.items():
        if key.startswith(APP_ARMOR_PREFIX):
            name = key.removeprefix(APP_ARMOR_PREFIX)
            if name not in known:
                errors.append(invalid(path.key(key), name, "container not found"))
            if value not in ("", "runtime/default", "unconfined") and not value.startswith(_LOCALHOST):
                words = f"invalid AppArmor profile name: {go_quote(value)}"
                errors.append(invalid(path.key(key), value, words))
    return errors


def _is_deletion_cost(text: str) -> bool:
    """An int32 as Go's ParseInt reads it, without a plus sign or leading zeros."""
    return re.fullmatch(r"0|-?[1-9][0-9]*", text) is not None and int(text) in _INT32


def _tolerations_annotation_errors(path: Path, text: str) -> list[FieldError]:
    try:
        tolerations = orjson.loads(text)
    except ValueError as error:
        return [invalid(path, _TOLERATIONS, str(error))]
    return tolerations_errors(path.child(_TOLERATIONS), tolerations or ())


def _seccomp_errors(path: Path, profile: str) -> list[FieldError]:
    if profile in ("runtime/default", "docker/default", "unconfined"):
        return []
    if profile.startswith(_LOCALHOST):
        return rules.descending_path(path, profile.removeprefix(_LOCALHOST))
    return [invalid(path, profile, "must be a valid seccomp profile")]


def annotation_change_errors(path: Path, new: Annotations, old: Annotations) -> list[FieldError]:
    """Annotations that may not be added, changed or removed once the pod is there."""
    errors = []
    for key, value in old.items():
        if new.get(key) == value:
            continue
        if key.startswith(APP_ARMOR_PREFIX):
            errors.append(forbidden(path.key(key), "may not remove or update AppArmor annotations"))
        if key == MIRROR:
            errors.append(forbidden(path.key(key), "may not remove or update mirror pod annotation"))
    for key in new:
        if key in old:
            continue
        if key.startswith(APP_ARMOR_PREFIX):
            errors.append(forbidden(path.key(key), "may not add AppArmor annotations"))
        if key == MIRROR:
            errors.append(forbidden(path.key(key), "may not add mirror pod annotation"))
    return errors


def profile_mismatch_errors(
    path: Path, annotations: Annotations, spec: Mapping[str, Any]
) -> list[FieldError]:
    """Seccomp and AppArmor said both ways must say the same. path is `spec`."""
    errors: list[FieldError] = []
    pod_context = spec.get("securityContext") or {}
    errors += _mismatch(
        path.child("securityContext", "seccompProfile"),
        annotations.get(_SECCOMP_POD),
        pod_context.get("seccompProfile"),
        kind="seccomp",
    )
    containers = rules.all_containers(spec, path)
    for container, at in containers:
        profile = (container.get("securityContext") or {}).get("seccompProfile")
        annotation = annotations.get(f"{_SECCOMP_PREFIX}{container.get('name') or ''}")
        where = at.child("securityContext", "seccompProfile")
        errors += _mismatch(where, annotation, profile, kind="seccomp")
    if (spec.get("os") or {}).get("name") == "windows":
        return errors
    for container, at in containers:
        context = container.get("securityContext") or {}
        profile = context.get("appArmorProfile") or pod_context.get("appArmorProfile")
        annotation = annotations.get(f"{APP_ARMOR_PREFIX}{container.get('name') or ''}")
        where = at.child("securityContext", "appArmorProfile")
        errors += _mismatch(where, annotation, profile, kind="apparmor")
    return errors


def _mismatch(
    path: Path, annotation: str | None, profile: Mapping[str, Any] | None, *, kind: str
) -> list[FieldError]:
    if annotation is None or profile is None:
        return []
    wrong_type = forbidden(path.child("type"), f"{kind} type in annotation and field must match")
    match profile.get("type"):
        case "Unconfined":
            return [] if annotation == "unconfined" else [wrong_type]
        case "RuntimeDefault":
            allowed = ("runtime/default", "docker/default") if kind == "seccomp" else ("runtime/default",)
            return [] if annotation in allowed else [wrong_type]
        case "Localhost":
            if not annotation.startswith(_LOCALHOST):
                return [wrong_type]
            if annotation.removeprefix(_LOCALHOST) == profile.get("localhostProfile"):
                return []
            words = f"{kind} profile in annotation and field must match"
            return [forbidden(path.child("localhostProfile"), words)]
    return []
