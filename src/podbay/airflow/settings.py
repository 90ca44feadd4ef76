"""The deployment's settings: section [podbay] of airflow.cfg, documented in one table (also in docs/operator.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from podbay.errors import InvalidInputError

__all__ = [
    "DEFAULT_DEPLOYMENT",
    "OPTIONS",
    "SECTION",
    "Option",
    "Settings",
    "airflow_name",
    "read_settings",
    "this_airflow",
]

SECTION: Final = "podbay"
DEFAULT_DEPLOYMENT: Final = "airflow"
"""Of every Airflow that nobody has named, so it tells none from another."""
_LOCAL: Final = ("", "localhost", "0.0.0.0", "::1", "::")


@dataclass(frozen=True, slots=True)
class Option:
    name: str
    type: str
    """As Airflow's provider schema has it."""
    default: str
    doc: str


OPTIONS: Final = (
    Option(
        "deployment",
        "string",
        DEFAULT_DEPLOYMENT,
        "Name of this Airflow; keeps apart two that share a namespace or a cluster of EKS. Part of every pod's name: changing it while tasks run loses their pods.",
    ),
    Option(
        "adopt_upstream_operators",
        "boolean",
        "False",
        "Run tasks of upstream's KubernetesPodOperator on this engine, with no change to their DAGs.",
    ),
    Option(
        "result_transport",
        "string",
        "sidecar",
        "How results leave a pod: sidecar (any size up to 4 MiB) or termination_message (up to 4 KiB, no second container).",
    ),
    Option(
        "result_image",
        "string",
        "",
        "Image of the result sidecar; needs a POSIX shell, cat, wc and sleep. Empty: alpine.",
    ),
    Option(
        "pools_count_deferred",
        "boolean",
        "False",
        "The pools of this Airflow count deferred tasks. Then a task in a pool needs a worker only to start; else it stays on one, so that it holds its slot.",
    ),
    Option(
        "pod_url",
        "string",
        "",
        "Where the link from a task to its pod leads, with {name} and {namespace}; for example https://dashboard.example.com/#/pod/{namespace}/{name}. Empty: no link.",
    ),
    Option("max_running_pods", "integer", "0", "Pods that one triggerer lets run at once; 0 is no limit."),
    Option(
        "usage_seconds",
        "integer",
        "0",
        "So often the cluster is asked what pods use (metrics.k8s.io), once for all pods of a process in a namespace; 0 is never.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    deployment: str = DEFAULT_DEPLOYMENT
    adopt_upstream_operators: bool = False
    result_transport: str = "sidecar"
    result_image: str = ""
    pools_count_deferred: bool = False
    pod_url: str = ""
    max_running_pods: int = 0
    usage_seconds: int = 0


def read_settings() -> Settings:
    """From Airflow's configuration. Raises InvalidInputError that names the option."""
    from airflow.configuration import conf

    values: dict[str, Any] = {}
    for option in OPTIONS:
        text = str(conf.get(SECTION, option.name, fallback=option.default)).strip()
        values[option.name] = _value(option, text)
    if values["result_transport"] not in ("sidecar", "termination_message"):
        raise InvalidInputError(f"[{SECTION}] result_transport must be sidecar or termination_message")
    return Settings(**values)


def this_airflow() -> str:
    """As airflow_name, from Airflow's configuration. Raises InvalidInputError."""
    from airflow.configuration import conf

    return airflow_name(read_settings().deployment, conf.get("api", "base_url", fallback="") or "")


def airflow_name(deployment: str, base_url: str) -> str:
    """What tells this Airflow from others: the name it was given, else its address. Pure.

    For what stands outside of its own namespace; the names of pods follow from the deployment alone.
    """
    try:
        url = urlsplit(base_url)
        host, port = url.hostname or "", f":{url.port}" if url.port else ""
    except ValueError:
        return deployment
    if deployment != DEFAULT_DEPLOYMENT or host in _LOCAL or host.startswith("127."):
        return deployment
    return f"{deployment}@{host}{port}{url.path.rstrip('/')}"


def _value(option: Option, text: str) -> Any:
    if option.type == "boolean":
        if text.lower() not in ("true", "false", "1", "0"):
            raise InvalidInputError(f"[{SECTION}] {option.name} must be True or False")
        return text.lower() in ("true", "1")
    if option.type == "integer":
        if not text.isdigit():
            raise InvalidInputError(f"[{SECTION}] {option.name} must be a whole number")
        return int(text)
    if not text and option.default:
        raise InvalidInputError(f"[{SECTION}] {option.name} must not be empty")
    return text
