"""Admission plugin PodSecurity: pods must be within the level that their namespace enforces.

Source: k8s.io/pod-security-admission/admission/admission.go. Only pods are evaluated: kinds with a pod template
would get warnings here too, once they are served.
"""

from __future__ import annotations

from podbay.apiserver import status
from podbay.apiserver.admission.base import Attributes, ClusterReader
from podbay.apiserver.admission.pod_security.evaluate import evaluate
from podbay.apiserver.admission.pod_security.finding import Finding, containers_of
from podbay.apiserver.admission.pod_security.policy import LevelVersion, Policy, policy_of
from podbay.apiserver.admission.refusal import forbidden, request_name
from podbay.apiserver.field import go_quote
from podbay.objects.meta import Object, labels_of, metadata_of, name_of

__all__ = ["PodSecurity"]

_IGNORED_SUBRESOURCES = frozenset(
    ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"]
)
_MAX_PODS_CHECKED = 3000


class PodSecurity:
    """Refuses pods below the enforced level, warns about those below the warned one, checks namespace labels."""

    name = "PodSecurity"

    def admit(self, attributes: Attributes, reader: ClusterReader) -> None:
        """Nothing is changed."""

    def validate(self, attributes: Attributes, reader: ClusterReader) -> None:
        if attributes.obj is None or attributes.operation not in ("CREATE", "UPDATE"):
            return
        if attributes.resource.key == "namespaces" and not attributes.subresource:
            _check_namespace(attributes, reader, attributes.obj)
        elif attributes.resource.key == "pods" and attributes.subresource not in _IGNORED_SUBRESOURCES:
            _check_pod(attributes, reader, attributes.obj)


def _check_pod(attributes: Attributes, reader: ClusterReader, pod: Object) -> None:
    namespace = reader.get("namespaces", "", attributes.namespace)
    if namespace is None:
        raise status.internal_error(f"failed to lookup namespace {go_quote(attributes.namespace)}")
    policy, _ = policy_of(labels_of(namespace))
    if policy == Policy():
        return
    if attributes.operation == "UPDATE" and not _is_significant(pod, attributes.old or {}):
        return
    findings = evaluate(pod, policy.enforce)
    if findings:
        level = go_quote(str(policy.enforce))
        raise forbidden(attributes, f"violates PodSecurity {level}: {_describe(findings)}")
    findings = evaluate(pod, policy.warn)
    if findings:
        level = go_quote(str(policy.warn))
        attributes.warnings.append(f"would violate PodSecurity {level}: {_describe(findings)}")


def _describe(findings: list[Finding]) -> str:
    return ", ".join(str(finding) for finding in findings)


def _is_significant(pod: Object, old: Object) -> bool:
    """Whether an update touches what checks look at: images, and which containers there are."""
    new_spec, old_spec = pod.get("spec") or {}, old.get("spec") or {}
    for field in ("containers", "initContainers"):
        images = [[c.get("image") or "" for c in spec.get(field) or ()] for spec in (new_spec, old_spec)]
        if images[0] != images[1]:
            return True
    known = {c.get("name"): c.get("image") or "" for c in old_spec.get("ephemeralContainers") or ()}
    return any(
        known.get(c.get("name")) != (c.get("image") or "")
        for c in containers_of({"ephemeralContainers": new_spec.get("ephemeralContainers")})
    )


def _check_namespace(attributes: Attributes, reader: ClusterReader, namespace: Object) -> None:
    policy, errors = policy_of(labels_of(namespace))
    if attributes.operation == "CREATE":
        if errors:
            raise status.invalid("", "Namespace", request_name(attributes), errors)
        return
    old_policy, old_errors = policy_of(labels_of(attributes.old or {}))
    if errors and errors != old_errors:
        raise status.invalid("", "Namespace", request_name(attributes), errors)
    new, old = policy.enforce, old_policy.enforce
    if new == old or new.level == "privileged":
        return
    if new.minor == old.minor and new.strictness <= old.strictness:
        return
    pods = reader.list("pods", name_of(namespace))
    attributes.warnings.extend(_existing_pod_warnings(name_of(namespace), pods, new))


def _existing_pod_warnings(namespace: str, pods: list[Object], enforce: LevelVersion) -> list[str]:
    """Pods that are there already stay; one warning for each way in which some of them fall short."""
    pods = _one_per_controller_first(pods)
    checked = pods[:_MAX_PODS_CHECKED]
    names: dict[str, list[str]] = {}
    for pod in checked:
        findings = evaluate(pod, enforce)
        if findings:
            reason = ", ".join(finding.reason for finding in findings)
            names.setdefault(reason, []).append(name_of(pod))
    warnings = []
    if len(checked) < len(pods):
        warnings.append(
            "new PodSecurity enforce level only checked against the first "
            f"{len(checked)} of {len(pods)} existing pods"
        )
    if names:
        level = go_quote(str(enforce))
        warnings.append(
            f"existing pods in namespace {go_quote(namespace)} violate the new PodSecurity enforce level {level}"
        )
    return warnings + sorted(f"{_named_pods(pod_names)}: {reason}" for reason, pod_names in names.items())


def _named_pods(names: list[str]) -> str:
    others = len(names) - 1
    if others == 0:
        return names[0]
    return f"{min(names)} (and {others} other {'pod' if others == 1 else 'pods'})"


def _one_per_controller_first(pods: list[Object]) -> list[Object]:
    """Replicas of one controller fall short alike, so the limit is spent on different ones."""
    seen: set[str] = set()
    first: list[Object] = []
    rest: list[Object] = []
    for pod in pods:
        owners = metadata_of(pod).get("ownerReferences") or ()
        owner = next((o.get("uid") for o in owners if o.get("controller")), None)
        (rest if owner in seen else first).append(pod)
        if owner is not None:
            seen.add(owner)
    return first + rest
