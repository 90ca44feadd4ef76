"""What containers use, and what an engine can do on its machine, read from its answers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from podbay.node.engine.endpoint import Endpoint
from podbay.node.observed import Features, RuntimeInfo, Usage

__all__ = ["is_same_machine", "runtime_info", "usage_of"]


def usage_of(
    container_id: str,
    stats: Mapping[str, Any],
    *,
    rootfs_bytes: int | None = None,
    log_bytes: int | None = None,
) -> Usage:
    """stats is the answer to GET /containers/{id}/stats."""
    memory = stats.get("memory_stats") or {}
    used = memory.get("usage")
    details = memory.get("stats") or {}
    # The first name is cgroup v1's, the second v2's.
    cache = details.get("total_inactive_file", details.get("inactive_file", 0)) or 0
    return Usage(
        container_id=container_id,
        cpu_ns=((stats.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage"),
        memory_bytes=used,
        memory_working_set_bytes=None if used is None else max(0, used - cache),
        pids=(stats.get("pids_stats") or {}).get("current"),
        rootfs_bytes=rootfs_bytes,
        log_bytes=log_bytes,
    )


def runtime_info(
    version: Mapping[str, Any],
    info: Mapping[str, Any],
    *,
    podman: bool,
    network: str,
    same_machine: bool,
    is_root: bool,
) -> RuntimeInfo:
    """version and info are the engine's answers to GET /version and GET /info; is_root speaks of this process."""
    options = info.get("SecurityOptions") or ()
    rootless = any("rootless" in option for option in options) or bool(info.get("Rootless"))
    # Podman reports what the machine could do, not what an ordinary user's containers get.
    limits = not (rootless and podman and str(info.get("CgroupVersion")) == "1")
    has_network = network != "none"
    features = Features(
        memory_limit=limits and bool(info.get("MemoryLimit")),
        cpu_limit=limits and bool(info.get("CpuCfsQuota")),
        pids_limit=limits and bool(info.get("PidsLimit")),
        pod_network=has_network,
        pod_ip_from_host=has_network and same_machine and not rootless,
        outbound_network=has_network,
        api_from_pods=same_machine and is_root,
        host_paths=same_machine,
        host_network=same_machine and not rootless,
        users=True,
        shared_processes=True,
        seccomp=any("seccomp" in option for option in options),
    )
    name = "podman" if podman else "docker"
    return RuntimeInfo(
        name=name,
        version=str(version.get("Version", "")),
        os=str(version.get("Os", "linux")),
        architecture=str(version.get("Arch", "")),
        kernel_version=str(version.get("KernelVersion") or info.get("KernelVersion") or ""),
        os_image=str(info.get("OperatingSystem", "")),
        features=_with_notes(features, name, rootless=rootless),
    )


def is_same_machine(endpoint: Endpoint, info: Mapping[str, Any], *, hostname: str, kernel: str) -> bool:
    """Whether the engine works on this machine, and not in a virtual one behind a socket of this machine."""
    desktop = "docker desktop" in str(info.get("OperatingSystem", "")).lower()
    return (
        bool(endpoint.path)
        and not desktop
        and info.get("Name") == hostname
        and info.get("KernelVersion") == kernel
    )


def _with_notes(features: Features, name: str, *, rootless: bool) -> Features:
    return replace(features, notes=tuple(_notes(features, name, rootless=rootless)))


def _notes(features: Features, name: str, *, rootless: bool) -> Sequence[str]:
    where = f"rootless {name}" if rootless else name
    notes = []
    if not (features.memory_limit and features.cpu_limit and features.pids_limit):
        notes.append(
            f"{where} does not enforce all limits of memory, CPU and processes here; it needs cgroup v2 "
            "with controllers delegated to it"
        )
    if not features.pod_network:
        notes.append(f"{where} has no bridge network here, so pods have no addresses; start it with one")
    elif not features.pod_ip_from_host:
        notes.append(f"pods' addresses are not reachable from this machine with {where}; use port-forward")
    if not features.api_from_pods:
        notes.append(
            f"pods cannot reach the API server with {where}: that takes a cluster started as root on the engine's "
            "own machine"
        )
    if not features.host_paths:
        notes.append(f"{where} works on another machine: hostPath volumes are paths of that one")
    if not features.host_network:
        notes.append(f"hostNetwork is not this machine's network with {where}")
    if not features.seccomp:
        notes.append(f"{where} applies no seccomp profile; the kernel or the engine lacks it")
    return notes
