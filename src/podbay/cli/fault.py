"""`podbay cluster fault`: make a cluster fail on purpose, to see what your DAG does then (docs/faults.md)."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from podbay.cli.output import Output, console, errors_as_sentences, print_json, print_table
from podbay.embedded.home import cluster_home
from podbay.errors import InvalidInputError

__all__ = ["app"]

app = typer.Typer(help="Faults on purpose: refused requests, cut streams, lost nodes.", no_args_is_help=True)

PATH = "/podbay.dev/v1/faults"

Name = Annotated[str, typer.Option("--name", "-n", help="Which cluster.")]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text or json.")]
Matches = Annotated[
    list[str] | None,
    typer.Option(
        "--match", "-m", help="FIELD=GLOB: verb, resource, subresource, namespace, name, user, agent, path."
    ),
]
Count = Annotated[int | None, typer.Option(min=1, help="How many requests to hit; all when absent.")]


def _send(name: str, method: str, path: str, body: Any = None) -> Any:
    from podbay.embedded.remote import remote

    async def call() -> Any:
        async with remote(cluster_home(name)) as cluster:
            return await cluster.send(method, path, body)

    return asyncio.run(call())


def _declare(name: str, match: list[str] | None, count: int | None, **fault: Any) -> None:
    with errors_as_sentences():
        body = {**fault, "match": dict(_pair(item) for item in match or ())}
        if count is not None:
            body["count"] = count
        console.print(f"{_send(name, 'POST', PATH, body)['id']} stands. Lift it: podbay cluster fault clear")


def _pair(text: str) -> tuple[str, str]:
    field, separator, pattern = text.partition("=")
    if not separator:
        raise InvalidInputError(f"--match {text}: write FIELD=GLOB, for example --match verb=create")
    return field, pattern


@app.command()
def refuse(
    name: Name = "podbay",
    status: Annotated[int, typer.Option(help="401, 403, 404, 409, 410, 429, 500, 503 or 504.")] = 500,
    after: Annotated[
        bool, typer.Option("--after", help="Only the answer is lost; the request took effect.")
    ] = False,
    retry_after: Annotated[int, typer.Option(min=0, help="Seconds in Retry-After.")] = 0,
    match: Matches = None,
    count: Count = None,
) -> None:
    """Answer chosen requests with an error."""
    _declare(name, match, count, do="refuse", status=status, after=after, retry_after=retry_after)


@app.command()
def delay(
    seconds: Annotated[float, typer.Argument(min=0)],
    name: Name = "podbay",
    match: Matches = None,
    count: Count = None,
) -> None:
    """Let chosen requests wait."""
    _declare(name, match, count, do="delay", seconds=seconds)


@app.command()
def cut(
    after_bytes: Annotated[int, typer.Argument(min=0)],
    name: Name = "podbay",
    match: Matches = None,
    count: Count = None,
) -> None:
    """Break watches and log streams after so many bytes."""
    _declare(name, match, count, do="cut", bytes=after_bytes)


@app.command()
def drop(
    name: Name = "podbay",
    after: Annotated[bool, typer.Option("--after", help="The request took effect before.")] = False,
    match: Matches = None,
    count: Count = None,
) -> None:
    """Close the connection of chosen requests without an answer, as a partition does."""
    _declare(name, match, count, do="drop", after=after)


@app.command("expire-tokens")
def expire_tokens(name: Name = "podbay") -> None:
    """Let every service account token issued so far count as expired."""
    with errors_as_sentences():
        _send(name, "POST", f"{PATH}/expire-tokens")
        console.print("Every service account token issued so far has expired.")


NODE_PATH = "/podbay.dev/v1/node-faults"

Pod = Annotated[str, typer.Argument(metavar="NAMESPACE/POD")]
Container = Annotated[str | None, typer.Option("--container", "-c", help="The first one when absent.")]


def _disturb(name: str, **fault: Any) -> None:
    with errors_as_sentences():
        body = {key: value for key, value in fault.items() if value is not None}
        console.print(_send(name, "POST", NODE_PATH, body)["done"])


@app.command()
def evict(
    pod: Pod,
    name: Name = "podbay",
    message: Annotated[str | None, typer.Option(help="status.message")] = None,
) -> None:
    """Let the node evict a pod, as under memory pressure."""
    _disturb(name, do="evict", pod=pod, message=message)


@app.command()
def preempt(pod: Pod, name: Name = "podbay") -> None:
    """Let the scheduler preempt a pod, as for one of higher priority."""
    _disturb(name, do="preempt", pod=pod)


@app.command()
def kill(
    pod: Pod,
    name: Name = "podbay",
    container: Container = None,
    signal: Annotated[int, typer.Option(min=1, max=64, help="Number of the signal.")] = 9,
) -> None:
    """Send a signal to a container's first process."""
    _disturb(name, do="kill", pod=pod, container=container, signal=signal)


@app.command()
def oom(pod: Pod, name: Name = "podbay", container: Container = None) -> None:
    """Kill a container as the kernel does when its memory is used up."""
    _disturb(name, do="oom", pod=pod, container=container)


@app.command("lose-node")
def lose_node(node: Annotated[str, typer.Argument()], name: Name = "podbay") -> None:
    """Cut a node off from the API server; its pods live on unseen."""
    _disturb(name, do="lose-node", node=node)


@app.command("return-node")
def return_node(node: Annotated[str, typer.Argument()], name: Name = "podbay") -> None:
    """Let a lost node come back."""
    _disturb(name, do="return-node", node=node)


@app.command("fail-pulls")
def fail_pulls(
    image: Annotated[str, typer.Argument(help="Glob over image references.")],
    name: Name = "podbay",
    message: Annotated[str | None, typer.Option(help="What the image registry is to have said.")] = None,
    count: Count = None,
) -> None:
    """Let image pulls fail."""
    _disturb(name, do="fail-pulls", image=image, message=message, count=count)


@app.command("slow-pulls")
def slow_pulls(
    image: Annotated[str, typer.Argument(help="Glob over image references.")],
    seconds: Annotated[float, typer.Argument(min=0)],
    name: Name = "podbay",
    count: Count = None,
) -> None:
    """Let image pulls take longer."""
    _disturb(name, do="slow-pulls", image=image, seconds=seconds, count=count)


@app.command("allow-pulls")
def allow_pulls(name: Name = "podbay") -> None:
    """Let image pulls go through again."""
    _disturb(name, do="allow-pulls")


@app.command("list")
def list_faults(name: Name = "podbay", output: OutputOption = Output.text) -> None:
    """Show the faults that stand."""
    with errors_as_sentences():
        items = _send(name, "GET", PATH)["items"]
        if output is Output.json:
            print_json(items)
            return
        rows = [
            [
                f["id"],
                f["do"],
                " ".join(f"{k}={v}" for k, v in f["match"].items()) or "-",
                str(f["hits"]),
                str(f.get("count", "-")),
            ]
            for f in items
        ]
        print_table(["ID", "DOES", "MATCH", "HITS", "LEFT"], rows)


@app.command()
def clear(
    fault: Annotated[str | None, typer.Argument(help="One fault; all when absent.")] = None,
    name: Name = "podbay",
) -> None:
    """Lift faults."""
    with errors_as_sentences():
        _send(name, "DELETE", f"{PATH}/{fault}" if fault else PATH)
        console.print(f"Lifted {fault or 'all faults'}.")
