"""What a pod asks for and a runtime cannot do on this machine: never silence, always a warning. Pure."""

from __future__ import annotations

from podbay.node.observed import Features
from podbay.node.podspec import all_containers
from podbay.node.security import effective
from podbay.objects.meta import Object

__all__ = ["shortfalls"]


def shortfalls(pod: Object, features: Features) -> list[str]:
    """One sentence for each thing that will not be as the pod asks."""
    spec = pod["spec"]
    limits: set[str] = set()
    users = False
    seccomp = False
    for _, container in all_containers(spec):
        limits |= set((container.get("resources") or {}).get("limits") or ())
        context = effective(pod, container)
        users |= bool(context.get("runAsUser"))
        seccomp |= (context.get("seccompProfile") or {}).get("type") in ("RuntimeDefault", "Localhost")
    found = []
    if "memory" in limits and not features.memory_limit:
        found.append("memory limits are not enforced on this node")
    if "cpu" in limits and not features.cpu_limit:
        found.append("CPU limits are not enforced on this node")
    if users and not features.users:
        found.append("containers run as the node's own user, not as the user the pod asks for")
    if seccomp and not features.seccomp:
        found.append("seccomp profiles are not applied on this node")
    if spec.get("hostNetwork") and not features.host_network:
        found.append("the pod cannot use this node's network")
    if spec.get("shareProcessNamespace") and not features.shared_processes:
        found.append("containers cannot share a process namespace on this node")
    return found
