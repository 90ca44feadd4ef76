"""Reads the file that says which server judges tokens: a kubeconfig, as --authentication-token-webhook-config-file takes.

`clusters` names the server and its authority, `users` what this side shows it. Source:
https://kubernetes.io/docs/reference/access-authn-authz/authentication/#webhook-token-authentication
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from podbay.apiserver.token_webhook import TokenWebhook
from podbay.embedded.access import client_tls
from podbay.errors import InvalidInputError

__all__ = ["read_token_webhook"]

_FILES: Final = ("certificate-authority", "client-certificate", "client-key")


def read_token_webhook(path: Path) -> TokenWebhook:
    """Raises InvalidInputError that names the file."""
    try:
        document = yaml.safe_load(path.read_text())
        context = _named(document, "contexts", "context", document.get("current-context"))
        cluster = _here(path, _named(document, "clusters", "cluster", context["cluster"]))
        user = _here(path, _named(document, "users", "user", context["user"])) if context.get("user") else {}
        server = str(cluster["server"])
        return TokenWebhook(url=server, tls=client_tls(cluster, user), token=str(user.get("token") or ""))
    except (OSError, UnicodeDecodeError, ssl.SSLError) as err:
        raise InvalidInputError(f"token webhook {path}: {err}") from err
    except (yaml.YAMLError, KeyError, AttributeError, TypeError, ValueError) as err:
        raise InvalidInputError(
            f"token webhook {path} is no kubeconfig with a current-context, its cluster and its user"
        ) from err


def _named(document: Mapping[str, Any], section: str, inner: str, name: Any) -> dict[str, Any]:
    found = {each["name"]: each.get(inner) or {} for each in document.get(section) or ()}
    return dict(found[name])


def _here(path: Path, entry: dict[str, Any]) -> dict[str, Any]:
    """Relative paths count from the file."""
    return entry | {name: str(path.parent / entry[name]) for name in _FILES if entry.get(name)}
