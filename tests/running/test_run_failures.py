"""Why a task without a pod failed: the one sentence about it comes first, not what Airflow says of every trigger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from podbay.airflow.running.failures import Failure, explain
from podbay.airflow.running.picture import Picture

OURS = "podbay.airflow.triggers.PodTrigger"


async def failure_of(tmp_path: Path, *events: dict[str, Any]) -> Failure:
    picture = Picture()
    picture.dag("d", [{"task_id": "t", "upstream": [], "pool": "default_pool", "mapped": False}])
    picture.run_id = "r"
    facts = {"task_id": "t", "map_index": -1, "state": "failed", "try_number": 1, "max_tries": 0}
    (row,) = picture.tasks([{**facts, "started": 1.0, "ended": 2.0}])
    directory = tmp_path / "dag_id=d" / "run_id=r" / "task_id=t"
    directory.mkdir(parents=True)
    lines = [json.dumps({"timestamp": str(number), **event}) for number, event in enumerate(events)]
    (directory / "attempt=1.log.trigger.1.log").write_text("\n".join(lines))
    return await explain(picture, row, logs=tmp_path, dags=tmp_path, client=None)


async def test_a_template_that_fails_is_named_with_its_parameter(tmp_path: Path) -> None:
    jinja = {"exc_type": "UndefinedError", "exc_value": "'nobody' is undefined", "frames": []}
    found = await failure_of(
        tmp_path,
        {"level": "info", "event": "trigger d/r/t/-1/1 (ID 6) starting"},
        {"level": "info", "event": "Runs in the triggerer: it needs nothing of a worker.", "logger": OURS},
        {"level": "error", "event": "Exception rendering Jinja template", "error_detail": [jinja]},
        {
            "level": "error",
            "event": "The template of cmds[0] cannot be rendered: '{{ nobody }}': 'nobody' is undefined.",
            "logger": OURS,
        },
        {"level": "info", "event": "Trigger fired event"},
        {"level": "info", "event": "trigger completed"},
    )
    assert found.error == "The template of cmds[0] cannot be rendered: '{{ nobody }}': 'nobody' is undefined."
    assert found.ours
    assert found.lines == ()


async def test_a_pod_that_was_refused_has_no_log_and_its_manifest_is_none(tmp_path: Path) -> None:
    told = 'There is no service account "nobody". Create it.\n  the API server says: 403 Forbidden'
    found = await failure_of(
        tmp_path,
        {"level": "info", "event": "Pod t-x7: creating", "logger": OURS},
        {"level": "info", "event": "::group::Pod manifest", "logger": OURS},
        {"level": "info", "event": "apiVersion: v1\nkind: Pod", "logger": OURS},
        {"level": "error", "event": told, "logger": "airflow.task.operators.podbay.airflow.operators.X"},
    )
    assert (found.error, found.ours, found.lines) == (told, True, ())


async def test_a_process_that_ended_is_told_with_its_exit_code(tmp_path: Path) -> None:
    found = await failure_of(
        tmp_path,
        {"level": "info", "event": "half way", "logger": "task.stdout"},
        {"level": "error", "event": "Task exited", "exit_code": 4, "logger": "task"},
    )
    assert found.error == "Task exited with exit code 4"
    assert [line.text for line in found.lines] == ["half way"]


async def test_an_exception_of_the_users_own_task_is_shown_as_it_is(tmp_path: Path) -> None:
    raised = {"exc_type": "ValueError", "exc_value": "three is too much", "frames": []}
    found = await failure_of(
        tmp_path,
        {"level": "info", "event": "counting", "logger": "mine"},
        {"level": "error", "event": "Task failed", "error_detail": [raised], "logger": "task"},
    )
    assert found.error == "ValueError: three is too much"
    assert [line.text for line in found.lines] == ["counting"]
