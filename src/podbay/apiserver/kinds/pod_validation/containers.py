"""The three container lists of a pod.

Source: validateContainers, validateInitContainers, validateEphemeralContainers, validateContainerCommon,
validateContainerRestartPolicy in pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podbay.apiserver.field import (
    FieldError,
    Path,
    duplicate,
    forbidden,
    invalid,
    not_found,
    not_supported,
    required,
    too_many,
)
from podbay.apiserver.kinds.pod_validation import rules
from podbay.apiserver.kinds.pod_validation.env import env_errors, env_from_errors
from podbay.apiserver.kinds.pod_validation.mounts import devices_errors, mounts_errors
from podbay.apiserver.kinds.pod_validation.ports import host_port_conflicts, ports_errors
from podbay.apiserver.kinds.pod_validation.probes import lifecycle_errors, probes_errors
from podbay.apiserver.kinds.pod_validation.resources import container_resources_errors, resize_policy_errors
from podbay.apiserver.kinds.pod_validation.security import container_security_errors
from podbay.apiserver.kinds.pod_validation.volumes import pull_policy_errors

__all__ = [
    "PodFacts",
    "containers_errors",
    "ephemeral_containers_errors",
    "image_padding_errors",
    "init_containers_errors",
]

_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_RULE_ACTIONS = ("Restart", "RestartAllContainers")
_RULE_OPERATORS = ("In", "NotIn")
_MOST_RULES = 20
_MOST_EXIT_CODES = 255
_INIT_FORBIDDEN = ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
_EPHEMERAL_FORBIDDEN = (
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
)

Container = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What containers are checked against: the pod's valid volumes by name, the names of its claims, and policies."""

    volumes: Mapping[str, Mapping[str, Any]]
    claim_names: Sequence[str]
    restart_policy: str
    grace_period: int | None
    host_users: bool


def _common_errors(path: Path, container: Container, facts: PodFacts) -> list[FieldError]:
    name = container.get("name") or ""
    errors = rules.short_name(path.child("name"), name) if name else [required(path.child("name"))]
    errors += rules.required_text(path.child("image"), container.get("image"))
    policy = container.get("terminationMessagePolicy") or ""
    at = path.child("terminationMessagePolicy")
    if not policy:
        errors.append(required(at))
    else:
        errors += rules.one_of(at, policy, _MESSAGE_POLICIES)
    errors += ports_errors(path.child("ports"), container.get("ports") or ())
    errors += env_errors(path.child("env"), container.get("env") or ())
    errors += env_from_errors(path.child("envFrom"), container.get("envFrom") or ())
    errors += mounts_errors(path.child("volumeMounts"), container, facts.volumes)
    errors += devices_errors(path.child("volumeDevices"), container, facts.volumes)
    errors += pull_policy_errors(path.child("imagePullPolicy"), container.get("imagePullPolicy"))
    resources = container.get("resources") or {}
    errors += container_resources_errors(path.child("resources"), resources, facts.claim_names)
    policies = container.get("resizePolicy") or ()
    errors += resize_policy_errors(path.child("resizePolicy"), policies, facts.restart_policy)
    return errors + container_security_errors(
        path.child("securityContext"), container.get("securityContext"), host_users=facts.host_users
    )


def containers_errors(path: Path, containers: Sequence[Container], facts: PodFacts) -> list[FieldError]:
    """`spec.containers`."""
    if not containers:
        return [required(path)]
    errors: list[FieldError] = []
    taken: set[str] = set()
    for i, container in enumerate(containers):
        at = path.index(i)
        errors += _common_errors(at, container, facts)
        name = container.get("name") or ""
        if name in taken:
            errors.append(duplicate(at.child("name"), name))
        taken.add(name)
        errors += lifecycle_errors(at.child("lifecycle"), container.get("lifecycle"), facts.grace_period)
        errors += probes_errors(at, container, facts.grace_period)
        errors += _restart_errors(at, container)
    return errors + host_port_conflicts((path.index(i), c) for i, c in enumerate(containers))


def _restart_errors(path: Path, container: Container) -> list[FieldError]:
    """restartPolicy and restartPolicyRules of one container."""
    policy, policy_rules = container.get("restartPolicy"), container.get("restartPolicyRules") or []
    at = path.child("restartPolicy")
    errors: list[FieldError] = []
    if policy is None:
        if not policy_rules:
            return []
        errors.append(required(at, "must specify restartPolicy when restart rules are used"))
    else:
        errors += rules.one_of(at, policy, _RESTART_POLICIES)
    at = path.child("restartPolicyRules")
    if len(policy_rules) > _MOST_RULES:
        errors.append(too_many(at, len(policy_rules), _MOST_RULES))
    for i, rule in enumerate(policy_rules):
        errors += _restart_rule_errors(at.index(i), rule)
    return errors


def _restart_rule_errors(path: Path, rule: Mapping[str, Any]) -> list[FieldError]:
    action = rule.get("action") or ""
    errors = rules.one_of(path.child("action"), action, _RULE_ACTIONS)
    at = path.child("exitCodes")
    codes = rule.get("exitCodes")
    if codes is None:
        return [*errors, required(at, "must be specified")]
    operator = codes.get("operator") or ""
    if operator not in _RULE_OPERATORS:
        errors.append(not_supported(at.child("operator"), operator, _RULE_OPERATORS))
    values = codes.get("values") or []
    if len(values) > _MOST_EXIT_CODES:
        errors.append(too_many(at.child("values"), len(values), _MOST_EXIT_CODES))
    return errors


def init_containers_errors(path: Path, spec: Mapping[str, Any], facts: PodFacts) -> list[FieldError]:
    """`spec.initContainers`; those with restartPolicy Always are sidecars and may have what containers have."""
    errors: list[FieldError] = []
    taken = {container.get("name") or "" for container in spec.get("containers") or ()}
    for i, container in enumerate(spec.get("initContainers") or ()):
        at = path.index(i)
        errors += _common_errors(at, container, facts)
        errors += _restart_errors(at, container)
        name = container.get("name") or ""
        if name in taken:
            errors.append(duplicate(at.child("name"), name))
        elif name:
            taken.add(name)
        # One init container at a time; the path of a collision numbers within that one.
        errors += host_port_conflicts([(path.index(0), container)])
        errors += _init_only_errors(at, container, facts)
    return errors


def _init_only_errors(path: Path, container: Container, facts: PodFacts) -> list[FieldError]:
    if container.get("restartPolicy") == "Always":
        errors = lifecycle_errors(path.child("lifecycle"), container.get("lifecycle"), facts.grace_period)
        return errors + probes_errors(path, container, facts.grace_period)
    words = "may not be set for init containers without restartPolicy=Always"
    errors = [
        forbidden(path.child(field), words) for field in _INIT_FORBIDDEN if container.get(field) is not None
    ]
    for i, policy in enumerate(container.get("resizePolicy") or ()):
        if policy.get("restartPolicy") == "RestartContainer":
            at = path.child("resizePolicy").index(i).child("restartPolicy")
            words = "must not be set to 'RestartContainer' for non-sidecar initContainers"
            errors.append(invalid(at, "RestartContainer", words))
    return errors


def ephemeral_containers_errors(path: Path, spec: Mapping[str, Any], facts: PodFacts) -> list[FieldError]:
    """`spec.ephemeralContainers`: for a look inside only, so nothing that a service would need."""
    others = {
        container.get("name") or ""
        for field in ("containers", "initContainers")
        for container in spec.get(field) or ()
    }
    taken = set(others)
    errors: list[FieldError] = []
    for i, container in enumerate(spec.get("ephemeralContainers") or ()):
        at = path.index(i)
        errors += _common_errors(at, container, facts)
        errors += image_padding_errors(at, container)
        name = container.get("name") or ""
        if name in taken:
            errors.append(duplicate(at.child("name"), name))
        taken.add(name)
        target = container.get("targetContainerName") or ""
        if target and target not in others:
            errors.append(not_found(at.child("targetContainerName"), target))
        errors += _ephemeral_only_errors(at, container)
    return errors


def _ephemeral_only_errors(path: Path, container: Container) -> list[FieldError]:
    words = "cannot be set for an Ephemeral Container"
    errors = [forbidden(path.child(field), words) for field in _EPHEMERAL_FORBIDDEN if container.get(field)]
    for i, mount in enumerate(container.get("volumeMounts") or ()):
        errors += [
            forbidden(path.child("volumeMounts").index(i).child(field), words)
            for field in ("subPath", "subPathExpr")
            if mount.get(field)
        ]
    return errors


def image_padding_errors(path: Path, container: Container) -> list[FieldError]:
    """Blanks around an image are refused in pods, though not in templates of pods."""
    image = container.get("image") or ""
    if image == image.strip():
        return []
    return [invalid(path.child("image"), image, "must not have leading or trailing whitespace")]
