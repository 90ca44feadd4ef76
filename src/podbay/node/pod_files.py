"""The text of /etc/hosts and /etc/resolv.conf in pods, as the kubelet writes them. Pure.

Source of the format: pkg/kubelet/kubelet_pods.go (managedHostsFileContent), pkg/kubelet/network/dns.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from podbay.node.specs import Dns, HostAlias, SandboxSpec

__all__ = ["hosts_text", "resolv_conf_text", "usable_resolv_conf"]

_LOCAL = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::0", "ip6-localnet"),
    ("fe00::0", "ip6-mcastprefix"),
    ("fe00::1", "ip6-allnodes"),
    ("fe00::2", "ip6-allrouters"),
)


def hosts_text(spec: SandboxSpec, ips: Sequence[str], node_hosts: str) -> str:
    """The pod's hosts file. node_hosts is the machine's own, which pods on the host's network see."""
    if spec.host_network:
        head = f"# Kubernetes-managed hosts file (host network).\n{node_hosts}"
    else:
        lines = ["# Kubernetes-managed hosts file."]
        lines += [f"{ip}\t{names}" for ip, names in _LOCAL]
        # Without an address of its own the pod must still be able to look up its hostname.
        for ip in ips or ("127.0.0.1",):
            if spec.domain:
                lines.append(f"{ip}\t{spec.hostname}.{spec.domain}\t{spec.hostname}")
            else:
                lines.append(f"{ip}\t{spec.hostname}")
        head = "\n".join(lines) + "\n"
    return head + _aliases(spec.host_aliases)


def _aliases(aliases: Sequence[HostAlias]) -> str:
    if not aliases:
        return ""
    lines = ["\n# Entries added by HostAliases."]
    lines += ["\t".join((alias.ip, *alias.hostnames)) for alias in aliases]
    return "\n".join(lines) + "\n"


def resolv_conf_text(dns: Dns, node_resolv_conf: str) -> str:
    """The pod's resolver configuration; the node's own when the pod asks for nothing."""
    if not (dns.servers or dns.searches or dns.options):
        return node_resolv_conf
    lines = []
    if dns.searches:
        lines.append("search " + " ".join(dns.searches))
    lines += [f"nameserver {server}" for server in dns.servers]
    if dns.options:
        lines.append("options " + " ".join(dns.options))
    return "".join(f"{line}\n" for line in lines)


def usable_resolv_conf(text: str) -> bool:
    """Whether a pod with a network of its own can reach at least one of the name servers."""
    servers = [
        words[1]
        for line in text.splitlines()
        if (words := line.split())[:1] == ["nameserver"] and len(words) > 1
    ]
    for server in servers:
        try:
            if not ipaddress.ip_address(server.split("%")[0]).is_loopback:
                return True
        except ValueError:
            continue
    return False
