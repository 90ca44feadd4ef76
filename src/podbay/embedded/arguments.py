"""Reads the words that process.to_arguments wrote: the options of a cluster's process, and how it is to be run."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.containers import as_root_of_namespace
from podbay.embedded.home import cluster_home
from podbay.embedded.nodes import NodeFactory, container_nodes, scripted_nodes
from podbay.embedded.token_webhook import read_token_webhook

if TYPE_CHECKING:
    from podbay.node.provider_config import Provider

__all__ = ["command_of_own_user", "parse_arguments"]


def parse_arguments(words: Sequence[str]) -> ClusterOptions:
    """The options of one cluster process. Raises InvalidInputError for a file that cannot be read, and
    RuntimeUnavailableError when pods are to be containers and nothing here runs any."""
    given = _read(words)
    home = cluster_home(given.name)
    nodes: tuple[NodeFactory, ...] = ()
    if given.runtime != "none":
        nodes += container_nodes(home.directory, given.runtime, providers=_providers(given))
    if given.nodes is not None:
        nodes += scripted_nodes(given.nodes)
    webhook = given.authentication_token_webhook_config_file
    if webhook is not None:
        # Read here, so that a wrong file is told before anything starts.
        read_token_webhook(webhook)
    return ClusterOptions(home=home, host=given.host, port=given.port, nodes=nodes, token_webhook=webhook)


def command_of_own_user(words: Sequence[str], command: Sequence[str]) -> list[str] | None:
    """The command line as which this process must run command, itself, again to run containers without root.

    None when there is no need to. Raises RuntimeUnavailableError when ordinary users cannot on this machine.
    """
    given = _read(words)
    if given.runtime == "none":
        return None
    storage = cluster_home(given.name).directory / "node"
    return asyncio.run(as_root_of_namespace(storage, given.runtime, command))


def _providers(given: argparse.Namespace) -> list[tuple[Provider, Path]]:
    if given.image_credential_provider_config is None:
        return []
    from podbay.node.credential_providers import load_providers

    return load_providers(given.image_credential_provider_config, given.image_credential_provider_bin_dir)


def _read(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="podbay cluster", description="internal: one cluster process")
    parser.add_argument("--name", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--nodes", type=Path)
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--authentication-token-webhook-config-file", type=Path)
    parser.add_argument("--image-credential-provider-config", type=Path)
    parser.add_argument("--image-credential-provider-bin-dir", type=Path)
    return parser.parse_args(words)
