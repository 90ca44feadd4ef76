"""`podbay usage`: what task pods have requested and what that costs, from what Airflow keeps of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlencode

import typer

from podbay.cli.airflow_login import HereOption, UserOption, login_here
from podbay.cli.deployment_file import FileOption, OutputOption, load
from podbay.cli.output import Output, console, errors, errors_as_sentences, print_json, print_table, run
from podbay.cli.usage_proposals import show_proposals
from podbay.errors import AirflowApiError, InvalidInputError

if TYPE_CHECKING:
    from podbay.deployment.model import Prices
    from podbay.deployment.usage import Spent, Usage
    from podbay.healer.airflow_api import AirflowApi, AirflowLogin

__all__ = ["usage"]

FILE = Path("podbay.yaml")
CHECKPOINTS = "podbay_checkpoint"
"""The XComs in which the operator keeps how its pods ended, one for each try."""
PAGE = 100
AT_ONCE = 8
_UNITS = {"h": 1, "d": 24, "w": 168}


def usage(
    file: FileOption = FILE,
    airflow_url: HereOption = "",
    airflow_user: UserOption = "",
    since: Annotated[str, typer.Option(help="Runs of this time: 12h, 7d, 4w.")] = "24h",
    by: Annotated[str, typer.Option(help="task or dag.")] = "task",
    dag: Annotated[str, typer.Option("--dag", help="Of this DAG alone.")] = "",
    propose: Annotated[
        bool,
        typer.Option("--propose", help="Propose what tasks should request, by what they were seen to use."),
    ] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Proposals as diffs of container_resources.")] = False,
    least: Annotated[
        int | None,
        typer.Option("--runs", min=1, help="Runs that a proposal needs at least; 5 when absent."),
    ] = None,
    chart: Annotated[Path | None, typer.Option("--chart", help="Write bars into this SVG file.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """Show what task pods requested, for how long, and its price at the rates in podbay.yaml."""
    with errors_as_sentences():
        from podbay.deployment.model import Prices
        from podbay.deployment.usage import usage_by, usage_json
        from podbay.deployment.usage_chart import usage_chart

        if by not in ("task", "dag"):
            raise InvalidInputError(f"--by {by}: say task or dag")
        if (diff or least is not None) and not propose:
            raise InvalidInputError("--diff and --runs go with --propose")
        if propose and (by != "task" or chart is not None):
            raise InvalidInputError("--propose is about tasks, and has no chart; leave --by and --chart out")
        deployment = load(file) if file.exists() else None
        prices = deployment.prices if deployment is not None else Prices()
        begin = datetime.now(UTC) - timedelta(hours=_hours(since))
        spent, missing = run(_read(login_here(airflow_url, airflow_user), begin, dag))
        if propose:
            show_proposals(spent, deployment, output, least=least, diff=diff, since=since)
            return
        found = usage_by("dag" if by == "dag" else "task", spent, prices)
        if chart is not None:
            title = f"Requested by task pods, last {since}"
            chart.write_text(usage_chart(found, prices, title=title), encoding="utf-8")
        if output is Output.json:
            print_json(usage_json(found, prices))
        else:
            _show(found, prices, since)
        if missing:
            errors.print(
                f"note: {missing} tries do not say what they used: no pod, or not ended", markup=False
            )


def _hours(text: str) -> int:
    found = re.fullmatch(r"(\d{1,4})([hdw])", text.strip())
    hours = int(found[1]) * _UNITS[found[2]] if found else 0
    if not hours:
        raise InvalidInputError(f"--since {text}: say a time such as 12h, 7d or 4w")
    return hours


async def _read(login: AirflowLogin, begin: datetime, dag: str) -> tuple[list[Spent], int]:
    from podbay.aio.clock import SystemClock
    from podbay.healer.airflow_api import AirflowApi

    async with AirflowApi(login, SystemClock()) as api:
        gate = asyncio.Semaphore(AT_ONCE)
        entries = await _entries(api, begin, dag)
        found = await asyncio.gather(*(_spent(api, gate, entry) for entry in entries))
    return [each for each in found if each is not None], sum(each is None for each in found)


async def _entries(api: AirflowApi, begin: datetime, dag: str) -> list[dict[str, Any]]:
    """All checkpoints of the time, without their values. Raises AirflowApiError."""
    found: list[dict[str, Any]] = []
    while True:
        query = {
            "xcom_key_prefix_pattern": CHECKPOINTS,
            "run_after_gte": begin.isoformat(),
            "limit": PAGE,
            "offset": len(found),
        }
        path = f"/api/v2/dags/{quote(dag, safe='') or '~'}/dagRuns/~/taskInstances/~/xcomEntries?{urlencode(query)}"
        page = await _ask(api, path)
        found += page["xcom_entries"]
        if not page["xcom_entries"] or len(found) >= page["total_entries"]:
            return found


async def _spent(api: AirflowApi, gate: asyncio.Semaphore, entry: dict[str, Any]) -> Spent | None:
    from podbay.deployment.usage import spent_in

    dag, run_id, task, key = (quote(entry[each], safe="") for each in ("dag_id", "run_id", "task_id", "key"))
    path = f"/api/v2/dags/{dag}/dagRuns/{run_id}/taskInstances/{task}/xcomEntries/{key}?map_index={entry['map_index']}"
    async with gate:
        status, body = await api.ask("GET", path)
    if status == 404:
        # Cleared meanwhile.
        return None
    value = _good(status, body)["value"]
    return spent_in(entry["dag_id"], entry["task_id"], value, when=str(entry.get("timestamp") or ""))


async def _ask(api: AirflowApi, path: str) -> Any:
    return _good(*await api.ask("GET", path))


def _good(status: int, body: Any) -> Any:
    if status != 200:
        detail = body.get("detail") if isinstance(body, dict) else None
        if status in (401, 403):
            raise AirflowApiError(
                f"Airflow refuses the login ({status}){f': {detail}' if detail else ''}. It must be one that may read XComs: "
                "check --airflow-user and PODBAY_AIRFLOW_PASSWORD, or PODBAY_AIRFLOW_TOKEN"
            )
        raise AirflowApiError(
            f"Airflow does not tell of XComs: status {status}{f', {detail}' if detail else ''}"
        )
    return body


def _show(found: Sequence[Usage], prices: Prices, since: str) -> None:
    from podbay.deployment.usage import price_of

    if not found:
        console.print(f"no task pod has ended in the last {since}", markup=False)
        return
    priced = bool(prices.cpu_hour or prices.memory_gib_hour)
    columns = [
        "TASK" if any(each.task for each in found) else "DAG",
        "PODS",
        "HOURS",
        "VCPU-HOURS",
        "GIB-HOURS",
    ]
    rows = [
        [
            each.name,
            str(each.pods),
            f"{each.seconds / 3600:.3f}",
            f"{each.cpu_hours:.3f}",
            f"{each.memory_hours:.3f}",
        ]
        for each in found
    ]
    if any(each.measured for each in found):
        columns += ["USED VCPU-HOURS", "USED GIB-HOURS", "PEAK MIB"]
        for row, each in zip(rows, found, strict=True):
            row += (
                [
                    f"{each.used_cpu_hours:.3f}",
                    f"{each.used_memory_hours:.3f}",
                    f"{each.peak_memory / (1 << 20):.0f}",
                ]
                if each.measured
                else ["-", "-", "-"]
            )
    if priced:
        columns.append(f"PRICE ({prices.currency})")
        for row, each in zip(rows, found, strict=True):
            row.append(f"{price_of(each, prices):.4f}")
    print_table(columns, rows)
