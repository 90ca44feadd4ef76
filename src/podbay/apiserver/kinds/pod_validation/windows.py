"""Fields of pods for Windows nodes, and what a pod must leave out for its operating system.

Source: validateWindowsSecurityContextOptions, validateWindowsHostProcessPod, validateLinux, validateWindows,
validateOS in pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from podbay.apiserver.field import FieldError, Path, forbidden, invalid, not_supported, required
from podbay.apiserver.kinds.pod_validation import rules

__all__ = ["host_process_errors", "os_errors", "windows_options_errors"]

_SPEC_KIB = 64
_DOMAIN_MAX = 256
_USER_MAX = 104
_NETBIOS = re.compile(r'[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}')
_DNS_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_DNS = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*")
_BAD_USER = re.compile(r'["/\\:;|=,+*?<>@\[\]]')

_POD_FIELDS = (
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
)
_CONTAINER_FIELDS = (
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
)


def windows_options_errors(path: Path, options: Mapping[str, Any] | None) -> list[FieldError]:
    """`windowsOptions` of a security context."""
    if options is None:
        return []
    errors = []
    name = options.get("gmsaCredentialSpecName")
    if name is not None:
        errors += rules.name(path.child("gmsaCredentialSpecName"), name)
    spec = options.get("gmsaCredentialSpec")
    if spec is not None:
        at = path.child("gmsaCredentialSpec")
        if not spec:
            errors.append(invalid(at, spec, "gmsaCredentialSpec cannot be an empty string"))
        elif len(spec.encode()) > _SPEC_KIB * 1024:
            errors.append(invalid(at, spec, f"gmsaCredentialSpec size must be under {_SPEC_KIB} KiB"))
    user = options.get("runAsUserName")
    if user is not None:
        at = path.child("runAsUserName")
        errors += rules.each(at, user, _user_name_messages(user))
    return errors


def _user_name_messages(name: str) -> list[str]:
    if not name:
        return ["runAsUserName cannot be an empty string"]
    if any(ord(ch) < 32 or ord(ch) == 127 for ch in name):
        return ["runAsUserName cannot contain control characters"]
    if name.count("\\") > 1:
        return ["runAsUserName cannot contain more than one backslash"]
    domain, slash, user = name.rpartition("\\")
    messages = []
    if len(domain.encode()) >= _DOMAIN_MAX:
        messages.append(f"runAsUserName's Domain length must be under {_DOMAIN_MAX} characters")
    if slash and not (_NETBIOS.fullmatch(domain) or _DNS.fullmatch(domain)):
        messages.append("runAsUserName's Domain doesn't match the NetBios nor the DNS format")
    if not user:
        messages.append("runAsUserName's User cannot be empty")
    elif len(user.encode()) > _USER_MAX:
        messages.append(f"runAsUserName's User length must not be longer than {_USER_MAX} characters")
    if user and not user.strip(". "):
        messages.append("runAsUserName's User cannot contain only periods or spaces")
    if _BAD_USER.search(user):
        messages.append("runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]")
    return messages


def host_process_errors(path: Path, spec: Mapping[str, Any]) -> list[FieldError]:
    """HostProcess containers come all or none, and on the host's network. path is `spec`."""
    pod_value = _host_process(spec)
    errors = []
    containers = rules.all_containers(spec, path)
    count = 0
    for container, at in containers:
        own = _host_process(container)
        if pod_value is not None and own is not None and pod_value != own:
            shown = "true" if pod_value else "false"
            words = f"pod hostProcess value must be identical if both are specified, was {shown}"
            where = at.child("securityContext", "windowsOptions", "hostProcess")
            errors.append(invalid(where, own, words))
        count += bool(pod_value if own is None else own)
    if count and count != len(containers):
        words = (
            "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        )
        errors.append(invalid(path, "", words))
    if count and not spec.get("hostNetwork"):
        words = "hostNetwork must be true if pod contains any hostProcess containers"
        errors.append(invalid(path.child("hostNetwork"), False, words))
    return errors


def _host_process(holder: Mapping[str, Any]) -> bool | None:
    options = (holder.get("securityContext") or {}).get("windowsOptions") or {}
    value = options.get("hostProcess")
    return None if value is None else bool(value)


def os_errors(path: Path, spec: Mapping[str, Any]) -> list[FieldError]:
    """`spec.os` and the fields its system does not know. path is `spec`."""
    system = spec.get("os")
    if system is None:
        return []
    name = system.get("name") or ""
    if not name:
        return [required(path.child("os", "name"))]
    if name not in ("linux", "windows"):
        return [not_supported(path.child("os"), name, ("linux", "windows"))]
    return _linux_errors(path, spec) if name == "linux" else _windows_errors(path, spec)


def _linux_errors(path: Path, spec: Mapping[str, Any]) -> list[FieldError]:
    holders = [(spec, path), *rules.all_containers(spec, path)]
    return [
        forbidden(
            at.child("securityContext", "windowsOptions"), "windows options cannot be set for a linux pod"
        )
        for holder, at in holders
        if (holder.get("securityContext") or {}).get("windowsOptions") is not None
    ]


def _windows_errors(path: Path, spec: Mapping[str, Any]) -> list[FieldError]:
    words = "cannot be set for a windows pod"
    context = spec.get("securityContext") or {}
    errors = [
        forbidden(path.child("securityContext", field), words)
        for field in _POD_FIELDS
        if context.get(field) not in (None, [])
    ]
    for field in ("hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"):
        value = spec.get(field)
        if value if field in ("hostPID", "hostIPC") else value is not None:
            errors.append(forbidden(path.child(field), words))
    for container, at in rules.all_containers(spec, path):
        context = container.get("securityContext") or {}
        errors += [
            forbidden(at.child("securityContext", field), words)
            for field in _CONTAINER_FIELDS
            if context.get(field) is not None
        ]
    return errors
