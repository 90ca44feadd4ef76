"""The chosen cluster as a kubeconfig of its own, so that tasks see this cluster and no other of the user's contexts.

A file and not a connection's content: processes carry its path in their environment, never a key.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, assert_never

import orjson

from podbay.errors import InvalidInputError
from podbay.kube.config import (
    Anonymous,
    BasicLogin,
    ClientCertificate,
    ClusterConfig,
    ExecPlugin,
    StaticToken,
    TokenFile,
    TokenSource,
)

__all__ = ["airflow_connection", "kubeconfig_of"]

NAME = "podbay"


def airflow_connection(kubeconfig: Path, namespace: str) -> str:
    """The value of AIRFLOW_CONN_KUBERNETES_DEFAULT."""
    extra = {"kube_config_path": str(kubeconfig), "namespace": namespace}
    return orjson.dumps({"conn_type": "kubernetes", "extra": extra}).decode()


def kubeconfig_of(config: ClusterConfig) -> str:
    """A kubeconfig as JSON (which is YAML). Holds the secrets of `config`. Raises InvalidInputError."""
    context = {"cluster": NAME, "user": NAME, "namespace": config.namespace}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NAME, "cluster": _cluster(config)}],
        "users": [{"name": NAME, "user": _user(config)}],
        "contexts": [{"name": NAME, "context": context}],
        "current-context": NAME,
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def _cluster(config: ClusterConfig) -> dict[str, Any]:
    found = {
        "server": config.server,
        "certificate-authority-data": _base64(config.ca_pem),
        "certificate-authority": str(config.ca_path) if config.ca_path else "",
        "insecure-skip-tls-verify": config.insecure,
        "tls-server-name": config.tls_server_name,
        "proxy-url": config.proxy_url,
    }
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
        case Anonymous():
            return {}
        case StaticToken():
            return {"token": credential.token.reveal()}
        case TokenFile():
            return {"tokenFile": str(credential.path)}
        case BasicLogin():
            return {"username": credential.username, "password": credential.password.reveal()}
        case ExecPlugin():
            return {"exec": _plugin(credential)}
        case TokenSource():
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
