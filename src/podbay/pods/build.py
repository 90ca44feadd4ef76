"""From a request to a manifest: the layers, the name, the labels, the secrets and the result's way out, in this order.

    defaults < template < full spec < parameters          (merge.py)
    then: secrets, default size, name, namespace, labels and annotations, raised requests, result transport, validation

The same request gives the same manifest, byte for byte, in every process: adoption and dry runs rely on it. Spec 8-21,
28-36, 72, 100.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from podbay.objects.meta import Object, metadata_of
from podbay.pods.env import env_from_config_maps, env_list
from podbay.pods.fields import convert, field_type
from podbay.pods.identity import (
    DEPLOYMENT_LABEL,
    identity_annotations,
    pod_name,
    safe_label_value,
    task_labels,
    task_name,
    with_suffix,
)
from podbay.pods.merge import REMOVED, main_container, merge_pods, name_main_container
from podbay.pods.problems import Problem, refuse
from podbay.pods.request import UNSET, PodDefaults, PodRequest, Unset
from podbay.pods.resources import raise_requests, with_default_size
from podbay.pods.secrets import attach_secrets, read_secrets
from podbay.pods.sidecar import add_sidecar, use_termination_message
from podbay.pods.template import template_of
from podbay.pods.validate import check_pod

__all__ = [
    "FULL_SPEC",
    "MAIN_CONTAINER_ANNOTATION",
    "REQUEST",
    "RESULT_ANNOTATION",
    "TEMPLATE",
    "BuiltPod",
    "build",
    "build_pod",
    "field_of_request",
]

REQUEST: Final = "pod request"
"""Subject of problems whose paths are fields of PodRequest; all others have paths of the pod."""
TEMPLATE: Final = "pod template"
FULL_SPEC: Final = "full pod spec"

MAIN_CONTAINER_ANNOTATION: Final = "podbay.dev/main-container"
"""Which container runs the task: an adopter or the healer has the pod and not the request."""
RESULT_ANNOTATION: Final = "podbay.dev/result"
"""The result transport, for the same reader."""

# Request field to field of the main container and of the PodSpec. What is not here needs more than a new name.
_CONTAINER_FIELDS: Final = {
    "image": "image",
    "command": "command",
    "args": "args",
    "ports": "ports",
    "env": "env",
    "env_from": "envFrom",
    "volume_mounts": "volumeMounts",
    "image_pull_policy": "imagePullPolicy",
    "resources": "resources",
    "container_security_context": "securityContext",
    "termination_message_policy": "terminationMessagePolicy",
}
_SPEC_FIELDS: Final = {
    "init_containers": "initContainers",
    "volumes": "volumes",
    "affinity": "affinity",
    "node_selector": "nodeSelector",
    "tolerations": "tolerations",
    "image_pull_secrets": "imagePullSecrets",
    "service_account_name": "serviceAccountName",
    "automount_service_account_token": "automountServiceAccountToken",
    "host_network": "hostNetwork",
    "host_aliases": "hostAliases",
    "security_context": "securityContext",
    "dns_policy": "dnsPolicy",
    "dns_config": "dnsConfig",
    "hostname": "hostname",
    "subdomain": "subdomain",
    "scheduler_name": "schedulerName",
    "runtime_class_name": "runtimeClassName",
    "priority_class_name": "priorityClassName",
    "active_deadline_seconds": "activeDeadlineSeconds",
    "termination_grace_period_seconds": "terminationGracePeriodSeconds",
}
_METADATA_FIELDS: Final = {"labels": "labels", "annotations": "annotations"}


@dataclass(frozen=True, slots=True)
class BuiltPod:
    """A manifest, and what a person should be told about how it differs from what was asked for."""

    pod: Object
    notes: tuple[str, ...] = ()


def build_pod(request: PodRequest, defaults: PodDefaults | None = None) -> Object:
    """The manifest of the pod. Raises InvalidInputError that names the field path of everything that is wrong."""
    return build(request, defaults).pod


def build(request: PodRequest, defaults: PodDefaults | None = None) -> BuiltPod:
    """Like build_pod, with the notes."""
    defaults = defaults or PodDefaults()
    pod = _merged_layers(request, defaults)
    problems: list[Problem] = []
    secrets = read_secrets(request.secrets, problems)
    refuse(REQUEST, problems)
    pod = attach_secrets(pod, request.container_name, secrets)
    size = convert(defaults.resources, "ResourceRequirements", "defaults.resources", problems)
    with_default_size(main_container(pod, request.container_name), size or {})
    _set_metadata(pod, request)
    # Before the sidecar comes, which sizes itself by what the others are; and after, for what was wished for it.
    notes = raise_requests(pod) if defaults.raise_requests_to_limits else []
    _add_result_transport(pod, request, defaults, problems)
    refuse(REQUEST, problems)
    notes += raise_requests(pod) if defaults.raise_requests_to_limits else []
    pod = _tidy(pod)
    check_pod(pod)
    return BuiltPod(pod, tuple(notes))


def field_of_request(path: str) -> str:
    """A path of the pod by the field of the request that says what is there: the only layer, of a pod of one container."""
    places: tuple[tuple[str, Mapping[str, str]], ...] = (
        ("spec.containers[0].", _CONTAINER_FIELDS),
        ("spec.", _SPEC_FIELDS),
        ("metadata.", {**_METADATA_FIELDS, "name": "name", "namespace": "namespace"}),
    )
    for prefix, names in places:
        rest = path.removeprefix(prefix)
        if rest == path:
            continue
        for name, field in names.items():
            if rest == field or rest.startswith((f"{field}[", f"{field}.")):
                return name + rest.removeprefix(field)
    return path


def _merged_layers(request: PodRequest, defaults: PodDefaults) -> Object:
    layers = {
        "deployment defaults": defaults.template,
        TEMPLATE: request.template,
        FULL_SPEC: request.full_spec,
    }
    pod: Object = {}
    for source, layer in layers.items():
        if layer is not None:
            read = template_of(layer, source)
            name_main_container(read, request.container_name)
            pod = merge_pods(pod, read)
    return merge_pods(pod, _parameters(request))


def _parameters(request: PodRequest) -> Object:
    """The uppermost layer: what the request's own fields say."""
    problems: list[Problem] = []
    container = _converted(request, _CONTAINER_FIELDS, "Container", problems)
    if request.config_maps:
        more = convert(env_from_config_maps(request.config_maps), "[]EnvFromSource", "config_maps", problems)
        given = container.get("envFrom")
        container["envFrom"] = [*given, *more] if isinstance(given, list) else more
    container["name"] = request.container_name
    metadata = _converted(request, _METADATA_FIELDS, "ObjectMeta", problems)
    spec = _converted(request, _SPEC_FIELDS, "PodSpec", problems)
    refuse(REQUEST, problems)
    # A task's pod runs once: its retries are Airflow's.
    return {"metadata": metadata, "spec": {"containers": [container], **spec, "restartPolicy": "Never"}}


def _converted(
    request: PodRequest, names: Mapping[str, str], struct: str, problems: list[Problem]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in names.items():
        value = _listed(name, getattr(request, name))
        if value is None:
            found[field] = REMOVED
        elif value is not UNSET:
            found[field] = convert(value, field_type(struct, field), name, problems)
    return found


def _listed(name: str, value: Any) -> Any:
    """The two fields with a second way to be written."""
    if name == "env":
        return env_list(value)
    if name == "image_pull_secrets" and isinstance(value, str):
        return [{"name": each.strip()} for each in value.split(",") if each.strip()]
    return value


def _set_metadata(pod: Object, request: PodRequest) -> None:
    metadata = metadata_of(pod)
    own_name = "" if isinstance(request.name, Unset) else request.name
    given: str = own_name or metadata.get("name") or ""
    if request.exact_name and given:
        metadata["name"] = given
    elif request.identity is not None:
        exact = request.exact_name
        metadata["name"] = task_name(request.identity) if exact else pod_name(request.identity, given)
    else:
        metadata["name"] = with_suffix(given, request.name_suffix)
    metadata.pop("generateName", None)
    namespace = request.namespace or metadata.get("namespace") or request.default_namespace
    if namespace:
        metadata["namespace"] = namespace
    metadata["labels"] = {**(metadata.get("labels") or {}), **_labels(request)}
    own = {MAIN_CONTAINER_ANNOTATION: request.container_name, RESULT_ANNOTATION: request.result}
    if request.identity is not None:
        own |= identity_annotations(request.identity)
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **own}


def _labels(request: PodRequest) -> dict[str, str]:
    labels = {}
    if request.identity is not None:
        labels = task_labels(request.identity)
        labels[DEPLOYMENT_LABEL] = safe_label_value(request.identity.deployment)
    if request.airflow_version is not None:
        labels["airflow_version"] = request.airflow_version.replace("+", "-")
    if request.in_cluster is not None:
        labels["airflow_kpo_in_cluster"] = str(request.in_cluster)
    return labels


def _add_result_transport(
    pod: Object, request: PodRequest, defaults: PodDefaults, problems: list[Problem]
) -> None:
    if request.result == "sidecar":
        options = defaults.sidecar if isinstance(request.sidecar, Unset) else request.sidecar
        add_sidecar(pod, request.container_name, options, problems)
    elif request.result == "termination_message":
        use_termination_message(pod, request.container_name)
    elif request.result != "none":
        problems.append(Problem("result", "must be one of none, sidecar, termination_message"))


def _tidy(pod: Object) -> Object:
    """The manifest in reading order, without fields that say nothing.

    Empty lists and mappings are dropped in metadata, spec and containers only: deeper down they may have a meaning
    (`emptyDir: {}`, an empty selector).
    """
    metadata, spec = dict(pod["metadata"]), _said(pod["spec"])
    for field in ("initContainers", "containers"):
        if field in spec:
            spec[field] = [_said(_first(each, ("name", "image"))) for each in spec[field]]
    metadata = _said(_first(metadata, ("name", "namespace", "labels", "annotations")))
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": _first(spec, ("initContainers", "containers")),
    }


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, [], {})}


def _first(values: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: values[key] for key in keys if key in values} | dict(values)
