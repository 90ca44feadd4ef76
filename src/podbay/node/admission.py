"""Whether a pod that was bound to this node can be taken in: kernel settings, room and node selector. Pure.

The scheduler sees to the last two; pods that name their node themselves have passed it by.
Source: pkg/kubelet/sysctl (safe_sysctls.go, allowlist.go), pkg/kubelet/lifecycle/predicate.go (words and reasons),
pkg/kubelet/kubelet.go (rejectPod).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from podbay.apiserver.quota.pod_resources import pod_requests
from podbay.node.podspec import is_terminal
from podbay.node.view import Outcome
from podbay.objects.meta import Object
from podbay.objects.quantity import Quantity

__all__ = ["refusal"]

_SAFE_SYSCTLS = frozenset(
    [
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    ]
)
"""What a kubelet without --allowed-unsafe-sysctls lets pods set."""


def refusal(
    pod: Object, others: Iterable[Object], capacity: Mapping[str, str], labels: Mapping[str, str]
) -> Outcome | None:
    """Why the pod is turned away; None when it is taken in. others are the node's pods beside it."""
    for sysctl in (pod["spec"].get("securityContext") or {}).get("sysctls") or ():
        # Both forms of a name are allowed (sysctl(8)).
        if sysctl["name"].replace("/", ".") not in _SAFE_SYSCTLS:
            return Outcome("SysctlForbidden", f'forbidden sysctl: "{sysctl["name"]}" not allowlisted')
    wanted = pod["spec"].get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        words = "node(s) didn't match Pod's node affinity/selector"
        return Outcome("NodeAffinity", f"Predicate NodeAffinity failed: {words}")
    requests = pod_requests(pod) | {"pods": Quantity.from_value(1)}
    used: dict[str, Quantity] = {}
    for other in others:
        if is_terminal(other):
            continue
        for name, quantity in (pod_requests(other) | {"pods": Quantity.from_value(1)}).items():
            used[name] = used[name] + quantity if name in used else quantity
    for name, request in requests.items():
        there = Quantity.from_json(capacity.get(name))
        taken = used.get(name, Quantity(0))
        if not request.is_zero and request.nanos + taken.nanos > there.nanos:
            numbers = f"requested: {_count(name, request)}, used: {_count(name, taken)}, capacity: {_count(name, there)}"
            return Outcome(f"OutOf{name}", f"Node didn't have enough resource: {name}, {numbers}")
    return None


def _count(name: str, quantity: Quantity) -> int:
    """CPU is counted in thousandths."""
    return quantity.milli_value() if name == "cpu" else quantity.value()
