"""What a pod's sandbox is made from: names, network, resolver, namespaces. Pure.

Source: pkg/kubelet/kuberuntime/kuberuntime_sandbox.go, pkg/kubelet/network/dns/dns.go, pkg/util/node (hostnames).
"""

from __future__ import annotations

from collections.abc import Sequence

from podbay.node.labels import POD_NAME, POD_NAMESPACE, POD_UID, VOLUMES
from podbay.node.resources import pod_cgroup
from podbay.node.specs import Dns, HostAlias, SandboxSpec
from podbay.objects.meta import Object, name_of, namespace_of, uid_of

__all__ = ["NO_CLUSTER_DNS", "insists_on_cluster_dns", "sandbox_spec"]

_HOSTNAME_LENGTH = 63
NO_CLUSTER_DNS = (
    "kubelet does not have ClusterDNS IP configured and cannot create Pod using {policy} policy. "
    'Falling back to "Default" policy.'
)
"""The event MissingClusterDNS (pkg/kubelet/network/dns/dns.go)."""


def sandbox_spec(pod: Object, *, attempt: int, volumes: Sequence[str], node_hostname: str) -> SandboxSpec:
    """The sandbox to create. volumes are the runtime volumes that belong to the pod."""
    spec = pod["spec"]
    host_network = bool(spec.get("hostNetwork"))
    hostname, domain = _names(pod, node_hostname if host_network else "")
    labels = {POD_UID: uid_of(pod), POD_NAME: name_of(pod), POD_NAMESPACE: namespace_of(pod)}
    return SandboxSpec(
        pod_uid=uid_of(pod),
        pod_name=name_of(pod),
        pod_namespace=namespace_of(pod),
        attempt=attempt,
        labels=labels | ({VOLUMES: ",".join(volumes)} if volumes else {}),
        hostname=hostname,
        domain=domain,
        dns=_dns(spec),
        host_aliases=[HostAlias(a["ip"], a.get("hostnames") or ()) for a in spec.get("hostAliases") or ()],
        host_network=host_network,
        host_pid=bool(spec.get("hostPID")),
        host_ipc=bool(spec.get("hostIPC")),
        share_processes=bool(spec.get("shareProcessNamespace")),
        sysctls={s["name"]: s["value"] for s in (spec.get("securityContext") or {}).get("sysctls") or ()},
        limits=pod_cgroup(pod),
    )


def _names(pod: Object, node_hostname: str) -> tuple[str, str]:
    spec = pod["spec"]
    if spec.get("hostnameOverride"):
        return spec["hostnameOverride"], ""
    if node_hostname:
        return node_hostname, ""
    hostname = spec.get("hostname") or name_of(pod)[:_HOSTNAME_LENGTH].rstrip("-.")
    domain = ""
    if spec.get("subdomain"):
        # The cluster has no DNS domain; the name ends where it would stand.
        domain = f"{spec['subdomain']}.{namespace_of(pod)}.svc."
    if spec.get("setHostnameAsFQDN") and domain:
        hostname = f"{hostname}.{domain}"
    return hostname, domain


def insists_on_cluster_dns(pod: Object) -> bool:
    """The pod asks for cluster DNS in so many words; most pods do by a default that they know nothing of.

    This cluster has none: both get the node's resolver, and who insists gets a warning.
    """
    return bool(pod["spec"].get("dnsPolicy") == "ClusterFirstWithHostNet")


def _dns(spec: Object) -> Dns:
    config = spec.get("dnsConfig") or {}
    options = [o["name"] + (f":{o['value']}" if o.get("value") else "") for o in config.get("options") or ()]
    return Dns(
        servers=list(config.get("nameservers") or ()),
        searches=list(config.get("searches") or ()),
        options=options,
    )
