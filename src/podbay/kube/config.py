"""Which cluster, as whom: plain values that can be compared and passed on. Secrets are masked when printed.

Not for reading files (kubeconfig.py) and not for getting tokens (auth.py, credentials.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

__all__ = [
    "Anonymous",
    "BasicLogin",
    "ClientCertificate",
    "ClusterConfig",
    "Credential",
    "ExecPlugin",
    "Impersonation",
    "MintedToken",
    "SecretText",
    "StaticToken",
    "TokenFile",
    "TokenSource",
]


@dataclass(frozen=True, slots=True)
class SecretText:
    """A text that never shows in logs, errors or repr; `reveal` is the only way to it."""

    _text: str = field(repr=False)

    def reveal(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return "SecretText(***)" if self._text else "SecretText()"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Anonymous:
    """No credential, on purpose: for `kubectl proxy` and test servers. Never the result of something that failed."""


@dataclass(frozen=True, slots=True)
class StaticToken:
    """A bearer token that is never renewed."""

    token: SecretText


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A bearer token in a file that somebody else renews, such as a projected service account token."""

    path: Path


@dataclass(frozen=True, slots=True)
class BasicLogin:
    """User name and password; kube-apiserver has dropped them, proxies in front of it have not."""

    username: str
    password: SecretText


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A program that prints an ExecCredential (client.authentication.k8s.io)."""

    command: str
    args: tuple[str, ...] = field(default=(), repr=False)
    env: tuple[tuple[str, SecretText], ...] = ()
    api_version: str = "client.authentication.k8s.io/v1"
    install_hint: str = ""
    interactive_mode: str = "IfAvailable"
    provide_cluster_info: bool = False
    cluster_config: Any = field(default=None, compare=False, repr=False)
    """The extension `client.authentication.k8s.io/exec` of the cluster entry, handed to the plugin unread."""
    directory: Path | None = None
    """What a command with a slash is relative to: the directory of the kubeconfig."""


@dataclass(frozen=True, slots=True)
class MintedToken:
    """What a TokenSource gives: a token and, when known, the end of its life (timezone-aware)."""

    token: SecretText
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Tokens made in this process, as for EKS by a signed URL. Equal when the names are equal."""

    name: str
    mint: Callable[[], Awaitable[MintedToken]] = field(compare=False, repr=False)


Credential: TypeAlias = Anonymous | StaticToken | TokenFile | BasicLogin | ExecPlugin | TokenSource


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """Certificate and key as PEM texts, or as paths that are read when a connection is opened (they may be renewed)."""

    cert_pem: str = field(default="", repr=False)
    key_pem: SecretText = SecretText("")
    cert_path: Path | None = None
    key_path: Path | None = None


@dataclass(frozen=True, slots=True)
class Impersonation:
    """Act as another user (`as` in a kubeconfig)."""

    user: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Everything needed to reach one cluster. Hashable: equal configurations share one client (lease.py)."""

    server: str
    """URL such as https://10.0.0.1:6443; a path prefix is kept."""
    credential: Credential = field(default_factory=Anonymous)
    certificate: ClientCertificate | None = None
    ca_pem: str = field(default="", repr=False)
    ca_path: Path | None = None
    insecure: bool = False
    """Do not verify the server's certificate."""
    tls_server_name: str = ""
    proxy_url: str = field(default="", repr=False)
    """May hold a password, so it is not shown."""
    namespace: str = "default"
    impersonation: Impersonation | None = None
    context: str = ""
    origin: str = "explicit configuration"
    """Where this comes from, for messages: a path, "in-cluster", a connection's name."""

    def with_namespace(self, namespace: str) -> ClusterConfig:
        """The same cluster with another default namespace."""
        return replace(self, namespace=namespace)
