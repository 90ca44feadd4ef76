"""`podbay cluster`: the embedded cluster from start to reset."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podbay.cli import fault
from podbay.cli.output import Output, console, errors_as_sentences, print_json, print_table
from podbay.embedded import process
from podbay.embedded.home import ClusterHome, cluster_home, cluster_names
from podbay.errors import InvalidInputError, StateError

if TYPE_CHECKING:
    from podbay.embedded.cluster import EmbeddedCluster

# Functions import what they need: the server's parts take longer to load than most commands take to run.

__all__ = ["app"]

app = typer.Typer(help="The embedded Kubernetes cluster of this machine.", no_args_is_help=True)
app.add_typer(fault.app, name="fault")

Name = Annotated[str, typer.Option("--name", "-n", help="Which cluster; several can run side by side.")]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text or json.")]


class Runtime(StrEnum):
    """--runtime of start; `none` leaves only the nodes that --nodes declares."""

    auto = "auto"
    docker = "docker"
    runc = "runc"
    none = "none"


@app.command()
def start(
    name: Name = "podbay",
    host: Annotated[str, typer.Option(help="Loopback address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the API; 0: as last time, or a free one.")
    ] = 0,
    nodes: Annotated[
        Path | None,
        typer.Option(help="YAML file that declares scripted nodes, besides.", exists=True, dir_okay=False),
    ] = None,
    runtime: Annotated[
        Runtime,
        typer.Option(help="What runs pods: a reachable engine, runc, the first that is there, or nothing."),
    ] = Runtime.auto,
    provider_config: Annotated[
        Path | None,
        typer.Option(
            "--image-credential-provider-config",
            help="Programs that log in to image registries: the kubelet's CredentialProviderConfig.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    provider_directory: Annotated[
        Path | None,
        typer.Option(
            "--image-credential-provider-bin-dir",
            help="Where these programs are.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    token_webhook: Annotated[
        Path | None,
        typer.Option(
            "--authentication-token-webhook-config-file",
            help="Kubeconfig of a server that judges tokens by TokenReviews, as kube-apiserver's.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    foreground: Annotated[bool, typer.Option("--foreground", "-f", help="Stay here until Ctrl-C.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """Start a cluster; it is ready when the command returns."""
    with errors_as_sentences():
        home = cluster_home(name)
        providers = _providers(provider_config, provider_directory)
        words = process.to_arguments(
            host=host,
            port=port,
            nodes=nodes,
            runtime=runtime.value,
            providers=providers,
            token_webhook=token_webhook,
        )
        if foreground:
            from podbay.embedded.arguments import command_of_own_user, parse_arguments
            from podbay.embedded.serve import run_foreground

            again = command_of_own_user(["--name", name, *words], [sys.executable, *sys.argv])
            if again is not None:
                os.execvp(again[0], again)
            options = parse_arguments(["--name", name, *words])
            asyncio.run(run_foreground(options, _announce))
            return
        facts = process.start_background(home, words)
        # It runs; Ctrl-C from here on would only hide that.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if output is Output.json:
            print_json({"name": name, "kubeconfig": str(home.kubeconfig), **facts})
        else:
            _print_started(home, str(facts["url"]))


def _providers(config: Path | None, directory: Path | None) -> tuple[Path, Path] | None:
    if config is None and directory is None:
        return None
    if config is None or directory is None:
        raise InvalidInputError(
            "--image-credential-provider-config and --image-credential-provider-bin-dir go together"
        )
    return config, directory


def _announce(cluster: EmbeddedCluster) -> None:
    assert cluster.home is not None
    _print_started(cluster.home, cluster.url)
    console.print("Ctrl-C stops it.")


def _print_started(home: ClusterHome, url: str) -> None:
    console.print(f"Cluster {home.name} is ready at {url}")
    console.print(f"  export KUBECONFIG={home.kubeconfig}", markup=False)


@app.command()
def stop(name: Name = "podbay") -> None:
    """Stop a cluster; its objects stay and are back after the next start."""
    with errors_as_sentences():
        home = cluster_home(name)
        if not home.directory.exists():
            known = ", ".join(cluster_names())
            raise StateError(
                f"there is no cluster {name!r}. {f'There are: {known}' if known else 'There is none at all yet'}"
            )
        stopped = process.stop(home)
        console.print(f"Cluster {name} {'is stopped' if stopped else 'was not running'}.")


@app.command()
def reset(
    name: Name = "podbay",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Stop a cluster and delete everything it has."""
    with errors_as_sentences():
        home = cluster_home(name)
        if not home.directory.exists():
            console.print(f"Cluster {name} does not exist.")
            return
        if not yes:
            typer.confirm(f"Delete cluster {name} and all its objects?", abort=True)
        from podbay.embedded.containers import remove_containers
        from podbay.embedded.kubeconfig import default_kubeconfig_path, remove_from_kubeconfig

        process.stop(home)
        asyncio.run(remove_containers(home.directory / "node"))
        remove_from_kubeconfig(default_kubeconfig_path(), name)
        home.remove()
        console.print(f"Cluster {name} is gone.")


@app.command()
def status(
    name: Annotated[str | None, typer.Option("--name", "-n", help="One cluster only.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """Show the clusters of this machine."""
    with errors_as_sentences():
        from podbay.embedded.inspect import cluster_facts

        homes = [cluster_home(n) for n in ([name] if name else cluster_names())]
        facts = [asyncio.run(cluster_facts(home)) for home in homes]
        if output is Output.json:
            print_json(facts)
        elif not facts:
            console.print("No cluster yet. Start one with: podbay cluster start")
        else:
            print_table(["NAME", "STATE", "URL", "VERSION", "NODES", "PODS"], [_row(f) for f in facts])
    if name and facts and facts[0]["state"] != "running":
        raise typer.Exit(3)


def _row(facts: dict[str, Any]) -> list[str]:
    keys = ("name", "state", "url", "version", "nodes", "pods")
    return [str(facts[k]) if facts[k] is not None else "-" for k in keys]


@app.command()
def kubeconfig(
    name: Name = "podbay",
    merge: Annotated[bool, typer.Option("--merge", help="Add the cluster to your kubeconfig file.")] = False,
    path: Annotated[bool, typer.Option("--path", help="Print the file's path only.")] = False,
) -> None:
    """Print the admin kubeconfig of a cluster, or merge it into your own."""
    with errors_as_sentences():
        home = cluster_home(name)
        if not home.kubeconfig.exists():
            raise StateError(
                f"cluster {name!r} has no kubeconfig yet. Start it: podbay cluster start --name {name}"
            )
        if path:
            typer.echo(str(home.kubeconfig))
        elif merge:
            from podbay.embedded.kubeconfig import default_kubeconfig_path, merge_kubeconfig

            target = default_kubeconfig_path()
            context = merge_kubeconfig(home.kubeconfig, target)
            console.print(
                f"Added context {context} to {target}. Use it: kubectl config use-context {context}"
            )
        else:
            typer.echo(home.kubeconfig.read_text())


@app.command()
def load(
    image: Annotated[
        str, typer.Argument(help="A tar file (docker save, OCI layout), or an image of your engine.")
    ],
    name: Name = "podbay",
    output: OutputOption = Output.text,
) -> None:
    """Give an image to the cluster's nodes, so that pods need no image registry for it."""
    with errors_as_sentences():
        from podbay.embedded.loading import load_image

        loaded = asyncio.run(load_image(cluster_home(name), image))
        if output is Output.json:
            print_json(loaded)
            return
        for item in loaded:
            console.print(f"{item['node']}: {', '.join(item['references']) or item['id']}")


@app.command()
def nodes(name: Name = "podbay", output: OutputOption = Output.text) -> None:
    """List the nodes of a running cluster."""
    with errors_as_sentences():
        from podbay.embedded.inspect import node_facts

        facts = asyncio.run(node_facts(cluster_home(name)))
        if output is Output.json:
            print_json(facts)
        else:
            columns = ["NAME", "STATUS", "KIND", "CPU", "MEMORY", "PODS", "TAINTS"]
            keys = ("name", "status", "kind", "cpu", "memory", "pods", "taints")
            print_table(columns, [[str(f[k]) for k in keys] for f in facts])
