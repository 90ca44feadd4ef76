"""The Pod kind: how it is declared, and the strategies of its endpoints.

Source: pkg/registry/core/pod/{strategy.go,storage/storage.go}. What the strategies decide is in pod_defaults,
pod_prepare, pod_validation and pod_warnings.
"""

from __future__ import annotations

from collections.abc import Callable

from podbay.apiserver.field import FieldError
from podbay.apiserver.kinds import pod_validation
from podbay.apiserver.kinds.pod_defaults import default_pod
from podbay.apiserver.kinds.pod_prepare import drop_disabled_fields, grow_generation, prepare_new_pod
from podbay.apiserver.kinds.pod_subresources import bind_pod, evict_pod
from podbay.apiserver.kinds.pod_table import POD_COLUMNS, pod_cells, pod_row_conditions
from podbay.apiserver.kinds.pod_warnings import pod_warnings
from podbay.apiserver.registry import ResourceType, Strategy, StrategyContext, Subresource
from podbay.objects.meta import Object
from podbay.objects.resource import GVR

__all__ = [
    "POD",
    "RESOURCE_TYPES",
    "EphemeralContainersStrategy",
    "PodStatusStrategy",
    "PodStrategy",
    "ResizeStrategy",
]

_ENDED = ("Succeeded", "Failed")


class PodStrategy(Strategy):
    """Pods as their authors see them."""

    returns_deleted_object = True
    metadata_repeats = (1, 1)

    def set_defaults(self, obj: Object) -> None:
        default_pod(obj)

    def prepare_for_create(self, obj: Object, ctx: StrategyContext) -> None:
        prepare_new_pod(obj)

    def validate(self, obj: Object, ctx: StrategyContext) -> list[FieldError]:
        return pod_validation.validate_pod_create(obj)

    def warnings_on_create(self, obj: Object, ctx: StrategyContext) -> list[str]:
        return pod_warnings(obj)

    def prepare_for_update(self, obj: Object, old: Object, ctx: StrategyContext) -> None:
        _keep(obj, old, "status")
        drop_disabled_fields(obj["spec"])
        grow_generation(obj, old)

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        return pod_validation.validate_pod_update(obj, old)

    def warnings_on_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[str]:
        # Only a new generation of the spec brings its warnings up again.
        if _generation(obj) == _generation(old):
            return []
        return pod_warnings(obj)

    def grace_period(self, obj: Object, requested: int | None) -> int | None:
        """Pods without a node and pods that have ended need no time to stop."""
        period = requested
        if period is None:
            period = (obj.get("spec") or {}).get("terminationGracePeriodSeconds") or 0
        if not (obj.get("spec") or {}).get("nodeName"):
            period = 0
        if (obj.get("status") or {}).get("phase") in _ENDED:
            period = 0
        # Negative periods were accepted long ago; they mean the shortest there is.
        return 1 if period < 0 else period


class PodStatusStrategy(PodStrategy):
    """The status endpoint: what the node agent and the scheduler report."""

    metadata_repeats = (0, 1)

    def prepare_for_update(self, obj: Object, old: Object, ctx: StrategyContext) -> None:
        _keep(obj, old, "spec")
        meta, old_meta = obj["metadata"], old["metadata"]
        for key in ("deletionTimestamp", "ownerReferences"):
            # The one is set by deletion alone, the other by the pod's owners alone.
            if key in old_meta and key == "ownerReferences":
                meta[key] = old_meta[key]
            else:
                meta.pop(key, None)
        new_status, old_status = obj.setdefault("status", {}), old.get("status") or {}
        if not new_status.get("qosClass") and old_status.get("qosClass"):
            new_status["qosClass"] = old_status["qosClass"]
        _agree_on_address(new_status)

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        return pod_validation.validate_pod_status_update(obj, old)

    def warnings_on_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[str]:
        return []


class EphemeralContainersStrategy(PodStrategy):
    """The ephemeralcontainers endpoint: nothing else of the pod changes."""

    def prepare_for_update(self, obj: Object, old: Object, ctx: StrategyContext) -> None:
        _take_only(obj, old, "ephemeralContainers")

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        return pod_validation.validate_ephemeral_containers_update(obj, old)


class ResizeStrategy(PodStrategy):
    """The resize endpoint: resources and resize policies of containers, and resources of the pod."""

    def prepare_for_update(self, obj: Object, old: Object, ctx: StrategyContext) -> None:
        new_spec = obj.get("spec") or {}
        spec = {**(old.get("spec") or {})}
        for field in ("containers", "initContainers"):
            if field in spec:
                spec[field] = _resized(new_spec.get(field) or [], spec[field])
        if "resources" in new_spec:
            spec["resources"] = new_spec["resources"]
        else:
            spec.pop("resources", None)
        _restore(obj, old, spec)
        grow_generation(obj, old)

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        return pod_validation.validate_resize(obj, old)


def _agree_on_address(status: Object) -> None:
    """podIP is the first of podIPs; where they differ, the single field wins (old node agents set only that)."""
    listed = status.get("podIPs") or []
    single = status.get("podIP")
    if single and (not listed or listed[0].get("ip") != single):
        status["podIPs"] = [{"ip": single}]
    elif listed and not single:
        status["podIP"] = listed[0].get("ip") or ""


def _generation(pod: Object) -> int:
    return (pod.get("metadata") or {}).get("generation") or 0


def _keep(obj: Object, old: Object, field: str) -> None:
    if field in old:
        obj[field] = old[field]
    else:
        obj.pop(field, None)


def _take_only(obj: Object, old: Object, field: str) -> None:
    """The old pod with one field of the new spec."""
    spec = {**(old.get("spec") or {})}
    value = (obj.get("spec") or {}).get(field)
    if value:
        spec[field] = value
    else:
        spec.pop(field, None)
    _restore(obj, old, spec)
    drop_disabled_fields(obj["spec"])
    grow_generation(obj, old)


def _restore(obj: Object, old: Object, spec: Object) -> None:
    """The old pod with this spec; the request's resourceVersion and field managers stay."""
    meta = {**old["metadata"]}
    for key in ("resourceVersion", "managedFields"):
        if key in obj["metadata"]:
            meta[key] = obj["metadata"][key]
    obj["metadata"] = meta
    obj["spec"] = spec
    _keep(obj, old, "status")


def _resized(new: list[Object], old: list[Object]) -> list[Object]:
    """The old containers with the new ones' resources; a list that does not match is left for validation to refuse."""
    if [c.get("name") for c in new] != [c.get("name") for c in old]:
        return new
    fields = ("resources", "resizePolicy")
    return [
        {
            **{k: v for k, v in before.items() if k not in fields},
            **{k: after[k] for k in fields if k in after},
        }
        for before, after in zip(old, new, strict=True)
    ]


def _host_network(pod: Object) -> str:
    return "true" if (pod.get("spec") or {}).get("hostNetwork") else "false"


def _pod_ip(pod: Object) -> str:
    addresses = (pod.get("status") or {}).get("podIPs") or ()
    return str(addresses[0].get("ip") or "") if addresses else ""


def _read(part: str, field: str) -> Callable[[Object], str]:
    return lambda pod: str((pod.get(part) or {}).get(field) or "")


def _view(name: str, strategy: Strategy) -> Subresource:
    verbs = ("get", "patch", "update")
    return Subresource(
        name=name, verbs=verbs, kind="Pod", type_name="io.k8s.api.core.v1.Pod", strategy=strategy
    )


_STREAMS = (
    Subresource(name="attach", verbs=("create", "get"), kind="PodAttachOptions"),
    Subresource(name="exec", verbs=("create", "get"), kind="PodExecOptions"),
    Subresource(name="log", verbs=("get",), kind="Pod"),
    Subresource(name="portforward", verbs=("create", "get"), kind="PodPortForwardOptions"),
    Subresource(name="proxy", verbs=("create", "delete", "get", "patch", "update"), kind="PodProxyOptions"),
)

POD = ResourceType(
    gvr=GVR("", "v1", "pods"),
    kind="Pod",
    type_name="io.k8s.api.core.v1.Pod",
    namespaced=True,
    strategy=PodStrategy(),
    short_names=("po",),
    categories=("all",),
    fields={
        "spec.nodeName": _read("spec", "nodeName"),
        "spec.restartPolicy": _read("spec", "restartPolicy"),
        "spec.schedulerName": _read("spec", "schedulerName"),
        "spec.serviceAccountName": _read("spec", "serviceAccountName"),
        "spec.hostNetwork": _host_network,
        "status.phase": _read("status", "phase"),
        "status.podIP": _pod_ip,
        "status.nominatedNodeName": _read("status", "nominatedNodeName"),
    },
    subresources=(
        *_STREAMS,
        Subresource(
            name="binding",
            verbs=("create",),
            kind="Binding",
            type_name="io.k8s.api.core.v1.Binding",
            handler=bind_pod,
        ),
        Subresource(
            name="eviction",
            verbs=("create",),
            kind="Eviction",
            group="policy",
            version="v1",
            type_name="io.k8s.api.policy.v1.Eviction",
            handler=evict_pod,
        ),
        _view("ephemeralcontainers", EphemeralContainersStrategy()),
        _view("resize", ResizeStrategy()),
        _view("status", PodStatusStrategy()),
    ),
    columns=POD_COLUMNS,
    cells=pod_cells,
    row_conditions=pod_row_conditions,
)


_BINDING = ResourceType(
    gvr=GVR("", "v1", "bindings"),
    kind="Binding",
    type_name="io.k8s.api.core.v1.Binding",
    namespaced=True,
    strategy=Strategy(),
    verbs=("create",),
    handler=bind_pod,
)
"""The collection that schedulers of old post to; the binding names its pod."""

RESOURCE_TYPES = (_BINDING, POD)
