"""`podbay aws nodegroups`: the node groups that DAGs have made, and the removal of those that were left behind."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from podbay.cli.airflow_login import UserOption, airflow_login
from podbay.cli.output import Output, errors, errors_as_sentences, print_json, print_table, printable, run
from podbay.cli.rows import age
from podbay.errors import InvalidInputError

if TYPE_CHECKING:
    from podbay.aws.leftovers import FoundNodegroup, RunState
    from podbay.healer.airflow_api import AirflowApi

# Functions import what they need, as in cluster.py.

__all__ = ["register"]

_AGE = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": 60, "h": 3600, "d": 86400}
_NO_RUN = re.compile(r"^The DagRun with dag_id: .* was not found$", re.DOTALL)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("nodegroups")(_nodegroups)


def _nodegroups(
    cluster: Annotated[str, typer.Option(help="Of EKS; all of the region when absent.")] = "",
    region: Annotated[str, typer.Option(help="That of the environment when absent.")] = "",
    profile: Annotated[str, typer.Option(help="Of AWS's files.")] = "",
    deployment: Annotated[
        str, typer.Option(help="Only those of this Airflow, as -o json names it (docs/nodegroups.md).")
    ] = "",
    airflow_url: Annotated[
        str,
        typer.Option(
            envvar="PODBAY_AIRFLOW_URL", help="Of its API server, which is asked whose run is over."
        ),
    ] = "",
    airflow_user: UserOption = "",
    only_airflow: Annotated[
        bool,
        typer.Option(
            "--only-airflow",
            help="No other Airflow without a name makes node groups here: --deployment airflow.",
        ),
    ] = False,
    older_than: Annotated[str, typer.Option(help="Counts as left behind after this time, as 6h.")] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Delete those that are left behind.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the calls of AWS instead of making them.")
    ] = False,
    output: Annotated[Output, typer.Option("--output", "-o")] = Output.text,
) -> None:
    """List the node groups that EksNodegroup has made: owner, state, age. --remove deletes what is left behind."""
    untold: list[str] = []
    with errors_as_sentences():
        from podbay.aws.leftovers import find_nodegroups, leftover_reason, removal
        from podbay.aws.leftovers import remove as remove_all
        from podbay.healer.rules import DEFAULT_DEPLOYMENT
        from podbay.registries.amazon.session import Aws

        seconds = _seconds(older_than)
        if remove and not airflow_url and seconds is None:
            raise InvalidInputError(
                "which are left behind? --airflow-url URL asks Airflow whose run is over, --older-than 6h goes by age"
            )
        if airflow_url and not deployment:
            raise InvalidInputError(
                "--airflow-url needs --deployment NAME: the runs of another Airflow would all seem to be over"
            )
        if airflow_url and deployment == DEFAULT_DEPLOYMENT and not only_airflow:
            raise InvalidInputError(
                "--airflow-url: every Airflow that nobody has named is called airflow, and the runs of another one would "
                "seem to be over. Give it a name ([podbay] deployment), or say --only-airflow if no other makes node "
                "groups here; --older-than 6h goes by age"
            )
        aws = Aws(profile=profile or None)
        looked = run(find_nodegroups(aws, region, cluster=cluster, deployment=deployment))
        found, untold = looked.groups, looked.untold
        states = run(_ask(found, airflow_url, airflow_user)) if airflow_url else {}
        now = datetime.now(UTC)
        left = {
            (each.cluster, each.name): why
            for each in found
            if (why := leftover_reason(each, states.get(each.name, "unknown"), older_than=seconds, now=now))
        }
        rows = [
            _row(each, states.get(each.name, "unknown"), left.get((each.cluster, each.name), ""), now)
            for each in found
        ]
        _show(rows, output)
        calls = removal([each for each in found if (each.cluster, each.name) in left])
        if dry_run:
            for call in calls:
                print(call, file=sys.stderr if output is Output.json else sys.stdout)
        elif remove:
            untold += run(remove_all(aws, calls, lambda line: errors.print(line, markup=False)))
    for each in untold:
        errors.print(f"error: {printable(each)}", markup=False)
    if untold:
        raise typer.Exit(1)


def _seconds(older_than: str) -> float | None:
    if not older_than:
        return None
    found = _AGE.fullmatch(older_than.strip())
    if found is None:
        raise InvalidInputError(f"--older-than {older_than}: say a time such as 90m, 6h or 2d")
    return float(int(found[1]) * _UNITS[found[2]])


def _row(group: FoundNodegroup, state: RunState, why: str, now: datetime) -> dict[str, Any]:
    owner = group.owner
    return {
        "cluster": group.cluster,
        "name": group.name,
        "status": group.status,
        "nodes": group.nodes,
        "createdAt": group.created_at.astimezone(UTC).isoformat() if group.created_at else None,
        "age": age(group.created_at, now),
        "deployment": owner.deployment,
        "dag": owner.dag_id,
        "run": owner.run_id,
        "group": owner.group_id,
        "runState": state,
        "leftBehind": why,
    }


_COLUMNS = {
    "CLUSTER": "cluster",
    "NODE GROUP": "name",
    "STATE": "status",
    "NODES": "nodes",
    "AGE": "age",
    "DAG": "dag",
    "RUN": "run",
    "RUN IS": "runState",
    "LEFT BEHIND": "leftBehind",
}


def _show(rows: Sequence[dict[str, Any]], output: Output) -> None:
    if output is Output.json:
        print_json(rows)
    elif rows:
        print_table(list(_COLUMNS), [[str(row[name]) or "-" for name in _COLUMNS.values()] for row in rows])
    else:
        errors.print("No node group of Podbay's is there.")


async def _ask(found: Sequence[FoundNodegroup], url: str, user: str) -> dict[str, RunState]:
    """By node group: what Airflow says of its run. Raises AirflowApiError when it does not answer."""
    from podbay.aio.clock import SystemClock
    from podbay.healer.airflow_api import AirflowApi

    async with AirflowApi(airflow_login(url, user), SystemClock()) as airflow:
        return {each.name: await _state(airflow, each) for each in found}


async def _state(airflow: AirflowApi, group: FoundNodegroup) -> RunState:
    if not group.is_exact:
        return "unknown"
    dag, dag_run = (quote(each, safe="") for each in (group.owner.dag_id, group.owner.run_id))
    status, body = await airflow.ask("GET", f"/api/v2/dags/{dag}/dagRuns/{dag_run}")
    told = body if isinstance(body, dict) else {}
    if status == 200:
        return "over" if told.get("state") in ("success", "failed") else "going"
    # Any other 404, or a refusal, does not say that the run is gone.
    return "over" if status == 404 and _NO_RUN.match(str(told.get("detail"))) else "unknown"
