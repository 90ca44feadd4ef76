"""The pods' network: one bridge, one address range, one pair of links per pod, and a way out by address translation.

Where the kernel or our rights do not allow it pods get loopback only; `describe` says which and why. What exists is
found again by names derived from the node's identity.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import shlex
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path

from podbay.errors import StartError
from podbay.node.runc.netlink import Netlink

__all__ = ["PodNetwork", "choose_subnet"]

_LOCK = Path("/run/podbay-network.lock")
"""Two nodes that open at the same time must not choose the same range."""
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_CANDIDATES = [
    ipaddress.IPv4Network(f"10.{second}.{third}.0/20")
    for second in range(88, 120)
    for third in range(0, 256, 16)
]
"""4093 pods each, and room for hundreds of nodes on one machine."""
_MARK = "podbay node "
"""Stands before the state directory in the bridge's alias."""
_LINKS = Path("/sys/class/net")


def choose_subnet(routes: str) -> ipaddress.IPv4Network | None:
    """The first range no route of the machine (text of /proc/net/route) overlaps with."""
    taken: list[ipaddress.IPv4Network] = []
    for line in routes.splitlines()[1:]:
        fields = line.split()
        destination, mask = (int(fields[i], 16).to_bytes(4, "little") for i in (1, 7))
        network = ipaddress.IPv4Network((destination, str(ipaddress.IPv4Address(mask))), strict=False)
        if network.prefixlen:
            taken.append(network)
    return next((c for c in _CANDIDATES if not any(c.overlaps(t) for t in taken)), None)


class PodNetwork:
    """The bridge of one node. Thread-safe after `open`."""

    def __init__(self, node: str, base: Path, subnet: ipaddress.IPv4Network | None) -> None:
        self._base = base
        self.bridge = f"pb{node[:10]}"
        self.subnet = subnet
        self.works = False
        self.outbound = False
        self.problem = ""
        self._node = node
        self._index = 0
        self._used: set[ipaddress.IPv4Address] = set()
        self._last: ipaddress.IPv4Address | None = None
        self._lock = threading.Lock()

    @property
    def gateway(self) -> str:
        assert self.subnet is not None
        return str(self.subnet[1])

    def open(self, used: Iterable[str]) -> None:
        """Make the bridge if it is not there; used are the addresses of pods that exist already."""
        self._used = {ipaddress.IPv4Address(address) for address in used}
        try:
            with _LOCK.open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._reclaim()
                self._make_bridge()
            self.works = True
            self.outbound = self._let_out()
        except OSError as error:
            self.problem = (
                f"pods have no network: {error.strerror or error} while making bridge {self.bridge}"
            )

    def _make_bridge(self) -> None:
        exists = (_LINKS / self.bridge).exists()
        if exists and self.subnet is None:
            # A bridge whose range is not known any more would only be in the way.
            self._delete_bridge(self.bridge)
            exists = False
        if not exists and not self._used:
            # The range of last time may belong to somebody else by now.
            self.subnet = choose_subnet(Path("/proc/net/route").read_text())
        if self.subnet is None:
            raise OSError("every range from 10.88.0.0 to 10.119.255.255 is in use")
        with Netlink() as link:
            if not exists:
                link.add_bridge(self.bridge)
                (_LINKS / self.bridge / "ifalias").write_text(f"{_MARK}{self._base}"[:255])
            self._index = socket.if_nametoindex(self.bridge)
            link.add_address(self._index, self.gateway, self.subnet.prefixlen)
            link.set_up(self._index)

    def _reclaim(self) -> None:
        """Remove bridges of nodes whose state directory was deleted without a reset."""
        for _, name in socket.if_nameindex():
            try:
                mark = (_LINKS / name / "ifalias").read_text().strip()
            except OSError:
                continue
            if mark.startswith(_MARK) and not Path(mark.removeprefix(_MARK)).exists():
                self._delete_bridge(name)

    def _delete_bridge(self, name: str) -> None:
        for table in ("nat", "filter"):
            for rule in _rules_naming(table, f"podbay {name}"):
                _iptables("-D", rule)
        if shutil.which("nft") is not None:
            subprocess.run(["nft", "delete", "table", "ip", name], capture_output=True, check=False)
        with Netlink() as link:
            link.delete_link(name)

    def link_name(self, sandbox: str) -> str:
        """The machine's end of a pod's pair of links; at most 15 characters."""
        return f"pv{self._node[:5]}{sandbox[:8]}"

    def reserve(self) -> str:
        """A free address. StartError when the range is used up."""
        assert self.subnet is not None
        with self._lock:
            size = self.subnet.num_addresses
            start = int(self._last or self.subnet[1])
            for step in range(1, size):
                address = self.subnet[(start - int(self.subnet[0]) + step) % size]
                # The first is the network, the second the gateway, the last the broadcast address.
                if address in self._used or address in (self.subnet[0], self.subnet[1], self.subnet[-1]):
                    continue
                self._used.add(address)
                self._last = address
                return str(address)
        raise StartError("CreatePodSandboxError", f"no free pod address in {self.subnet}")

    def release(self, address: str) -> None:
        """Give an address back."""
        with self._lock:
            self._used.discard(ipaddress.IPv4Address(address))

    def connect(self, sandbox: str, address: str, machine: Netlink) -> None:
        """Called inside the pod's new namespace; machine is a socket of the machine's namespace. Raises OSError."""
        assert self.subnet is not None
        name = self.link_name(sandbox)
        namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            machine.delete_link(name)
            machine.add_veth(name, master=self._index, peer="eth0", peer_namespace=namespace)
        finally:
            os.close(namespace)
        with Netlink() as inside:
            index = socket.if_nametoindex("eth0")
            inside.set_up(index)
            inside.add_address(index, address, self.subnet.prefixlen)
            inside.add_default_route(index, self.gateway)

    def disconnect(self, sandbox: str) -> None:
        """Remove the pod's links; no error when they are gone."""
        if self.works:
            with Netlink() as link:
                link.delete_link(self.link_name(sandbox))

    def strays(self, sandboxes: Iterable[str]) -> list[str]:
        """Links of ours that belong to none of these sandboxes."""
        known = {self.link_name(sandbox) for sandbox in sandboxes}
        prefix = self.link_name("")
        return [name for _, name in socket.if_nameindex() if name.startswith(prefix) and name not in known]

    def drop(self, names: Iterable[str]) -> None:
        """Delete links by name."""
        with Netlink() as link:
            for name in names:
                link.delete_link(name)

    def close_down(self) -> None:
        """Remove bridge and rules."""
        if self.works:
            self._delete_bridge(self.bridge)
            self.works = False

    def _let_out(self) -> bool:
        try:
            if _FORWARD.read_text().strip() != "1":
                _FORWARD.write_text("1")
        except OSError as error:
            self.problem = f"pods reach only each other and this machine: {error}"
            return False
        if shutil.which("iptables") is not None:
            done = all(
                _iptables("-C", rule) or _iptables("-A" if "nat" in rule else "-I", rule)
                for rule in self._rules()
            )
        elif shutil.which("nft") is not None:
            done = self._nft()
        else:
            self.problem = "pods reach only each other and this machine: install iptables or nftables"
            return False
        if not done:
            self.problem = (
                "pods reach only each other and this machine: the kernel refused the translation rules"
            )
        return done

    def _rules(self) -> list[list[str]]:
        comment = ["-m", "comment", "--comment", f"podbay {self.bridge}"]
        established = ["-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"]
        return [
            [
                "nat",
                "POSTROUTING",
                "-s",
                str(self.subnet),
                "!",
                "-o",
                self.bridge,
                *comment,
                "-j",
                "MASQUERADE",
            ],
            ["filter", "FORWARD", "-i", self.bridge, *comment, "-j", "ACCEPT"],
            ["filter", "FORWARD", "-o", self.bridge, *established, *comment, "-j", "ACCEPT"],
        ]

    def _nft(self) -> bool:
        table = f"table ip {self.bridge}"
        rules = (
            f"{table}\ndelete {table}\n{table} {{ chain out {{ type nat hook postrouting priority 100; "
            f'ip saddr {self.subnet} oifname != "{self.bridge}" masquerade; }} }}\n'
        )
        return (
            subprocess.run(
                ["nft", "-f", "-"], input=rules, text=True, capture_output=True, check=False
            ).returncode
            == 0
        )


def _iptables(action: str, rule: list[str]) -> bool:
    table, chain, *match = rule
    command = ["iptables", "--wait", "5", "-t", table, action, chain, *match]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _rules_naming(table: str, comment: str) -> list[list[str]]:
    """The rules of a table that carry our comment, in the form `_iptables` takes."""
    if shutil.which("iptables") is None:
        return []
    done = subprocess.run(["iptables", "-t", table, "-S"], capture_output=True, text=True, check=False)
    rules = [shlex.split(line) for line in done.stdout.splitlines() if f'"{comment}"' in line]
    return [[table, *words[1:]] for words in rules if words[0] == "-A"]
