"""Ports of containers: names, numbers, protocols, and host ports that collide.

Source: validateContainerPorts, AccumulateUniqueHostPorts, validatePodHostNetworkDeps in
pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from podbay.apiserver.field import FieldError, Path, duplicate, invalid, not_supported, required
from podbay.apiserver.kinds.pod_validation import rules
from podbay.objects import names

__all__ = ["host_network_errors", "host_port_conflicts", "ports_errors"]

_PROTOCOLS = ("SCTP", "TCP", "UDP")


def ports_errors(path: Path, ports: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    """`ports` of one container."""
    errors: list[FieldError] = []
    taken: set[str] = set()
    for i, port in enumerate(ports):
        at = path.index(i)
        errors += _port_name_errors(at.child("name"), port.get("name") or "", taken)
        number = port.get("containerPort") or 0
        if not number:
            errors.append(required(at.child("containerPort")))
        else:
            errors += rules.each(at.child("containerPort"), number, names.port_number_errors(number))
        host_port = port.get("hostPort") or 0
        if host_port:
            errors += rules.each(at.child("hostPort"), host_port, names.port_number_errors(host_port))
        protocol = port.get("protocol") or ""
        if not protocol:
            errors.append(required(at.child("protocol")))
        elif protocol not in _PROTOCOLS:
            errors.append(not_supported(at.child("protocol"), protocol, _PROTOCOLS))
    return errors


def _port_name_errors(path: Path, name: str, taken: set[str]) -> list[FieldError]:
    if not name:
        return []
    messages = names.port_name_errors(name)
    if messages:
        return rules.each(path, name, messages)
    if name in taken:
        return [duplicate(path, name)]
    taken.add(name)
    return []


def host_port_conflicts(containers: Iterable[tuple[Path, Mapping[str, Any]]]) -> list[FieldError]:
    """The same protocol, host address and host port twice among these containers."""
    errors = []
    taken: set[str] = set()
    for path, container in containers:
        for i, port in enumerate(container.get("ports") or ()):
            number = port.get("hostPort") or 0
            if not number:
                continue
            text = f"{port.get('protocol') or ''}/{port.get('hostIP') or ''}/{number}"
            if text in taken:
                errors.append(duplicate(path.child("ports").index(i).child("hostPort"), text))
            taken.add(text)
    return errors


def host_network_errors(path: Path, spec: Mapping[str, Any]) -> list[FieldError]:
    """On the host's network a container port is the host port."""
    if not spec.get("hostNetwork"):
        return []
    errors = []
    for i, container in enumerate(spec.get("containers") or ()):
        for j, port in enumerate(container.get("ports") or ()):
            host_port = port.get("hostPort") or 0
            if host_port != (port.get("containerPort") or 0):
                at = path.child("containers").index(i).child("ports").index(j).child("hostPort")
                words = "must match `containerPort` when `hostNetwork` is true"
                errors.append(invalid(at, host_port, words))
    return errors
