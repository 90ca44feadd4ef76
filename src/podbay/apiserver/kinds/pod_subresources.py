"""Binding a pod to a node, and evicting it: the two requests of their own kind on a pod.

Source: pkg/registry/core/pod/storage/{storage,eviction}.go. There are no disruption budgets here, so an eviction is
a deletion that leaves its reason in the pod's conditions.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from podbay.apiserver import status
from podbay.apiserver.field import FieldError, Path, aggregate, not_supported, required
from podbay.apiserver.registry import ResourceType, StrategyContext
from podbay.apiserver.request import RequestInfo
from podbay.errors import ApiError
from podbay.objects.meta import Object, name_of, uid_of
from podbay.objects.resource import GroupResource

__all__ = ["bind_pod", "evict_pod", "set_condition"]

_BINDING = GroupResource("", "pods/binding")
_TARGET = Path("target")
_PODS = GroupResource("", "pods")


def _success() -> Object:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _pod_type(core: Any) -> ResourceType:
    found: ResourceType | None = core.registry.by_key("pods")
    assert found is not None
    return found


def set_condition(pod: Object, condition: Object, now: datetime) -> None:
    """Add or replace a condition of the same type; lastTransitionTime moves only when its status does."""
    pod_status = pod.setdefault("status", {})
    conditions = pod_status.setdefault("conditions", [])
    found = {
        "lastProbeTime": None,
        "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        **{k: v for k, v in condition.items() if v not in ("", None)},
    }
    for i, old in enumerate(conditions):
        if old.get("type") == condition["type"]:
            if old.get("status") == condition["status"]:
                found["lastTransitionTime"] = old.get("lastTransitionTime")
            conditions[i] = found
            return
    conditions.append(found)


def bind_pod(core: Any, info: RequestInfo, ctx: StrategyContext, body: Object | None) -> Object:
    """POST pods/{name}/binding (and bindings): give the pod to a node. 409 when it has one or is going away."""
    binding = body or {}
    name = name_of(binding)
    if info.name and info.name != name:
        raise status.bad_request("name in URL does not match name in Binding object")
    target = binding.get("target") or {}
    errors = _binding_errors(target)
    if errors:
        raise ApiError(500, "", aggregate(errors))

    def change(pod: Object) -> Object:
        _check_bindable(pod, binding)
        pod["spec"]["nodeName"] = target["name"]
        annotations = (binding.get("metadata") or {}).get("annotations") or {}
        labels = (binding.get("metadata") or {}).get("labels") or {}
        if annotations:
            pod["metadata"].setdefault("annotations", {}).update(annotations)
        if labels:
            pod["metadata"]["labels"] = {**labels, **(pod["metadata"].get("labels") or {})}
        set_condition(pod, {"type": "PodScheduled", "status": "True"}, ctx.now)
        return pod

    core.update_object(
        _pod_type(core),
        ctx.namespace,
        name,
        change,
        user=ctx.user,
        subresource="binding",
        dry_run=ctx.dry_run,
    )
    return _success()


def _binding_errors(target: Object) -> list[FieldError]:
    kind, name = target.get("kind") or "", target.get("name") or ""
    errors: list[FieldError] = []
    if kind not in ("", "Node"):
        errors.append(not_supported(_TARGET.child("kind"), kind, ("Node", "<empty>")))
    if not name:
        errors.append(required(_TARGET.child("name")))
    return errors


def _check_bindable(pod: Object, binding: Object) -> None:
    name, spec = name_of(pod), pod.get("spec") or {}
    wanted = uid_of(binding)
    if wanted and wanted != uid_of(pod):
        words = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid_of(pod)}"
        raise status.conflict(_BINDING, name, words)
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        words = f"pod {name} is being deleted, cannot be assigned to a host"
        raise status.conflict(_BINDING, name, words)
    if spec.get("nodeName"):
        words = f'pod {name} is already assigned to node "{spec["nodeName"]}"'
        raise status.conflict(_BINDING, name, words)
    if spec.get("schedulingGates"):
        raise status.conflict(_BINDING, name, f"pod {name} has non-empty .spec.schedulingGates")


def evict_pod(core: Any, info: RequestInfo, ctx: StrategyContext, body: Object | None) -> Object:
    """POST pods/{name}/eviction: delete the pod with the options of the eviction."""
    eviction = body or {}
    name = name_of(eviction)
    if info.name != name:
        raise status.bad_request("name in URL does not match name in Eviction object")
    options = dict(eviction.get("deleteOptions") or {})
    if ctx.dry_run:
        options["dryRun"] = ["All"]
    resource = _pod_type(core)
    pod = core.reader.get("pods", ctx.namespace, name)
    if pod is None:
        raise status.not_found(_PODS, name)
    dry_run = bool(options.get("dryRun"))
    if not dry_run and _preconditions_hold(pod, options.get("preconditions") or {}):
        _mark_disrupted(core, resource, ctx, name)
        _drop_version(options)
    core.delete_object(resource, ctx.namespace, name, options, ctx.user)
    return _success()


def _preconditions_hold(pod: Object, wanted: Object) -> bool:
    """A delete that will be refused must not leave a mark."""
    meta = pod.get("metadata") or {}
    uid, version = wanted.get("uid"), wanted.get("resourceVersion")
    return uid in (None, meta.get("uid")) and version in (None, meta.get("resourceVersion"))


def _drop_version(options: Object) -> None:
    """The mark made a new version of the pod; the old one was checked before."""
    wanted = options.get("preconditions")
    if wanted:
        options["preconditions"] = {k: v for k, v in wanted.items() if k != "resourceVersion"}


def _mark_disrupted(core: Any, resource: ResourceType, ctx: StrategyContext, name: str) -> None:
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    }

    def change(pod: Object) -> Object:
        generation = (pod.get("metadata") or {}).get("generation")
        set_condition(pod, {**condition, "observedGeneration": generation}, ctx.now)
        return pod

    core.update_object(resource, ctx.namespace, name, change, user=ctx.user)
