"""Security contexts of pods and containers.

Source: ValidateSecurityContext, validatePodSpecSecurityContext, validateHostUsers in
pkg/apis/core/validation/validation.go; sysctl namespaces in k8s.io/component-helpers/node/util/sysctl.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from podbay.apiserver.field import (
    FieldError,
    Path,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
    too_long,
)
from podbay.apiserver.kinds import pod_internal
from podbay.apiserver.kinds.pod_validation import rules
from podbay.apiserver.kinds.pod_validation.windows import windows_options_errors
from podbay.objects import names

__all__ = [
    "app_armor_profile_errors",
    "container_security_errors",
    "host_users_errors",
    "pod_security_errors",
]

_PROFILE_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")
_SYSCTL_MAX = 253
_SYSCTL_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = rf"^({_SYSCTL_SEGMENT}[\./])*{_SYSCTL_SEGMENT}$"
_PATH_MAX = 4095
_SELINUX_CHANGE = ("Recursive",)
"""MountOption needs the SELinuxMount feature gate, which is off by default in 1.36."""
_IPC_SYSCTLS = frozenset(
    f"kernel.{name}"
    for name in (
        "sem",
        "shmall",
        "shmmax",
        "shmmni",
        "shm_rmid_forced",
        "shm",
        "msgmax",
        "msgmnb",
        "msgmni",
        "msg",
    )
)


def container_security_errors(
    path: Path, context: Mapping[str, Any] | None, *, host_users: bool
) -> list[FieldError]:
    """`securityContext` of a container; host_users is false when the pod has a user namespace of its own."""
    if context is None:
        return []
    errors = _id_errors(path, context, ("runAsUser", "runAsGroup"))
    proc_mount = context.get("procMount")
    at = path.child("procMount")
    errors += rules.one_of(at, proc_mount, ("Default", "Unmasked"))
    if host_users and proc_mount == "Unmasked":
        errors.append(invalid(at, proc_mount, "`hostUsers` must be false to use `Unmasked`"))
    errors += _seccomp_errors(path.child("seccompProfile"), context.get("seccompProfile"))
    if context.get("allowPrivilegeEscalation") is False:
        errors += _escalation_errors(path, context)
    errors += windows_options_errors(path.child("windowsOptions"), context.get("windowsOptions"))
    return errors + app_armor_profile_errors(path.child("appArmorProfile"), context.get("appArmorProfile"))


def _escalation_errors(path: Path, context: Mapping[str, Any]) -> list[FieldError]:
    shown = pod_internal.to_go("core/v1.SecurityContext", context)
    errors = []
    if context.get("privileged"):
        words = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        errors.append(invalid(path, shown, words))
    for capability in (context.get("capabilities") or {}).get("add") or ():
        if capability == "CAP_SYS_ADMIN":
            words = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            errors.append(invalid(path, shown, words))
    return errors


def _id_errors(path: Path, context: Mapping[str, Any], fields: Sequence[str]) -> list[FieldError]:
    errors = []
    for field in fields:
        value = context.get(field)
        if value is not None:
            check = names.user_id_errors if field == "runAsUser" else names.group_id_errors
            errors += rules.each(path.child(field), value, check(value))
    return errors


def _seccomp_errors(path: Path, profile: Mapping[str, Any] | None) -> list[FieldError]:
    if profile is None:
        return []
    kind, localhost = profile.get("type") or "", profile.get("localhostProfile")
    at = path.child("localhostProfile")
    errors = []
    if not kind:
        errors.append(required(path.child("type"), "type is required when seccompProfile is set"))
    elif kind not in _PROFILE_TYPES:
        errors.append(not_supported(path.child("type"), kind, _PROFILE_TYPES))
    if kind == "Localhost":
        if localhost is None:
            errors.append(required(at, "must be set when seccomp type is Localhost"))
        else:
            errors += rules.descending_path(at, localhost)
    elif localhost is not None:
        shown = pod_internal.to_go("core/v1.SeccompProfile", profile)
        errors.append(invalid(at, shown, "can only be set when seccomp type is Localhost"))
    return errors


def app_armor_profile_errors(path: Path, profile: Mapping[str, Any] | None) -> list[FieldError]:
    if profile is None:
        return []
    kind, localhost = profile.get("type") or "", profile.get("localhostProfile")
    at = path.child("localhostProfile")
    if kind == "Localhost":
        return _app_armor_localhost_errors(at, localhost)
    if kind in _PROFILE_TYPES:
        if localhost is None:
            return []
        return [invalid(at, localhost, "can only be set when AppArmor type is Localhost")]
    if not kind:
        return [required(path.child("type"), "type is required when appArmorProfile is set")]
    return [not_supported(path.child("type"), kind, _PROFILE_TYPES)]


def _app_armor_localhost_errors(path: Path, profile: str | None) -> list[FieldError]:
    if profile is None:
        return [required(path, "must be set when AppArmor type is Localhost")]
    errors = []
    if profile.strip() != profile:
        errors.append(invalid(path, profile, "must not be padded with whitespace"))
    elif not profile:
        errors.append(required(path, "must be set when AppArmor type is Localhost"))
    if len(profile.encode()) > _PATH_MAX:
        errors.append(too_long(path, _PATH_MAX))
    return errors


def pod_security_errors(path: Path, spec: Mapping[str, Any]) -> list[FieldError]:
    """`spec.securityContext`, and the sharing of processes, which the real server reports under it."""
    context = spec.get("securityContext") or {}
    errors = _id_errors(path, context, ("fsGroup", "runAsUser", "runAsGroup"))
    for i, gid in enumerate(context.get("supplementalGroups") or ()):
        at = path.child("supplementalGroups").index(i)
        errors += rules.each(at, gid, names.group_id_errors(gid))
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        words = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.append(invalid(path.child("shareProcessNamespace"), True, words))
    errors += _sysctl_errors(path.child("sysctls"), context.get("sysctls") or (), spec)
    errors += rules.one_of(
        path.child("fsGroupChangePolicy"), context.get("fsGroupChangePolicy"), ("Always", "OnRootMismatch")
    )
    errors += _seccomp_errors(path.child("seccompProfile"), context.get("seccompProfile"))
    errors += windows_options_errors(path.child("windowsOptions"), context.get("windowsOptions"))
    errors += app_armor_profile_errors(path.child("appArmorProfile"), context.get("appArmorProfile"))
    errors += rules.one_of(
        path.child("supplementalGroupsPolicy"), context.get("supplementalGroupsPolicy"), ("Merge", "Strict")
    )
    return errors + rules.one_of(
        path.child("seLinuxChangePolicy"), context.get("seLinuxChangePolicy"), _SELINUX_CHANGE
    )


def _sysctl_errors(
    path: Path, sysctls: Sequence[Mapping[str, Any]], spec: Mapping[str, Any]
) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, sysctl in enumerate(sysctls):
        at = path.index(i).child("name")
        name = sysctl.get("name") or ""
        if not name:
            errors.append(required(at))
        elif len(name.encode()) > _SYSCTL_MAX or re.fullmatch(_SYSCTL, name) is None:
            words = f"must have at most {_SYSCTL_MAX} characters and match regex {_SYSCTL}"
            errors.append(invalid(at, name, words))
        elif name in seen:
            errors.append(duplicate(at, name))
        errors += _host_sysctl_errors(at, name, spec)
        seen.add(name)
    return errors


def _host_sysctl_errors(path: Path, name: str, spec: Mapping[str, Any]) -> list[FieldError]:
    """A setting of a namespace that the pod shares with the host may not be changed."""
    dotted = name.replace("/", ".")
    if spec.get("hostNetwork") and dotted.startswith("net."):
        return [invalid(path, name, "may not be specified when 'hostNetwork' is true")]
    if spec.get("hostIPC") and (dotted in _IPC_SYSCTLS or dotted.startswith("fs.mqueue.")):
        return [invalid(path, name, "may not be specified when 'hostIPC' is true")]
    return []


def host_users_errors(path: Path, spec: Mapping[str, Any]) -> list[FieldError]:
    """What a pod with a user namespace of its own may not have. path is `spec`."""
    if spec.get("hostUsers") is not False:
        return []
    words = "when `hostUsers` is false"
    errors = [
        forbidden(path.child(printed), words)
        for field, printed in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC"))
        if spec.get(field)
    ]
    for container, at in rules.all_containers(spec, path):
        if container.get("volumeDevices"):
            errors.append(forbidden(at.child("volumeDevices"), words))
    return errors
