"""A small registry with one of each: namespaced and cluster kinds, subresources of every sort, a review."""

from __future__ import annotations

from typing import Any

from podbay.apiserver.registry import REVIEW_VERBS, Registry, ResourceType, Strategy, Subresource
from podbay.objects.resource import GVR

CORE = "io.k8s.api.core.v1."


def _handler(core: Any, info: Any, ctx: Any, body: Any) -> Any:
    return body


def sample_registry() -> Registry:
    strategy = Strategy()
    pod = ResourceType(
        gvr=GVR("", "v1", "pods"),
        kind="Pod",
        type_name=CORE + "Pod",
        namespaced=True,
        strategy=strategy,
        short_names=("po",),
        categories=("all",),
        subresources=(
            Subresource(name="status", verbs=("get", "patch", "update"), kind="Pod", strategy=strategy),
            Subresource(name="log", verbs=("get",), kind="Pod"),
            Subresource(name="exec", verbs=("create", "get"), kind="PodExecOptions"),
            Subresource(
                name="eviction",
                verbs=("create",),
                kind="Eviction",
                group="policy",
                version="v1",
                type_name="io.k8s.api.policy.v1.Eviction",
                handler=_handler,
            ),
        ),
    )
    namespace = ResourceType(
        gvr=GVR("", "v1", "namespaces"),
        kind="Namespace",
        type_name=CORE + "Namespace",
        namespaced=False,
        strategy=strategy,
        short_names=("ns",),
    )
    role = ResourceType(
        gvr=GVR("rbac.authorization.k8s.io", "v1", "clusterroles"),
        kind="ClusterRole",
        type_name="io.k8s.api.rbac.v1.ClusterRole",
        namespaced=False,
        strategy=strategy,
    )
    review = ResourceType(
        gvr=GVR("authorization.k8s.io", "v1", "selfsubjectaccessreviews"),
        kind="SelfSubjectAccessReview",
        type_name="io.k8s.api.authorization.v1.SelfSubjectAccessReview",
        namespaced=False,
        strategy=strategy,
        verbs=REVIEW_VERBS,
        handler=_handler,
    )
    return Registry([pod, namespace, role, review])
