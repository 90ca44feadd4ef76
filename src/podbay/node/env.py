"""A container's environment: services, envFrom, env, with `$(NAME)` expanded. Pure; sources are handed in.

Source: pkg/kubelet/kubelet_pods.go (makeEnvironmentVariables), pkg/kubelet/envvars/envvars.go.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from podbay.errors import StartError
from podbay.node.expansion import expand
from podbay.node.fields import NodeFacts, field_value, resource_value
from podbay.objects.meta import Object, name_of, namespace_of
from podbay.objects.quoting import go_quote

__all__ = ["EnvSources", "Lookup", "config_error", "decoded", "environment", "service_environment"]

Lookup = Callable[[str, str], Object | None]
"""(namespace, name) to the object, None when it is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvSources:
    """Where values come from."""

    secret: Lookup
    config_map: Lookup
    services: Sequence[Object]
    node: NodeFacts
    pod_ips: tuple[str, ...] = ()
    api_address: tuple[str, int] | None = None
    """Where pods reach the API server, when that is not the `kubernetes` service's own address."""


def config_error(message: str) -> StartError:
    """A container that cannot be configured: waiting with reason CreateContainerConfigError."""
    return StartError("CreateContainerConfigError", message)


def decoded(value: str | None) -> str:
    """The text of one entry of a Secret's data."""
    return base64.b64decode(value or "").decode("utf-8", "replace")


def environment(pod: Object, container: Object, sources: EnvSources) -> dict[str, str]:
    """Names and values in order. StartError CreateContainerConfigError when something named is missing."""
    services = service_environment(pod, sources)
    own: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        prefix = source.get("prefix") or ""
        own |= {prefix + key: value for key, value in _all_of(pod, source, sources)}
    for entry in container.get("env") or ():
        value = entry.get("value") or ""
        if value:
            own[entry["name"]] = expand(value, own, services)
        elif entry.get("valueFrom"):
            found = _value_from(pod, container, entry["valueFrom"], sources)
            if found is not None:
                own[entry["name"]] = found
        else:
            own[entry["name"]] = ""
    return own | {name: value for name, value in services.items() if name not in own}


def _all_of(pod: Object, source: Object, sources: EnvSources) -> Iterable[tuple[str, str]]:
    if reference := source.get("configMapRef"):
        found = _read("configmap", pod, reference, sources.config_map)
        return ((found or {}).get("data") or {}).items()
    if reference := source.get("secretRef"):
        found = _read("secret", pod, reference, sources.secret)
        return [(key, decoded(value)) for key, value in ((found or {}).get("data") or {}).items()]
    return ()


def _read(kind: str, pod: Object, reference: Object, lookup: Lookup) -> Object | None:
    """The referenced object; None when it is optional and missing."""
    name = reference.get("name") or ""
    found = lookup(namespace_of(pod), name)
    if found is None and not reference.get("optional"):
        raise config_error(f"{kind} {go_quote(name)} not found")
    return found


def _value_from(pod: Object, container: Object, source: Object, sources: EnvSources) -> str | None:
    """The value, None when it is optional and missing."""
    if reference := source.get("fieldRef"):
        return field_value(pod, reference["fieldPath"], sources.node, pod_ips=sources.pod_ips)
    if reference := source.get("resourceFieldRef"):
        try:
            return resource_value(pod, container["name"], reference, sources.node)
        except ValueError as error:
            raise config_error(str(error)) from error
    if reference := source.get("configMapKeyRef"):
        return _key("configmap", "ConfigMap", pod, reference, sources.config_map)
    if reference := source.get("secretKeyRef"):
        value = _key("secret", "Secret", pod, reference, sources.secret)
        return None if value is None else decoded(value)
    return ""


def _key(kind: str, shown: str, pod: Object, reference: Object, lookup: Lookup) -> str | None:
    found = _read(kind, pod, reference, lookup)
    if found is None:
        return None
    values: Mapping[str, str] = found.get("data") or {}
    if reference["key"] in values:
        return values[reference["key"]]
    if reference.get("optional"):
        return None
    where = f"{namespace_of(pod)}/{reference.get('name') or ''}"
    raise config_error(f"couldn't find key {reference['key']} in {shown} {where}")


# --- services ------------------------------------------------------------------------------------------------------


def service_environment(pod: Object, sources: EnvSources) -> dict[str, str]:
    """Variables for the services a pod can see: those of its namespace, and the API server's always."""
    links = pod["spec"].get("enableServiceLinks") is not False
    chosen: dict[str, Object] = {}
    for service in sources.services:
        own = namespace_of(service) == namespace_of(pod)
        master = namespace_of(service) == "default" and name_of(service) == "kubernetes"
        if master or (own and links):
            # A service of the pod's own namespace hides the API server's of the same name.
            if master and not own and name_of(service) in chosen:
                continue
            chosen[name_of(service)] = service
    result: dict[str, str] = {}
    for name in sorted(chosen):
        result |= _service_variables(chosen[name], sources.api_address)
    return result


def _service_variables(service: Object, api_address: tuple[str, int] | None) -> dict[str, str]:
    spec = service["spec"]
    address = spec.get("clusterIP") or ""
    ports = [dict(p) for p in spec.get("ports") or ()]
    if address in ("", "None") or not ports:
        return {}
    if api_address is not None and namespace_of(service) == "default" and name_of(service) == "kubernetes":
        address, ports[0]["port"] = api_address
    prefix = name_of(service).upper().replace("-", "_")
    found = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(ports[0]["port"])}
    for port in ports:
        if port.get("name"):
            found[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
    for i, port in enumerate(ports):
        protocol = port.get("protocol") or "TCP"
        url = f"{protocol.lower()}://{_bracketed(address)}:{port['port']}"
        if i == 0:
            found[f"{prefix}_PORT"] = url
        link = f"{prefix}_PORT_{port['port']}_{protocol}"
        found |= {
            link: url,
            f"{link}_PROTO": protocol.lower(),
            f"{link}_PORT": str(port["port"]),
            f"{link}_ADDR": address,
        }
    return found


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
