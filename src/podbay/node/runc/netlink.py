"""Network links, addresses and routes by rtnetlink messages, so that no `ip` process is needed per pod.

A socket speaks for the network namespace it was opened in. Source: rtnetlink(7), linux/if_link.h.
"""

from __future__ import annotations

import os
import socket
import struct
from types import TracebackType
from typing import Self

__all__ = ["Netlink"]

_NEWLINK, _DELLINK, _NEWADDR, _NEWROUTE = 16, 17, 20, 24
_ERROR = 2
_REQUEST, _ACK, _EXCL, _CREATE = 0x1, 0x4, 0x200, 0x400
_IFF_UP = 0x1
_IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 3, 10, 18, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_GATEWAY, _RTA_OIF = 5, 4
_TABLE_MAIN, _PROTOCOL_BOOT, _SCOPE_UNIVERSE, _TYPE_UNICAST = 254, 3, 0, 1


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", len(data) + 4, kind) + data + b"\0" * (-len(data) % 4)


def _name(kind: int, text: str) -> bytes:
    return _attribute(kind, text.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("=I", value))


def _link(index: int = 0, *, up: bool = False) -> bytes:
    flag = _IFF_UP if up else 0
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flag, flag)


class Netlink:
    """An rtnetlink socket. Each call waits for the kernel's answer and raises its OSError."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def add_bridge(self, name: str) -> None:
        """A new bridge, not up yet."""
        info = _attribute(_IFLA_LINKINFO, _name(_INFO_KIND, "bridge"))
        self._ask(_NEWLINK, _CREATE | _EXCL, _link() + _name(_IFLA_IFNAME, name) + info)

    def add_veth(self, name: str, *, master: int, peer: str, peer_namespace: int) -> None:
        """A pair of links: name here in the bridge with index master, and up; peer in the given namespace."""
        other = _link() + _name(_IFLA_IFNAME, peer) + _number(_IFLA_NET_NS_FD, peer_namespace)
        data = _attribute(_INFO_DATA, _attribute(_VETH_PEER, other))
        info = _attribute(_IFLA_LINKINFO, _name(_INFO_KIND, "veth") + data)
        body = _link() + _name(_IFLA_IFNAME, name) + _number(_IFLA_MASTER, master) + info
        self._ask(_NEWLINK, _CREATE | _EXCL, body)
        # Neither end can be brought up before both are made.
        self._ask(_NEWLINK, 0, _link(up=True) + _name(_IFLA_IFNAME, name))

    def set_up(self, index: int) -> None:
        """Bring a link up."""
        self._ask(_NEWLINK, 0, _link(index, up=True))

    def delete_link(self, name: str) -> bool:
        """Delete a link (of a pair: both). False when there is none."""
        try:
            self._ask(_DELLINK, 0, _link() + _name(_IFLA_IFNAME, name))
        except OSError as error:
            if error.errno == 19:  # ENODEV
                return False
            raise
        return True

    def add_address(self, index: int, address: str, prefix: int) -> None:
        """An IPv4 address on a link; no error when it is there already."""
        packed = socket.inet_aton(address)
        body = struct.pack("=BBBBi", socket.AF_INET, prefix, 0, 0, index)
        body += _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)
        try:
            self._ask(_NEWADDR, _CREATE | _EXCL, body)
        except FileExistsError:
            pass

    def add_default_route(self, index: int, gateway: str) -> None:
        """All IPv4 traffic goes by gateway."""
        body = struct.pack(
            "=BBBBBBBBI",
            socket.AF_INET,
            0,
            0,
            0,
            _TABLE_MAIN,
            _PROTOCOL_BOOT,
            _SCOPE_UNIVERSE,
            _TYPE_UNICAST,
            0,
        )
        body += _attribute(_RTA_GATEWAY, socket.inet_aton(gateway)) + _number(_RTA_OIF, index)
        self._ask(_NEWROUTE, _CREATE, body)

    def _ask(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        header = struct.pack("=IHHII", len(body) + 16, kind, flags | _REQUEST | _ACK, self._sequence, 0)
        self._socket.send(header + body)
        while True:
            answer = self._socket.recv(65536)
            _, answered, _, sequence, _ = struct.unpack_from("=IHHII", answer)
            if sequence == self._sequence and answered == _ERROR:
                code = -struct.unpack_from("=i", answer, 16)[0]
                if code:
                    raise OSError(code, os.strerror(code))
                return
