"""The checks of level baseline: no way to a known privilege escalation.

Source: k8s.io/pod-security-admission/policy/check_*.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from podbay.apiserver.admission.pod_security.finding import (
    Finding,
    Revision,
    SecurityCheck,
    containers_of,
    join_quoted,
    named,
    plural,
    security_context,
    setters,
)
from podbay.apiserver.field import go_quote

__all__ = ["BASELINE", "bad_profiles", "proc_mount"]

_Annotations = Mapping[str, str]
_Spec = Mapping[str, Any]

_APP_ARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"
_PROFILES = ("RuntimeDefault", "Localhost")
_SECCOMP_POD_ANNOTATION = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_ANNOTATION = "container.seccomp.security.alpha.kubernetes.io/"
_CAPABILITIES = frozenset(
    [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]
)
_SELINUX_TYPES = frozenset(["", "container_t", "container_init_t", "container_kvm_t"])
_SYSCTLS = frozenset(
    [
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
    ]
)
_SYSCTLS_27 = _SYSCTLS | {"net.ipv4.ip_local_reserved_ports"}
_SYSCTLS_29 = _SYSCTLS_27.union(
    f"net.ipv4.tcp_{name}"
    for name in ("keepalive_time", "fin_timeout", "keepalive_intvl", "keepalive_probes")
)
_SYSCTLS_32 = _SYSCTLS_29 | {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}


def _app_armor(annotations: _Annotations, spec: _Spec) -> Finding | None:
    by_pod, containers, values = bad_profiles(spec, "appArmorProfile")
    who = setters(by_pod, containers)
    bad_annotations = sorted(
        f"{key}={go_quote(value)}"
        for key, value in annotations.items()
        if key.startswith(_APP_ARMOR_ANNOTATION)
        and value not in ("", "runtime/default")
        and not value.startswith("localhost/")
    )
    if bad_annotations:
        who = " and ".join(filter(None, [who, plural("annotation", len(bad_annotations))]))
    if not who:
        return None
    listed = [*sorted(values), *bad_annotations]
    reason = plural("forbidden AppArmor profile", len(listed))
    return Finding(reason, f"{who} must not set AppArmor profile type to {join_quoted(listed)}")


def bad_profiles(spec: _Spec, field: str) -> tuple[bool, list[str], set[str]]:
    """Where `securityContext.<field>.type` is no allowed profile: in the pod, in which containers, which values."""
    values: set[str] = set()

    def is_bad(holder: Mapping[str, Any]) -> bool:
        profile = security_context(holder).get(field)
        if profile is None or profile.get("type") in _PROFILES:
            return False
        values.add(profile.get("type") or "")
        return True

    by_pod = is_bad(spec)
    return by_pod, [c["name"] for c in containers_of(spec) if is_bad(c)], values


def _capabilities(annotations: _Annotations, spec: _Spec) -> Finding | None:
    bad: dict[str, set[str]] = {}
    for container in containers_of(spec):
        added = set((security_context(container).get("capabilities") or {}).get("add") or ())
        if added - _CAPABILITIES:
            bad[container["name"]] = added - _CAPABILITIES
    if not bad:
        return None
    forbidden = join_quoted(sorted(set().union(*bad.values())))
    who = named("container", list(bad))
    return Finding(
        "non-default capabilities", f"{who} must not include {forbidden} in securityContext.capabilities.add"
    )


def _host_namespaces(annotations: _Annotations, spec: _Spec) -> Finding | None:
    shared = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    return Finding("host namespaces", ", ".join(shared)) if shared else None


def _host_paths(annotations: _Annotations, spec: _Spec) -> Finding | None:
    volumes = [v["name"] for v in spec.get("volumes") or () if v.get("hostPath") is not None]
    return Finding("hostPath volumes", named("volume", volumes)) if volumes else None


def _host_ports(annotations: _Annotations, spec: _Spec) -> Finding | None:
    containers: list[str] = []
    used: set[str] = set()
    for container in containers_of(spec):
        ports = {str(p["hostPort"]) for p in container.get("ports") or () if p.get("hostPort")}
        if ports:
            containers.append(container["name"])
            used |= ports
    if not containers:
        return None
    verb = "uses" if len(containers) == 1 else "use"
    ports_text = f"{plural('hostPort', len(used))} {', '.join(sorted(used))}"
    return Finding("hostPort", f"{named('container', containers)} {verb} {ports_text}")


def _probe_hosts(annotations: _Annotations, spec: _Spec) -> Finding | None:
    bad = {c["name"]: set(_hosts(c)) for c in containers_of(spec)}
    containers = sorted(name for name, hosts in bad.items() if hosts)
    if not containers:
        return None
    hosts = sorted(set().union(*bad.values()))
    verb = "uses" if len(containers) == 1 else "use"
    what = named("probe or lifecycle host", hosts)
    return Finding("probe or lifecycle host", f"{named('container', containers)} {verb} {what}")


def _hosts(container: Mapping[str, Any]) -> Iterator[str]:
    lifecycle = container.get("lifecycle") or {}
    handlers = [container.get(f) for f in ("livenessProbe", "readinessProbe", "startupProbe")]
    handlers += [lifecycle.get(f) for f in ("postStart", "preStop")]
    for handler in handlers:
        for action in ("httpGet", "tcpSocket"):
            host = ((handler or {}).get(action) or {}).get("host")
            if host:
                yield host


def _privileged(annotations: _Annotations, spec: _Spec) -> Finding | None:
    bad = [c["name"] for c in containers_of(spec) if security_context(c).get("privileged")]
    if not bad:
        return None
    return Finding("privileged", f"{named('container', bad)} must not set securityContext.privileged=true")


def proc_mount(annotations: _Annotations, spec: _Spec) -> Finding | None:
    """No unmasked /proc, wherever the pod runs."""
    bad = {
        c["name"]: security_context(c)["procMount"]
        for c in containers_of(spec)
        if security_context(c).get("procMount") not in (None, "Default")
    }
    if not bad:
        return None
    values = join_quoted(sorted(set(bad.values())))
    return Finding(
        "procMount", f"{named('container', list(bad))} must not set securityContext.procMount to {values}"
    )


def _proc_mount_35(annotations: _Annotations, spec: _Spec) -> Finding | None:
    return None if spec.get("hostUsers") is False else proc_mount(annotations, spec)


def _selinux(types: frozenset[str]) -> Callable[[_Annotations, _Spec], Finding | None]:
    def check(annotations: _Annotations, spec: _Spec) -> Finding | None:
        bad_types: set[str] = set()
        bad_fields: set[str] = set()

        def is_bad(holder: Mapping[str, Any]) -> bool:
            options = security_context(holder).get("seLinuxOptions") or {}
            wrong = {field for field in ("user", "role") if options.get(field)}
            bad_fields.update(wrong)
            type_name = options.get("type") or ""
            if type_name not in types:
                bad_types.add(type_name)
            return bool(wrong) or type_name not in types

        by_pod = is_bad(spec)
        who = setters(by_pod, [c["name"] for c in containers_of(spec) if is_bad(c)])
        if not who:
            return None
        data = [named("type", sorted(bad_types))] if bad_types else []
        data += [f"{field} may not be set" for field in ("user", "role") if field in bad_fields]
        detail = f"{who} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}"
        return Finding("seLinuxOptions", detail)

    return check


def _seccomp_annotations(annotations: _Annotations, spec: _Spec) -> Finding | None:
    keys = [_SECCOMP_POD_ANNOTATION, *(_SECCOMP_ANNOTATION + c["name"] for c in containers_of(spec))]
    bad = sorted(
        {
            f"{key}={go_quote(annotations[key])}"
            for key in keys
            if key in annotations
            and annotations[key] not in ("runtime/default", "docker/default")
            and not annotations[key].startswith("localhost/")
        }
    )
    if not bad:
        return None
    return Finding("seccompProfile", f"forbidden {plural('annotation', len(bad))} {', '.join(bad)}")


def _seccomp(annotations: _Annotations, spec: _Spec) -> Finding | None:
    by_pod, containers, values = bad_profiles(spec, "seccompProfile")
    who = setters(by_pod, containers)
    if not who:
        return None
    return Finding(
        "seccompProfile",
        f"{who} must not set securityContext.seccompProfile.type to {join_quoted(sorted(values))}",
    )


def _sysctls(allowed: frozenset[str]) -> Callable[[_Annotations, _Spec], Finding | None]:
    def check(annotations: _Annotations, spec: _Spec) -> Finding | None:
        names = [sysctl["name"] for sysctl in security_context(spec).get("sysctls") or ()]
        bad = [name for name in names if name not in allowed]
        return Finding("forbidden sysctls", ", ".join(bad)) if bad else None

    return check


def _host_process(annotations: _Annotations, spec: _Spec) -> Finding | None:
    def is_bad(holder: Mapping[str, Any]) -> bool:
        return bool((security_context(holder).get("windowsOptions") or {}).get("hostProcess"))

    who = setters(is_bad(spec), [c["name"] for c in containers_of(spec) if is_bad(c)])
    if not who:
        return None
    return Finding("hostProcess", f"{who} must not set securityContext.windowsOptions.hostProcess=true")


BASELINE = (
    SecurityCheck("appArmorProfile", (Revision(0, _app_armor),)),
    SecurityCheck("capabilities_baseline", (Revision(0, _capabilities),)),
    SecurityCheck("hostNamespaces", (Revision(0, _host_namespaces),)),
    SecurityCheck("hostPathVolumes", (Revision(0, _host_paths),)),
    SecurityCheck("hostPorts", (Revision(0, _host_ports),)),
    SecurityCheck("hostProbesAndHostLifecycle", (Revision(34, _probe_hosts),)),
    SecurityCheck("privileged", (Revision(0, _privileged),)),
    SecurityCheck("procMount", (Revision(0, proc_mount), Revision(35, _proc_mount_35))),
    SecurityCheck(
        "seLinuxOptions",
        (
            Revision(0, _selinux(_SELINUX_TYPES)),
            Revision(31, _selinux(_SELINUX_TYPES | {"container_engine_t"})),
        ),
    ),
    SecurityCheck("seccompProfile_baseline", (Revision(0, _seccomp_annotations), Revision(19, _seccomp))),
    SecurityCheck(
        "sysctls",
        (
            Revision(0, _sysctls(_SYSCTLS)),
            Revision(27, _sysctls(_SYSCTLS_27)),
            Revision(29, _sysctls(_SYSCTLS_29)),
            Revision(32, _sysctls(_SYSCTLS_32)),
        ),
    ),
    SecurityCheck("windowsHostProcess", (Revision(0, _host_process),)),
)
