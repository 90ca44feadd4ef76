"""`podbay usage --propose`: sizes that tasks should have, as a table, as diffs and for scripts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from podbay.cli.output import Output, console, errors, print_json, print_table

if TYPE_CHECKING:
    from podbay.deployment.model import Deployment
    from podbay.deployment.rightsizing import Proposal, Silence
    from podbay.deployment.usage import Spent

__all__ = ["show_proposals"]

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def show_proposals(
    spent: Sequence[Spent],
    deployment: Deployment | None,
    output: Output,
    *,
    least: int | None,
    diff: bool,
    since: str,
) -> None:
    """Print an answer for each task whose runs are known; what cannot be proposed goes to stderr, with its reason."""
    from podbay.deployment.rightsizing import LEAST_RUNS, Proposal, Silence, proposal_json, propose

    runs = {each.uid: each.run for each in spent if each.run is not None}
    answers = propose(runs.values(), deployment, least=least or LEAST_RUNS)
    if output is Output.json:
        print_json([proposal_json(each) for each in answers])
        return
    made = [each for each in answers if isinstance(each, Proposal)]
    silent = [each for each in answers if isinstance(each, Silence)]
    if diff:
        for each in made:
            _print_diff(each)
    elif made:
        print_table(["TASK", "RESOURCE", "NOW", "PROPOSED", "RUNS"], _rows(made))
    else:
        console.print(f"nothing to propose for the last {since}", markup=False)
    # A diff says its reasons itself.
    _explain([] if diff else made, silent)
    if not answers:
        errors.print(
            "note: no try says what its pod used; see airflow.usage_every in podbay.yaml", markup=False
        )


def _explain(made: Sequence[Proposal], silent: Sequence[Silence]) -> None:
    for proposal in made:
        for reason in proposal.reasons:
            errors.print(f"{proposal.name}: {reason}", markup=False)
    for each in silent:
        errors.print(f"{each.name}: nothing proposed: {each.reason}", markup=False)


def _rows(made: Sequence[Proposal]) -> list[list[str]]:
    rows = []
    for each in made:
        for resource in ("cpu", "memory"):
            changes = _changes(each, resource)
            if len(set(changes.values())) == 1 and len(changes) == 2:
                # As podbay.yaml makes them: requests and limits alike.
                changes = {resource: changes[f"limits.{resource}"]}
            for what, (now, proposed) in changes.items():
                rows.append([each.name, what, now, proposed, str(each.runs)])
    return rows


def _changes(proposal: Proposal, resource: str) -> dict[str, tuple[str, str]]:
    """What changes of the resource: now and then."""
    found = {}
    for part in ("requests", "limits"):
        now, proposed = (each.get(part, {}).get(resource, "-") for each in (proposal.now, proposal.proposed))
        if now != proposed:
            found[f"{part}.{resource}"] = (now, proposed)
    return found


def _print_diff(proposal: Proposal) -> None:
    coloured = sys.stdout.isatty()
    for line in proposal.diff():
        colour = _COLOURS.get(line[:1]) if coloured else None
        sys.stdout.write((typer.style(line, fg=colour) if colour else line) + "\n")
