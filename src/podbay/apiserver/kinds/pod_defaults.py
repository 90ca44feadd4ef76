"""What a pod gets that its author left out.

Not for what admission adds (service account, tolerations, priority). Source: pkg/apis/core/v1/defaults.go and
zz_generated.defaults.go.
"""

from __future__ import annotations

from typing import Any

from podbay.apiserver.kinds.image_names import tag_of
from podbay.apiserver.kinds.pod_totals import aggregate_limits, aggregate_requests
from podbay.apiserver.kinds.resource_lists import round_quantities
from podbay.objects.resource_names import is_hugepages, is_overcommit_allowed

__all__ = ["default_pod", "default_pull_policy"]

_FILE_MODE = 0o644
_TOKEN_SECONDS = 3600
_GRACE_SECONDS = 30
_CONTAINER_LISTS = ("containers", "initContainers", "ephemeralContainers")
_POD_LEVEL = ("cpu", "memory")

Part = dict[str, Any]


def default_pod(pod: Part) -> None:
    """Fill the defaults of a pod in place."""
    spec = pod.get("spec")
    if spec is None:
        spec = pod["spec"] = {}
    for field in ("containers", "initContainers"):
        for container in spec.get(field) or ():
            _default_requests(container)
    _default_pod_resources(spec)
    if spec.get("hostNetwork"):
        _default_host_ports(spec)
    _default_spec(spec)
    for volume in spec.get("volumes") or ():
        _default_volume(volume)
    for field in _CONTAINER_LISTS:
        for container in spec.get(field) or ():
            _default_container(container)
    round_quantities(spec.get("overhead"))
    for field in ("limits", "requests"):
        round_quantities((spec.get("resources") or {}).get(field))


def _default_requests(container: Part) -> None:
    """A limit without a request is the request too."""
    resources = container.setdefault("resources", {})
    limits = resources.get("limits")
    if limits is not None:
        requests = resources.get("requests") or {}
        merged = {**requests, **{k: v for k, v in limits.items() if k not in requests}}
        if merged:
            resources["requests"] = merged


def _default_pod_resources(spec: Part) -> None:
    """Pod-level requests come from the containers' and then from the pod-level limits."""
    resources = spec.get("resources")
    if resources is None:
        return
    limits = dict(resources.get("limits") or {})
    requests = dict(resources.get("requests") or {})
    for name, total in aggregate_limits(spec).items():
        if is_hugepages(name) and name not in limits:
            limits[name] = str(total)
    for name, total in aggregate_requests(spec).items():
        if name not in requests and name in _POD_LEVEL and is_overcommit_allowed(name):
            requests[name] = str(total)
    for name, value in limits.items():
        if name not in requests and (name in _POD_LEVEL or is_hugepages(name)):
            requests[name] = value
    if limits:
        resources["limits"] = limits
    if requests:
        resources["requests"] = requests


def _default_host_ports(spec: Part) -> None:
    for field in ("containers", "initContainers"):
        for container in spec.get(field) or ():
            for port in container.get("ports") or ():
                if not port.get("hostPort") and port.get("containerPort"):
                    port["hostPort"] = port["containerPort"]


def _default_spec(spec: Part) -> None:
    _fill(spec, enableServiceLinks=True, securityContext={}, terminationGracePeriodSeconds=_GRACE_SECONDS)
    _fill_empty(spec, dnsPolicy="ClusterFirst", restartPolicy="Always", schedulerName="default-scheduler")
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        # The old name of the field always goes along with the new one.
        spec["serviceAccountName"] = spec["serviceAccount"] = account


def _fill(part: Part, **values: Any) -> None:
    """Set fields that are absent (Go: nil pointers)."""
    for key, value in values.items():
        if part.get(key) is None:
            part[key] = value


def _fill_empty(part: Part, **values: Any) -> None:
    """Set fields that are absent or zero."""
    for key, value in values.items():
        if not part.get(key):
            part[key] = value


def default_pull_policy(image: str) -> str:
    """Always for the tag latest, named or implied; IfNotPresent otherwise, also for what is no image name."""
    return "Always" if tag_of(image) == "latest" else "IfNotPresent"


def _default_container(container: Part) -> None:
    _fill_empty(
        container,
        imagePullPolicy=default_pull_policy(container.get("image") or ""),
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
    )
    resources = container.setdefault("resources", {})
    for field in ("limits", "requests"):
        round_quantities(resources.get(field))
    for port in container.get("ports") or ():
        _fill_empty(port, protocol="TCP")
    for variable in container.get("env") or ():
        _default_env_source(variable.get("valueFrom") or {})
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(field) is not None:
            _default_probe(container[field])
    lifecycle = container.get("lifecycle") or {}
    for field in ("postStart", "preStop"):
        _default_http(lifecycle.get(field) or {})


def _default_env_source(source: Part) -> None:
    if source.get("fieldRef") is not None:
        _fill_empty(source["fieldRef"], apiVersion="v1")
    if source.get("resourceFieldRef") is not None:
        _fill(source["resourceFieldRef"], divisor="0")
    if source.get("fileKeyRef") is not None:
        _fill(source["fileKeyRef"], optional=False)


def _default_probe(probe: Part) -> None:
    _fill_empty(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    _default_http(probe)
    if probe.get("grpc") is not None:
        _fill(probe["grpc"], service="")


def _default_http(handler: Part) -> None:
    if handler.get("httpGet") is not None:
        _fill_empty(handler["httpGet"], path="/", scheme="HTTP")


def _default_volume(volume: Part) -> None:
    if not any(value is not None for key, value in volume.items() if key != "name"):
        volume["emptyDir"] = {}
    for field in ("secret", "configMap", "downwardAPI", "projected"):
        if volume.get(field) is not None:
            _fill(volume[field], defaultMode=_FILE_MODE)
    if volume.get("hostPath") is not None:
        _fill(volume["hostPath"], type="")
    for item in (volume.get("downwardAPI") or {}).get("items") or ():
        _default_env_source(item)
    for source in (volume.get("projected") or {}).get("sources") or ():
        for item in (source.get("downwardAPI") or {}).get("items") or ():
            _default_env_source(item)
        if source.get("serviceAccountToken") is not None:
            _fill(source["serviceAccountToken"], expirationSeconds=_TOKEN_SECONDS)
    _default_claim_template(volume)
    image = volume.get("image")
    if image is not None:
        _fill_empty(image, pullPolicy=default_pull_policy(image.get("reference") or ""))
    _default_storage_systems(volume)


def _default_claim_template(volume: Part) -> None:
    template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
    if template is None:
        return
    spec = template.setdefault("spec", {})
    _fill(spec, volumeMode="Filesystem")
    for field in ("limits", "requests"):
        round_quantities((spec.get("resources") or {}).get(field))


def _default_storage_systems(volume: Part) -> None:
    if volume.get("iscsi") is not None:
        _fill_empty(volume["iscsi"], iscsiInterface="default")
    if volume.get("rbd") is not None:
        _fill_empty(volume["rbd"], pool="rbd", user="admin", keyring="/etc/ceph/keyring")
    if volume.get("azureDisk") is not None:
        _fill(volume["azureDisk"], cachingMode="ReadWrite", kind="Shared", fsType="ext4", readOnly=False)
    if volume.get("scaleIO") is not None:
        _fill_empty(volume["scaleIO"], storageMode="ThinProvisioned", fsType="xfs")
