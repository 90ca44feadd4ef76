"""What the server itself writes into a pod before it validates it.

Source: pkg/registry/core/pod/strategy.go (PrepareForCreate, mutatePodAffinity, applyAppArmorVersionSkew) and the
fields of disabled features in pkg/api/pod/util.go, with the default feature gates of 1.36.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podbay.apiserver.field import Path
from podbay.apiserver.kinds import pod_internal
from podbay.apiserver.kinds.pod_qos import compute_qos
from podbay.apiserver.kinds.pod_validation.annotations import APP_ARMOR_PREFIX
from podbay.apiserver.kinds.pod_validation.rules import all_containers
from podbay.objects.meta import Object, annotations_of, labels_of, metadata_of

__all__ = ["drop_disabled_fields", "grow_generation", "prepare_new_pod"]

_GATED = {
    "lastProbeTime": None,
    "lastTransitionTime": None,
    "message": "Scheduling is blocked due to non-empty scheduling gates",
    "reason": "SchedulingGated",
    "status": "False",
    "type": "PodScheduled",
}
_AFFINITIES = ("podAffinity", "podAntiAffinity")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"

Part = dict[str, Any]


def prepare_new_pod(pod: Object) -> None:
    """Reset status, start the generation, and complete the spec."""
    spec = pod["spec"]
    metadata_of(pod)["generation"] = 1
    pod["status"] = {"phase": "Pending", "qosClass": compute_qos(spec)}
    drop_disabled_fields(spec)
    if spec.get("schedulingGates"):
        pod["status"]["conditions"] = [dict(_GATED)]
    labels = labels_of(pod)
    for affinity in _AFFINITIES:
        terms = (spec.get("affinity") or {}).get(affinity) or {}
        for term in terms.get(_REQUIRED) or ():
            _merge_label_keys(term, labels)
        for weighted in terms.get(_PREFERRED) or ():
            _merge_label_keys(weighted.get("podAffinityTerm") or {}, labels)
    for constraint in spec.get("topologySpreadConstraints") or ():
        _merge_label_keys(constraint, labels)
    if (spec.get("os") or {}).get("name") != "windows":
        _sync_app_armor(pod, spec)


def drop_disabled_fields(spec: Part) -> None:
    """Features that are off in 1.36 lose their fields without a word."""
    spec.pop("schedulingGroup", None)
    for container, _ in all_containers(spec, Path()):
        lifecycle = container.get("lifecycle")
        if lifecycle is not None and lifecycle.pop("stopSignal", None) is not None and not lifecycle:
            del container["lifecycle"]  # type: ignore[attr-defined]
    for volume in spec.get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            source.pop("clusterTrustBundle", None)
            source.pop("podCertificate", None)


def _merge_label_keys(term: Part, labels: Mapping[str, str]) -> None:
    """matchLabelKeys and mismatchLabelKeys become requirements with this pod's own label values."""
    selector = term.get("labelSelector")
    if selector is None:
        return
    for field, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")):
        for key in term.get(field) or ():
            if key in labels:
                requirement = {"key": key, "operator": operator, "values": [labels[key]]}
                selector.setdefault("matchExpressions", []).append(requirement)


def _sync_app_armor(pod: Object, spec: Part) -> None:
    """The field and the annotation of old say the same, for components that read only one of them."""
    pod_profile = (spec.get("securityContext") or {}).get("appArmorProfile")
    for container, _ in all_containers(spec, Path()):
        key = f"{APP_ARMOR_PREFIX}{container.get('name') or ''}"
        profile = (container.get("securityContext") or {}).get("appArmorProfile")
        annotation = annotations_of(pod).get(key)
        if annotation is None:
            text = _profile_text(profile or pod_profile)
            if text:
                metadata_of(pod).setdefault("annotations", {})[key] = text
        elif profile is None:
            found = _profile_of(annotation)
            if found is not None and found != pod_profile:
                container.setdefault("securityContext", {})["appArmorProfile"] = found  # type: ignore[attr-defined]


def _profile_text(profile: Mapping[str, Any] | None) -> str:
    match (profile or {}).get("type"):
        case "Unconfined":
            return "unconfined"
        case "RuntimeDefault":
            return "runtime/default"
        case "Localhost" if (profile or {}).get("localhostProfile") is not None:
            return f"localhost/{(profile or {})['localhostProfile']}"
    return ""


def _profile_of(annotation: str) -> Part | None:
    """The field an annotation stands for; None for one that would not be valid."""
    if annotation == "unconfined":
        return {"type": "Unconfined"}
    if annotation == "runtime/default":
        return {"type": "RuntimeDefault"}
    name = annotation.removeprefix("localhost/")
    if name != annotation and name and name == name.strip():
        return {"type": "Localhost", "localhostProfile": name}
    return None


def grow_generation(pod: Object, old: Object) -> None:
    """A changed spec is a new generation."""
    before = (old.get("metadata") or {}).get("generation") or 0
    changed = not pod_internal.same_spec(pod.get("spec") or {}, old.get("spec") or {})
    generation = before + 1 if changed else before
    if generation:
        metadata_of(pod)["generation"] = generation
