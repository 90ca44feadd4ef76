"""Why a task of a run failed: what its pod tells (lifecycle.diagnosis), else what its log tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podbay.airflow.running.picture import Picture, Row
from podbay.airflow.running.tasklog import FAILURE_BYTES, LogLine, last_lines, log_files
from podbay.errors import PodbayError
from podbay.kube.client import KubeClient
from podbay.lifecycle.diagnosis.diagnose import diagnose
from podbay.lifecycle.diagnosis.model import Diagnosis, Facts
from podbay.objects.meta import Object, annotations_of, name_of, namespace_of, uid_of
from podbay.objects.resource import GVR
from podbay.pods.build import MAIN_CONTAINER_ANNOTATION

__all__ = ["Failure", "explain"]

EVENTS = GVR("", "v1", "events")
NODES = GVR("", "v1", "nodes")
_LINES = 5
_LOGGERS = ("podbay.", "airflow.")
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed task instance."""

    row: Row
    pod: str
    """NAMESPACE/NAME; empty for a task without one."""
    diagnosis: Diagnosis | None
    error: str
    """What stopped the task, in a sentence of ours or as the exception that Airflow noted; further lines are evidence."""
    ours: bool
    """Whether that is a sentence of ours: the first one says what is wrong, the next what to do."""
    where: str
    """The innermost line of the user's own files in it: `FILE:LINE in FUNCTION`."""
    lines: tuple[LogLine, ...]
    """The end of what its container printed; of a task without a pod, of what its own code printed and logged."""
    files: tuple[Path, ...]


async def explain(
    picture: Picture, row: Row, *, logs: Path, dags: Path, client: KubeClient | None
) -> Failure:
    """All that can be found out; what cannot be is left out."""
    pod = row.pod()
    files = log_files(logs, picture.dag_id, picture.run_id, row.task_id, row.map_index, row.try_number)
    lines = last_lines(files, 1000, tail=FAILURE_BYTES)
    raised = next((line for line in reversed(lines) if line.error), None)
    told = next((line for line in reversed(lines) if line.level == "error" and _is_ours(line)), None)
    diagnosis = await _diagnose(row, pod, client) if pod is not None else None
    printed = _printed(lines, pod) if pod is not None else [line for line in lines if _is_users(line)]
    # One sentence of ours says more than the exception that it follows from; a process that was ended has neither.
    last = next((line.text for line in reversed(lines) if line.level in ("error", "critical")), "")
    error = told.text if told is not None else raised.error if raised is not None else last
    return Failure(
        row=row,
        pod=f"{namespace_of(pod)}/{name_of(pod)}" if pod is not None else "",
        diagnosis=diagnosis,
        error=_brief(error, pod is not None and told is None),
        ours=told is not None,
        where=_innermost(raised.frames, dags) if raised is not None else "",
        lines=tuple(printed[-_LINES:]),
        files=tuple(files),
    )


def _is_ours(line: LogLine) -> bool:
    """Also on a worker, where operators speak as Airflow's logger for them."""
    return line.logger.startswith(("podbay.", "airflow.task.operators.podbay."))


def _is_users(line: LogLine) -> bool:
    """Neither ours nor Airflow's: a task whose pod was never made has only such lines, its manifest among them."""
    return (
        bool(line.logger)
        and not line.error
        and not line.logger.startswith(_LOGGERS)
        and line.logger != "task"
    )


def _printed(lines: Sequence[LogLine], pod: Object) -> list[LogLine]:
    """What the container printed; operators put its name in front."""
    return [line for line in lines if line.text.startswith(f"[{_main_container(pod)}]")]


def _brief(error: str, has_pod: bool) -> str:
    # Upstream's operator adds the whole pod, with the values of its environment.
    first, _, rest = error.partition("\n")
    text = first if has_pod or not rest else error
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _innermost(frames: Sequence[str], dags: Path) -> str:
    mine = [f for f in frames if f.startswith(f"{dags}/") and "/site-packages/" not in f]
    return mine[-1] if mine else ""


async def _diagnose(row: Row, pod: Object, client: KubeClient | None) -> Diagnosis | None:
    """Of the pod as it was before somebody asked for its deletion: an operator deletes what has failed."""
    events: list[Object] = []
    nodes: list[Object] = []
    if client is not None:
        try:
            selector = f"involvedObject.kind=Pod,involvedObject.uid={uid_of(pod)}"
            found = await client.list(EVENTS, namespace=namespace_of(pod), field_selector=selector)
            events = found.items
            node = (pod.get("spec") or {}).get("nodeName")
            nodes = [await client.get(NODES, node)] if node else (await client.list(NODES)).items
        except PodbayError:
            # No right to see them, or the cluster is gone: the pod tells enough.
            pass
    for state in (row.undeleted.get(uid_of(pod)), pod):
        if state is not None:
            facts = Facts(pod=state, events=events, nodes=nodes, container=_main_container(state))
            diagnosis = diagnose(facts)
            if diagnosis is not None:
                return diagnosis
    return None


def _main_container(pod: Object) -> str:
    """Ours is written down; upstream calls it "base" unless told otherwise, and then it is the first."""
    names = [str(c.get("name")) for c in (pod.get("spec") or {}).get("containers") or ()]
    told = annotations_of(pod).get(MAIN_CONTAINER_ANNOTATION)
    return told or ("base" if "base" in names or not names else names[0])
