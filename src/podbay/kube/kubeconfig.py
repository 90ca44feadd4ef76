"""Reads how to reach a cluster: kubeconfig files, documents and JSON text, or the service account of a pod.

Rules of k8s.io/client-go/tools/clientcmd: $KUBECONFIG may list files, the first to define an entry wins, relative
paths count from their own file, `-data` wins over a path, a token file over a token. Stricter in two points: a user
without any credential is refused, because a request as nobody fails later and says less; so is one with a plugin and a
token or password.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from podbay.errors import InvalidInputError
from podbay.kube.config import (
    Anonymous,
    BasicLogin,
    ClientCertificate,
    ClusterConfig,
    Credential,
    ExecPlugin,
    Impersonation,
    SecretText,
    StaticToken,
    TokenFile,
)

__all__ = ["in_cluster", "load_kubeconfig", "parse_kubeconfig"]

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# Every task of a process reads one; libyaml takes a tenth of the time.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_API_VERSIONS = tuple(f"client.authentication.k8s.io/{v}" for v in ("v1", "v1beta1", "v1alpha1"))
EXTENSION = "client.authentication.k8s.io/exec"
_REPLACED = {
    "gcp": "install gke-gcloud-auth-plugin and run `gcloud container clusters get-credentials`",
    "azure": "install kubelogin and run `kubelogin convert-kubeconfig`",
    "oidc": "use the exec plugin `kubectl oidc-login` (kubelogin)",
}


def load_kubeconfig(
    path: Path | str | None = None,
    *,
    context: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> ClusterConfig:
    """From a file; without a path from the files of $KUBECONFIG, else ~/.kube/config. Raises InvalidInputError."""
    paths = [Path(path).expanduser()] if path else _default_paths(environ)
    found = [p for p in paths if p.is_file()]
    if not found:
        raise InvalidInputError(
            f"kubeconfig {', '.join(map(str, paths))} does not exist. Name another one, or set $KUBECONFIG."
        )
    merged: dict[str, Any] = {"clusters": [], "users": [], "contexts": [], "current-context": ""}
    for file in found:
        _merge(merged, _parse(_read_text(file), str(file)), file.parent.absolute())
    return _resolve(merged, context, ", ".join(map(str, found)))


def parse_kubeconfig(
    document: Mapping[str, Any] | str,
    *,
    context: str | None = None,
    base: Path | None = None,
    origin: str = "kubeconfig",
) -> ClusterConfig:
    """From a document, or its JSON or YAML text. Relative paths count from base, and are refused without one.

    Raises InvalidInputError.
    """
    data = _parse(document, origin) if isinstance(document, str) else document
    merged: dict[str, Any] = {"clusters": [], "users": [], "contexts": [], "current-context": ""}
    _merge(merged, data, base.absolute() if base is not None else None, origin=origin)
    return _resolve(merged, context, origin)


def in_cluster(
    *, environ: Mapping[str, str] = os.environ, directory: Path = SERVICE_ACCOUNT
) -> ClusterConfig:
    """From the service account that Kubernetes mounts into every pod. Raises InvalidInputError outside of one."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    token, ca = directory / "token", directory / "ca.crt"
    if not host or not port or not token.is_file():
        missing = "no $KUBERNETES_SERVICE_HOST" if not host or not port else f"no {token}"
        raise InvalidInputError(
            f"this process does not run in a pod ({missing}), or the pod has "
            "`automountServiceAccountToken: false`. Outside of a cluster use a kubeconfig."
        )
    namespace = directory / "namespace"
    return ClusterConfig(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        credential=TokenFile(token),
        ca_path=ca if ca.is_file() else None,
        namespace=namespace.read_text().strip() if namespace.is_file() else "default",
        origin="in-cluster",
    )


def _default_paths(environ: Mapping[str, str]) -> list[Path]:
    listed = [Path(part).expanduser() for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return listed or [Path(environ.get("HOME") or "~").expanduser() / ".kube" / "config"]


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as err:
        raise InvalidInputError(f"kubeconfig {path} cannot be read: {err}") from err


def _load(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        return yaml.safe_load(text)  # libyaml says another place


def _parse(text: str, origin: str) -> Mapping[str, Any]:
    try:
        # JSON is YAML, so one parser reads both.
        data = _load(text)
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        # The parser's own text quotes the line, which may hold a token.
        raise InvalidInputError(f"{origin}{where}: not YAML or JSON") from None
    if not isinstance(data, Mapping):
        raise InvalidInputError(f"{origin}: not a kubeconfig (expected clusters, users and contexts)")
    return data


def _merge(
    merged: dict[str, Any], data: Mapping[str, Any], base: Path | None, *, origin: str = "kubeconfig"
) -> None:
    for section in ("clusters", "users", "contexts"):
        entries = data.get(section) or []
        if not isinstance(entries, Sequence) or not all(isinstance(e, Mapping) for e in entries):
            raise InvalidInputError(f"{origin}: {section}: expected a list of entries with `name`")
        known = {entry["name"] for entry in merged[section]}
        merged[section] += [
            {**e, "name": e.get("name"), "_base": base} for e in entries if e.get("name") not in known
        ]
    merged["current-context"] = merged["current-context"] or data.get("current-context") or ""


def _resolve(merged: Mapping[str, Any], context: str | None, origin: str) -> ClusterConfig:
    name = context or merged["current-context"]
    names = sorted(str(entry["name"]) for entry in merged["contexts"])
    listed = f"It has: {', '.join(names)}." if names else "It has none."
    if not name:
        raise InvalidInputError(f"{origin}: no context is chosen and current-context is not set. {listed}")
    chosen = _entry(merged, "contexts", name, "context")
    if chosen is None:
        raise InvalidInputError(f"{origin}: context {name!r} does not exist. {listed}")
    cluster = _entry(merged, "clusters", chosen[0].get("cluster"), "cluster")
    if cluster is None:
        raise InvalidInputError(
            f"{origin}: contexts[{name}].context.cluster: {chosen[0].get('cluster')!r} does not exist"
        )
    user = _entry(merged, "users", chosen[0].get("user"), "user") if chosen[0].get("user") else None
    if user is None and chosen[0].get("user"):
        raise InvalidInputError(
            f"{origin}: contexts[{name}].context.user: {chosen[0]['user']!r} does not exist"
        )
    reader = _Reader(origin, str(chosen[0].get("cluster")), str(chosen[0].get("user") or ""))
    return reader.config(cluster, user, context=str(name), namespace=chosen[0].get("namespace") or "default")


def _entry(
    merged: Mapping[str, Any], section: str, name: Any, inner: str
) -> tuple[Mapping[str, Any], Path | None] | None:
    for entry in merged[section]:
        if entry["name"] == name:
            body = entry.get(inner)
            return (body if isinstance(body, Mapping) else {}), entry["_base"]
    return None


class _Reader:
    """Turns a cluster and a user entry into a ClusterConfig; errors name the file and the field."""

    def __init__(self, origin: str, cluster: str, user: str) -> None:
        self._origin = origin
        self._cluster = f"clusters[{cluster}].cluster"
        self._user = f"users[{user}].user"

    def _wrong(self, field: str, problem: str) -> InvalidInputError:
        return InvalidInputError(f"{self._origin}: {field}: {problem}")

    def config(
        self,
        cluster_at: tuple[Mapping[str, Any], Path | None],
        user_at: tuple[Mapping[str, Any], Path | None] | None,
        *,
        context: str,
        namespace: str,
    ) -> ClusterConfig:
        cluster, base = cluster_at
        server = str(cluster.get("server") or "").rstrip("/")
        if not server.startswith(("http://", "https://")):
            raise self._wrong(f"{self._cluster}.server", f"{server!r} is not an http:// or https:// URL")
        proxy = str(cluster.get("proxy-url") or "")
        if proxy and not proxy.startswith(("http://", "https://")):
            raise self._wrong(f"{self._cluster}.proxy-url", "only http:// and https:// proxies can be used")
        ca_pem = self._data(cluster, "certificate-authority-data", self._cluster)
        user, user_base = user_at or ({}, base)
        certificate = self._certificate(user, user_base)
        return ClusterConfig(
            server=server,
            credential=self._credential(user, user_base, cluster, certificate, server=server),
            certificate=certificate,
            ca_pem=ca_pem,
            ca_path=None if ca_pem else self._path(cluster, "certificate-authority", base, self._cluster),
            insecure=bool(cluster.get("insecure-skip-tls-verify")),
            tls_server_name=str(cluster.get("tls-server-name") or ""),
            proxy_url=proxy,
            namespace=namespace,
            impersonation=_impersonation(user),
            context=context,
            origin=self._origin,
        )

    def _data(self, entry: Mapping[str, Any], field: str, where: str) -> str:
        value = entry.get(field)
        if not value:
            return ""
        try:
            text = base64.b64decode(str(value), validate=False).decode("ascii")
        except (binascii.Error, UnicodeDecodeError):
            raise self._wrong(f"{where}.{field}", "not base64 of a PEM text") from None
        if "-----BEGIN" not in text:
            raise self._wrong(f"{where}.{field}", "not base64 of a PEM text")
        return text

    def _path(self, entry: Mapping[str, Any], field: str, base: Path | None, where: str) -> Path | None:
        value = entry.get(field)
        if not value:
            return None
        path = Path(str(value)).expanduser()
        if not path.is_absolute():
            path = self._base(base, path, f"{where}.{field}") / path
        if not path.is_file():
            raise self._wrong(f"{where}.{field}", f"{path} does not exist")
        return path

    def _base(self, base: Path | None, path: Path, where: str) -> Path:
        if base is None:
            raise self._wrong(
                where,
                f"{path} is a relative path, and there is no file whose directory it could count from. Write what it holds "
                "into the kubeconfig (podbay connection add kubeconfig does), or an absolute path",
            )
        return base

    def _certificate(self, user: Mapping[str, Any], base: Path | None) -> ClientCertificate | None:
        cert = self._data(user, "client-certificate-data", self._user)
        key = self._data(user, "client-key-data", self._user)
        cert_path = None if cert else self._path(user, "client-certificate", base, self._user)
        key_path = None if key else self._path(user, "client-key", base, self._user)
        if not (cert or cert_path) and not (key or key_path):
            return None
        if not (cert or cert_path) or not (key or key_path):
            raise self._wrong(self._user, "a client certificate needs both certificate and key")
        return ClientCertificate(cert, SecretText(key), cert_path, key_path)

    def _credential(
        self,
        user: Mapping[str, Any],
        base: Path | None,
        cluster: Mapping[str, Any],
        certificate: ClientCertificate | None,
        *,
        server: str,
    ) -> Credential:
        self._one_method(user)
        readers: tuple[Callable[[], Credential | None], ...] = (
            lambda: _token_file(self._path(user, "tokenFile", base, self._user)),
            lambda: StaticToken(SecretText(str(user["token"]))) if user.get("token") else None,
            lambda: self._plugin(user["exec"], base, cluster) if user.get("exec") else None,
            lambda: self._login(user),
        )
        for read in readers:
            found = read()
            if found is not None:
                return found
        provider = user.get("auth-provider")
        if isinstance(provider, Mapping):
            name = str(provider.get("name"))
            fix = _REPLACED.get(name, "use an exec plugin")
            raise self._wrong(f"{self._user}.auth-provider", f"{name!r} was removed from clients; {fix}")
        if certificate is None and server.startswith("https://"):
            raise self._wrong(
                self._user, "no credential (token, tokenFile, client-certificate, exec or username)"
            )
        return Anonymous()

    def _one_method(self, user: Mapping[str, Any]) -> None:
        """client-go refuses a token beside a password, and takes the token where a plugin stands beside it."""
        methods = {
            "token": user.get("token") or user.get("tokenFile"),
            "exec": user.get("exec"),
            "username": user.get("username"),
        }
        found = [name for name, value in methods.items() if value]
        if len(found) > 1:
            raise self._wrong(
                self._user,
                f"{' and '.join(found)} are two ways to log in, and which is meant is not said; keep one",
            )

    def _login(self, user: Mapping[str, Any]) -> BasicLogin | None:
        if not user.get("username"):
            return None
        return BasicLogin(str(user["username"]), SecretText(str(user.get("password") or "")))

    def _plugin(self, exec_: Any, base: Path | None, cluster: Mapping[str, Any]) -> ExecPlugin:
        where = f"{self._user}.exec"
        if not isinstance(exec_, Mapping) or not exec_.get("command"):
            raise self._wrong(f"{where}.command", "required")
        command = Path(str(exec_["command"]))
        if "/" in str(exec_["command"]) and not command.is_absolute():
            self._base(base, command, f"{where}.command")
        version = str(exec_.get("apiVersion") or "")
        if version not in _API_VERSIONS:
            raise self._wrong(f"{where}.apiVersion", f"{version!r} is not one of {', '.join(_API_VERSIONS)}")
        args, env = exec_.get("args") or [], exec_.get("env") or []
        if not isinstance(args, list):
            raise self._wrong(f"{where}.args", "expected a list")
        if not isinstance(env, list) or not all(isinstance(e, Mapping) and e.get("name") for e in env):
            raise self._wrong(f"{where}.env", "expected a list of name and value")
        extensions = [e for e in cluster.get("extensions") or () if e.get("name") == EXTENSION]
        return ExecPlugin(
            command=str(exec_["command"]),
            args=tuple(map(str, args)),
            env=tuple((str(e["name"]), SecretText(str(e.get("value") or ""))) for e in env),
            api_version=version,
            install_hint=str(exec_.get("installHint") or "").strip(),
            interactive_mode=str(exec_.get("interactiveMode") or "IfAvailable"),
            provide_cluster_info=bool(exec_.get("provideClusterInfo")),
            cluster_config=extensions[0].get("extension") if extensions else None,
            directory=base,
        )


def _token_file(path: Path | None) -> TokenFile | None:
    return TokenFile(path) if path is not None else None


def _impersonation(user: Mapping[str, Any]) -> Impersonation | None:
    if not user.get("as"):
        return None
    extra = user.get("as-user-extra") or {}
    return Impersonation(
        str(user["as"]),
        uid=str(user.get("as-uid") or ""),
        groups=tuple(map(str, user.get("as-groups") or ())),
        extra=tuple((str(k), tuple(map(str, v))) for k, v in sorted(extra.items())),
    )
