"""The checks that level restricted adds: hardening as far as ordinary workloads go.

Source: k8s.io/pod-security-admission/policy/check_*.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podbay.apiserver.admission.pod_security.baseline import bad_profiles, proc_mount
from podbay.apiserver.admission.pod_security.finding import (
    CheckFunction,
    Finding,
    Revision,
    SecurityCheck,
    containers_of,
    join_quoted,
    named,
    security_context,
    setters,
)

__all__ = ["RESTRICTED"]

_Annotations = Mapping[str, str]
_Spec = Mapping[str, Any]

_ALLOWED_VOLUMES = frozenset(
    [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ]
)
_RESTRICTED_VOLUMES = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
]


def _escalation(annotations: _Annotations, spec: _Spec) -> Finding | None:
    bad = [
        c["name"]
        for c in containers_of(spec)
        if security_context(c).get("allowPrivilegeEscalation") is not False
    ]
    if not bad:
        return None
    who = named("container", bad)
    return Finding(
        "allowPrivilegeEscalation != false", f"{who} must set securityContext.allowPrivilegeEscalation=false"
    )


def _capabilities(annotations: _Annotations, spec: _Spec) -> Finding | None:
    missing: list[str] = []
    adding: dict[str, set[str]] = {}
    for container in containers_of(spec):
        capabilities = security_context(container).get("capabilities") or {}
        if "ALL" not in (capabilities.get("drop") or ()):
            missing.append(container["name"])
        forbidden = set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}
        if forbidden:
            adding[container["name"]] = forbidden
    details = []
    if missing:
        who = named("container", missing)
        details.append(f'{who} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        names = join_quoted(sorted(set().union(*adding.values())))
        who = named("container", list(adding))
        details.append(f"{who} must not include {names} in securityContext.capabilities.add")
    return Finding("unrestricted capabilities", "; ".join(details)) if details else None


def _volumes(annotations: _Annotations, spec: _Spec) -> Finding | None:
    bad: list[str] = []
    types: set[str] = set()
    for volume in spec.get("volumes") or ():
        sources = {field for field, value in volume.items() if field != "name" and value is not None}
        if not sources & _ALLOWED_VOLUMES:
            bad.append(volume["name"])
            types.add(next((t for t in _RESTRICTED_VOLUMES if t in sources), "unknown"))
    if not bad:
        return None
    verb = "uses" if len(bad) == 1 else "use"
    what = named("restricted volume type", sorted(types))
    return Finding("restricted volume types", f"{named('volume', bad)} {verb} {what}")


def _non_root(annotations: _Annotations, spec: _Spec) -> Finding | None:
    pod_wish = security_context(spec).get("runAsNonRoot")
    explicit: list[str] = []
    implicit: list[str] = []
    for container in containers_of(spec):
        wish = security_context(container).get("runAsNonRoot")
        if wish is False:
            explicit.append(container["name"])
        elif wish is None and not pod_wish:
            implicit.append(container["name"])
    reason = "runAsNonRoot != true"
    who = setters(pod_wish is False, explicit)
    if who:
        return Finding(reason, f"{who} must not set securityContext.runAsNonRoot=false")
    if implicit:
        who = named("container", implicit)
        return Finding(reason, f"pod or {who} must set securityContext.runAsNonRoot=true")
    return None


def _user(annotations: _Annotations, spec: _Spec) -> Finding | None:
    bad = [c["name"] for c in containers_of(spec) if security_context(c).get("runAsUser") == 0]
    who = setters(security_context(spec).get("runAsUser") == 0, bad)
    return Finding("runAsUser=0", f"{who} must not set runAsUser=0") if who else None


def _seccomp(annotations: _Annotations, spec: _Spec) -> Finding | None:
    by_pod, explicit, values = bad_profiles(spec, "seccompProfile")
    pod_has_profile = security_context(spec).get("seccompProfile") is not None and not by_pod
    who = setters(by_pod, explicit)
    if who:
        listed = join_quoted(sorted(values))
        return Finding(
            "seccompProfile", f"{who} must not set securityContext.seccompProfile.type to {listed}"
        )
    if pod_has_profile:
        return None
    implicit = [c["name"] for c in containers_of(spec) if security_context(c).get("seccompProfile") is None]
    if not implicit:
        return None
    who = named("container", implicit)
    allowed = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return Finding("seccompProfile", f"pod or {who} {allowed}")


def _not_on_windows(check: CheckFunction) -> CheckFunction:
    """Windows pods cannot set these fields at all, so they need not."""

    def checked(annotations: _Annotations, spec: _Spec) -> Finding | None:
        return None if (spec.get("os") or {}).get("name") == "windows" else check(annotations, spec)

    return checked


def _not_in_user_namespace(check: CheckFunction) -> CheckFunction:
    """Root in a user namespace is nobody on the host."""

    def checked(annotations: _Annotations, spec: _Spec) -> Finding | None:
        return None if spec.get("hostUsers") is False else check(annotations, spec)

    return checked


RESTRICTED = (
    SecurityCheck(
        "allowPrivilegeEscalation", (Revision(8, _escalation), Revision(25, _not_on_windows(_escalation)))
    ),
    SecurityCheck(
        "capabilities_restricted",
        (
            Revision(22, _capabilities, ("capabilities_baseline",)),
            Revision(25, _not_on_windows(_capabilities), ("capabilities_baseline",)),
        ),
    ),
    SecurityCheck("procMount_restricted", (Revision(35, proc_mount, ("procMount",)),)),
    SecurityCheck("restrictedVolumes", (Revision(0, _volumes, ("hostPathVolumes",)),)),
    SecurityCheck("runAsNonRoot", (Revision(0, _non_root), Revision(35, _not_in_user_namespace(_non_root)))),
    SecurityCheck("runAsUser", (Revision(23, _user), Revision(35, _not_in_user_namespace(_user)))),
    SecurityCheck(
        "seccompProfile_restricted",
        (
            Revision(19, _seccomp, ("seccompProfile_baseline",)),
            Revision(25, _not_on_windows(_seccomp), ("seccompProfile_baseline",)),
        ),
    ),
)
