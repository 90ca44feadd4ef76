"""What is known of a run: tasks from Airflow's books, pods from the cluster, in whatever order they come."""

from __future__ import annotations

from typing import Any

import pytest

from podbay.airflow.running.picture import Picture
from podbay.cli.run_view import words
from podbay.pods.identity import TaskIdentity, identity_annotations, task_labels


def picture() -> Picture:
    made = Picture()
    made.dag(
        "dag",
        [
            {"task_id": "make", "upstream": [], "mapped": False, "pool": "p"},
            {"task_id": "ümlaut task", "upstream": ["make"], "mapped": False, "pool": "p"},
            {"task_id": "each", "upstream": ["make"], "mapped": True, "pool": "p"},
        ],
    )
    return made


def facts(task_id: str, state: str | None, **more: Any) -> dict[str, Any]:
    empty = {"map_index": -1, "try_number": 1, "max_tries": 0, "started": None, "ended": None}
    return {"task_id": task_id, "state": state} | empty | more


def pod(
    uid: str,
    task_id: str,
    *,
    index: int = -1,
    number: int = 1,
    at: str = "1",
    ours: bool = True,
    **metadata: Any,
) -> dict[str, Any]:
    identity = TaskIdentity(
        deployment="d", dag_id="dag", run_id="r", task_id=task_id, map_index=index, try_number=number
    )
    found = {
        "name": uid,
        "uid": uid,
        "namespace": "n",
        "creationTimestamp": at,
        "labels": task_labels(identity),
        "annotations": identity_annotations(identity) if ours else {},
    }
    return {"metadata": found | metadata, "status": {"phase": "Running"}}


@pytest.mark.parametrize("ours", [True, False], ids=["by annotations", "by upstream's labels"])
def test_pods_find_their_tasks(ours: bool) -> None:
    seen = picture()
    seen.tasks([facts("each", "running", map_index=0), facts("each", "running", map_index=1)])
    assert seen.pod(pod("a", "ümlaut task", ours=ours)) is seen.rows["ümlaut task", -1]
    assert seen.pod(pod("b", "each", index=1, ours=ours)) is seen.rows["each", 1]
    assert seen.rows["each", 0].pods == {}


def test_a_pod_may_be_earlier_than_its_task() -> None:
    seen = picture()
    assert seen.pod(pod("a", "each", index=7)) is None
    seen.tasks([facts("each", "running", map_index=7)])
    found = seen.rows["each", 7].pod()
    assert found is not None
    assert found["metadata"]["uid"] == "a"


def test_the_newest_pod_of_the_present_try() -> None:
    seen = picture()
    for uid, number, at in (("old", 1, "1"), ("lost", 2, "2"), ("new", 2, "3")):
        seen.pod(pod(uid, "make", number=number, at=at))
    seen.tasks([facts("make", "running", try_number=2)])
    row = seen.rows["make", -1]
    assert [row.pod()["metadata"]["uid"], row.pod(1)["metadata"]["uid"]] == ["new", "old"]  # type: ignore[index]


def test_the_state_before_a_deletion_is_kept() -> None:
    seen = picture()
    seen.pod(pod("a", "make"))
    seen.pod(pod("a", "make", deletionTimestamp="now"))
    row = seen.rows["make", -1]
    assert "deletionTimestamp" in row.pods["a"]["metadata"]
    assert "deletionTimestamp" not in row.undeleted["a"]["metadata"]


def test_words_for_what_is_waited_for() -> None:
    seen = picture()
    row = seen.rows["ümlaut task", -1]
    assert words(seen, row) == "waiting for make"
    seen.tasks([facts("make", "success")])
    assert words(seen, row) == "waiting"
    for state, said in (
        ("scheduled", "waiting for a slot in pool p"),
        ("queued", "waiting for a worker"),
        ("deferred", "in the triggerer"),
        ("upstream_failed", "upstream failed"),
    ):
        seen.tasks([facts("ümlaut task", state)])
        assert words(seen, row) == said
    assert seen.counts() == {"success": 1, "upstream_failed": 1}
