"""Whom to trust as a registry: certificates as docker and podman find them, and this machine itself."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from typing import Final

from podbay.errors import InvalidInputError

__all__ = ["context_for", "is_loopback"]

_CERTIFICATES: Final = (Path("/etc/docker/certs.d"), Path("/etc/containers/certs.d"))


def context_for(host: str, ca_file: Path | None) -> ssl.SSLContext:
    """The machine's trust, what lies where docker and podman look, and a file besides. Blocks. Raises InvalidInputError."""
    context = ssl.create_default_context()
    found = [path for each in _CERTIFICATES for path in sorted((each / host).glob("*.crt"))]
    for path in [*found, *([ca_file] if ca_file is not None else [])]:
        try:
            context.load_verify_locations(path)
        except ssl.SSLError:
            raise InvalidInputError(f"{path} has no certificate in PEM, which is wanted for {host}") from None
        except OSError as error:
            raise InvalidInputError(f"{path}, a certificate for {host}: {error.strerror}") from error
    return context


def is_loopback(host: str) -> bool:
    """Whether a host, perhaps with a port, is this machine; those may speak plain HTTP."""
    name = host if host.endswith("]") else host.rsplit(":", 1)[0]
    try:
        return name == "localhost" or ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
