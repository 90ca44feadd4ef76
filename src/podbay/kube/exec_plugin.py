"""The contract with credential plugins: what they are told and what their answer must be. Pure; running is credentials.py.

Source: https://kubernetes.io/docs/reference/config-api/client-authentication.v1/, client-go plugin/pkg/client/auth/exec.
v1alpha1 left client-go in 1.24 but is still in many kubeconfigs; it differs from v1beta1 in its name only, so such a
plugin is asked as v1beta1 and may answer as either. What a plugin prints to stdout is a secret and never quoted.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from podbay.errors import CredentialError
from podbay.kube.auth import Issued, bearer
from podbay.kube.config import ClientCertificate, ClusterConfig, ExecPlugin, SecretText

__all__ = ["describe", "exec_info", "failed", "hung", "missing", "read_exec_credential"]

_GROUP = "client.authentication.k8s.io/"
_STDERR_LIMIT = 600
"""Characters of a plugin's own words in an error; the last ones, where programs say what went wrong."""
_TOKEN_LIKE = re.compile(r"(eyJ[\w-]+\.[\w-]+\.[\w-]*|k8s-aws-v1\.[\w-]+|ya29\.[\w.-]+)")


def describe(plugin: ExecPlugin) -> str:
    """The plugin as a person knows it: its command line's first words, without values that may be secret."""
    words, hide = [plugin.command], False
    for word in plugin.args[:2]:
        name, equals, _ = word.partition("=")
        is_option = word.startswith("-")
        if is_option and equals:
            word = f"{name}=***"
        elif hide and not is_option:
            # Whether the option before it takes a value is for the plugin to know.
            word = "***"
        words.append(word)
        hide = is_option and not equals
    return " ".join(words) + (" …" if len(plugin.args) > 2 else "")


def _asked_version(plugin: ExecPlugin) -> str:
    return _GROUP + "v1beta1" if plugin.api_version == _GROUP + "v1alpha1" else plugin.api_version


def exec_info(plugin: ExecPlugin, config: ClusterConfig) -> str:
    """The value of $KUBERNETES_EXEC_INFO. Raises CredentialError for a plugin that must talk to a person."""
    if plugin.interactive_mode == "Always":
        raise CredentialError(
            f"{config.origin}: credential plugin `{describe(plugin)}` has interactiveMode Always, and tasks have no "
            "terminal. Set users[].user.exec.interactiveMode to IfAvailable, or use a service account's token."
        )
    spec: dict[str, Any] = {"interactive": False}
    if plugin.provide_cluster_info:
        spec["cluster"] = _cluster_info(plugin, config)
    info = {"apiVersion": _asked_version(plugin), "kind": "ExecCredential", "spec": spec}
    return orjson.dumps(info).decode()


def _cluster_info(plugin: ExecPlugin, config: ClusterConfig) -> dict[str, Any]:
    info: dict[str, Any] = {"server": config.server}
    if config.ca_pem:
        info["certificate-authority-data"] = base64.b64encode(config.ca_pem.encode()).decode()
    if config.insecure:
        info["insecure-skip-tls-verify"] = True
    if config.tls_server_name:
        info["tls-server-name"] = config.tls_server_name
    if config.proxy_url:
        info["proxy-url"] = config.proxy_url
    if plugin.cluster_config is not None:
        info["config"] = plugin.cluster_config
    return info


def missing(plugin: ExecPlugin, origin: str) -> CredentialError:
    """The program is not there."""
    hint = plugin.install_hint or f"Install {plugin.command} where this process runs, on its PATH."
    return CredentialError(f"{origin}: credential plugin {plugin.command!r} was not found. {hint}")


def failed(plugin: ExecPlugin, origin: str, exit_code: int, stderr: bytes) -> CredentialError:
    """The program ended with an error."""
    text = _TOKEN_LIKE.sub("***", stderr.decode("utf-8", "backslashreplace")).strip()
    said = f" It says: {text[-_STDERR_LIMIT:]}" if text else ""
    how = f"was killed by signal {-exit_code}" if exit_code < 0 else f"exited with {exit_code}"
    return CredentialError(f"{origin}: credential plugin `{describe(plugin)}` {how}.{said}")


def hung(plugin: ExecPlugin, origin: str, seconds: float) -> CredentialError:
    """The program gave no answer."""
    return CredentialError(
        f"{origin}: credential plugin `{describe(plugin)}` gave no answer within {seconds:.0f} s and was ended. "
        "It may wait for input or for a network it cannot reach; run it by hand with stdin closed."
    )


def read_exec_credential(output: bytes, plugin: ExecPlugin, origin: str) -> Issued:
    """What the plugin printed, as a credential. Raises CredentialError that names the plugin and the fix."""
    who = f"{origin}: credential plugin `{describe(plugin)}`"
    try:
        data = orjson.loads(output)
    except orjson.JSONDecodeError:
        raise CredentialError(f"{who} printed {len(output)} bytes that are not JSON") from None
    if not isinstance(data, Mapping) or data.get("kind") != "ExecCredential":
        raise CredentialError(f"{who} printed JSON that is not an ExecCredential")
    _check_version(str(data.get("apiVersion") or ""), plugin, who)
    status = data.get("status")
    status = status if isinstance(status, Mapping) else {}
    token = str(status.get("token") or "")
    cert = str(status.get("clientCertificateData") or "")
    key = str(status.get("clientKeyData") or "")
    if bool(cert) != bool(key):
        raise CredentialError(
            f"{who} gave a client certificate without its key, or a key without certificate"
        )
    if not token and not cert:
        raise CredentialError(f"{who} gave neither a token nor a client certificate (status is empty)")
    return Issued(
        headers=bearer(token) if token else (),
        certificate=ClientCertificate(cert, SecretText(key)) if cert else None,
        expires=_expiry(status.get("expirationTimestamp"), who),
    )


def _check_version(version: str, plugin: ExecPlugin, who: str) -> None:
    accepted = {plugin.api_version, _asked_version(plugin)}
    if version not in accepted:
        fix = (
            f"Set users[].user.exec.apiVersion to {version}."
            if version.startswith(_GROUP)
            else "Update the plugin."
        )
        raise CredentialError(
            f"{who} answered with apiVersion {version!r}, the kubeconfig says {plugin.api_version!r}. {fix}"
        )


def _expiry(value: Any, who: str) -> datetime | None:
    if not value:
        return None
    try:
        when = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        raise CredentialError(
            f"{who} gave an expirationTimestamp that is not a time (RFC 3339): {value!r}"
        ) from None
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)
