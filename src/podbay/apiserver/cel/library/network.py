"""ip() and cidr(). Source: k8s.io/apiserver/pkg/cel/library/{ip,cidr}.go."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, TypeAlias

from podbay.apiserver.cel.library.declare import Function, Overload, opaque, payload, tag_of

__all__ = ["FUNCTIONS"]

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Interface: TypeAlias = ipaddress.IPv4Interface | ipaddress.IPv6Interface


def _address(text: str) -> _Address:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f'IP Address "{text}" parse error during conversion from string') from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ValueError(f'IP address "{text}" with zone value is not allowed')
        if address.ipv4_mapped is not None:
            raise ValueError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return address


def _interface(text: str) -> _Interface:
    try:
        network = ipaddress.ip_interface(text) if "/" in text else None
    except ValueError:
        network = None
    if network is None or not text.partition("/")[2].isdigit():
        raise ValueError(f'network address parse error during conversion from string: "{text}"')
    return network


def _holds(parse: Callable[[str], Any]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return check


def _ip(value: Any) -> dict[str, Any]:
    if tag_of(value) == "cidr":
        return opaque("ip", str(_cidr_of(value).ip))
    if not isinstance(value, str):
        raise ValueError("no such overload")
    return opaque("ip", str(_address(value)))


def _cidr(text: str) -> dict[str, Any]:
    return opaque("cidr", str(_interface(text)))


def _ip_of(value: Any) -> _Address:
    return _address(value if isinstance(value, str) else payload(value, "ip"))


def _cidr_of(value: Any) -> _Interface:
    return _interface(value if isinstance(value, str) else payload(value, "cidr"))


def _contains_ip(value: Any, other: Any) -> bool:
    return _ip_of(other) in _cidr_of(value).network


def _contains_cidr(value: Any, other: Any) -> bool:
    one, two = _cidr_of(value).network, _cidr_of(other).network
    return one.version == two.version and two.subnet_of(one)  # type: ignore[arg-type]


def _is_global_unicast(value: Any) -> bool:
    address = _ip_of(value)
    broadcast = str(address) == "255.255.255.255"
    return not (
        address.is_unspecified
        or address.is_loopback
        or address.is_multicast
        or address.is_link_local
        or broadcast
    )


def _is_link_local_multicast(value: Any) -> bool:
    address = _ip_of(value)
    if address.version == 4:
        return address.packed[:3] == b"\xe0\x00\x00"
    return address.packed[0] == 0xFF and address.packed[1] & 0x0F == 0x02


def _of_ip(name: str, run: Callable[[Any], Any], overload: str, result: str = "bool") -> Function:
    return Function(name, run, (Overload(overload, ("ip",), result),))


FUNCTIONS = (
    Function("ip", _ip, (Overload("string_to_ip", ("string",), "ip"),), member=False),
    Function("ip", _ip, (Overload("cidr_ip", ("cidr",), "ip"),)),
    Function("isIP", _holds(_address), (Overload("is_ip", ("string",), "bool"),), member=False),
    Function(
        "ip.isCanonical",
        lambda text: str(_address(text)) == text,
        (Overload("ip_is_canonical", ("string",), "bool"),),
        member=False,
    ),
    _of_ip("family", lambda value: _ip_of(value).version, "ip_family", "int"),
    _of_ip("isUnspecified", lambda value: _ip_of(value).is_unspecified, "ip_is_unspecified"),
    _of_ip("isLoopback", lambda value: _ip_of(value).is_loopback, "ip_is_loopback"),
    _of_ip("isLinkLocalMulticast", _is_link_local_multicast, "ip_is_link_local_multicast"),
    _of_ip("isLinkLocalUnicast", lambda value: _ip_of(value).is_link_local, "ip_is_link_local_unicast"),
    _of_ip("isGlobalUnicast", _is_global_unicast, "ip_is_global_unicast"),
    Function("cidr", _cidr, (Overload("string_to_cidr", ("string",), "cidr"),), member=False),
    Function("isCIDR", _holds(_interface), (Overload("is_cidr", ("string",), "bool"),), member=False),
    Function(
        "containsIP",
        _contains_ip,
        (
            Overload("cidr_contains_ip_string", ("cidr", "string"), "bool"),
            Overload("cidr_contains_ip_ip", ("cidr", "ip"), "bool"),
        ),
    ),
    Function(
        "containsCIDR",
        _contains_cidr,
        (
            Overload("cidr_contains_cidr_string", ("cidr", "string"), "bool"),
            Overload("cidr_contains_cidr", ("cidr", "cidr"), "bool"),
        ),
    ),
    Function(
        "masked",
        lambda value: opaque("cidr", str(_cidr_of(value).network)),
        (Overload("cidr_masked", ("cidr",), "cidr"),),
    ),
    Function(
        "prefixLength",
        lambda value: _cidr_of(value).network.prefixlen,
        (Overload("cidr_prefix_length", ("cidr",), "int"),),
    ),
)
