"""Refuse early: what any API server would refuse about a pod, and some that only a node would, by field path.

Runs on the finished manifest, without a cluster. It covers what people get wrong in pods; what is left out is found by the
API server a moment later, in a dry run or in the create itself. The rules are Kubernetes' own
(pkg/apis/core/validation); names and quantities come from podbay.objects. It shares no code with the embedded API server,
which judges the same manifests independently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

from podbay.objects import names
from podbay.objects.meta import Object, name_of
from podbay.pods.problems import Problem, refuse
from podbay.pods.resources import all_containers
from podbay.pods.validate_containers import (
    container_problems,
    profile_problems,
    quantity_problems,
    reference_problems,
)
from podbay.pods.validate_scheduling import scheduling_problems

__all__ = ["check_pod", "pod_problems"]

_ANNOTATIONS_MAX: Final = 256 * 1024
_REQUEST_MAX: Final = 1_500_000
_INT32_MAX: Final = 2**31 - 1
_FINALIZERS: Final = ("foregroundDeletion", "kubernetes", "orphan")
_ENUMS: Final = {
    "dnsPolicy": ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"),
    "restartPolicy": ("Always", "OnFailure", "Never"),
    "preemptionPolicy": ("PreemptLowerPriority", "Never"),
}
_NAME_RULES: Final[Mapping[str, Callable[[str], list[str]]]] = {
    "hostname": names.dns1123_label_errors,
    "nodeName": names.dns1123_subdomain_errors,
    "priorityClassName": names.dns1123_subdomain_errors,
    "runtimeClassName": names.dns1123_subdomain_errors,
    "serviceAccountName": names.dns1123_subdomain_errors,
    "subdomain": names.dns1123_label_errors,
}


def check_pod(pod: Object) -> None:
    """Raise InvalidInputError that names every problem's field path; return quietly when there are none."""
    refuse(f"pod {name_of(pod) or '(without a name)'} cannot be created", pod_problems(pod))


def pod_problems(pod: Object) -> list[Problem]:
    """Everything that is wrong, in the order of the manifest."""
    spec = pod.get("spec") or {}
    problems = [*_metadata(pod.get("metadata") or {}), *_containers(pod), *_volumes(spec), *_spec(spec)]
    size = len(orjson.dumps(pod))
    if size > _REQUEST_MAX:
        problems.append(
            Problem("", f"the manifest has {size} bytes; a cluster stores at most {_REQUEST_MAX}")
        )
    return problems


def _metadata(metadata: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _rule(names.dns1123_subdomain_errors, metadata.get("name") or "", "metadata.name")
    if metadata.get("namespace"):
        yield from _rule(names.dns1123_label_errors, metadata["namespace"], "metadata.namespace")
    for key, value in (metadata.get("labels") or {}).items():
        yield from _rule(names.qualified_name_errors, key, f"metadata.labels[{key}]")
        yield from _rule(names.label_value_errors, value, f"metadata.labels[{key}]")
    for index, finalizer in enumerate(metadata.get("finalizers") or ()):
        if "/" not in finalizer and finalizer not in _FINALIZERS:
            yield Problem(
                f"metadata.finalizers[{index}]", "must have a domain before it, such as example.com/name"
            )
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        yield from _rule(names.qualified_name_errors, key.lower(), f"metadata.annotations[{key}]")
    for index, owner in enumerate(metadata.get("ownerReferences") or ()):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                yield Problem(f"metadata.ownerReferences[{index}].{field}", "is required")
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > _ANNOTATIONS_MAX:
        message = f"all annotations together have {size} bytes, more than {_ANNOTATIONS_MAX}"
        yield Problem("metadata.annotations", message)


def _containers(pod: Object) -> Iterator[Problem]:
    spec = pod.get("spec") or {}
    if not spec.get("containers"):
        yield Problem("spec.containers", "a pod needs at least one container")
    volumes = {each.get("name") for each in spec.get("volumes") or ()}
    seen: set[str] = set()
    for path, container in all_containers(pod):
        name = container.get("name") or ""
        if name and name in seen:
            yield Problem(f"{path}.name", f"{name} is the name of another container too")
        seen.add(name)
        yield from container_problems(container, path, volumes)


def _volumes(spec: Mapping[str, Any]) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        path, name = f"spec.volumes[{index}]", volume.get("name") or ""
        yield from _rule(names.dns1123_label_errors, name, f"{path}.name")
        if name and name in seen:
            yield Problem(f"{path}.name", f"{name} is the name of another volume too")
        seen.add(name)
        sources = sorted(set(volume) - {"name"})
        # None at all is an emptyDir, by the API's own default.
        if len(sources) > 1:
            yield Problem(path, f"must have one source; it has {' and '.join(sources)}")
        yield from _volume_source(volume, path)


def _volume_source(volume: Mapping[str, Any], path: str) -> Iterator[Problem]:
    required = {
        "secret": "secretName",
        "configMap": "name",
        "persistentVolumeClaim": "claimName",
        "hostPath": "path",
    }
    for source, field in required.items():
        if source in volume and not volume[source].get(field):
            yield Problem(f"{path}.{source}.{field}", "is required")
    if ".." in str((volume.get("hostPath") or {}).get("path")).split("/"):
        yield Problem(f"{path}.hostPath.path", "must not contain '..'")
    for source in ("secret", "configMap", "projected", "downwardAPI"):
        mode = (volume.get(source) or {}).get("defaultMode")
        if mode is not None and not 0 <= mode <= 0o777:
            yield Problem(f"{path}.{source}.defaultMode", "must be between 0 and 0777 (octal), inclusive")
    size = (volume.get("emptyDir") or {}).get("sizeLimit")
    if size is not None:
        yield from quantity_problems(size, f"{path}.emptyDir.sizeLimit")


def _spec(spec: Mapping[str, Any]) -> Iterator[Problem]:
    for field, rule in _NAME_RULES.items():
        if spec.get(field):
            yield from _rule(rule, spec[field], f"spec.{field}")
    for field, allowed in _ENUMS.items():
        if spec.get(field) and spec[field] not in allowed:
            yield Problem(f"spec.{field}", f"must be one of {', '.join(allowed)}")
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _INT32_MAX:
        yield Problem("spec.activeDeadlineSeconds", f"must be between 1 and {_INT32_MAX}, inclusive")
    for index, gate in enumerate(spec.get("schedulingGates") or ()):
        yield from _rule(
            names.qualified_name_errors, gate.get("name") or "", f"spec.schedulingGates[{index}].name"
        )
    yield from profile_problems(spec.get("securityContext") or {}, "spec.securityContext")
    for index, reference in enumerate(spec.get("imagePullSecrets") or ()):
        yield from reference_problems(reference.get("name") or "", f"spec.imagePullSecrets[{index}].name")
    yield from scheduling_problems(spec)
    yield from _network(spec)


def _network(spec: Mapping[str, Any]) -> Iterator[Problem]:
    if spec.get("dnsPolicy") == "None" and not (spec.get("dnsConfig") or {}).get("nameservers"):
        yield Problem("spec.dnsConfig.nameservers", "must name at least one server where dnsPolicy is None")
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        yield from _rule(names.ip_errors, alias.get("ip") or "", f"spec.hostAliases[{index}].ip")
        for number, hostname in enumerate(alias.get("hostnames") or ()):
            path = f"spec.hostAliases[{index}].hostnames[{number}]"
            yield from _rule(names.dns1123_subdomain_errors, hostname, path)


def _rule(rule: Callable[[str], Iterable[str]], value: Any, path: str) -> Iterator[Problem]:
    if not value and rule is not names.label_value_errors:
        yield Problem(path, "is required")
        return
    for message in rule(value):
        yield Problem(path, message)
