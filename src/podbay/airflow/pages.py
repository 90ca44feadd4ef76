"""Addresses of a pod's page in the deployment's dashboard. Pure."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

__all__ = ["LINK_KEY", "pod_link"]

LINK_KEY: Final = "_link_PodLink"
"""The XCom in which Airflow's UI looks for the link of links.PodLink."""


def pod_link(pattern: str, namespace: str, name: str) -> str:
    """`pattern` holds {namespace} and {name}; others stay as they are."""
    return pattern.replace("{namespace}", quote(namespace, safe="")).replace("{name}", quote(name, safe=""))
