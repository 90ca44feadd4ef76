"""Sentences for people about pods that are accepted but probably not meant so.

Source: pkg/api/pod/warnings.go and pkg/api/node/util.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from podbay.apiserver.field import Path, go_quote
from podbay.apiserver.kinds.pod_validation.rules import all_containers
from podbay.apiserver.kinds.pod_volume_warnings import volume_warnings
from podbay.objects.meta import Object, annotations_of
from podbay.objects.quantity import Quantity

__all__ = ["pod_warnings"]

SPEC = Path("spec")
_DEPRECATED_LABELS = {
    "failure-domain.beta.kubernetes.io/zone": "deprecated since v1.17; use "
    '"topology.kubernetes.io/zone" instead',
    "failure-domain.beta.kubernetes.io/region": "deprecated since v1.17; use "
    '"topology.kubernetes.io/region" instead',
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "beta.kubernetes.io/instance-type": "deprecated since v1.17; use "
    '"node.kubernetes.io/instance-type" instead',
}
_DEPRECATED_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": "non-functional in v1.16+; use the "
    '"priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": "non-functional in v1.11+; use the "
    '"sysctls" field instead',
}
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_PREFIX = "container.seccomp.security.alpha.kubernetes.io/"
_SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_NULL_SELECTOR = "a null labelSelector results in matching no pod"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_BYTES = ("memory", "ephemeral-storage")

Part = Mapping[str, Any]


def pod_warnings(pod: Object) -> list[str]:
    """Warnings about a pod as it would be stored."""
    spec = pod.get("spec") or {}
    annotations = annotations_of(pod)
    warnings = [*_label_warnings(spec)]
    at = Path("metadata").child("annotations")
    warnings += [f"{at.key(k)}: {words}" for k, words in _DEPRECATED_ANNOTATIONS.items() if k in annotations]
    warnings += volume_warnings(SPEC.child("volumes"), spec.get("volumes") or ())
    warnings += _repeat_warnings(SPEC.child("hostAliases"), spec.get("hostAliases") or (), "ip")
    secrets = spec.get("imagePullSecrets") or ()
    warnings += _repeat_warnings(SPEC.child("imagePullSecrets"), secrets, "name")
    for i, secret in enumerate(secrets):
        if not secret.get("name"):
            where = SPEC.child("imagePullSecrets").index(i).child("name")
            warnings.append(f'{where}: invalid empty name ""')
    warnings += _fraction_warnings(SPEC.child("overhead"), spec.get("overhead") or {})
    warnings += _seccomp_warnings(spec, annotations)
    for container, path in all_containers(spec, SPEC):
        resources = container.get("resources") or {}
        for field in ("limits", "requests"):
            warnings += _fraction_warnings(path.child("resources", field), resources.get(field) or {})
        warnings += _env_warnings(path.child("env"), container.get("env") or ())
    warnings += _port_warnings(spec)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        words = "must be >= 0; negative values are invalid and will be treated as 1"
        warnings.append(f"{SPEC.child('terminationGracePeriodSeconds')}: {words}")
    return [*warnings, *_affinity_warnings(spec)]


def _label_warnings(spec: Part) -> Iterable[str]:
    for key in spec.get("nodeSelector") or {}:
        if key in _DEPRECATED_LABELS:
            yield f"{SPEC.child('nodeSelector').key(key)}: {_DEPRECATED_LABELS[key]}"
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    at = SPEC.child("affinity", "nodeAffinity")
    terms = (affinity.get(_REQUIRED) or {}).get("nodeSelectorTerms") or ()
    for i, term in enumerate(terms):
        yield from _term_warnings(at.child(_REQUIRED, "nodeSelectorTerms").index(i), term)
    for i, weighted in enumerate(affinity.get(_PREFERRED) or ()):
        path = at.child(_PREFERRED).index(i).child("preference")
        yield from _term_warnings(path, weighted.get("preference") or {})
    for i, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        path = SPEC.child("topologySpreadConstraints").index(i)
        key = constraint.get("topologyKey") or ""
        if key in _DEPRECATED_LABELS:
            yield f"{path.child('topologyKey')}: {key} is {_DEPRECATED_LABELS[key]}"
        if constraint.get("labelSelector") is None:
            yield f"{path.child('labelSelector')}: {_NULL_SELECTOR}"


def _term_warnings(path: Path, term: Part) -> Iterable[str]:
    for i, expression in enumerate(term.get("matchExpressions") or ()):
        key = expression.get("key") or ""
        if key in _DEPRECATED_LABELS:
            where = path.child("matchExpressions").index(i).child("key")
            yield f"{where}: {key} is {_DEPRECATED_LABELS[key]}"


def _repeat_warnings(path: Path, items: Sequence[Part], field: str) -> list[str]:
    seen: set[str] = set()
    warnings = []
    for i, item in enumerate(items):
        value = item.get(field) or ""
        if value in seen:
            warnings.append(f"{path.index(i).child(field)}: duplicate {field} {go_quote(value)}")
        seen.add(value)
    return warnings


def _fraction_warnings(path: Path, values: Mapping[str, Any]) -> list[str]:
    warnings = []
    for name in _BYTES:
        quantity = Quantity.from_json(values.get(name))
        if quantity.milli_value() % 1000:
            words = f"fractional byte value {go_quote(str(quantity))} is invalid, must be an integer"
            warnings.append(f"{path.key(name)}: {words}")
    return warnings


def _seccomp_warnings(spec: Part, annotations: Mapping[str, str]) -> list[str]:
    at = Path("metadata").child("annotations")
    warnings = []
    if (spec.get("securityContext") or {}).get("seccompProfile") is None and _SECCOMP_POD in annotations:
        warnings.append(f"{at.key(_SECCOMP_POD)}: {_SECCOMP}")
    for container, _ in all_containers(spec, SPEC):
        key = f"{_SECCOMP_PREFIX}{container.get('name') or ''}"
        if (container.get("securityContext") or {}).get("seccompProfile") is None and key in annotations:
            warnings.append(f"{at.key(key)}: {_SECCOMP}")
    return warnings


def _env_warnings(path: Path, variables: Sequence[Part]) -> list[str]:
    """A variable set twice, unless the second time builds on the first."""
    seen: set[str] = set()
    warnings = []
    for i, variable in enumerate(variables):
        name, value = variable.get("name") or "", variable.get("value") or ""
        reference = f"$({name})"
        builds_on = variable.get("valueFrom") is None and reference in value and value != reference
        if name in seen and not builds_on:
            words = f"hides previous definition of {go_quote(name)}, which may be dropped when using apply"
            warnings.append(f"{path.index(i)}: {words}")
        seen.add(name)
    return warnings


def _port_warnings(spec: Part) -> list[str]:
    warnings = []
    taken: dict[tuple[int, str], list[tuple[Path, Part]]] = {}
    for container, path in all_containers(spec, SPEC):
        for i, port in enumerate(container.get("ports") or ()):
            at = path.child("ports").index(i)
            if port.get("hostIP") and not port.get("hostPort"):
                warnings.append(f"{at}: hostIP set without hostPort: {_go_port(port)}")
            others = taken.setdefault((port.get("containerPort") or 0, port.get("protocol") or ""), [])
            for other_path, other in others:
                words = _overlap(port, other)
                if words:
                    warnings.append(f"{at}: {words} port definition with {other_path}")
            others.append((at, port))
    return warnings


def _overlap(port: Part, other: Part) -> str:
    host, other_host = port.get("hostPort") or 0, other.get("hostPort") or 0
    address, other_address = port.get("hostIP") or "", other.get("hostIP") or ""
    if (host, address) == (other_host, other_address):
        return "duplicate"
    if not host or not other_host:
        return "overlapping"
    if host == other_host and bool(address) != bool(other_address):
        return "dangerously ambiguous"
    return ""


def _go_port(port: Part) -> str:
    """A port as Go's %+v prints it."""
    fields = ("name", "hostPort", "containerPort", "protocol", "hostIP")
    texts = (f"{f[0].upper()}{f[1:]}:{port.get(f) or (0 if f.endswith('Port') else '')}" for f in fields)
    return "{" + " ".join(texts) + "}"


def _affinity_warnings(spec: Part) -> Iterable[str]:
    for field in ("podAffinity", "podAntiAffinity"):
        affinity = (spec.get("affinity") or {}).get(field) or {}
        at = SPEC.child("affinity", field)
        for i, term in enumerate(affinity.get(_REQUIRED) or ()):
            if term.get("labelSelector") is None:
                yield f"{at.child(_REQUIRED).index(i).child('labelSelector')}: {_NULL_SELECTOR}"
        for i, weighted in enumerate(affinity.get(_PREFERRED) or ()):
            if (weighted.get("podAffinityTerm") or {}).get("labelSelector") is None:
                where = at.child(_PREFERRED).index(i).child("podAffinityTerm", "labelSelector")
                yield f"{where}: {_NULL_SELECTOR}"
