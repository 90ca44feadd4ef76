"""The parts of a pod's status that speak of devices: claims and the health of allocated resources.

Source: validatePodResourceClaimStatuses, validatePodExtendedResourceClaimStatus,
validateContainerStatusAllocatedResourcesStatus in pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podbay.apiserver.field import FieldError, Path, duplicate, forbidden, invalid, required
from podbay.apiserver.kinds.pod_validation import rules

__all__ = ["allocated_resources_errors", "claim_statuses_errors", "extended_claim_errors"]

_HEALTH = ("Healthy", "Unhealthy", "Unknown")

Part = Mapping[str, Any]


def claim_statuses_errors(path: Path, status: Part, spec: Part) -> list[FieldError]:
    """`resourceClaimStatuses`. path is `status`."""
    declared = {claim.get("name") for claim in spec.get("resourceClaims") or ()}
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, entry in enumerate(status.get("resourceClaimStatuses") or ()):
        at = path.child("resourceClaimStatuses").index(i)
        name = entry.get("name") or ""
        if name not in declared:
            words = "must match the name of an entry in `spec.resourceClaims`"
            errors.append(invalid(at.child("name"), name, words))
        if name in seen:
            errors.append(duplicate(at.child("name"), name))
        seen.add(name)
        claim = entry.get("resourceClaimName")
        if claim is not None:
            errors += rules.name(at.child("resourceClaimName"), claim)
    return errors


def extended_claim_errors(path: Path, status: Part, spec: Part) -> list[FieldError]:
    """`extendedResourceClaimStatus`. path is `status`."""
    entry = status.get("extendedResourceClaimStatus")
    if entry is None:
        return []
    at = path.child("extendedResourceClaimStatus")
    containers = {
        container.get("name"): container
        for field in ("initContainers", "containers")
        for container in spec.get(field) or ()
    }
    mappings = entry.get("requestMappings") or []
    errors = []
    if not mappings:
        errors.append(required(at.child("requestMappings"), "at least one request mapping is required"))
    seen: set[tuple[str, str, str]] = set()
    for i, mapping in enumerate(mappings):
        errors += _mapping_errors(at, at.child("requestMappings").index(i), mapping, containers, seen)
    claim = entry.get("resourceClaimName") or ""
    where = at.child("resourceClaimName")
    return errors + (rules.name(where, claim) if claim else [required(where)])


def _mapping_errors(
    status_path: Path,
    path: Path,
    mapping: Part,
    containers: Mapping[Any, Part],
    seen: set[tuple[str, str, str]],
) -> list[FieldError]:
    name, resource = mapping.get("containerName") or "", mapping.get("resourceName") or ""
    request = mapping.get("requestName") or ""
    errors = []
    if name not in containers:
        words = "must match the name of an entry in spec.initContainers.name or spec.containers.name"
        errors.append(invalid(path.child("containerName"), name, words))
    elif resource not in ((containers[name].get("resources") or {}).get("requests") or {}):
        words = (
            "must match the extended resource name of an entry in spec.initContainers.resources.requests "
            "or spec.containers.resources.requests"
        )
        errors.append(invalid(path.child("resourceName"), resource, words))
    errors += rules.short_name(status_path.child("requestName"), request)
    if (name, resource, request) in seen:
        errors.append(duplicate(path.child("containerName"), name))
        errors.append(duplicate(path.child("resourceName"), resource))
        errors.append(duplicate(path.child("requestName"), request))
    seen.add((name, resource, request))
    return errors


def allocated_resources_errors(path: Path, status: Part, spec: Part) -> list[FieldError]:
    """`allocatedResourcesStatus` of every container status. path is `status`."""
    errors: list[FieldError] = []
    for field, containers in (
        ("containerStatuses", "containers"),
        ("initContainerStatuses", "initContainers"),
    ):
        for i, entry in enumerate(status.get(field) or ()):
            container = next(
                (c for c in spec.get(containers) or () if c.get("name") == entry.get("name")), None
            )
            at = path.child(field).index(i).child("allocatedResourcesStatus")
            errors += _health_errors(at, entry.get("allocatedResourcesStatus") or (), container)
    for i, entry in enumerate(status.get("ephemeralContainerStatuses") or ()):
        if entry.get("allocatedResourcesStatus"):
            at = path.child("ephemeralContainerStatuses").index(i).child("allocatedResourcesStatus")
            errors.append(forbidden(at, "must not be specified in container status"))
    return errors


def _health_errors(path: Path, entries: Sequence[Part], container: Part | None) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, entry in enumerate(entries):
        at = path.index(i)
        if container is not None:
            errors += _allocated_name_errors(at.child("name"), entry.get("name") or "", container)
        seen: set[str] = set()
        for j, resource in enumerate(entry.get("resources") or ()):
            where = at.child("resources").index(j)
            errors += rules.one_of(where.child("health"), resource.get("health") or "", _HEALTH)
            identity = resource.get("resourceID") or ""
            if identity in seen:
                errors.append(duplicate(where.child("resourceID"), identity))
            seen.add(identity)
    return errors


def _allocated_name_errors(path: Path, name: str, container: Part) -> list[FieldError]:
    resources = container.get("resources") or {}
    if name.startswith("claim:"):
        claims = {
            f"claim:{c.get('name') or ''}" + (f"/{c['request']}" if c.get("request") else "")
            for c in resources.get("claims") or ()
        }
        if name in claims:
            return []
        words = (
            "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' "
            "or 'claim:<claimName>' if request is empty"
        )
        return [invalid(path, name, words)]
    if name in (resources.get("requests") or {}):
        return []
    return [invalid(path, name, "must match one of the container's resource requests")]
