"""What a fresh cluster has before anybody asks: namespaces, roles, priority classes, the `kubernetes` service.

Runs at every start and only adds what is missing, so a person's change of a default role is kept
(source: kube-apiserver's post-start hooks, pkg/controlplane and bootstrappolicy).
"""

from __future__ import annotations

from collections.abc import Iterable

from podbay.apiserver.auth.bootstrap import bootstrap_objects
from podbay.apiserver.registry import Registry
from podbay.errors import ApiError
from podbay.objects.api import ClusterApi
from podbay.objects.meta import Object, namespace_of

__all__ = ["bootstrap"]

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


async def bootstrap(api: ClusterApi, registry: Registry, *, port: int) -> None:
    """Create what is missing."""
    await _create_missing(api, registry, [_namespace(name) for name in NAMESPACES])
    await _create_missing(api, registry, bootstrap_objects())
    await _create_missing(api, registry, _priority_classes())
    await _create_missing(api, registry, [_kubernetes_service(port)])


async def _create_missing(api: ClusterApi, registry: Registry, objects: Iterable[Object]) -> None:
    for obj in objects:
        group, _, version = obj["apiVersion"].rpartition("/")
        resource = registry.find_kind(group, version, obj["kind"])
        assert resource is not None, obj["kind"]
        try:
            await api.create(resource.gvr, obj, namespace=namespace_of(obj) or None)
        except ApiError as err:
            if err.reason != "AlreadyExists":
                raise


def _namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _priority_classes() -> list[Object]:
    """The two classes of critical pods (pkg/apis/scheduling SystemPriorityClasses)."""
    return [
        _priority_class("system-cluster-critical", 2_000_000_000, "For pods the cluster cannot do without."),
        _priority_class("system-node-critical", 2_000_001_000, "For pods a node cannot do without."),
    ]


def _priority_class(name: str, value: int, description: str) -> Object:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": value,
        "description": description,
    }


def _kubernetes_service(port: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": "10.96.0.1",
            "clusterIPs": ["10.96.0.1"],
            "type": "ClusterIP",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    }
