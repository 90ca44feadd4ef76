"""A chosen cluster as a kubeconfig: one context with its cluster and its user, as JSON.

The other way round is kubeconfig.py.
"""

from __future__ import annotations

import base64
from typing import Any, Final, assert_never

import orjson

from podbay.errors import InvalidInputError
from podbay.kube import config as configs
from podbay.kube.config import ClientCertificate, ClusterConfig, ExecPlugin
from podbay.kube.kubeconfig import EXTENSION

__all__ = ["kubeconfig_of"]

NAME: Final = "podbay"


def kubeconfig_of(config: ClusterConfig, *, name: str = NAME, compact: bool = False) -> str:
    """A kubeconfig as JSON (which is YAML), its entries called `name`. Holds the secrets of `config`.

    Raises InvalidInputError for a credential that only this process can make.
    """
    context = {"cluster": name, "user": name, "namespace": config.namespace}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": _cluster(config)}],
        "users": [{"name": name, "user": _user(config)}],
        "contexts": [{"name": name, "context": context}],
        "current-context": name,
    }
    return orjson.dumps(document, option=0 if compact else orjson.OPT_INDENT_2).decode()


def _cluster(config: ClusterConfig) -> dict[str, Any]:
    found: dict[str, Any] = {
        "server": config.server,
        "certificate-authority-data": _base64(config.ca_pem),
        "certificate-authority": str(config.ca_path) if config.ca_path else "",
        "insecure-skip-tls-verify": config.insecure,
        "tls-server-name": config.tls_server_name,
        "proxy-url": config.proxy_url,
    }
    plugin = config.credential
    if isinstance(plugin, ExecPlugin) and plugin.cluster_config is not None:
        found["extensions"] = [{"name": EXTENSION, "extension": plugin.cluster_config}]
    return {key: value for key, value in found.items() if value}


def _user(config: ClusterConfig) -> dict[str, Any]:
    found = _certificate(config.certificate) | _credential(config)
    if config.impersonation is not None:
        acting = config.impersonation
        found |= {"as": acting.user, "as-uid": acting.uid, "as-groups": list(acting.groups)}
        found["as-user-extra"] = {key: list(values) for key, values in acting.extra}
    return {key: value for key, value in found.items() if value}


def _certificate(certificate: ClientCertificate | None) -> dict[str, Any]:
    if certificate is None:
        return {}
    return {
        "client-certificate-data": _base64(certificate.cert_pem),
        "client-key-data": _base64(certificate.key_pem.reveal()),
        "client-certificate": str(certificate.cert_path) if certificate.cert_path else "",
        "client-key": str(certificate.key_path) if certificate.key_path else "",
    }


def _credential(config: ClusterConfig) -> dict[str, Any]:
    credential = config.credential
    match credential:
        case configs.Anonymous():
            return {}
        case configs.StaticToken():
            return {"token": credential.token.reveal()}
        case configs.TokenFile():
            return {"tokenFile": str(credential.path)}
        case configs.BasicLogin():
            return {"username": credential.username, "password": credential.password.reveal()}
        case ExecPlugin():
            return {"exec": _plugin(credential)}
        case configs.TokenSource():
            raise InvalidInputError(
                f"{config.origin}: tokens of {credential.name} are made in this process and cannot be given to Airflow. "
                "Use a kubeconfig whose credential is a plugin or a file."
            )
        case _:
            assert_never(credential)


def _plugin(plugin: ExecPlugin) -> dict[str, Any]:
    command = plugin.command
    if "/" in command and plugin.directory is not None:
        command = str(plugin.directory / command)
    return {
        "apiVersion": plugin.api_version,
        "command": command,
        "args": list(plugin.args),
        "env": [{"name": name, "value": value.reveal()} for name, value in plugin.env],
        "interactiveMode": "Never",
        "provideClusterInfo": plugin.provide_cluster_info,
        "installHint": plugin.install_hint,
    }


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode() if text else ""
