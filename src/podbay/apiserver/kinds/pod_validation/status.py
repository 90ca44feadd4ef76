"""Updates of a pod's status: mostly that what has ended stays ended.

Source: ValidatePodStatusUpdate and its parts in pkg/apis/core/validation/validation.go; which container restarts,
ContainerShouldRestart in pkg/api/v1/pod/util.go.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from podbay.apiserver.field import FieldError, Path, forbidden, invalid
from podbay.apiserver.kinds.pod_validation import rules
from podbay.apiserver.kinds.pod_validation.status_claims import (
    allocated_resources_errors,
    claim_statuses_errors,
    extended_claim_errors,
)
from podbay.apiserver.kinds.pod_validation.update import annotation_update_errors
from podbay.objects import names
from podbay.objects.meta import Object

__all__ = ["validate_pod_status_update"]

STATUS = Path("status")
_SYSTEM_CONDITIONS = ("PodScheduled", "Ready", "Initialized")
_CONTAINER_LISTS = (
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", None),
)
_NO_REVIVAL = "may not be transitioned to non-terminated state"

Part = Mapping[str, Any]


def validate_pod_status_update(pod: Object, old: Object) -> list[FieldError]:
    """Everything wrong with an update through the status endpoint, except metadata."""
    new_status, old_status = pod.get("status") or {}, old.get("status") or {}
    spec, old_spec = pod.get("spec") or {}, old.get("spec") or {}
    errors = annotation_update_errors(pod, old)
    errors += _conditions_errors(STATUS.child("conditions"), new_status.get("conditions") or ())
    if (spec.get("nodeName") or "") != (old_spec.get("nodeName") or ""):
        errors.append(forbidden(STATUS.child("nodeName"), "may not be changed directly"))
    errors += _nomination_errors(new_status, old_status, old_spec)
    if (new_status.get("observedGeneration") or 0) < 0:
        at = STATUS.child("observedGeneration")
        value = new_status["observedGeneration"]
        errors.append(invalid(at, value, "must be a non-negative integer"))
    if (new_status.get("qosClass") or "") != (old_status.get("qosClass") or ""):
        at = STATUS.child("qosClass")
        errors.append(invalid(at, new_status.get("qosClass") or "", "field is immutable"))
    for field, containers in _CONTAINER_LISTS:
        errors += _transition_errors(
            STATUS.child(field),
            new_status.get(field) or (),
            old_status.get(field) or (),
            old_spec,
            containers,
        )
    errors += claim_statuses_errors(STATUS, new_status, spec)
    errors += extended_claim_errors(STATUS, new_status, spec)
    errors += _pod_ips_errors(new_status, old_status)
    errors += _host_ips_errors(new_status, old_status)
    for field, _ in _CONTAINER_LISTS:
        errors += _users_errors(STATUS.child(field), new_status.get(field) or (), spec)
    return errors + allocated_resources_errors(STATUS, new_status, spec)


def _conditions_errors(path: Path, conditions: Sequence[Part]) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, condition in enumerate(conditions):
        at = path.index(i)
        generation = condition.get("observedGeneration") or 0
        if generation < 0:
            words = "must be a non-negative integer"
            errors.append(invalid(at.child("observedGeneration"), generation, words))
        kind = condition.get("type") or ""
        if kind not in _SYSTEM_CONDITIONS:
            errors += rules.qualified_name(at.child("Type"), kind)
    return errors


def _nomination_errors(new: Part, old: Part, old_spec: Part) -> list[FieldError]:
    node = new.get("nominatedNodeName") or ""
    if not node or node == (old.get("nominatedNodeName") or ""):
        return []
    at = STATUS.child("nominatedNodeName")
    errors = rules.name(at, node)
    if old_spec.get("nodeName"):
        errors.append(forbidden(at, "may not be set on pods that are already bound to a node"))
    return errors


def _transition_errors(
    path: Path, new: Sequence[Part], old: Sequence[Part], spec: Part, containers: str | None
) -> list[FieldError]:
    """A terminated container may only run again when its restart policy says so."""
    if containers is not None and _all_may_restart(spec):
        return []
    errors = []
    for i, before in enumerate(old):
        terminated = (before.get("state") or {}).get("terminated")
        if terminated is None:
            continue
        after = next((s for s in new if s.get("name") == before.get("name")), None)
        if after is None or (after.get("state") or {}).get("terminated") is not None:
            continue
        container = next(
            (c for c in (spec.get(containers or "") or ()) if c.get("name") == before.get("name")), None
        )
        if container is None or not _restarts(container, spec, terminated.get("exitCode") or 0):
            errors.append(forbidden(path.index(i).child("state"), _NO_REVIVAL))
    return errors


def _all_may_restart(spec: Part) -> bool:
    return any(
        rule.get("action") == "RestartAllContainers"
        for container, _ in rules.all_containers(spec, Path())
        for rule in container.get("restartPolicyRules") or ()
    )


def _restarts(container: Part, spec: Part, exit_code: int) -> bool:
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes")
        if codes is not None and rule.get("action") == "Restart":
            listed = exit_code in (codes.get("values") or ())
            if listed == (codes.get("operator") == "In"):
                return True
    policy = container.get("restartPolicy") or spec.get("restartPolicy")
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def _pod_ips_errors(new: Part, old: Part) -> list[FieldError]:
    path = STATUS.child("podIPs")
    listed = [entry.get("ip") or "" for entry in new.get("podIPs") or ()]
    shown = [{"IP": address} for address in listed] or None
    kept = {entry.get("ip") or "" for entry in old.get("podIPs") or ()}
    return _addresses_errors(path, listed, kept, shown)


def _host_ips_errors(new: Part, old: Part) -> list[FieldError]:
    path = STATUS.child("hostIPs")
    listed = [entry.get("ip") or "" for entry in new.get("hostIPs") or ()]
    if not listed:
        return []
    errors = []
    if (new.get("hostIP") or "") != listed[0]:
        errors.append(invalid(path.index(0).child("ip"), listed[0], "must be equal to `hostIP`"))
    kept = {entry.get("ip") or "" for entry in old.get("hostIPs") or ()}
    return errors + _addresses_errors(path, listed, kept, [{"IP": address} for address in listed])


def _addresses_errors(path: Path, listed: list[str], kept: set[str], shown: Any) -> list[FieldError]:
    """Valid addresses (old ones may stay as they are), at most one of each family."""
    errors: list[FieldError] = []
    for i, address in enumerate(listed):
        if address not in kept:
            errors += rules.each(path.index(i), address, names.ip_errors(address))
    if len(listed) > 1:
        families = [_family(address) for address in listed]
        if set(families) != {4, 6} or len(listed) > 2:
            words = "may specify no more than one IP for each IP family"
            errors.append(invalid(path, shown, words))
    return errors


def _family(address: str) -> int:
    try:
        return ipaddress.ip_address(address).version
    except ValueError:
        return 0


def _users_errors(path: Path, statuses: Sequence[Part], spec: Part) -> list[FieldError]:
    windows = (spec.get("os") or {}).get("name") == "windows"
    errors: list[FieldError] = []
    for i, status in enumerate(statuses):
        linux = (status.get("user") or {}).get("linux")
        if linux is None:
            continue
        at = path.index(i).child("linux")
        if windows:
            errors.append(forbidden(at, "cannot be set for a windows pod"))
            continue
        uid, gid = linux.get("uid") or 0, linux.get("gid") or 0
        errors += rules.each(at.child("uid"), uid, names.user_id_errors(uid))
        errors += rules.each(at.child("gid"), gid, names.group_id_errors(gid))
        for j, group in enumerate(linux.get("supplementalGroups") or ()):
            where = at.child("supplementalGroups").index(j)
            errors += rules.each(where, group, names.group_id_errors(group))
    return errors
