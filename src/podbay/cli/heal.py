"""`podbay heal`, `heal history`, `heal manifests`, `hold` and `release`; `shell` is in a file of its own."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podbay.cli.airflow_login import UrlOption, UserOption, airflow_login
from podbay.cli.deployment_file import FileOption, OutputOption, placed
from podbay.cli.output import (
    Output,
    console,
    errors,
    errors_as_sentences,
    print_json,
    print_table,
    run,
)
from podbay.cli.pod_words import CommandAfterDashes
from podbay.cli.shell import shell
from podbay.cli.target import ClusterOption, NamespaceOption, choose, connect, find_pod
from podbay.errors import InvalidInputError

if TYPE_CHECKING:
    from podbay.kube.config import ClusterConfig

# Functions import what they need, as in cluster.py.

__all__ = ["app", "register", "seconds_of"]

FILE = Path("podbay.yaml")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = 7 * 86400

app = typer.Typer(
    help="Find task pods without an owner, and what else is wrong with them; end what is proven wrong."
)
DeploymentOption = Annotated[
    str | None,
    typer.Option(
        "--deployment",
        help="The name that its Airflow has in section podbay, option deployment; instead of --file.",
    ),
]


ClustersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--cluster",
        metavar="CONTEXT|KUBECONFIG",
        help="A context or file of your own, or `current`; several times for a deployment with several clusters.",
    ),
]


def register(parent: typer.Typer) -> None:
    """Add the commands to the program."""
    parent.add_typer(app, name="heal")
    parent.command()(hold)
    parent.command()(release)
    parent.command(cls=CommandAfterDashes)(shell)


@app.callback(invoke_without_command=True)
def heal(
    context: typer.Context,
    file: FileOption = FILE,
    deployment: DeploymentOption = None,
    cluster: ClustersOption = None,
    namespace: NamespaceOption = None,
    airflow_url: UrlOption = "http://localhost:8080",
    airflow_user: UserOption = "",
    airflow_logs: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            exists=True,
            help="Airflow's base_log_folder: tasks' logs get a line of what was done.",
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="One round.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    only_airflow: Annotated[
        bool,
        typer.Option(
            "--only-airflow", help="No other Airflow launches pods here: end the upstream operator's too."
        ),
    ] = False,
    fail_lost: Annotated[
        bool, typer.Option("--fail-lost", help="Fail tasks whose pod has vanished; else they are reported.")
    ] = False,
    retry_lost: Annotated[
        bool, typer.Option("--retry-lost", help="Give them another try instead while they have retries left.")
    ] = False,
    stop_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of live pods that one round may end.")
    ] = 0.3,
    per_minute: Annotated[int, typer.Option(min=1, help="Actions a minute.")] = 30,
    interval: Annotated[float, typer.Option(min=1.0, help="Seconds between rounds.")] = 30.0,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve /metrics, /healthz and /livez.")
    ] = None,
    metrics_address: Annotated[
        str,
        typer.Option(
            help="Where, if not on loopback: an address of this machine. Anybody may read it there."
        ),
    ] = "127.0.0.1",
    otlp: Annotated[
        str,
        typer.Option(
            envvar="OTEL_EXPORTER_OTLP_ENDPOINT", help="Send traces and metrics there, by OTLP over HTTP."
        ),
    ] = "",
    output: OutputOption = Output.text,
) -> None:
    """Compare pods with Airflow's task instances and mend what is proven wrong; until Ctrl-C, or --once."""
    if context.invoked_subcommand is not None:
        return
    stopped = False
    with errors_as_sentences():
        from podbay.cli.healing import Healing, print_round
        from podbay.healer.rules import Rules

        name, configs = _where(file, deployment, cluster, namespace)
        rules = Rules(
            deployment=name,
            only_airflow=only_airflow,
            fail_lost=fail_lost,
            retry_lost=retry_lost,
            stop_share=stop_share,
            per_minute=per_minute,
        )
        login = airflow_login(airflow_url, airflow_user)
        healing = Healing(
            configs=configs, rules=rules, login=login, dry_run=dry_run, logs=airflow_logs, otlp=otlp
        )
        if once:
            last = run(healing.once())
            print_round(last, output, dry_run=dry_run)
            stopped = bool(last.decision.stopped)
        else:
            logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
            where = None if metrics_port is None else (metrics_address, metrics_port)
            run(healing.serve(interval=interval, metrics=where, output=output))
    if stopped:
        raise typer.Exit(1)


def _where(
    file: Path, deployment: str | None, clusters: Sequence[str] | None, namespace: str | None
) -> tuple[str, list[ClusterConfig]]:
    """Not by typer: it would cut $PODBAY_CLUSTER, a path, at its spaces."""
    words: list[str | None] = list(dict.fromkeys(clusters or ())) or [
        os.environ.get("PODBAY_CLUSTER") or None
    ]
    if deployment is not None:
        return deployment, [choose(word, namespace) for word in words]
    if not file.exists():
        raise InvalidInputError(
            f"whose pods? {file} is not there; name the deployment: --deployment NAME -n NAMESPACE"
        )
    found = placed(file, words[0])
    return found.name, [choose(word or found.cluster or None, namespace or found.namespace) for word in words]


@app.command()
def history(
    file: FileOption = FILE,
    deployment: DeploymentOption = None,
    cluster: ClustersOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Show what the healer has done and reported, as long as the cluster keeps its Events."""
    with errors_as_sentences():
        from podbay.healer.events import history as read

        name, configs = _where(file, deployment, cluster, namespace)

        async def events() -> list[dict[str, Any]]:
            from podbay.cli.healing import names_of

            found = []
            for where, config in zip(names_of(configs), configs, strict=True):
                async with connect(config) as leased:
                    found += [
                        _event(event, where) for event in await read(leased.client, config.namespace, name)
                    ]
            return sorted(found, key=lambda row: str(row["time"]))

        rows = run(events())
        if output is Output.json:
            print_json(rows)
        elif rows:
            columns = ("TIME", "POD", "ACTION", "CHECK", "COUNT", "WHY")
            keys = ("time", "pod", "action", "check", "count", "message")
            print_table(columns, [[str(row[key]) for key in keys] for row in rows])
        else:
            errors.print(f"Nothing is on record in namespace {configs[0].namespace}.", markup=False)


def _event(event: dict[str, Any], where: str) -> dict[str, Any]:
    about = event.get("involvedObject") or {}
    name = str(about.get("name") or "")
    what = name if about.get("kind") == "Pod" else f"{str(about.get('kind')).lower()} {name}"
    return {
        "time": event.get("lastTimestamp") or "",
        "pod": f"{where} {what}" if where else what,
        "action": event.get("action") or "",
        "check": event.get("reason") or "",
        "count": event.get("count") or 1,
        "message": event.get("message") or "",
    }


@app.command()
def manifests(
    image: Annotated[
        str, typer.Option(help="One with podbay in it; docs/migration.md tells how to build it.")
    ],
    file: FileOption = FILE,
    deployment: DeploymentOption = None,
    namespace: NamespaceOption = None,
    airflow_url: UrlOption = "http://localhost:8080",
    login_secret: Annotated[
        str,
        typer.Option(
            help="Secret with PODBAY_AIRFLOW_USER and PODBAY_AIRFLOW_PASSWORD, or PODBAY_AIRFLOW_TOKEN."
        ),
    ] = "podbay-healer-login",
    with_secrets: Annotated[
        bool,
        typer.Option(
            "--with-secrets", help="Also the right to list and delete Secrets, which is one to read them."
        ),
    ] = False,
    output: OutputOption = Output.text,
) -> None:
    """Print what runs the healer in a cluster, with the least rights. Needs no cluster."""
    with errors_as_sentences():
        from podbay.cli.deployment_file import in_file
        from podbay.healer.manifests import healer_objects
        from podbay.pods.render import render

        if deployment is None:
            found = in_file(file)
            deployment, namespace = found.name, namespace or found.namespace
        if not namespace:
            raise InvalidInputError("--deployment needs --namespace")
        airflow_login(airflow_url, "")
        objects = healer_objects(
            deployment=deployment,
            namespace=namespace,
            image=image,
            airflow_url=airflow_url,
            login=login_secret,
            with_secrets=with_secrets,
        )
        if output is Output.json:
            print_json({"apiVersion": "v1", "kind": "List", "items": objects})
        else:
            sys.stdout.write("---\n".join(render(each) for each in objects))


PodName = Annotated[str, typer.Argument(metavar="POD", help="Name, or NAMESPACE/NAME.")]


def hold(
    pod: PodName,
    duration: Annotated[str, typer.Option("--for", help="Such as 20m or 2h; at most 7d.")] = "20m",
    cluster: ClusterOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Keep the healer from a pod for a while. It ends by itself."""
    with errors_as_sentences():
        seconds = seconds_of(duration)
        until = run(_hold(_pod_config(pod, cluster, namespace), pod.rpartition("/")[2], seconds))
        console.print(f"pod {pod} is held until {until}", markup=False)


def release(pod: PodName, cluster: ClusterOption = None, namespace: NamespaceOption = None) -> None:
    """End a hold."""
    with errors_as_sentences():
        run(_hold(_pod_config(pod, cluster, namespace), pod.rpartition("/")[2], None))
        console.print(f"pod {pod} is no longer held", markup=False)


def _pod_config(pod: str, cluster: str | None, namespace: str | None) -> ClusterConfig:
    return choose(cluster, pod.rpartition("/")[0] or namespace)


async def _hold(config: ClusterConfig, name: str, seconds: int | None) -> str:
    from podbay.healer import holding

    async with connect(config) as leased:
        pod = await find_pod(leased.client, config.namespace, name)
        if seconds is None:
            await holding.release(leased.client, pod)
            return ""
        return await holding.hold(leased.client, pod, datetime.now(UTC), seconds)


def seconds_of(text: str) -> int:
    """The value of --for. Raises InvalidInputError."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < seconds <= _LONGEST:
        raise InvalidInputError(f"--for {text}: say a time such as 90s, 20m, 2h or 1d, at most 7d")
    return seconds
