"""Where an engine answers: the address as people write it, and the TLS files that go with it.

Which address to use is decided in node/choose.py. Address forms: docs.docker.com/reference/cli/docker, "DOCKER_HOST".
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from podbay.errors import InvalidInputError

__all__ = ["Endpoint", "TlsFiles", "parse_endpoint"]

_PLAIN_PORT = 2375
_TLS_PORT = 2376


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A directory with some of ca.pem, cert.pem and key.pem."""

    directory: Path
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        """InvalidInputError when a file is damaged or unreadable."""
        try:
            ca = self.directory / "ca.pem"
            context = ssl.create_default_context(cafile=str(ca) if ca.exists() else None)
            if not self.verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if (self.directory / "cert.pem").exists():
                context.load_cert_chain(self.directory / "cert.pem", self.directory / "key.pem")
        except OSError as error:
            raise InvalidInputError(
                f"TLS files of the container engine in {self.directory}: {error}"
            ) from error
        return context


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One engine's address: a socket's path, or host and port. origin says who named it, for messages."""

    origin: str
    path: str = ""
    host: str = ""
    port: int = 0
    tls: TlsFiles | None = None

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path else f"tcp://{self.host}:{self.port}"


def parse_endpoint(address: str, *, origin: str, tls: TlsFiles | None = None) -> Endpoint:
    """Read "unix:///path", "tcp://host:port" or "https://host:port". InvalidInputError names the origin."""
    parts = urlsplit(address)
    if parts.scheme == "unix" and parts.path:
        return Endpoint(origin=origin, path=parts.path)
    if parts.scheme in ("tcp", "http", "https") and parts.hostname:
        try:
            port = parts.port
        except ValueError:
            raise InvalidInputError(f'{origin}: "{address}" has no valid port') from None
        if parts.scheme == "https" and tls is None:
            tls = TlsFiles(Path("/nonexistent"))
        return Endpoint(
            origin=origin,
            host=parts.hostname,
            port=port or (_TLS_PORT if tls else _PLAIN_PORT),
            tls=tls,
        )
    if parts.scheme == "ssh":
        raise InvalidInputError(
            f"{origin}: engines behind ssh are not supported; forward the socket "
            f"(ssh -L /path/docker.sock:/var/run/docker.sock HOST) and set DOCKER_HOST=unix:///path/docker.sock"
        )
    raise InvalidInputError(
        f'{origin}: "{address}" is not the address of a container engine (unix:// or tcp://)'
    )
