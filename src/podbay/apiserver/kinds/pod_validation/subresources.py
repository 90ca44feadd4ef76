"""Updates through the ephemeralcontainers and resize endpoints.

Source: ValidatePodEphemeralContainersUpdate, ValidatePodResize in pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from podbay.apiserver.field import FieldError, forbidden, go_quote, invalid
from podbay.apiserver.kinds import pod_internal
from podbay.apiserver.kinds.pod_qos import compute_qos
from podbay.apiserver.kinds.pod_validation.annotations import MIRROR
from podbay.apiserver.kinds.pod_validation.spec import SPEC, pod_errors
from podbay.apiserver.kinds.pod_validation.update import annotation_update_errors
from podbay.objects.meta import Object, annotations_of

__all__ = ["validate_ephemeral_containers_update", "validate_resize"]

_RESIZED = ("cpu", "memory")
_NOT_CPU_MEMORY = "only cpu and memory resources are mutable"

Part = Mapping[str, Any]


def _whole(words: str) -> FieldError:
    """A refusal of the pod as such; its path is the empty string."""
    return FieldError("FieldValueForbidden", "", "", words)


def validate_ephemeral_containers_update(pod: Object, old: Object) -> list[FieldError]:
    """Ephemeral containers may only be added."""
    errors = pod_errors(pod) + annotation_update_errors(pod, old)
    if MIRROR in annotations_of(old):
        return [_whole("static pods do not support ephemeral containers")]
    path = SPEC.child("ephemeralContainers")
    new = {c.get("name"): c for c in (pod.get("spec") or {}).get("ephemeralContainers") or ()}
    for before in (old.get("spec") or {}).get("ephemeralContainers") or ():
        name = go_quote(before.get("name") or "")
        after = new.get(before.get("name"))
        if after is None:
            errors.append(forbidden(path, f"existing ephemeral containers {name} may not be removed\n"))
        elif after != before:
            changes = pod_internal.diff("core/v1.EphemeralContainer", before, after)
            words = f"existing ephemeral containers {name} may not be changed\n{changes}"
            errors.append(forbidden(path, words))
    return errors


def validate_resize(pod: Object, old: Object) -> list[FieldError]:
    """Only cpu and memory of containers, sidecars and the pod as a whole may change, and none may go away."""
    errors = pod_errors(pod)
    if MIRROR in annotations_of(old):
        return [_whole("static pods cannot be resized")]
    spec, old_spec = pod.get("spec") or {}, old.get("spec") or {}
    if (old_spec.get("os") or {}).get("name") == "windows":
        return [_whole("windows pods cannot be resized")]
    status = old.get("status") or {}
    if (status.get("qosClass") or compute_qos(old_spec)) != compute_qos(spec):
        shown = (pod.get("status") or {}).get("qosClass") or ""
        errors.append(invalid(SPEC, shown, "Pod QOS Class may not change as a result of resizing"))
    if not _node_can_resize(status):
        errors.append(forbidden(SPEC, "Pod running on node without support for resize"))
    munged = copy.deepcopy(dict(spec))
    errors += _pod_level_errors(munged, old_spec)
    order = _order_errors(spec, old_spec)
    if order:
        return errors + order
    errors += _removed_errors(spec, old_spec)
    errors += _container_errors(munged, old_spec)
    if not errors and not pod_internal.same_spec(munged, old_spec):
        errors.append(forbidden(SPEC, _NOT_CPU_MEMORY))
    return errors


def _node_can_resize(status: Part) -> bool:
    for container in status.get("containerStatuses") or ():
        if (container.get("state") or {}).get("running") is not None:
            return container.get("resources") is not None
    return True


def _pod_level_errors(munged: dict[str, Any], old: Part) -> list[FieldError]:
    new_resources, old_resources = munged.get("resources"), old.get("resources")
    if not _amounts(new_resources) and not _amounts(old_resources):
        return []
    at = SPEC.child("resources")
    if new_resources is None:
        return [forbidden(at, "pod-level resources cannot be removed")]
    errors = [
        forbidden(at.child(field), f"pod-level resource {field} cannot be removed")
        for field in ("requests", "limits")
        if not (new_resources.get(field) or {}).keys() >= ((old_resources or {}).get(field) or {}).keys()
    ]
    _restore(new_resources, old_resources or {})
    if old_resources is None and not _amounts(new_resources):
        del munged["resources"]
    elif not pod_internal.same_spec({"resources": new_resources}, {"resources": old_resources}):
        errors.append(forbidden(SPEC, "only cpu and memory resources are mutable at pod-level"))
    return errors


def _amounts(resources: Part | None) -> bool:
    return bool(resources and (resources.get("requests") or resources.get("limits")))


def _restore(resources: dict[str, Any], old: Part) -> None:
    """Put cpu and memory back to what they were."""
    for field in ("requests", "limits"):
        before = old.get(field) or {}
        values = {k: v for k, v in (resources.get(field) or {}).items() if k not in _RESIZED}
        values.update({k: before[k] for k in _RESIZED if k in before})
        resources.pop(field, None)
        if values:
            resources[field] = values


def _order_errors(spec: Part, old: Part) -> list[FieldError]:
    errors = []
    for field in ("containers", "initContainers"):
        new_list, old_list = spec.get(field) or (), old.get(field) or ()
        at = SPEC.child(field)
        if len(new_list) != len(old_list):
            errors.append(forbidden(at, f"{field} may not be added or removed on resize"))
            continue
        for i, (after, before) in enumerate(zip(new_list, old_list, strict=True)):
            if after.get("name") != before.get("name"):
                words = f"{field} may not be renamed or reordered on resize"
                errors.append(forbidden(at.index(i).child("name"), words))
    return errors


def _removed_errors(spec: Part, old: Part) -> list[FieldError]:
    errors = []
    for field in ("initContainers", "containers"):
        pairs: Sequence[tuple[Part, Part]] = list(
            zip(spec.get(field) or (), old.get(field) or (), strict=True)
        )
        for i, (after, before) in enumerate(pairs):
            if field == "initContainers" and before.get("restartPolicy") != "Always":
                continue
            new_resources, old_resources = after.get("resources") or {}, before.get("resources") or {}
            for kind in ("requests", "limits"):
                if not (new_resources.get(kind) or {}).keys() >= (old_resources.get(kind) or {}).keys():
                    at = SPEC.child(field).index(i).child("resources", kind)
                    errors.append(forbidden(at, f"resource {kind} cannot be removed"))
    return errors


def _container_errors(munged: dict[str, Any], old: Part) -> list[FieldError]:
    errors = []
    for container, before in zip(munged.get("containers") or (), old.get("containers") or (), strict=True):
        _restore(container.setdefault("resources", {}), before.get("resources") or {})
        if not _same(container, before):
            errors.append(forbidden(SPEC, _NOT_CPU_MEMORY))
    inits = zip(munged.get("initContainers") or (), old.get("initContainers") or (), strict=True)
    for i, (container, before) in enumerate(inits):
        if container.get("restartPolicy") != "Always":
            if not _same(container, before):
                words = "resources for non-sidecar init containers are immutable"
                errors.append(forbidden(SPEC, words))
            continue
        _restore(container.setdefault("resources", {}), before.get("resources") or {})
        if not _same(container, before):
            words = "only cpu and memory resources for init or sidecar containers are mutable"
            errors.append(forbidden(SPEC.child("initContainers").index(i), words))
    return errors


def _same(one: Part, other: Part) -> bool:
    return pod_internal.same_spec({"containers": [one]}, {"containers": [other]})
