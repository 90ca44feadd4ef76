"""`podbay run` with a podbay.yaml beside it: its namespace, its sizes, and more memory after a kill, on real containers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from images import busybox
from podbay_programs import IMAGE, Programs

FOLLOWS = Path(__file__).parent / "runs" / "follows.py"
FILE = """\
version: 1
name: followed
namespace: misty-harbor-4821
pods:
  maximum: {cpu: 1, memory: 128Mi}
  default: {cpu: 100m, memory: 32Mi}
  keep: always
  retry_memory_factor: 4
"""
RAISED = re.compile(
    r"Memory of container base is raised from 32Mi to 128Mi, because try (\d) was killed for its memory at 32Mi "
    r"\(pods\.retry_memory_factor: 4\)\."
)


@pytest.fixture(scope="module")
def podbay(containers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    programs = Programs(tmp_path_factory.mktemp("follows"))
    archive = busybox().archive(programs.home / "image.tar", IMAGE)
    programs.file("podbay.yaml", FILE)
    programs("cluster", "start")
    programs("cluster", "load", str(archive))
    yield programs
    programs("cluster", "reset", "--yes")


def test_a_file_that_is_not_applied_is_not_followed(podbay: Programs) -> None:
    said = podbay.refused("run", str(FOLLOWS), "--file", "podbay.yaml")
    assert said.endswith("followed (podbay.yaml) is not in this cluster yet. Make it: podbay apply")
    ended = podbay("run", podbay.file("empty.py", "x = 1\n"), code=1)
    assert "note: Airflow does not follow it: followed (podbay.yaml) is not in this cluster yet" in ended.err


def test_a_try_after_a_kill_for_memory_gets_more_wherever_it_begins(podbay: Programs) -> None:
    podbay("apply")
    run = podbay("run", str(FOLLOWS), "-o", "json")
    assert "Airflow follows podbay.yaml: followed, namespace misty-harbor-4821" in run.err
    found = run.json()
    tasks: dict[str, Any] = {each["task"]: each for each in found["tasks"]}
    assert {name: each["state"] for name, each in tasks.items()} == dict.fromkeys(
        ("triggerer", "worker", "begun"), "success"
    )
    for name, task in tasks.items():
        told = RAISED.findall(log_of(Path(found["logs"]), name, task["tries"]))
        assert told == [str(task["tries"] - 1)], "said once, by the try that it helped"
        assert not RAISED.search(log_of(Path(found["logs"]), name, task["tries"] - 1))
    pods = podbay("pods", "-n", "misty-harbor-4821", "-o", "json").json()
    ended = {(pod["task"]["task"], pod["task"]["try"]): pod["phase"] for pod in pods}
    for name, task in tasks.items():
        assert (ended[name, task["tries"] - 1], ended[name, task["tries"]]) == ("Failed", "Succeeded")


def log_of(logs: Path, task: str, number: int) -> str:
    """All that a try has logged, on a worker and in the triggerer."""
    files = [each for each in logs.rglob(f"attempt={number}.log*") if f"task_id={task}/" in str(each)]
    assert files, sorted(logs.rglob("*.log*"))
    return "".join(each.read_text() for each in files)
