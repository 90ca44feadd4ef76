"""TLS contexts for a cluster: whom to trust and which certificate to show.

Files are read again when they have changed, so that renewed certificates are used by the next connection. Certificate
and key are two files, so in the middle of a renewal they do not fit; what was read before serves until they do.
"""

from __future__ import annotations

import logging
import ssl
import tempfile
from pathlib import Path

from podbay.errors import CredentialError
from podbay.kube.config import ClientCertificate, ClusterConfig

__all__ = ["TlsContexts"]

log = logging.getLogger(__name__)


class TlsContexts:
    """Gives the context for the certificate a request must show; builds one only when something has changed."""

    def __init__(self, config: ClusterConfig) -> None:
        self._config = config
        self._certificate: ClientCertificate | None = None
        self._stamps: object = None
        self._built: ssl.SSLContext | None = None
        self._warned = False

    def context(self, certificate: ClientCertificate | None) -> ssl.SSLContext | None:
        """None for plain HTTP. Blocks for the time of reading a few files. Raises CredentialError."""
        if not self._config.server.startswith("https"):
            return None
        stamps = (_stamp(self._config.ca_path), *_stamps(certificate))
        same = self._built is not None and self._certificate == certificate
        if not same or self._stamps != stamps:
            try:
                built = _build(self._config, certificate)
            except CredentialError as err:
                # Another certificate than before, as from a plugin, may be another user's: no stand-in for that.
                if not same:
                    raise
                if not self._warned:
                    log.warning("the files have changed and the ones before are still used: %s", err)
                self._warned = True
            else:
                self._built, self._certificate, self._stamps = built, certificate, stamps
                self._warned = False
        return self._built


def _stamp(path: Path | None) -> object:
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _stamps(certificate: ClientCertificate | None) -> tuple[object, ...]:
    return () if certificate is None else (_stamp(certificate.cert_path), _stamp(certificate.key_path))


def _build(config: ClusterConfig, certificate: ClientCertificate | None) -> ssl.SSLContext:
    try:
        if config.ca_pem or config.ca_path:
            # Naming a CA leaves the system's bundle unread, which costs 40 ms and trusts too many.
            context = ssl.create_default_context(
                cadata=config.ca_pem or None, cafile=str(config.ca_path) if config.ca_path else None
            )
        else:
            context = ssl.create_default_context()
    except (OSError, ssl.SSLError) as err:
        raise CredentialError(f"{config.origin}: the certificate authority cannot be read: {err}") from err
    # Python 3.13 asks for extensions that the CAs of many clusters lack; Go's client does not.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if config.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        _load(context, certificate, config.origin)
    return context


def _load(context: ssl.SSLContext, certificate: ClientCertificate, origin: str) -> None:
    try:
        # Python's ssl loads a pair from files only; these live for the time of the call, readable by us alone.
        with tempfile.TemporaryDirectory(prefix="podbay-") as directory:
            cert = certificate.cert_path or _write(Path(directory, "cert"), certificate.cert_pem)
            key = certificate.key_path or _write(Path(directory, "key"), certificate.key_pem.reveal())
            context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as err:
        # OpenSSL's words name the problem, never the key.
        raise CredentialError(f"{origin}: the client certificate cannot be used: {err}") from err


def _write(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path
