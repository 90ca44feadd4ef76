"""Names of resources ("cpu", "requests.memory", "example.com/gpu"): which are known, native, extended, whole numbers.

Source: pkg/apis/core/helper/helpers.go of Kubernetes. Not for the names of API resources (objects/resource.py).
"""

from __future__ import annotations

from podbay.objects.names import qualified_name_errors

__all__ = [
    "is_extended_resource_name",
    "is_hugepages",
    "is_integer_resource",
    "is_native_resource",
    "is_overcommit_allowed",
    "is_standard_container_resource",
    "is_standard_quota_resource",
    "is_standard_resource",
]

_HUGEPAGES = "hugepages-"
_REQUESTS = "requests."

_OBJECT_COUNTS = frozenset(
    [
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    ]
)
_CONTAINER = frozenset(["cpu", "memory", "ephemeral-storage"])
_QUOTA = _OBJECT_COUNTS.union(
    ["requests.storage"], *([name, f"requests.{name}", f"limits.{name}"] for name in _CONTAINER)
)


def is_hugepages(name: str) -> bool:
    return name.startswith(_HUGEPAGES)


def is_native_resource(name: str) -> bool:
    """Whether the name is Kubernetes' own; names without a prefix are."""
    return "/" not in name or "kubernetes.io/" in name


def is_extended_resource_name(name: str) -> bool:
    """Whether a node may advertise the name as a countable resource of its own, as in example.com/gpu."""
    if is_native_resource(name) or name.startswith(_REQUESTS):
        return False
    return not qualified_name_errors(_REQUESTS + name)


def is_overcommit_allowed(name: str) -> bool:
    """Whether limits may be above requests."""
    return is_native_resource(name) and not is_hugepages(name)


def is_integer_resource(name: str) -> bool:
    """Whether only whole numbers make sense."""
    return name in _OBJECT_COUNTS or is_extended_resource_name(name)


def is_standard_container_resource(name: str) -> bool:
    return name in _CONTAINER or is_hugepages(name)


def is_standard_quota_resource(name: str) -> bool:
    """Whether the unprefixed name may stand in a ResourceQuota."""
    return name in _QUOTA or name.startswith((_HUGEPAGES, _REQUESTS + _HUGEPAGES))


def is_standard_resource(name: str) -> bool:
    """Whether the unprefixed name is known at all."""
    return name == "storage" or is_standard_quota_resource(name)
