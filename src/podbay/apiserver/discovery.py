"""What the server serves, told to clients: /api, /apis, group and version lists, the aggregated form, /version.

Pure functions of the Registry. Not for the structure of kinds (openapi.py). Source:
k8s.io/apiserver/pkg/endpoints/discovery and its aggregated sub-package.
"""

from __future__ import annotations

import base64
import hashlib
import platform
from collections.abc import Iterable
from typing import Any, Final

import orjson

from podbay.apiserver.negotiate import Output, check_route_accept, encode_object, negotiate_discovery
from podbay.apiserver.registry import Registry, ResourceType, Subresource
from podbay.apiserver.request import Request
from podbay.apiserver.result import PlainResult

__all__ = ["GIT_VERSION", "document", "root_paths", "version"]

GIT_VERSION: Final = "v1.36.2+podbay"
"""What clients compare with; the part after + says that it is not the Kubernetes build of that number."""

_MACHINES: Final = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_GROUP_PRIORITY: Final = {
    "": 18000,
    "apps": 17800,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "admissionregistration.k8s.io": 16700,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "metrics.k8s.io": 100,
}
_DEFAULT_PRIORITY: Final = 1000
_WELL_KNOWN_PATHS: Final = (
    "/.well-known/openid-configuration",
    "/api",
    "/apis",
    "/healthz",
    "/livez",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/openid/v1/jwks",
    "/readyz",
    "/version",
)
_STREAM_VERBS: Final = {
    "exec": ("create", "get"),
    "attach": ("create", "get"),
    "portforward": ("create", "get"),
    "proxy": ("create", "delete", "get", "patch", "update"),
}
_STREAM_KINDS: Final = {
    "exec": "PodExecOptions",
    "attach": "PodAttachOptions",
    "portforward": "PodPortForwardOptions",
}


def version() -> dict[str, str]:
    """The body of /version (Go: version.Info)."""
    return {
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": f"linux/{_MACHINES.get(platform.machine().lower(), platform.machine().lower())}",
    }


def root_paths(registry: Registry) -> list[str]:
    """The paths that / lists, sorted."""
    paths = set(_WELL_KNOWN_PATHS)
    for group, group_version in registry.groups():
        if group:
            paths |= {f"/apis/{group}", f"/apis/{group}/{group_version}"}
        else:
            paths.add(f"/api/{group_version}")
    return sorted(paths)


def document(registry: Registry, path: str, request: Request) -> PlainResult | None:
    """The answer to a path under /api and /apis that is no resource, None when nothing is there.

    path has no trailing slash. Raises ApiError 406 for forms that are not spoken.
    """
    parts = path.strip("/").split("/")
    if parts[0] not in ("api", "apis") or len(parts) > 3:
        return None
    accept = request.headers.get("accept", "")
    found = _find(registry, parts, request)
    if found is None:
        return None
    check_route_accept(accept, method=request.method)
    output = negotiate_discovery(accept)
    if output.convert and len(parts) == 1:
        return _with_etag(
            _aggregated(registry, core=parts[0] == "api", version=output.version), output, request
        )
    return PlainResult(encode_object(found, output), content_type=output.content_type)


def _find(registry: Registry, parts: list[str], request: Request) -> dict[str, Any] | None:
    match parts:
        case ["api"]:
            return _api_versions(registry, request)
        case ["apis"]:
            return {
                "kind": "APIGroupList",
                "apiVersion": "v1",
                "groups": [_group(registry, g) for g in _groups(registry) if g],
            }
        case ["api", group_version]:
            return _resource_list(registry, "", group_version)
        case ["apis", group] if group in _groups(registry):
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(registry, group)}
        case ["apis", group, group_version]:
            return _resource_list(registry, group, group_version)
    return None


def _groups(registry: Registry) -> list[str]:
    """Group names, the most important first."""
    names = {group for group, _ in registry.groups()}
    return sorted(names, key=lambda g: (-_GROUP_PRIORITY.get(g, _DEFAULT_PRIORITY), g))


def _versions(registry: Registry, group: str) -> list[str]:
    return [v for g, v in registry.groups() if g == group]


def _api_versions(registry: Registry, request: Request) -> dict[str, Any]:
    return {
        "kind": "APIVersions",
        "versions": _versions(registry, ""),
        "serverAddressByClientCIDRs": [
            {"clientCIDR": "0.0.0.0/0", "serverAddress": request.headers.get("host", "")}
        ],
    }


def _group(registry: Registry, group: str) -> dict[str, Any]:
    versions = [{"groupVersion": f"{group}/{v}", "version": v} for v in _versions(registry, group)]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def _resource_list(registry: Registry, group: str, group_version: str) -> dict[str, Any] | None:
    types = _types_of(registry, group, group_version)
    if not types:
        return None
    entries: list[dict[str, Any]] = []
    for resource in types:
        entries.append(_resource(resource))
        entries += [_subresource(resource, sub) for sub in _sorted_subresources(resource)]
    # The core group lists itself without apiVersion, as it did in Kubernetes 1.1.
    head = {"kind": "APIResourceList", "apiVersion": "v1"} if group else {"kind": "APIResourceList"}
    full = f"{group}/{group_version}" if group else group_version
    return {**head, "groupVersion": full, "resources": entries}


def _types_of(registry: Registry, group: str, group_version: str) -> list[ResourceType]:
    found = [t for t in registry if (t.gvr.group, t.gvr.version) == (group, group_version)]
    return sorted(found, key=lambda t: t.gvr.resource)


def _resource(resource: ResourceType) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": resource.gvr.resource,
        "singularName": _singular(resource),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": sorted(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.handler is None and not resource.measured:
        entry["storageVersionHash"] = _storage_version_hash(resource)
    return entry


def _singular(resource: ResourceType) -> str:
    return resource.singular or resource.kind.lower()


def _sorted_subresources(resource: ResourceType) -> Iterable[Subresource]:
    return sorted(resource.subresources, key=lambda s: s.name)


def _subresource(resource: ResourceType, sub: Subresource) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": f"{resource.gvr.resource}/{sub.name}",
        "singularName": "",
        "namespaced": resource.namespaced,
    }
    kind, group, group_version = _subresource_kind(resource, sub)
    if (group, group_version) != (resource.gvr.group, resource.gvr.version):
        entry["group"], entry["version"] = group, group_version
    return {**entry, "kind": kind, "verbs": list(_subresource_verbs(sub))}


def _subresource_kind(resource: ResourceType, sub: Subresource) -> tuple[str, str, str]:
    kind = sub.kind or _STREAM_KINDS.get(sub.name, resource.kind)
    if not sub.version:
        return kind, resource.gvr.group, resource.gvr.version
    return kind, sub.group, sub.version


def _subresource_verbs(sub: Subresource) -> Iterable[str]:
    if sub.strategy is None and sub.handler is None and sub.name in _STREAM_VERBS:
        return _STREAM_VERBS[sub.name]
    return sorted(sub.verbs)


def _storage_version_hash(resource: ResourceType) -> str:
    text = f"{resource.gvr.group}/{resource.gvr.version}/{resource.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def _aggregated(registry: Registry, *, core: bool, version: str) -> dict[str, Any]:
    items = []
    for group in _groups(registry):
        if (group == "") == core:
            versions = [_aggregated_version(registry, group, v) for v in _versions(registry, group)]
            items.append({"metadata": {"name": group} if group else {}, "versions": versions})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _aggregated_version(registry: Registry, group: str, group_version: str) -> dict[str, Any]:
    resources = [_aggregated_resource(t) for t in _types_of(registry, group, group_version)]
    return {"version": group_version, "resources": resources, "freshness": "Current"}


def _aggregated_resource(resource: ResourceType) -> dict[str, Any]:
    listed = _resource(resource)
    entry: dict[str, Any] = {
        "resource": listed["name"],
        "responseKind": {
            "group": resource.gvr.group,
            "version": resource.gvr.version,
            "kind": resource.kind,
        },
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": listed["singularName"],
        "verbs": listed["verbs"],
    }
    for name in ("shortNames", "categories"):
        if name in listed:
            entry[name] = listed[name]
    subresources = [_subresource(resource, sub) for sub in _sorted_subresources(resource)]
    if subresources:
        entry["subresources"] = [
            {
                "subresource": sub["name"].partition("/")[2],
                "responseKind": {
                    "group": sub.get("group", resource.gvr.group),
                    "version": sub.get("version", resource.gvr.version),
                    "kind": sub["kind"],
                },
                "verbs": sub["verbs"],
            }
            for sub in subresources
        ]
    return entry


def _with_etag(body: dict[str, Any], output: Output, request: Request) -> PlainResult:
    """Clients that hold the same document already get 304."""
    encoded = encode_object(body, output)
    etag = f'"{hashlib.sha512(orjson.dumps(body)).hexdigest().upper()}"'
    headers = {"ETag": etag, "Vary": "Accept", "Cache-Control": "public"}
    if request.headers.get("if-none-match") == etag:
        return PlainResult(b"", status=304, headers=headers)
    content_type = f"{output.content_type};g=apidiscovery.k8s.io;v={output.version};as={output.convert}"
    return PlainResult(encoded, content_type=content_type, headers=headers)
