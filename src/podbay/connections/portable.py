"""A cluster's configuration as any machine can use it: what of it is bound to this one is changed or refused. Pure.

Files must have been read before (reading.py). What remains is the plugin: workers must have the program itself.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import orjson

from podbay.errors import InvalidInputError
from podbay.kube.config import ClusterConfig, ExecPlugin, StaticToken, TokenFile, TokenSource

__all__ = ["Portable", "portable", "token_end"]

_GROUP: Final = "client.authentication.k8s.io/"
_OLD: Final = _GROUP + "v1alpha1"
_NEW: Final = _GROUP + "v1beta1"


@dataclass(frozen=True, slots=True)
class Portable:
    """A configuration without files, and sentences on what was changed or what workers need."""

    config: ClusterConfig
    notes: tuple[str, ...] = ()


def portable(config: ClusterConfig, *, copied_token: bool = False) -> Portable:
    """Ready for a connection; `copied_token`: its token was read from a file. Raises InvalidInputError with the field."""
    credential = config.credential
    notes: list[str] = []
    if isinstance(credential, TokenFile | TokenSource) or config.ca_path is not None:
        raise InvalidInputError(f"{config.origin}: read its files before (reading.py)")
    if isinstance(credential, ExecPlugin):
        credential = _plugin(credential, config.origin, notes)
    if isinstance(credential, StaticToken):
        notes += _token(credential, copied_token)
    if config.insecure:
        notes.append("The server's certificate is not verified: whoever stands between can read everything.")
    if config.proxy_url:
        notes.append("It is reached through the proxy of the kubeconfig, which workers must reach too.")
    return Portable(replace(config, credential=credential), tuple(notes))


def _plugin(plugin: ExecPlugin, origin: str, notes: list[str]) -> ExecPlugin:
    if "/" in plugin.command and not plugin.command.startswith("/"):
        raise InvalidInputError(
            f"{origin}: users[].user.exec.command: {plugin.command!r} counts from the kubeconfig's directory, which no "
            "worker has. Put the plugin on the PATH of workers and write its bare name."
        )
    if plugin.api_version == _OLD:
        # The two differ in nothing but the name (exec_plugin.py), and current clients know the later one alone.
        plugin = replace(plugin, api_version=_NEW)
        notes.append("users[].user.exec.apiVersion is v1beta1 now: clients have dropped v1alpha1.")
    where = "at this path" if plugin.command.startswith("/") else "on the PATH"
    notes.append(f"Workers and triggerers need the program {plugin.command} {where}.")
    return replace(plugin, directory=None)


def _token(token: StaticToken, copied: bool) -> list[str]:
    ends = token_end(token.token.reveal())
    if ends is not None:
        when = ends.strftime("%Y-%m-%d %H:%M UTC")
        return [f"Its token ends at {when} and nobody renews it; a plugin or `add eks` has no such end."]
    return ["Its token is a copy of a file that somebody renews; the copy stays as it is."] if copied else []


def token_end(token: str) -> datetime | None:
    """When a JSON web token ends; None for any other kind, and for one without an end. Verifies nothing."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return datetime.fromtimestamp(float(claims["exp"]), UTC)
    except (binascii.Error, ValueError, KeyError, TypeError, OverflowError):
        return None
