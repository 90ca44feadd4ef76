"""Requests and limits of containers: a deployment's default size, raising requests, quality of service.

Reads quantities exactly (objects/quantity.py) and writes them as they were written. Spec 28, 35, 36; the rule of quality
of service is Kubernetes' (pkg/apis/core/v1/helper/qos).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from podbay.objects.meta import Object
from podbay.objects.quantity import Quantity

__all__ = [
    "MEMORY_RAISED_ANNOTATION",
    "all_containers",
    "is_guaranteed",
    "main_container",
    "raise_requests",
    "with_default_size",
]

MEMORY_RAISED_ANNOTATION: Final = "podbay.dev/memory-raised-from"
"""On a pod that was given more than its author wrote: what that was."""

_QOS_RESOURCES: Final = ("cpu", "memory")
_RAISED: Final = ("cpu", "memory", "ephemeral-storage")


def all_containers(pod: Object) -> Iterator[tuple[str, Object]]:
    """Field path and container of every init container and container."""
    spec = pod.get("spec") or {}
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or ()):
            yield f"spec.{field}[{index}]", container


def main_container(pod: Object, name: str) -> Object:
    """The container of that name, else the first; empty for a pod without any."""
    containers: list[Object] = (pod.get("spec") or {}).get("containers") or []
    named = [each for each in containers if each.get("name") == name]
    return (named or containers or [{}])[0]


def with_default_size(container: Object, size: Mapping[str, Any]) -> None:
    """Give the container the default request and limit of each resource that it says nothing about itself."""
    given = container.get("resources") or {}
    said = set(given.get("requests") or ()) | set(given.get("limits") or ())
    for part in ("requests", "limits"):
        missing = {name: value for name, value in (size.get(part) or {}).items() if name not in said}
        if missing:
            given = {**given, part: {**(given.get(part) or {}), **missing}}
    if given:
        container["resources"] = given


def raise_requests(pod: Object) -> list[str]:
    """Raise each container's requests of CPU, memory and ephemeral storage to its limits; say what was raised.

    Requests that are missing are filled in, as the API server would do with the limit. Quantities that cannot be read
    are left alone: validation names them.
    """
    raised = []
    for path, container in all_containers(pod):
        resources = container.get("resources") or {}
        for name in _RAISED:
            limit = (resources.get("limits") or {}).get(name)
            request = (resources.get("requests") or {}).get(name)
            if limit is None or not _less(request, limit):
                continue
            resources["requests"] = {**(resources.get("requests") or {}), name: limit}
            before = "nothing" if request is None else request
            raised.append(f"{path}.resources.requests[{name}]: raised from {before} to the limit, {limit}")
    return raised


def _less(request: Any, limit: Any) -> bool:
    if request is None:
        return True
    try:
        return Quantity.from_json(request) < Quantity.from_json(limit)
    except ValueError:
        return False


def is_guaranteed(containers: Sequence[Object]) -> bool:
    """Whether pods of just these containers are of the class Guaranteed: CPU and memory limited, requests equal."""
    return bool(containers) and all(_container_is_guaranteed(each) for each in containers)


def _container_is_guaranteed(container: Object) -> bool:
    resources = container.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for name in _QOS_RESOURCES:
        if name not in limits:
            return False
        try:
            limit = Quantity.from_json(limits[name])
            if limit.is_zero or Quantity.from_json(requests.get(name, limits[name])) != limit:
                return False
        except ValueError:
            return False
    return True
