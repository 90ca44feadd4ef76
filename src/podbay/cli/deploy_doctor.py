"""`podbay doctor`: a deployment against the world. What of it is about a cluster's answers stands in deployment/doctor.py."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podbay.cli.airflow_login import airflow_login
from podbay.cli.deployment_file import FileOption, OutputOption, on_cluster, placed
from podbay.cli.output import Output, console, errors_as_sentences, print_json, print_table, run
from podbay.cli.target import ClusterOption
from podbay.errors import ApiError, InvalidInputError, PodbayError, RuntimeUnavailableError

if TYPE_CHECKING:
    from podbay.deployment.doctor import Finding
    from podbay.deployment.model import Deployment
    from podbay.registries.pull_secrets import PullSecret

# Functions import what they need, as in cluster.py.

__all__ = ["register"]

FILE = Path("podbay.yaml")
HEALTH = "/api/v2/monitor/health"
AirflowUrl = Annotated[
    str,
    typer.Option(
        "--airflow-url",
        envvar="PODBAY_AIRFLOW_URL",
        help="Of the Airflow whose parts are looked at; that of podbay up when absent.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(doctor)


def doctor(
    file: FileOption = FILE,
    cluster: ClusterOption = None,
    airflow_url: AirflowUrl = "",
    output: OutputOption = Output.text,
) -> None:
    """Look at everything a deployment needs, and say what to do about what is missing. Changes nothing."""
    failed = False
    with errors_as_sentences():
        findings = [*_here(), *_parts(airflow_url), *_there(file, cluster)]
        failed = any(each.verdict == "failed" for each in findings)
        if output is Output.json:
            print_json(
                [
                    {"subject": f.subject, "verdict": f.verdict, "message": f.message, "fix": f.fix}
                    for f in findings
                ]
            )
        else:
            print_table(["", "WHAT", "FOUND"], [[f.verdict, f.subject, f.message] for f in findings])
            for each in findings:
                if each.fix:
                    console.print(f"{each.subject}: {each.fix}", markup=False)
    if failed:
        raise typer.Exit(1)


def _here() -> list[Finding]:
    """What of this machine matters: versions, Airflow, and an engine for the embedded cluster."""
    from podbay import __version__
    from podbay.deployment.doctor import Finding

    python = ".".join(map(str, sys.version_info[:3]))
    return [Finding("podbay", "ok", f"{__version__} on Python {python}"), _airflow(), _engine()]


def _airflow() -> Finding:
    from podbay.airflow.running.requirement import PROVIDER, require_airflow
    from podbay.deployment.doctor import Finding
    from podbay.extras import pip_install

    try:
        version = require_airflow()
    except InvalidInputError as err:
        if "there is none here" not in str(err):
            return Finding("airflow", "failed", str(err).partition(". ")[0], "Upgrade it to 3.3 or later.")
        fix = f"For DAGs on this machine: {pip_install('airflow')}"
        return Finding("airflow", "warning", "is not installed here", fix)
    try:
        provider = metadata.version(PROVIDER)
    except metadata.PackageNotFoundError:
        return Finding(
            "airflow", "failed", f"{version} without its Kubernetes provider", f"Install {PROVIDER}."
        )
    return Finding("airflow", "ok", f"{version} with cncf.kubernetes {provider}")


def _engine() -> Finding:
    from podbay.deployment.doctor import Finding
    from podbay.node.choose import choose_runtime

    nowhere = Path(tempfile.gettempdir())
    try:
        # Chosen and never opened: it only has to be there.
        chosen = run(
            choose_runtime("auto", node="doctor", directory=nowhere, environment=os.environ, home=Path.home())
        )
    except RuntimeUnavailableError as err:
        message = "nothing runs containers on this machine; needed for the embedded cluster only"
        return Finding("engine", "warning", message, f"{err}.")
    engine = "runc" if type(chosen).__name__ == "RuncRuntime" else "a container engine answers"
    return Finding("engine", "ok", engine)


def _parts(url: str) -> list[Finding]:
    """Scheduler, triggerer and DAG processor of a running Airflow."""
    from podbay.airflow.running import stack
    from podbay.deployment.doctor import Finding, judge_health

    known = url or str(stack.status().get("url") or "")
    if not known:
        fix = "Name your Airflow: podbay doctor --airflow-url http://localhost:8080"
        return [Finding("triggerer", "warning", "not looked at, for no Airflow is named or up here", fix)]
    try:
        return judge_health(known, run(_health(known)))
    except PodbayError as err:
        return [
            Finding(
                "triggerer", "failed", f"cannot be asked for: {err}", "Start Airflow, or correct its address."
            )
        ]


async def _health(url: str) -> object:
    from dataclasses import replace

    from podbay.aio.clock import SystemClock
    from podbay.healer.airflow_api import AirflowApi

    # Told to everybody, so nobody has to log in for it.
    login = replace(airflow_login(url, ""), token="none")
    async with AirflowApi(login, SystemClock()) as api:
        _, body = await api.ask("GET", HEALTH)
    return body


def _there(file: Path, cluster: str | None) -> list[Finding]:
    from podbay.deployment.doctor import Finding, examine

    if file == FILE and not file.exists():
        # Nobody needs one to run a DAG.
        return [
            Finding("podbay.yaml", "warning", "is not here", "Make one: podbay init. Or name yours: --file")
        ]
    try:
        deployment = placed(file, cluster)
    except PodbayError as err:
        return [Finding("podbay.yaml", "failed", "cannot be used", str(err))]
    found = [Finding("podbay.yaml", "ok", f"{deployment.name} in {deployment.namespace}")]
    try:
        found += on_cluster(cluster, deployment, lambda api: examine(api, deployment, datetime.now(UTC)))
        return [*found, *_registries(deployment, cluster)]
    except PodbayError as err:
        return [*found, Finding("cluster", "failed", "cannot be examined", str(err))]


def _registries(deployment: Deployment, cluster: str | None) -> list[Finding]:
    """Every login that pods pull with, tried, and every image that the file names, asked for."""
    from podbay.cli.registry import proofs
    from podbay.deployment.doctor import Finding, judge_proofs
    from podbay.registries.pull_secrets import list_pull_secrets

    async def work(api: object) -> list[PullSecret]:
        return await list_pull_secrets(api, deployment.namespace, deployment.pods.pull_secrets)  # type: ignore[arg-type]

    try:
        secrets = on_cluster(cluster, deployment, work)
    except ApiError as err:
        return [Finding("registries", "warning", f"logins cannot be read: {err.message.partition('. ')[0]}")]
    ended = [each.name for each in secrets if each.expires and each.expires <= datetime.now(UTC)]
    rows = asyncio.run(proofs(secrets, list(deployment.images.values()), None, plain_http=False))
    return judge_proofs(rows, ended)
