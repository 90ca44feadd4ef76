"""Where a task runs and why: one pure decision, told in one line of the task's log (design D3).

    triggerer      from start to end, no worker
    worker start   a worker renders the parameters and hands over at once
    worker         from start to end

and, for the first two, after which ends a short worker activation follows, because only a worker runs such hooks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

__all__ = ["Finish", "Placement", "TaskFacts", "Where", "place", "unsupported_in_templates"]

Where: TypeAlias = Literal["triggerer", "worker start", "worker"]
Finish: TypeAlias = Literal["never", "success", "failure", "always"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFacts:
    """What of a task decides. Names are those of Airflow's parameters."""

    deferrable: bool | None = None
    code: tuple[str, ...] = ()
    """Parameters that hold Python code to be run while the pod runs."""
    unportable: str = ""
    """Why the parameters cannot travel as JSON."""
    templates: str = ""
    """Why the templates cannot be rendered in the triggerer."""
    before: tuple[str, ...] = ()
    """Hooks that run before the task."""
    after_success: tuple[str, ...] = ()
    after_failure: tuple[str, ...] = ()
    pool: str = "default_pool"
    pools_count_deferred: bool = False
    """The deployment's pools include deferred tasks, so that one that has started on a worker stays counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    where: Where
    finish: Finish = "never"
    reason: str

    def sentence(self) -> str:
        """The line of the log."""
        first = {
            "triggerer": "Runs in the triggerer",
            "worker start": "Starts on a worker and goes on in the triggerer",
            "worker": "Runs on a worker",
        }[self.where]
        last = {
            "never": "",
            "success": "; a worker finishes it if it succeeds",
            "failure": "; a worker finishes it if it fails",
            "always": "; a worker finishes it",
        }[self.finish]
        return f"{first}{last}: {self.reason}."


def place(facts: TaskFacts) -> Placement:
    """The cheapest place that changes nothing a DAG can see."""
    if facts.deferrable is False:
        return Placement(where="worker", reason="deferrable=False")
    if facts.code:
        return Placement(where="worker", reason=f"{_listed(facts.code)} can only run where the DAG file is")
    own_pool = facts.pool != "default_pool"
    if own_pool and facts.deferrable is None and not facts.pools_count_deferred:
        return Placement(
            where="worker", reason=f"it holds its slot of the pool {facts.pool} while the pod runs"
        )
    finish = _finish(facts)
    reasons = _after(facts)
    if own_pool:
        start = f"the scheduler checks the pool {facts.pool} only for what starts on a worker"
    elif facts.before:
        start = f"{_listed(facts.before)} runs before the pod"
    else:
        start = facts.unportable or facts.templates
    if start:
        return Placement(where="worker start", finish=finish, reason=" and ".join([start, *reasons]))
    return Placement(
        where="triggerer", finish=finish, reason=" and ".join(reasons) or "it needs nothing of a worker"
    )


def _finish(facts: TaskFacts) -> Finish:
    if facts.after_success and facts.after_failure:
        return "always"
    if facts.after_success:
        return "success"
    return "failure" if facts.after_failure else "never"


def _after(facts: TaskFacts) -> list[str]:
    names = tuple(dict.fromkeys((*facts.after_success, *facts.after_failure)))
    return [f"only a worker runs {_listed(names)}"] if names else []


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


_TI_NAMES: Final = frozenset(
    [
        "dag_id",
        "dag_version_id",
        "id",
        "log_url",
        "map_index",
        "max_tries",
        "queue",
        "run_id",
        "task_id",
        "try_number",
        "xcom_pull",
    ]
)
_TI_USE: Final = re.compile(r"\b(?:ti|task_instance)\s*\.\s*([a-zA-Z_]\w*)")
_BLOCK: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"")
_TI_ITSELF: Final = re.compile(r"(?<![\w.])(?:ti|task_instance)\b(?!\s*\.\s*[a-zA-Z_])")
"""In other forms than `ti.name`: what is asked of it nobody knows before it is rendered."""
# Names whose values the triggerer's supervisor cannot fetch: asking hangs for ever (T1), or gives something else.
_NAMES: Final = re.compile(
    r"\b(prev_\w+|task_state_store|asset_state_store|inlet_events|outlet_events|triggering_asset_events"
    r"|expanded_ti_count|test_mode|task_reschedule_count)\b"
)
_PRIOR: Final = re.compile(r"\binclude_prior_dates\b")
# They read other files, which are where the DAG file is.
_FILES: Final = re.compile(r"\{%[-+]?\s*(include|import|from|extends)\b")


def unsupported_in_templates(value: Any) -> str:
    """The first name in any template of `value` that only a worker knows; empty when there is none."""
    for text in _templates(value):
        for found in _TI_USE.finditer(text):
            if found[1] not in _TI_NAMES:
                return f"ti.{found[1]}"
        if any(_TI_ITSELF.search(_QUOTED.sub("''", block)) for block in _BLOCK.findall(text)):
            return "all of ti"
        name = _NAMES.search(text) or _PRIOR.search(text)
        if name:
            return name[0]
        tag = _FILES.search(text)
        if tag:
            return f"the file of {{% {tag[1]} %}}"
    return ""


def has_templates(value: Any) -> bool:
    return next(iter(_templates(value)), None) is not None


def _templates(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        if "{{" in value or "{%" in value:
            yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _templates(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _templates(each)
