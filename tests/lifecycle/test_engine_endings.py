"""Whole runs over the wire: how a pod may end, what becomes of its result and of the pod itself."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from engine_parts import Cluster, Engine, Notes, frame, sidecar, task

from podbay.lifecycle import requests
from podbay.lifecycle.hold import HELD_SINCE, HELD_UNTIL
from podbay.lifecycle.outcome import Outcome, Receipt
from podbay.lifecycle.plan import Deadlines
from podbay.lifecycle.view import parse_time
from podbay.objects.meta import annotations_of, labels_of


def bare(outcome: Outcome) -> Outcome:
    """Without the bill, which grows until the pod is removed."""
    return replace(outcome, receipt=Receipt())


async def test_a_success(started: Engine, cluster: Cluster) -> None:
    outcome, notes = await started.run(task(cluster.namespace, run=0.3, log="one\ntwo"))
    assert (outcome.kind, outcome.exit_code, outcome.incarnations) == ("succeeded", 0, 1)
    assert notes.log == ["one", "two"]
    assert [bare(each) for each in notes.outcomes] == [bare(outcome)]
    assert notes.saved[0].uid == outcome.uid
    assert notes.saved[-1].outcome is not None
    assert bare(notes.saved[-1].outcome) == bare(outcome)
    assert outcome.receipt.node == "podbay"
    assert outcome.receipt.image_id.startswith("sha256:")
    await cluster.gone(outcome.pod)


async def test_a_failure_says_the_exit_code(started: Engine, cluster: Cluster) -> None:
    outcome, notes = await started.run(task(cluster.namespace, code=3, log="trouble"))
    assert (outcome.kind, outcome.exit_code) == ("failed", 3)
    assert "3" in outcome.message
    assert outcome.diagnosis is not None
    assert notes.log == ["trouble"]
    assert not outcome.infrastructure
    await cluster.gone(outcome.pod)


async def test_out_of_memory(started: Engine, cluster: Cluster) -> None:
    outcome, _ = await started.run(task(cluster.namespace, script={"signal": "9", "reason": "OOMKilled"}))
    assert (outcome.kind, outcome.exit_code) == ("oom_killed", 137)
    assert "memory" in outcome.message


@pytest.mark.parametrize("seconds", [1, 20])
async def test_requests_do_not_grow_with_time(started: Engine, cluster: Cluster, seconds: int) -> None:
    outcome, _ = await started.run(task(cluster.namespace, run=seconds, log="x"))
    assert outcome.ok
    expected = {"create": 1, "log": 2, "delete": 1}
    assert started.requests(outcome) == expected
    before_clean_up = {verb: count for verb, count in expected.items() if verb != "delete"}
    assert outcome.receipt.requests in (expected, before_clean_up)


# -- results


BIG = b'{"rows": "' + b"x" * 5000 + b'"}'


async def test_a_small_result_comes_with_the_status(started: Engine, cluster: Cluster) -> None:
    text = frame(b'{"rows": 12}')
    plan = task(cluster.namespace, run=0.2, result="sidecar", script=sidecar(message=text, log=text))
    outcome, notes = await started.run(plan)
    assert (outcome.kind, outcome.json_result()) == ("succeeded", {"rows": 12})
    assert started.requests(outcome) == {"create": 1, "log": 2, "delete": 1}
    assert set(notes.lines_) <= {"base"}


async def test_a_larger_result_is_read_from_the_log(started: Engine, cluster: Cluster) -> None:
    plan = task(cluster.namespace, run=0.2, result="sidecar", script=sidecar(log=frame(BIG)))
    outcome, _ = await started.run(plan)
    assert (outcome.kind, outcome.result) == ("succeeded", BIG)
    assert started.requests(outcome) == {"create": 1, "log": 3, "delete": 1}


async def test_a_result_survives_cut_logs(started: Engine, cluster: Cluster) -> None:
    await cluster.fault(do="cut", bytes=2000, count=3, match={"subresource": "log"})
    await cluster.fault(do="refuse", status=500, count=2, match={"subresource": "log"})
    plan = task(cluster.namespace, run=0.2, result="sidecar", script=sidecar(log=frame(BIG)))
    outcome, _ = await started.run(plan)
    assert (outcome.kind, outcome.result) == ("succeeded", BIG)


async def test_no_result_is_a_success(started: Engine, cluster: Cluster) -> None:
    text = "podbay-result/1 none\n"
    plan = task(cluster.namespace, result="sidecar", script=sidecar(message=text, log=text))
    outcome, _ = await started.run(plan)
    assert (outcome.kind, outcome.result) == ("succeeded", None)


TROUBLE = [
    (frame(b'{"a": 1}').replace("1}", "2}"), "ResultDamaged"),
    (frame(b"not json"), "ResultNotJson"),
    ("podbay-result/1 too-large bytes=9000000 limit=4194304\n", "ResultTooLarge"),
    ("podbay-result/1 unreadable\n", "ResultUnreadable"),
    ("", "ResultMissing"),
    ("podbay-result/1 begin\n{", "ResultDamaged"),
]


@pytest.mark.parametrize(("text", "category"), TROUBLE, ids=[c + str(i) for i, (_, c) in enumerate(TROUBLE)])
async def test_a_bad_result_is_no_success(
    started: Engine, cluster: Cluster, text: str, category: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A log without a whole result is asked for several times, in case its node was lost for a moment.
    monkeypatch.setattr(requests, "BAD_RESULT_SECONDS", 0.5)
    script = sidecar(message=text, log=text or "something else")
    outcome, _ = await started.run(task(cluster.namespace, result="sidecar", script=script))
    assert (outcome.kind, outcome.exit_code, outcome.result) == ("result", 0, None)
    assert outcome.diagnosis is not None
    assert outcome.diagnosis.category == category
    assert outcome.message


async def test_results_need_not_be_json(started: Engine, cluster: Cluster) -> None:
    script = sidecar(message=frame(b"not json"))
    plan = task(cluster.namespace, result="sidecar", json_result=False, script=script)
    outcome, _ = await started.run(plan)
    assert (outcome.kind, outcome.result) == ("succeeded", b"not json")


@pytest.mark.parametrize(
    ("message", "kind", "result"),
    [
        ('{"a": 1}', "succeeded", b'{"a": 1}'),
        ("", "succeeded", None),
        ("no json", "result", None),
        ('"' + "x" * 4094 + '"', "result", None),
    ],
    ids=["json", "none", "no json", "too large"],
)
async def test_results_by_termination_message(
    started: Engine, cluster: Cluster, message: str, kind: str, result: bytes | None
) -> None:
    script = {"message": message} if message else {}
    outcome, _ = await started.run(task(cluster.namespace, result="termination_message", script=script))
    assert (outcome.kind, outcome.result) == (kind, result)


# -- the pod afterwards


@pytest.mark.parametrize(
    ("keep", "code", "kept"),
    [
        ("never", 0, False),
        ("never", 1, False),
        ("on_failure", 0, False),
        ("on_failure", 1, True),
        ("always", 0, True),
        ("always", 1, True),
    ],
)
async def test_who_is_kept(started: Engine, cluster: Cluster, keep: Any, code: int, kept: bool) -> None:
    outcome, _ = await started.run(task(cluster.namespace, code=code, keep=keep))
    if not kept:
        await cluster.gone(outcome.pod)
        return
    pod = await cluster.pod(outcome.pod)
    assert pod is not None
    assert labels_of(pod)["already_checked"] == "True"
    assert started.requests(outcome)["patch"] == 1
    assert "delete" not in started.requests(outcome)


async def test_a_kept_pod_may_go_unmarked(started: Engine, cluster: Cluster) -> None:
    outcome, _ = await started.run(task(cluster.namespace, keep="always", checked_label=False))
    pod = await cluster.pod(outcome.pod)
    assert pod is not None
    assert "already_checked" not in labels_of(pod)


async def test_a_failed_pod_is_held_for_a_time(started: Engine, cluster: Cluster) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    life = started.start(task(cluster.namespace, code=3, keep="on_failure", hold=600.0, checked_label=False))
    outcome = await life.outcome()
    pod = await cluster.pod(outcome.pod)
    assert pod is not None
    since, until = (parse_time(annotations_of(pod)[name]) for name in (HELD_SINCE, HELD_UNTIL))
    assert since is not None
    assert until is not None
    assert before <= since <= datetime.now(UTC)
    assert (until - since).total_seconds() == 600
    assert life.run.state.held_until == annotations_of(pod)[HELD_UNTIL]
    assert labels_of(pod)["already_checked"] == "True", "upstream's operator is not to take it over"
    assert started.requests(outcome)["patch"] == 1


@pytest.mark.parametrize("code", [0, 99])
async def test_what_has_not_failed_is_not_held(started: Engine, cluster: Cluster, code: int) -> None:
    plan = task(cluster.namespace, code=code, keep="on_failure", hold=600.0, unheld_codes=frozenset([99]))
    outcome, _ = await started.run(plan)
    await cluster.gone(outcome.pod)


async def test_a_killed_pod_is_not_held(started: Engine, cluster: Cluster) -> None:
    life = started.start(task(cluster.namespace, run="forever", keep="on_failure", hold=600.0))
    await life.until("running")
    life.run.kill("Ada")
    outcome = await life.outcome()
    assert life.run.state.held_until == ""
    await cluster.gone(outcome.pod)


# -- killing


async def test_killed_while_running(started: Engine, cluster: Cluster) -> None:
    life = started.start(task(cluster.namespace, run="forever", log="begun"))
    await life.until("running")
    life.run.kill("Ada")
    outcome = await life.outcome()
    assert (outcome.kind, outcome.infrastructure) == ("killed", False)
    assert "Ada" in outcome.message
    assert life.notes.log == ["begun"]
    await cluster.gone(outcome.pod)


async def test_killed_before_anything(started: Engine, cluster: Cluster) -> None:
    life = started.start(task(cluster.namespace, run="forever"))
    life.run.kill("Ada")
    outcome = await life.outcome()
    assert outcome.kind == "killed"
    assert await cluster.pods() == []


@pytest.mark.parametrize("after", [False, True])
async def test_killed_while_it_is_created(started: Engine, cluster: Cluster, after: bool) -> None:
    """The create is under way, or has taken effect without an answer; no pod is left either way."""
    if after:
        await cluster.fault(do="refuse", status=504, after=True, count=2, match={"verb": "create"})
    await cluster.fault(do="delay", seconds=0.5, match={"verb": "create"})
    life = started.start(task(cluster.namespace, run="forever"))
    await life.until("creating")
    life.run.kill("Ada")
    assert (await life.outcome()).kind == "killed"
    for pod in await cluster.pods():
        await cluster.gone(pod["metadata"]["name"])


async def test_killed_while_pending(started: Engine, cluster: Cluster) -> None:
    life = started.start(task(cluster.namespace, pod={"node_selector": {"no": "such"}}))
    await life.until("unschedulable")
    life.run.kill("Ada")
    assert (await life.outcome()).kind == "killed"
    assert await cluster.pods() == []


async def test_killed_when_it_has_ended_already(started: Engine, cluster: Cluster) -> None:
    """The log is still being read: the end came first."""
    await cluster.fault(do="refuse", status=503, count=4, match={"subresource": "log"})
    life = started.start(task(cluster.namespace, run=0, log="x"))
    await life.until("result")
    life.run.kill("Ada")
    assert (await life.outcome()).kind == "succeeded"


async def test_killed_twice_and_slow_to_end(started: Engine, cluster: Cluster) -> None:
    plan = task(cluster.namespace, run="forever", script={"stop-seconds": "1"}, kill_grace=20)
    life = started.start(plan)
    await life.until("running")
    life.run.kill("Ada")
    await life.until("cleaning")
    life.run.kill("Bob")
    outcome = await life.outcome()
    assert outcome.kind == "killed"
    assert "Ada" in outcome.message
    assert started.requests(outcome)["delete"] == 1


async def test_a_killed_pod_may_stay(started: Engine, cluster: Cluster) -> None:
    life = started.start(task(cluster.namespace, run="forever", keep_on_kill=True))
    await life.until("running")
    life.run.kill("Ada")
    outcome = await life.outcome()
    assert outcome.kind == "killed"
    pod = await cluster.pod(outcome.pod)
    assert pod is not None
    assert "deletionTimestamp" not in pod["metadata"]


# -- deadlines


async def ends(started: Engine, cluster: Cluster, deadlines: Deadlines, **more: Any) -> Outcome:
    outcome, _ = await started.run(task(cluster.namespace, deadlines=deadlines, **more))
    if outcome.pod:
        await cluster.gone(outcome.pod)
    return outcome


async def test_the_run_deadline(started: Engine, cluster: Cluster) -> None:
    outcome = await ends(started, cluster, Deadlines(run=1.0), run="forever")
    assert outcome.kind == "timed_out"
    assert "1" in outcome.message


async def test_the_schedule_deadline(started: Engine, cluster: Cluster) -> None:
    outcome = await ends(started, cluster, Deadlines(schedule=0.5), pod={"node_selector": {"no": "such"}})
    assert outcome.kind == "not_started"
    assert outcome.diagnosis is not None
    assert "selector" in outcome.message.lower()


async def test_the_start_deadline(started: Engine, cluster: Cluster) -> None:
    waits = {"waiting-reason": "ErrImagePull", "waiting-message": "toomanyrequests: slow down"}
    outcome = await ends(started, cluster, Deadlines(start=0.5), script=waits)
    assert outcome.kind == "not_started"
    assert outcome.diagnosis is not None
    assert "image" in outcome.message.lower()


async def test_what_cannot_heal_fails_at_once(started: Engine, cluster: Cluster) -> None:
    waits = {"waiting-reason": "InvalidImageName", "waiting-message": 'couldn\'t parse image name "!!"'}
    outcome = await ends(started, cluster, Deadlines(start=None, run=None), script=waits)
    assert outcome.kind == "not_started"
    assert outcome.diagnosis is not None
    assert outcome.diagnosis.category == "InvalidImageName"


async def test_the_start_clock_stands_while_it_waits_for_a_node(started: Engine, cluster: Cluster) -> None:
    life = started.start(
        task(
            cluster.namespace,
            deadlines=Deadlines(start=1.0),
            pod={"node_selector": {"wanted": "yes"}},
            script={"start-delay-seconds": "0.3"},
        )
    )
    await life.until("unschedulable")
    await asyncio.sleep(1.2)
    headers = {"Content-Type": "application/merge-patch+json"}
    label = {"metadata": {"labels": {"wanted": "yes"}}}
    await cluster.call("PATCH", "/api/v1/nodes/podbay", label, headers=headers, expect=200)
    assert (await life.outcome()).kind == "succeeded"


async def test_the_pods_own_deadline(started: Engine, cluster: Cluster) -> None:
    outcome = await ends(started, cluster, Deadlines(), run="forever", pod={"active_deadline_seconds": 1})
    assert outcome.kind == "deadline"


async def test_a_driver_that_fails_leaves_the_pod(started: Engine, cluster: Cluster) -> None:
    plan = task(cluster.namespace, log="x")
    with pytest.raises(ConnectionError):
        await started.run(plan, notes=Notes(fail_at="decided"))
    assert len(await cluster.pods()) == 1
    outcome, notes = await started.run(plan)
    assert (outcome.kind, notes.log) == ("succeeded", ["x"])
