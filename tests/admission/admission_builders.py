"""A cluster in a dictionary for admission plugins, and requests to put before them."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from podbay.apiserver.admission.base import AdmissionPlugin, Attributes
from podbay.apiserver.admission.chain import AdmissionChain, default_plugins
from podbay.apiserver.kinds.limitrange import LIMIT_RANGE
from podbay.apiserver.kinds.resourcequota import RESOURCE_QUOTA
from podbay.apiserver.registry import ResourceType, Strategy, StrategyContext
from podbay.apiserver.request import User
from podbay.errors import ApiError
from podbay.objects.meta import Object
from podbay.objects.resource import GVR

NOW = datetime(2026, 1, 1, tzinfo=UTC)
USER = User("someone")
NAMESPACE = "team"


def resource(group: str, plural: str, kind: str, *, namespaced: bool = True) -> ResourceType:
    return ResourceType(
        gvr=GVR(group, "v1", plural), kind=kind, type_name=kind, namespaced=namespaced, strategy=Strategy()
    )


RESOURCES = {
    r.key: r
    for r in (
        resource("", "pods", "Pod"),
        resource("", "configmaps", "ConfigMap"),
        resource("", "secrets", "Secret"),
        resource("", "services", "Service"),
        resource("", "serviceaccounts", "ServiceAccount"),
        resource("", "persistentvolumeclaims", "PersistentVolumeClaim"),
        resource("", "persistentvolumes", "PersistentVolume", namespaced=False),
        resource("", "namespaces", "Namespace", namespaced=False),
        resource("", "nodes", "Node", namespaced=False),
        resource("scheduling.k8s.io", "priorityclasses", "PriorityClass", namespaced=False),
        resource("node.k8s.io", "runtimeclasses", "RuntimeClass", namespaced=False),
        resource("rbac.authorization.k8s.io", "roles", "Role"),
        resource("authorization.k8s.io", "localsubjectaccessreviews", "LocalSubjectAccessReview"),
        LIMIT_RANGE,
        RESOURCE_QUOTA,
    )
}


class World:
    """Stored objects by collection, namespace and name. Plugins get the very objects, so a test sees who changes
    what is not theirs (see `assert_untouched`)."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self._as_put: dict[tuple[str, str, str], str] = {}
        self.put("namespaces", {"metadata": {"name": NAMESPACE}, "status": {"phase": "Active"}}, namespace="")
        self.put("serviceaccounts", {"metadata": {"name": "default"}})

    def put(self, key: str, obj: Object, *, namespace: str | None = None) -> Object:
        """Store a defaulted copy."""
        obj = copy.deepcopy(obj)
        RESOURCES[key].strategy.set_defaults(obj)
        if namespace is None:
            namespace = NAMESPACE if RESOURCES[key].namespaced else ""
        slot = (key, namespace, obj["metadata"]["name"])
        self.objects[slot] = obj
        self._as_put[slot] = json.dumps(obj, sort_keys=True)
        return obj

    def delete(self, key: str, name: str, *, namespace: str = NAMESPACE) -> None:
        del self.objects[key, namespace, name]
        del self._as_put[key, namespace, name]

    def put_quota(self, name: str, hard: dict[str, str], **spec: Any) -> Object:
        """A quota whose status the controller has filled in for an empty namespace."""
        status = {"hard": hard, "used": dict.fromkeys(hard, "0")}
        return self.put(
            "resourcequotas", {"metadata": {"name": name}, "spec": {"hard": hard, **spec}, "status": status}
        )

    def used(self, name: str) -> dict[str, str]:
        return dict(self.objects["resourcequotas", NAMESPACE, name]["status"]["used"])

    def get(self, key: str, namespace: str, name: str) -> Object | None:
        return self.objects.get((key, namespace, name))

    def list(self, key: str, namespace: str | None = None) -> list[Object]:
        slots = sorted(s for s in self.objects if s[0] == key and namespace in (None, s[1]))
        return [self.objects[slot] for slot in slots]

    def update_status(self, key: str, namespace: str, name: str, status: Object) -> None:
        slot = (key, namespace, name)
        self.objects[slot] = {**self.objects[slot], "status": status}
        self._as_put[slot] = json.dumps(self.objects[slot], sort_keys=True)

    def assert_untouched(self) -> None:
        for slot, text in self._as_put.items():
            assert json.dumps(self.objects[slot], sort_keys=True) == text, slot


def request(
    key: str,
    obj: Object | None = None,
    *,
    operation: Any = "CREATE",
    old: Object | None = None,
    subresource: str = "",
    name: str | None = None,
    namespace: str | None = None,
    dry_run: bool = False,
) -> Attributes:
    """A request about an object; the object is the request's own and may be changed."""
    if name is None:
        name = ((obj or {}).get("metadata") or {}).get("name") or ""
    if namespace is None:
        namespace = NAMESPACE if RESOURCES[key].namespaced else ""
    return Attributes(
        operation=operation,
        resource=RESOURCES[key],
        namespace=namespace,
        name=name,
        user=USER,
        now=NOW,
        obj=obj,
        old=old,
        subresource=subresource,
        dry_run=dry_run,
    )


def run(world: World, attributes: Attributes, *plugins: AdmissionPlugin) -> Attributes:
    """Both phases of the plugins given, or of the whole default chain."""
    chain = AdmissionChain(plugins or default_plugins(suffix=lambda: "abcde"))
    chain.admit(attributes, world)
    chain.validate(attributes, world)
    world.assert_untouched()
    return attributes


def refusal(world: World, attributes: Attributes, *plugins: AdmissionPlugin) -> ApiError:
    with pytest.raises(ApiError) as caught:
        run(world, attributes, *plugins)
    world.assert_untouched()
    return caught.value


def reason(world: World, attributes: Attributes, *plugins: AdmissionPlugin) -> str:
    """The words of a 403 after "is forbidden: "."""
    error = refusal(world, attributes, *plugins)
    assert (error.code, error.reason) == (403, "Forbidden")
    return error.message.partition(" is forbidden: ")[2]


def pod(*containers: dict[str, Any], name: str = "p", metadata: Object | None = None, **spec: Any) -> Object:
    listed = [{"name": f"c{index}", "image": "x", **c} for index, c in enumerate(containers or ({},))]
    return {"metadata": {"name": name, **(metadata or {})}, "spec": {"containers": listed, **spec}}


def resources(requests: dict[str, str] | None = None, limits: dict[str, str] | None = None) -> dict[str, Any]:
    """The `resources` of a container, as keyword arguments for it."""
    lists = {"requests": requests, "limits": limits}
    return {"resources": {field: values for field, values in lists.items() if values is not None}}


def context(namespace: str = NAMESPACE) -> StrategyContext:
    return StrategyContext(now=NOW, user=USER, namespace=namespace)


def recorded_case(case_id: str) -> dict[str, Any]:
    """One of the answers that a real Kubernetes gave."""
    path = Path(__file__).parents[1] / "fidelity" / "kubernetes-1.36.json"
    cases = json.loads(path.read_text())
    return next(case for case in cases if case["id"] == case_id)  # type: ignore[no-any-return]
