"""Why a registry gave nothing, as RegistryError: what happened, to which image, what to do. Pure.

Source: the OCI distribution specification (error codes); the words of registries are shown, cut and without control
characters, because they name the right that lacks (ECR: principal and action).
"""

from __future__ import annotations

import re
import socket
import ssl
from typing import Final

import aiohttp
import orjson

from podbay.errors import RegistryError
from podbay.registries.image_name import ImageName
from podbay.registries.logins import Login

__all__ = ["error_codes", "from_answer", "from_network", "refused_login", "refused_token", "registry_words"]

_WORDS_MAX: Final = 300
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def error_codes(body: bytes) -> dict[str, str]:
    """Code to message of a registry's error answer; empty for what is none."""
    try:
        errors = orjson.loads(body)["errors"]
        return {str(each.get("code") or ""): str(each.get("message") or "") for each in errors}
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return {}


def registry_words(body: bytes) -> str:
    """What a registry says in its error answer, cut and on one line; empty for what is none."""
    words = "; ".join(text or code for code, text in error_codes(body).items())
    return _CONTROL.sub(" ", words)[:_WORDS_MAX]


def _who(login: Login) -> str:
    if login.is_anonymous:
        return "anybody"
    return f"user {login.username}" if login.username else "this login"


def from_answer(
    name: ImageName, what: str, status: int, body: bytes, *, login: Login, again: str = ""
) -> RegistryError:
    """An answer that is no success. `what` is a tag, digest or "" for the repository; `again` is Retry-After."""
    codes, said = error_codes(body), registry_words(body)
    tail = f" The registry says: {said}" if said else ""
    if status == 429:
        when = f" Try again in {again} s." if again.isdigit() else ""
        more = " A login has a higher limit: podbay registry add." if login.is_anonymous else ""
        return RegistryError(
            "rate-limit", f"{name.registry} limits how often images are asked for.{when}{more}{tail}"
        )
    if status == 403:
        return RegistryError(
            "denied",
            f"{name.registry} does not let {_who(login)} pull {name.path}; grant it the right to pull.{tail}",
        )
    if status == 401:
        return refused_login(name.registry, login, name.path, said)
    if status == 404 and "NAME_UNKNOWN" in codes:
        return RegistryError("no-repository", f"{name.registry} has no repository {name.path}.{_hint(name)}")
    if status == 404:
        kind = "no-blob" if "BLOB_UNKNOWN" in codes else "no-tag"
        return RegistryError(kind, f"{name.repository} has no {what}.")
    if status >= 500:
        return RegistryError(
            "unavailable", f"{name.registry} answers {status}; it is down or overloaded, try later.{tail}"
        )
    return RegistryError(
        "odd", f"{name.registry} answers {status} for {name}; is it an image registry?{tail}"
    )


def _hint(name: ImageName) -> str:
    return (
        " Create it there, or correct the name."
        if "/" in name.path
        else " Does the name lack its team or project?"
    )


def refused_login(registry: str, login: Login, path: str = "", said: str = "") -> RegistryError:
    """401, whatever was sent."""
    tail = f" The registry says: {said}" if said else ""
    if login.is_anonymous:
        what = f"{path}: it does not exist, or pulling it" if path else "anything: it"
        return RegistryError(
            "login",
            f"{registry} gives nobody {what} takes a login. Add one: podbay registry add {registry}.{tail}",
        )
    about = f" for {path}" if path else ""
    message = (
        f"{registry} refuses {_who(login)}{about}: wrong user name or password, or the token has expired."
    )
    return RegistryError("login", f"{message} Renew it: podbay registry add {registry}.{tail}")


def refused_token(registry: str, path: str, login: Login, body: bytes) -> RegistryError:
    """The registry takes the login, and its token does not open the repository."""
    said = registry_words(body)
    tail = f" The registry says: {said}" if said else ""
    return RegistryError(
        "denied",
        f"{registry} does not let {_who(login)} pull {path}: it does not exist there, or the right to pull lacks.{tail}",
    )


def from_network(registry: str, error: Exception) -> RegistryError:
    """A request without an answer."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return RegistryError("tls", f"{registry}: {_certificate(registry, error.certificate_error)}")
    if isinstance(error, aiohttp.ClientSSLError):
        if is_plain_http(error):
            return RegistryError(
                "plain-http",
                f"{registry} speaks plain HTTP where HTTPS is expected. Give it a certificate; or, if it is to stay so, "
                "add it with --plain-http and tell the nodes' runtime that it is insecure.",
            )
        return RegistryError(
            "tls", f"{registry}: no TLS connection: {_CONTROL.sub(' ', str(error.os_error))}"
        )
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return RegistryError(
            "proxy",
            f"{registry}: the proxy does not connect there, it answers {error.status}. Is the name right, and does the "
            "proxy know it? $NO_PROXY names what is asked directly.",
        )
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return RegistryError(
            "proxy", f"{registry}: the proxy {error.host}:{error.port} of $HTTPS_PROXY cannot be reached"
        )
    if isinstance(error, aiohttp.ClientConnectorDNSError) or isinstance(error.__cause__, socket.gaierror):
        return RegistryError(
            "dns", f"{registry}: no such host. Is the name right, and does this machine's DNS know it?"
        )
    if isinstance(error, TimeoutError):
        return RegistryError(
            "timeout", f"{registry} does not answer in time. Does a proxy or firewall stand between?"
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        if isinstance(error.os_error, ConnectionRefusedError) or error.os_error.errno == 111:
            return RegistryError(
                "refused", f"{registry}: nothing listens there. Is it running, and the port right?"
            )
        return RegistryError(
            "refused", f"{registry} cannot be reached: {error.os_error.strerror or error.os_error}"
        )
    return RegistryError("broken", f"{registry} broke the connection before its answer was whole; try again.")


def is_plain_http(error: aiohttp.ClientSSLError) -> bool:
    """The other side does not speak TLS at all."""
    text = str(error).upper()
    return "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text or "HTTP_REQUEST" in text


def _certificate(registry: str, error: Exception) -> str:
    text = error.verify_message.lower() if isinstance(error, ssl.SSLCertVerificationError) else str(error)
    if "self-signed" in text or "self signed" in text or "local issuer" in text:
        return (
            "its certificate is signed by nobody this machine trusts. Give its authority with --ca-file, and put it "
            f"where nodes look: /etc/docker/certs.d/{registry}/ca.crt"
        )
    if "expired" in text or "not yet valid" in text:
        return f"its certificate is not valid now ({text}). Renew it, or set this machine's clock."
    if "mismatch" in text or "doesn't match" in text:
        return f"its certificate is for another name ({text})."
    return f"its certificate is not accepted: {text}"
