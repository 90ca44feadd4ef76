"""A whole pod spec, topic by topic in the order of the real server.

Source: ValidatePodSpec, validatePodMetadataAndSpec, ValidatePodCreate in pkg/apis/core/validation/validation.go.
metadata itself is checked by the verb handlers; what annotations mean for a pod is checked here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podbay.apiserver.field import FieldError, Path, forbidden, invalid, required
from podbay.apiserver.kinds.pod_validation import rules
from podbay.apiserver.kinds.pod_validation.affinity import affinity_errors
from podbay.apiserver.kinds.pod_validation.annotations import annotations_errors, profile_mismatch_errors
from podbay.apiserver.kinds.pod_validation.containers import (
    PodFacts,
    containers_errors,
    ephemeral_containers_errors,
    image_padding_errors,
    init_containers_errors,
)
from podbay.apiserver.kinds.pod_validation.env import file_key_ref_volumes_errors
from podbay.apiserver.kinds.pod_validation.network import (
    dns_config_errors,
    dns_policy_errors,
    host_aliases_errors,
    host_name_errors,
)
from podbay.apiserver.kinds.pod_validation.ports import host_network_errors
from podbay.apiserver.kinds.pod_validation.resources import (
    container_resources_errors,
    pod_resources_errors,
    resource_claims_errors,
)
from podbay.apiserver.kinds.pod_validation.scheduling import gates_errors, tolerations_errors, topology_errors
from podbay.apiserver.kinds.pod_validation.security import host_users_errors, pod_security_errors
from podbay.apiserver.kinds.pod_validation.volumes import volumes_errors
from podbay.apiserver.kinds.pod_validation.windows import host_process_errors, os_errors
from podbay.objects.meta import Object, annotations_of, name_of

__all__ = ["ANNOTATIONS", "SPEC", "pod_errors", "validate_pod_create"]

ANNOTATIONS = Path("metadata").child("annotations")
SPEC = Path("spec")
_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_PREEMPTION_POLICIES = ("PreemptLowerPriority", "Never")


def validate_pod_create(pod: Object) -> list[FieldError]:
    """Everything wrong with a new pod, except metadata."""
    spec = pod.get("spec") or {}
    errors = pod_errors(pod)
    if spec.get("ephemeralContainers"):
        errors.append(forbidden(SPEC.child("ephemeralContainers"), "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        words = "cannot be set until all schedulingGates have been cleared"
        errors.append(forbidden(SPEC.child("nodeName"), words))
    return errors + profile_mismatch_errors(SPEC, annotations_of(pod), spec)


def pod_errors(pod: Object) -> list[FieldError]:
    """What holds for a pod at any time of its life."""
    spec = pod.get("spec") or {}
    errors = annotations_errors(ANNOTATIONS, annotations_of(pod), spec)
    errors += _spec_errors(spec, name_of(pod))
    if not spec.get("serviceAccountName"):
        errors += _token_without_account_errors(spec)
    for field in ("containers", "initContainers"):
        for i, container in enumerate(spec.get(field) or ()):
            errors += image_padding_errors(SPEC.child(field).index(i), container)
    return errors


def _token_without_account_errors(spec: Mapping[str, Any]) -> list[FieldError]:
    words = "must not be specified when serviceAccountName is not set"
    return [
        forbidden(
            SPEC.child("volumes")
            .index(i)
            .child("projected", "sources")
            .index(j)
            .child("serviceAccountToken"),
            words,
        )
        for i, volume in enumerate(spec.get("volumes") or ())
        for j, source in enumerate((volume.get("projected") or {}).get("sources") or ())
        if source.get("serviceAccountToken") is not None
    ]


def _spec_errors(spec: Mapping[str, Any], pod_name: str) -> list[FieldError]:
    errors: list[FieldError] = []
    grace_period = spec.get("terminationGracePeriodSeconds")
    if grace_period is None:
        errors.append(required(SPEC.child("terminationGracePeriodSeconds")))
    volumes, found = volumes_errors(SPEC.child("volumes"), spec.get("volumes") or (), pod_name)
    errors += found
    claims = spec.get("resourceClaims") or ()
    errors += resource_claims_errors(SPEC.child("resourceClaims"), claims)
    facts = PodFacts(
        volumes=volumes,
        claim_names=[claim["name"] for claim in claims if claim.get("name")],
        restart_policy=spec.get("restartPolicy") or "",
        grace_period=grace_period,
        host_users=spec.get("hostUsers") is not False,
    )
    errors += containers_errors(SPEC.child("containers"), spec.get("containers") or (), facts)
    errors += init_containers_errors(SPEC.child("initContainers"), spec, facts)
    errors += ephemeral_containers_errors(SPEC.child("ephemeralContainers"), spec, facts)
    errors += pod_resources_errors(SPEC, spec, facts.claim_names)
    errors += host_network_errors(SPEC, spec)
    errors += _policy_and_node_errors(spec)
    errors += _placement_errors(spec)
    errors += host_process_errors(SPEC, spec)
    errors += host_users_errors(SPEC, spec)
    errors += host_name_errors(SPEC, spec)
    errors += _names_and_limits_errors(spec)
    errors += os_errors(SPEC, spec)
    return errors + file_key_ref_volumes_errors(SPEC, spec)


def _policy_and_node_errors(spec: Mapping[str, Any]) -> list[FieldError]:
    restart = spec.get("restartPolicy") or ""
    at = SPEC.child("restartPolicy")
    errors = rules.one_of(at, restart, _RESTART_POLICIES) if restart else [required(at)]
    errors += dns_policy_errors(SPEC.child("dnsPolicy"), spec.get("dnsPolicy") or "")
    errors += rules.labels(SPEC.child("nodeSelector"), spec.get("nodeSelector") or {})
    return errors + pod_security_errors(SPEC.child("securityContext"), spec)


def _placement_errors(spec: Mapping[str, Any]) -> list[FieldError]:
    errors = affinity_errors(SPEC.child("affinity"), spec.get("affinity"))
    policy = spec.get("dnsPolicy") or ""
    errors += dns_config_errors(SPEC.child("dnsConfig"), spec.get("dnsConfig"), policy)
    for i, gate in enumerate(spec.get("readinessGates") or ()):
        at = SPEC.child("readinessGates").index(i).child("conditionType")
        errors += rules.qualified_name(at, gate.get("conditionType") or "")
    errors += gates_errors(SPEC.child("schedulingGates"), spec.get("schedulingGates") or ())
    constraints = spec.get("topologySpreadConstraints") or ()
    return errors + topology_errors(SPEC.child("topologySpreadConstraints"), constraints)


def _names_and_limits_errors(spec: Mapping[str, Any]) -> list[FieldError]:
    errors: list[FieldError] = []
    for field in ("serviceAccountName", "nodeName"):
        if spec.get(field):
            errors += rules.name(SPEC.child(field), spec[field])
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= rules.MAX_INT32:
        words = f"must be between 1 and {rules.MAX_INT32}, inclusive"
        errors.append(invalid(SPEC.child("activeDeadlineSeconds"), deadline, words))
    for field in ("hostname", "subdomain"):
        if spec.get(field):
            errors += rules.short_name(SPEC.child(field), spec[field])
    errors += tolerations_errors(SPEC.child("tolerations"), spec.get("tolerations") or ())
    errors += host_aliases_errors(SPEC.child("hostAliases"), spec.get("hostAliases") or ())
    if spec.get("priorityClassName"):
        errors += rules.name(SPEC.child("priorityClassName"), spec["priorityClassName"])
    if spec.get("runtimeClassName") is not None:
        errors += rules.name(SPEC.child("runtimeClassName"), spec["runtimeClassName"])
    preemption = spec.get("preemptionPolicy")
    at = SPEC.child("preemptionPolicy")
    if preemption == "":
        errors.append(required(at))
    else:
        errors += rules.one_of(at, preemption, _PREEMPTION_POLICIES)
    if spec.get("overhead") is not None:
        errors += container_resources_errors(SPEC.child("overhead"), {"limits": spec["overhead"]}, ())
    return errors
