"""Which cluster a command talks to.

One rule for all commands: `--cluster`, else $PODBAY_CLUSTER, else the embedded cluster `podbay`. A value is, in this
order, an embedded cluster (`podbay`, `podbay-NAME`), a context of the user's kubeconfig files ($KUBECONFIG, else
~/.kube/config; `current` is their current one), `in-cluster` (the pod we run in), or a kubeconfig file. A kubeconfig
alone chooses nothing: a command must not end pods in production because somebody has worked there last.
"""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podbay.embedded.home import ClusterHome, cluster_home, cluster_names
from podbay.errors import ApiError, InvalidInputError, PodbayError, StateError

if TYPE_CHECKING:
    from podbay.kube.client import KubeClient
    from podbay.kube.config import ClusterConfig
    from podbay.kube.lease import LeasedCluster
    from podbay.objects.meta import Object

__all__ = ["ClusterOption", "NamespaceOption", "choose", "connect", "find_pod"]

ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="CONTEXT|KUBECONFIG",
        envvar="PODBAY_CLUSTER",
        show_envvar=False,
        help="A context or file of your own, or `current`; the embedded cluster when absent.",
    ),
]
NamespaceOption = Annotated[
    str | None, typer.Option("--namespace", "-n", help="The context's own when absent.")
]

CURRENT = "current"
IN_CLUSTER = "in-cluster"
EMBEDDED = "podbay"
_READY_SECONDS = 60.0
"""How long somebody else's `podbay cluster start` may take; as long as our own."""
_FIRST_ANSWER_SECONDS = 10.0
"""A person waits; by then an address that does not answer is likelier to be wrong than slow."""


def choose(
    cluster: str | None,
    namespace: str | None = None,
    *,
    start: Callable[[ClusterHome], None] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> ClusterConfig:
    """The cluster of `--cluster` and the namespace of `--namespace`.

    `start` is called to start an embedded cluster that does not run; without it that is an error. Raises
    InvalidInputError for what names no cluster, StateError for an embedded one that does not run.
    """
    config = _config(cluster or EMBEDDED, start, environ)
    return config.with_namespace(namespace) if namespace else config


def _config(
    word: str, start: Callable[[ClusterHome], None] | None, environ: Mapping[str, str]
) -> ClusterConfig:
    from podbay.kube.kubeconfig import in_cluster, load_kubeconfig

    home = _embedded(word)
    if home is not None:
        _ensure_running(home, start)
        return load_kubeconfig(home.kubeconfig)
    contexts = _contexts(environ)
    if word in contexts:
        return load_kubeconfig(context=word, environ=environ)
    if word == CURRENT:
        return load_kubeconfig(environ=environ)
    if word == IN_CLUSTER:
        return in_cluster(environ=environ)
    if Path(word).expanduser().is_file():
        return load_kubeconfig(word)
    stopped = {_name(name) for name in cluster_names() if not cluster_home(name).is_running()}
    known = list(dict.fromkeys([*contexts, *(_name(name) for name in cluster_names()), CURRENT]))
    nearest = difflib.get_close_matches(word, known, n=1)
    meant = f" Did you mean {nearest[0]}?" if nearest else ""
    told = ", ".join(f"{name} (stopped)" if name in stopped else name for name in known)
    raise InvalidInputError(
        f"--cluster {word}: neither a context of your kubeconfig nor a file.{meant} Known: {told}"
    )


def _name(cluster: str) -> str:
    return cluster if cluster == EMBEDDED else f"{EMBEDDED}-{cluster}"


def _embedded(word: str) -> ClusterHome | None:
    """The embedded cluster of that name; the default one also before its first start."""
    names = {_name(name): name for name in cluster_names()} | {EMBEDDED: EMBEDDED}
    return cluster_home(names[word]) if word in names else None


def _contexts(environ: Mapping[str, str]) -> list[str]:
    import yaml

    from podbay.embedded.kubeconfig import default_kubeconfig_path

    listed = [Path(part).expanduser() for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    names: list[str] = []
    for path in listed or [default_kubeconfig_path(environ)]:
        try:
            entries = (yaml.safe_load(path.read_text()) or {}).get("contexts") or ()
            names += [str(entry["name"]) for entry in entries]
        except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, KeyError, TypeError):
            # Only looked into here; whoever chooses it is told what is wrong with it.
            continue
    return names


def _ensure_running(home: ClusterHome, start: Callable[[ClusterHome], None] | None) -> None:
    if not home.is_running():
        if start is None:
            name = "" if home.name == EMBEDDED else f" --name {home.name}"
            raise StateError(
                f"the embedded cluster {home.name!r} is not running. Start it: podbay cluster start{name}; "
                "or use the context of your kubeconfig: --cluster current"
            )
        start(home)
    deadline = time.monotonic() + _READY_SECONDS
    while not home.read_process().get("url"):
        # Somebody else is starting it: the lock is held, its address not yet said.
        if time.monotonic() > deadline or not home.is_running():
            raise StateError(f"the embedded cluster {home.name!r} does not get ready. Its log is {home.log}")
        time.sleep(0.05)


@asynccontextmanager
async def connect(config: ClusterConfig) -> AsyncIterator[LeasedCluster]:
    """The cluster, closed at once after the block: a command has no next user to keep it for.

    What it refuses, or that it does not answer, leaves the block with cause, fix and the cluster's name.
    """
    from podbay.kube.lease import DeskOptions, LeaseDesk
    from podbay.kube.retry import Patience

    patience = Patience(before_first_answer=_FIRST_ANSWER_SECONDS)
    desk = LeaseDesk(DeskOptions(linger_seconds=0.0, agent="podbay-cli", patience=patience))
    try:
        async with desk.lease(config) as cluster:
            yield cluster
    except PodbayError as err:
        from podbay.cli.cluster_words import in_words

        told = in_words(err, config)
        if told is err:
            raise
        raise told from err


async def find_pod(client: KubeClient, namespace: str, name: str, *, ended: bool = False) -> Object:
    """The pod as it is. Raises StateError when there is none, and what the cluster says otherwise.

    ended: one that has ended is looked for as well, so it is said where such pods go.
    """
    from podbay.kube.client import PODS
    from podbay.lifecycle.diagnosis.endings import KEEP_THE_NEXT

    try:
        return await client.get(PODS, name, namespace=namespace)
    except ApiError as err:
        if err.code != 404:
            raise
        where = client.config.context or client.config.server
        why = f". {KEEP_THE_NEXT}" if ended else ""
        raise StateError(
            f"no pod {name!r} in namespace {namespace} of {where}. What is there: podbay pods -n {namespace}{why}"
        ) from err
