"""The nodes of an embedded cluster: what every kind of node has in common, and how they are declared.

A node registers its Node object, renews its lease, runs the pods bound to it and serves their logs and streams.
Scripted nodes (scripted/) play pods from a script; the node agent (podbay.node) runs them as containers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from podbay.aio.clock import Clock
from podbay.apiserver.streams import NodeStreams
from podbay.embedded.containers import RuntimeChoice, container_agent
from podbay.objects.api import ClusterApi

if TYPE_CHECKING:
    from podbay.node.provider_config import Provider

__all__ = [
    "ContainerHost",
    "NodeFactory",
    "NodeHost",
    "container_nodes",
    "default_nodes",
    "one_scripted_node",
    "scripted_nodes",
]


class NodeHost(Protocol):
    """Runs one or more nodes. `run` lives until it is cancelled and leaves its pods as they are."""

    @property
    def streams(self) -> dict[str, NodeStreams]:
        """Who answers for the pods of each node, by node name; complete before `run` is called."""
        ...

    async def run(self, api: ClusterApi, clock: Clock) -> None: ...


@runtime_checkable
class ContainerHost(Protocol):
    """A NodeHost whose pods are programs: they reach the API server, and it takes a moment to be there for them."""

    @property
    def started(self) -> bool:
        """It has registered its node and answers for its pods."""
        ...

    def reach_server(self, host: str, port: int) -> None:
        """Where the server listens on this machine; called before `run`."""
        ...


NodeFactory = Callable[[], NodeHost]


def default_nodes() -> tuple[NodeFactory, ...]:
    """What a cluster has when nobody says otherwise: one node that runs containers and leaves nothing behind.

    Starting it raises RuntimeUnavailableError when there is no container runtime, naming the package to install.
    """
    return container_nodes()


def one_scripted_node() -> tuple[NodeFactory, ...]:
    """One node whose pods succeed at once without any container: for tests of what surrounds pods."""
    from podbay.embedded.scripted import ScriptedNode, ScriptedNodes

    return (lambda: ScriptedNodes([ScriptedNode(name="podbay")]),)


def container_nodes(
    home: Path | None = None,
    runtime: RuntimeChoice = "auto",
    *,
    name: str = "podbay",
    providers: Sequence[tuple[Provider, Path]] = (),
) -> tuple[NodeFactory, ...]:
    """One node whose pods are containers; home is the cluster's directory, None for one that leaves nothing behind.

    providers: the kubelet's credential providers for images, each with its program (node/credential_providers.py).

    Starting it raises RuntimeUnavailableError when there is no container runtime, naming the package to install.
    """
    storage = home / "node" if home is not None else None
    return (lambda: container_agent(name, storage, runtime, providers),)


def scripted_nodes(path: Path) -> tuple[NodeFactory, ...]:
    """The nodes that a YAML file declares. Raises InvalidInputError with file and field."""
    from podbay.embedded.scripted import ScriptedNodes, load_nodes_file

    declared = load_nodes_file(path)
    return (lambda: ScriptedNodes(declared.nodes, declared.script),)
