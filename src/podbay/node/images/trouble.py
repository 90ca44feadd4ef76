"""Failures of registries in the words containerd uses for them, which is what people know from real nodes. Pure.

Source of the wording: containerd core/remotes/docker, Go's net and crypto/tls.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from http import HTTPStatus

import aiohttp
import orjson

__all__ = ["network_words", "registry_codes", "status_words"]

_TEXT_MAX = 300
"""Characters of a server's own words; a page of HTML helps nobody."""


def status_words(method: str, url: str, status: int, body: bytes, headers: Mapping[str, str]) -> str:
    """An answer that was not expected, with the registry's own message and when to come back."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    words = f"unexpected status from {method} request to {url}: {status} {phrase}".rstrip()
    server = _server_message(body)
    if server:
        words += f" - Server message: {server}"
    if headers.get("Retry-After"):
        words += f" (retry after {headers['Retry-After'][:40]} seconds)"
    return words


def registry_codes(body: bytes) -> set[str]:
    """The error codes in a registry's answer ("NAME_UNKNOWN", "MANIFEST_UNKNOWN")."""
    return {code for code, _ in _errors(body)}


def _server_message(body: bytes) -> str:
    words = "; ".join(
        f"{code.lower().replace('_', ' ')}: {text}" if text else code for code, text in _errors(body)
    )
    return words[:_TEXT_MAX]


def _errors(body: bytes) -> list[tuple[str, str]]:
    try:
        errors = orjson.loads(body)["errors"]
        return [(str(error.get("code") or ""), str(error.get("message") or "")) for error in errors]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return []


def network_words(method: str, url: str, error: Exception) -> str:
    """A request that got no answer."""
    return f'failed to do request: {method.capitalize()} "{url}": {_cause(error)}'


def _cause(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"tls: failed to verify certificate: x509: {_certificate(error.certificate_error)}"
    if isinstance(error, aiohttp.ClientConnectorDNSError) or isinstance(error.__cause__, socket.gaierror):
        host = getattr(error, "host", "")
        return f"dial tcp: lookup {host}: no such host"
    if isinstance(error, aiohttp.ClientSSLError):
        return _tls(error)
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = (error.os_error.strerror or str(error.os_error)).lower()
        if "[errno" in reason or "connect call failed" in reason:
            reason = "connection refused" if isinstance(error.os_error, ConnectionRefusedError) else reason
        return f"dial tcp {error.host}:{error.port}: connect: {reason}"
    if isinstance(error, TimeoutError):
        return "i/o timeout"
    if isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, ConnectionResetError)):
        return "unexpected EOF"
    return str(error) or type(error).__name__


def _certificate(error: Exception) -> str:
    if not isinstance(error, ssl.SSLCertVerificationError):
        return str(error)
    text = error.verify_message.lower()
    if "self-signed" in text or "self signed" in text or "unable to get local issuer" in text:
        return "certificate signed by unknown authority"
    if "expired" in text:
        return "certificate has expired or is not yet valid"
    return text


def _tls(error: aiohttp.ClientSSLError) -> str:
    text = str(error).upper()
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text or "HTTP_REQUEST" in text:
        return "http: server gave HTTP response to HTTPS client"
    return f"tls: {error}"
