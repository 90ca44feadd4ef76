"""What may change in a pod once it is there: images, the deadline (downwards), more tolerations, fewer gates.

Source: ValidatePodUpdate in pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from podbay.apiserver.field import FieldError, Path, forbidden, invalid, required
from podbay.apiserver.kinds import pod_internal
from podbay.apiserver.kinds.pod_validation import rules
from podbay.apiserver.kinds.pod_validation.annotations import annotation_change_errors, annotations_errors
from podbay.apiserver.kinds.pod_validation.scheduling import tolerations_errors
from podbay.apiserver.kinds.pod_validation.spec import ANNOTATIONS, SPEC, pod_errors
from podbay.objects.meta import Object, annotations_of

__all__ = ["annotation_update_errors", "validate_pod_update"]

_UPDATABLE = (
    "`spec.containers[*].image`",
    "`spec.initContainers[*].image`",
    "`spec.activeDeadlineSeconds`",
    "`spec.tolerations` (only additions to existing tolerations)",
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
)
_DEADLINE = SPEC.child("activeDeadlineSeconds")
_NODE_TERMS = "requiredDuringSchedulingIgnoredDuringExecution"

Spec = Mapping[str, Any]


def annotation_update_errors(pod: Object, old: Object) -> list[FieldError]:
    """Annotations with a meaning, as part of any kind of update."""
    new_annotations = annotations_of(pod)
    errors = annotation_change_errors(ANNOTATIONS, new_annotations, annotations_of(old))
    return errors + annotations_errors(ANNOTATIONS, new_annotations, pod.get("spec") or {})


def validate_pod_update(pod: Object, old: Object) -> list[FieldError]:
    """Everything wrong with an update of the pod itself, except metadata."""
    new_spec, old_spec = pod.get("spec") or {}, old.get("spec") or {}
    errors = pod_errors(pod) + annotation_update_errors(pod, old)
    for field in ("containers", "initContainers"):
        new_list, old_list = new_spec.get(field) or (), old_spec.get(field) or ()
        if len(new_list) != len(old_list):
            words = "pod updates may not add or remove containers"
            return [*errors, forbidden(SPEC.child(field), words)]
        errors += _image_errors(SPEC.child(field), new_list)
    deadline_errors, stop = _deadline_errors(
        new_spec.get("activeDeadlineSeconds"), old_spec.get("activeDeadlineSeconds")
    )
    errors += deadline_errors
    if stop:
        return errors
    errors += _tolerations_change_errors(new_spec.get("tolerations") or (), old_spec.get("tolerations") or ())
    errors += _gates_change_errors(
        new_spec.get("schedulingGates") or (), old_spec.get("schedulingGates") or ()
    )
    if pod_internal.same_spec(new_spec, old_spec):
        return errors
    return errors + _other_changes_errors(new_spec, old_spec)


def _image_errors(path: Path, containers: Sequence[Spec]) -> list[FieldError]:
    errors = []
    for i, container in enumerate(containers):
        image = container.get("image") or ""
        at = path.index(i).child("image")
        if not image:
            errors.append(required(at))
        if image.strip() != image:
            errors.append(invalid(at, image, "must not have leading or trailing whitespace"))
    return errors


def _deadline_errors(new: int | None, old: int | None) -> tuple[list[FieldError], bool]:
    """Errors, and whether the real server stops looking for more."""
    if new is None:
        if old is None:
            return [], False
        words = "must not update from a positive integer to nil value"
        return [invalid(_DEADLINE, None, words)], False
    if not 0 <= new <= rules.MAX_INT32:
        return [invalid(_DEADLINE, new, f"must be between 0 and {rules.MAX_INT32}, inclusive")], True
    if old is not None and old < new:
        return [invalid(_DEADLINE, new, "must be less than or equal to previous value")], True
    return [], False


def _tolerations_change_errors(new: Sequence[Spec], old: Sequence[Spec]) -> list[FieldError]:
    path = SPEC.child("tolerations")
    present = [_but_seconds(toleration) for toleration in new]
    if any(_but_seconds(toleration) not in present for toleration in old):
        words = "existing toleration can not be modified except its tolerationSeconds"
        return [forbidden(path, words)]
    return tolerations_errors(path, new)


def _but_seconds(toleration: Spec) -> dict[str, Any]:
    return {k: v for k, v in toleration.items() if v and k != "tolerationSeconds"}


def _gates_change_errors(new: Sequence[Spec], old: Sequence[Spec]) -> list[FieldError]:
    position = {gate.get("name") or "": i for i, gate in enumerate(new)}
    for gate in old:
        position.pop(gate.get("name") or "", None)
    return [
        forbidden(
            SPEC.child("schedulingGates").index(i).child("name"),
            f"only deletion is allowed, but found new scheduling gate '{name}'",
        )
        for name, i in position.items()
    ]


def _other_changes_errors(new: Spec, old: Spec) -> list[FieldError]:
    """Undo every change that is allowed; what is different then is not."""
    munged = copy.deepcopy(dict(new))
    for field in ("containers", "initContainers"):
        for container, before in zip(munged.get(field) or (), old.get(field) or (), strict=True):
            _put(container, "image", before.get("image"))
    for field in ("activeDeadlineSeconds", "schedulingGates", "tolerations"):
        _put(munged, field, old.get(field))
    grace_period = old.get("terminationGracePeriodSeconds")
    if (grace_period or 0) < 0 and munged.get("terminationGracePeriodSeconds") == 1:
        munged["terminationGracePeriodSeconds"] = grace_period
    errors = _gated_changes_errors(munged, old) if old.get("schedulingGates") else []
    if not pod_internal.same_spec(munged, old):
        changes = pod_internal.diff("core/v1.PodSpec", old, munged)
        words = f"pod updates may not change fields other than {','.join(_UPDATABLE)}\n{changes}"
        errors.append(forbidden(SPEC, words))
    return errors


def _put(holder: dict[str, Any], field: str, value: Any) -> None:
    if value is None:
        holder.pop(field, None)
    else:
        holder[field] = value


def _gated_changes_errors(munged: dict[str, Any], old: Spec) -> list[FieldError]:
    """A pod with scheduling gates may narrow down where it runs. Undoes those changes in munged."""
    errors: list[FieldError] = []
    new_selector, old_selector = munged.get("nodeSelector") or {}, old.get("nodeSelector") or {}
    if new_selector != old_selector:
        if any(new_selector.get(key) != value for key, value in old_selector.items()):
            words = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
            errors.append(invalid(SPEC.child("nodeSelector"), new_selector, words))
        _put(munged, "nodeSelector", old.get("nodeSelector"))
    old_affinity = old.get("affinity")
    new_affinity = munged.get("affinity")
    old_node = (old_affinity or {}).get("nodeAffinity")
    new_node = (new_affinity or {}).get("nodeAffinity")
    if old_node == new_node:
        return errors
    errors += _node_affinity_change_errors(SPEC.child("affinity", "nodeAffinity"), new_node, old_node)
    if new_affinity is None:
        munged["affinity"] = {"nodeAffinity": old_node}
    elif old_affinity is None and not new_affinity.keys() & {"podAffinity", "podAntiAffinity"}:
        del munged["affinity"]
    else:
        _put(new_affinity, "nodeAffinity", old_node)
    return errors


def _node_affinity_change_errors(path: Path, new: Spec | None, old: Spec | None) -> list[FieldError]:
    if not (old or {}).get(_NODE_TERMS):
        return []
    old_terms = ((old or {}).get(_NODE_TERMS) or {}).get("nodeSelectorTerms") or []
    new_terms = ((new or {}).get(_NODE_TERMS) or {}).get("nodeSelectorTerms") or []
    at = path.child(_NODE_TERMS, "nodeSelectorTerms")
    shown = [pod_internal.to_go("core/v1.NodeSelectorTerm", term) for term in new_terms]
    if old_terms and len(old_terms) != len(new_terms):
        words = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        return [invalid(at, shown or None, words)]
    words = "only additions are allowed (no mutations or deletions)"
    return [
        invalid(at.index(i), shown[i], words)
        for i, before in enumerate(old_terms)
        if not _only_adds(new_terms[i], before)
    ]


def _only_adds(new: Spec, old: Spec) -> bool:
    fields = ("matchExpressions", "matchFields")
    if not any(old.get(field) for field in fields):
        return not any(new.get(field) for field in fields)
    for field in fields:
        before = old.get(field) or []
        if (new.get(field) or [])[: len(before)] != before:
            return False
    return True
