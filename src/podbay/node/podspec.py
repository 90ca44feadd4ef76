"""Reading pod specs as the kubelet does: kinds of containers, their names in messages, restart rules. Pure.

Source: pkg/api/v1/pod/util.go (ContainerShouldRestart), pkg/kubelet/util/format/pod.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

from podbay.objects.meta import Object, name_of, namespace_of, uid_of

__all__ = [
    "ContainerKind",
    "all_containers",
    "find_container",
    "grace_period",
    "is_sidecar",
    "is_terminal",
    "kind_of",
    "pod_text",
    "restarts_after",
]

ContainerKind: TypeAlias = Literal["init", "sidecar", "main", "ephemeral"]

_LISTS: tuple[tuple[str, ContainerKind], ...] = (
    ("initContainers", "init"),
    ("containers", "main"),
    ("ephemeralContainers", "ephemeral"),
)


def is_sidecar(container: Object) -> bool:
    """An init container that keeps running beside the main ones (restartPolicy: Always)."""
    return container.get("restartPolicy") == "Always"


def all_containers(spec: Object) -> Iterator[tuple[ContainerKind, Object]]:
    """Every container with its kind, in the order of the spec."""
    for field, kind in _LISTS:
        for container in spec.get(field) or ():
            yield ("sidecar" if kind == "init" and is_sidecar(container) else kind), container


def find_container(spec: Object, name: str) -> Object | None:
    """The container of that name, of any kind."""
    return next((c for _, c in all_containers(spec) if c["name"] == name), None)


def kind_of(spec: Object, name: str) -> ContainerKind | None:
    """The kind of the container of that name."""
    return next((kind for kind, c in all_containers(spec) if c["name"] == name), None)


def pod_text(pod: Object) -> str:
    """How the kubelet names a pod in messages: `name_namespace(uid)`."""
    return f"{name_of(pod)}_{namespace_of(pod)}({uid_of(pod)})"


def is_terminal(pod: Object) -> bool:
    """Succeeded or Failed in the API."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def grace_period(pod: Object) -> int:
    """Seconds a pod may take to stop, at least 1: what its deletion asks for, else its spec."""
    seconds = pod["metadata"].get("deletionGracePeriodSeconds")
    if seconds is None:
        seconds = pod["spec"].get("terminationGracePeriodSeconds")
    return max(1, int(30 if seconds is None else seconds))


def restarts_after(spec: Object, container: Object, exit_code: int, *, init: bool = False) -> bool:
    """Whether an ended container is started again; an init container that succeeded never is (its caller knows)."""
    if container.get("restartPolicy"):
        for rule in container.get("restartPolicyRules") or ():
            if rule.get("action") == "Restart" and _matches(rule, exit_code):
                return True
        return _by_policy(container["restartPolicy"], exit_code)
    policy = spec.get("restartPolicy") or "Always"
    # An init container that failed is tried again unless the pod says Never.
    return policy != "Never" if init and exit_code != 0 else _by_policy(policy, exit_code)


def _by_policy(policy: str, exit_code: int) -> bool:
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def _matches(rule: dict[str, Any], exit_code: int) -> bool:
    codes = rule.get("exitCodes") or {}
    inside = exit_code in (codes.get("values") or ())
    return inside if codes.get("operator") == "In" else not inside
