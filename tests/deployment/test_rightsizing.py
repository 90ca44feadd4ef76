"""Proposals for sizes out of runs: cases by hand, and what holds whatever the runs were."""

from __future__ import annotations

from typing import Any

import pytest
from deployment_parts import deployment
from hypothesis import given
from hypothesis import strategies as st

from podbay.deployment.rightsizing import (
    HEADROOM,
    LEAST_RUNS,
    Proposal,
    Run,
    Silence,
    Size,
    proposal_json,
    propose,
)
from podbay.deployment.usage import spent_in
from podbay.lifecycle.checkpoint import Checkpoint
from podbay.lifecycle.outcome import Outcome, Receipt
from podbay.objects.quantity import Quantity

MIB = 1 << 20
RULES = "pods: {maximum: {cpu: 2, memory: 2Gi}}"


def run(
    *,
    peak: int | None = 100,
    cpu: int = 50,
    limit: int | None = 512,
    killed: bool = False,
    when: str = "1",
    **fields: Any,
) -> Run:
    """Memory in MiB, CPU in thousandths; of a task that asks for 250m and 512Mi."""
    asked = Size(250, None if limit is None else limit * MIB)
    seen = None if peak is None else Size(cpu, peak * MIB)
    return Run(
        **{"dag": "etl", "task": "load", "requests": asked, "limits": asked} | fields,
        when=when,
        seen=seen,
        killed=killed,
    )


def one(runs: list[Run], text: str = RULES, **options: Any) -> Proposal | Silence:
    (answer,) = propose(runs, deployment(text), **options)
    return answer


def proposed(runs: list[Run], text: str = RULES) -> dict[str, str]:
    answer = one(runs, text)
    assert isinstance(answer, Proposal), answer
    assert answer.proposed["requests"] == answer.proposed["limits"]
    return dict(answer.proposed["limits"])


def test_a_task_that_uses_less_is_given_less() -> None:
    answer = one([run(peak=each) for each in (80, 310, 100, 90, 70)])
    assert isinstance(answer, Proposal)
    assert answer.diff() == [
        "# cpu: at most 50m in 5 runs",
        "# memory: at most 310Mi in 5 runs",
        "--- etl.load (now)",
        "+++ etl.load (proposed)",
        "@@ -1,7 +1,7 @@",
        " container_resources:",
        "   limits:",
        "-    cpu: 250m",
        "-    memory: 512Mi",
        "+    cpu: 70m",
        "+    memory: 400Mi",
        "   requests:",
        "-    cpu: 250m",
        "-    memory: 512Mi",
        "+    cpu: 70m",
        "+    memory: 400Mi",
    ]
    said = proposal_json(answer)
    assert (said["peakMemoryBytes"], said["peakCpu"], said["runs"]) == (310 * MIB, 0.05, 5)
    assert said["proposed"]["limits"] == {"cpu": "70m", "memory": "400Mi"}


def test_a_task_that_is_near_its_limit_is_given_more() -> None:
    assert proposed([run(peak=500, cpu=200)] * 5) == {"cpu": "250m", "memory": "640Mi"}


def test_a_task_that_fits_is_left_alone() -> None:
    assert one([run(peak=400, cpu=200)] * 5) == Silence("etl", "load", "it asks for what it needs")
    assert one([run(peak=350, cpu=180)] * 5) == Silence("etl", "load", "it asks for what it needs")


def test_too_few_runs_say_nothing() -> None:
    few = [run(), run(), run(peak=None), run(peak=None), run(peak=None, killed=True)]
    assert one(few) == Silence("etl", "load", f"3 of {LEAST_RUNS} runs that tell what it needs")
    assert proposal_json(one(few))["reasons"] == [f"3 of {LEAST_RUNS} runs that tell what it needs"]
    assert isinstance(one(few, least=3), Proposal)


def test_a_kill_says_that_at_least_the_limit_was_needed() -> None:
    runs = [run(peak=100, cpu=200)] * 4 + [run(peak=60, cpu=200, killed=True)]
    assert proposed(runs)["memory"] == "640Mi"
    answer = one(runs)
    assert isinstance(answer, Proposal)
    assert answer.reasons == ("memory: 1 of 5 runs killed for it, at up to 512Mi",)
    assert answer.seen.memory == 512 * MIB


def test_a_run_that_was_given_more_and_went_well_tells_what_was_needed() -> None:
    """As with retry_memory_factor: killed at 512Mi, then measured with 768Mi."""
    more = Size(250, 768 * MIB)
    again = run(peak=600, cpu=200, when="2", requests=more, limits=more, written=512 * MIB)
    answer = one([run(peak=None, killed=True), again] * 3)
    assert isinstance(answer, Proposal)
    assert answer.now["limits"]["memory"] == answer.now["requests"]["memory"] == "512Mi", (
        "as its author wrote"
    )
    assert answer.proposed["limits"]["memory"] == "752Mi"
    assert answer.reasons[-1] == "memory: at most 600Mi in 6 runs"


def test_a_run_that_was_given_more_tells_of_the_one_before_it() -> None:
    """Of a try that a worker began Airflow forgets the XComs of the try before."""
    more = Size(250, 768 * MIB)
    runs = [run(peak=None, requests=more, limits=more, written=512 * MIB)] * 5
    answer = one(runs)
    assert isinstance(answer, Proposal)
    assert answer.proposed["limits"]["memory"] == "640Mi"
    assert answer.reasons == ("memory: 5 of 5 runs killed for it, at up to 512Mi",)


def test_the_size_of_the_latest_run_is_the_one_of_now() -> None:
    larger = Size(250, 4096 * MIB)
    runs = [run(when="3", requests=larger, limits=larger), *[run(when=str(each)) for each in (1, 2, 2, 1)]]
    answer = one(runs, "")
    assert isinstance(answer, Proposal)
    assert answer.now["limits"]["memory"] == "4Gi"


def test_the_maximum_bounds_it_and_is_named() -> None:
    asked = Size(250, 1800 * MIB)
    runs = [run(peak=1900, cpu=200, requests=asked, limits=asked, others=Size(50, 48 * MIB))] * 5
    answer = one(runs)
    assert isinstance(answer, Proposal)
    assert answer.proposed["limits"]["memory"] == "2000Mi", "the sidecar counts"
    assert answer.reasons[-1] == (
        "memory: at most 1900Mi in 5 runs; 2432Mi would be right, pods.maximum.memory (2Gi) allows 2000Mi"
    )
    full = Size(250, 2000 * MIB)
    silent = one([run(peak=1900, cpu=200, requests=full, limits=full, others=Size(50, 48 * MIB))] * 5)
    assert isinstance(silent, Silence)
    assert "2432Mi would be right, pods.maximum.memory (2Gi) allows 2000Mi" in silent.reason
    assert proposed([run(peak=500, cpu=200)] * 5, "quota: {memory: 600Mi}")["memory"] == "600Mi"


def test_a_request_below_its_limit_is_left_there() -> None:
    requests, limits = Size(100, 64 * MIB), Size(2000, 2048 * MIB)
    answer = one([run(requests=requests, limits=limits)] * 5)
    assert isinstance(answer, Proposal)
    assert answer.proposed == {
        "requests": {"cpu": "70m", "memory": "64Mi"},
        "limits": {"cpu": "70m", "memory": "128Mi"},
    }


def test_a_task_that_asks_for_nothing_is_given_requests_and_no_limits() -> None:
    answer = one([run(requests=Size(), limits=Size())] * 5, "")
    assert isinstance(answer, Proposal)
    assert answer.now == {}
    assert answer.proposed == {"requests": {"cpu": "70m", "memory": "128Mi"}}


def test_tasks_are_answered_one_by_one_in_order() -> None:
    runs = [run(task=name) for name in ("b", "a") for _ in range(5)] + [run(dag="a", task="z")]
    assert [each.name for each in propose(runs, None)] == ["a.z", "etl.a", "etl.b"]


RUNS = st.lists(
    st.builds(
        lambda peak, cpu, limit, killed, number: run(
            peak=peak,
            cpu=cpu,
            when=str(number),
            killed=killed,
            requests=Size(250, limit * MIB),
            limits=Size(250, limit * MIB),
        ),
        st.none() | st.integers(1, 6000),
        st.integers(1, 5000),
        st.integers(32, 6000),
        st.booleans(),
        st.integers(1, 9),
    ),
    min_size=1,
    max_size=8,
)


@given(RUNS, st.integers(1, 8), st.integers(250, 8000), st.integers(512, 8000))
def test_never_above_the_maximum_and_never_below_what_was_seen(
    runs: list[Run], least: int, most_cpu: int, most_memory: int
) -> None:
    answer = one(runs, f"pods: {{maximum: {{cpu: {most_cpu}m, memory: {most_memory}Mi}}}}", least=least)
    counted = [each for each in runs if each.seen is not None or each.killed]
    if len(counted) < least:
        assert isinstance(answer, Silence)
        return
    if isinstance(answer, Silence):
        return
    assert answer.runs == len(counted)
    memory = Quantity.parse(answer.proposed["limits"]["memory"]).value()
    cpu = Quantity.parse(answer.proposed["limits"]["cpu"]).milli_value()
    changed = answer.proposed["limits"]["memory"] != answer.now["limits"]["memory"]
    needed = max(
        [each.seen.memory or 0 for each in counted if each.seen]
        + [each.limits.memory or 0 for each in counted if each.killed]
    )
    if changed:
        assert memory <= most_memory * MIB
        assert memory >= min(needed * HEADROOM, most_memory * MIB)
    seen_cpu = max((each.seen.cpu or 0 for each in counted if each.seen), default=0)
    if answer.proposed["limits"]["cpu"] != answer.now["limits"]["cpu"]:
        assert min(seen_cpu * HEADROOM, most_cpu) <= cpu <= most_cpu
    # What is proposed, once it is asked for, is what is right: nothing is proposed again.
    settled = Size(cpu, memory)
    after = [run(peak=needed // MIB + 1, cpu=max(1, seen_cpu), requests=settled, limits=settled)] * least
    again = one(after, f"pods: {{maximum: {{cpu: {most_cpu}m, memory: {most_memory}Mi}}}}", least=least)
    if changed and isinstance(again, Proposal):
        assert Quantity.parse(again.proposed["limits"]["memory"]).value() >= memory * 0.8


def kept(kind: Any = "succeeded", **more: Any) -> dict[str, Any]:
    receipt = Receipt(held=60.0, cpu=0.3, memory=(512 + 32) * MIB)
    outcome = Outcome(kind=kind, message="m", uid="u", receipt=receipt)
    size = {"cpu": "250m", "memory": "512Mi"}
    return {
        "try": 1,
        "state": Checkpoint(outcome=outcome, pod="p", uid="u").to_json(),
        "made": {"requests": size, "limits": size},
        **more,
    }


def test_a_run_is_what_airflow_has_kept_of_a_try() -> None:
    used = {"samples": 2, "cpu": 0.1, "memory": 1, "peakMemory": 99}
    used_main = {**used, "main": {"peakCpu": 0.0421, "peakMemory": 90 * MIB}}
    spent = spent_in("etl", "load", kept(used=used_main), when="2026-01-01")
    assert spent is not None
    size = Size(250, 512 * MIB)
    assert spent.run == Run(
        dag="etl",
        task="load",
        when="2026-01-01",
        requests=size,
        limits=size,
        others=Size(50, 32 * MIB),
        seen=Size(43, 90 * MIB),
    )
    assert spent_in("etl", "load", kept(used=used)) is not None, "without its main container's own peak"


def test_a_killed_run_counts_without_any_measurement() -> None:
    made = {**kept()["made"], "written": "256Mi"}
    spent = spent_in("etl", "load", kept("oom_killed", made=made))
    assert spent is not None
    assert spent.run is not None
    assert (spent.run.killed, spent.run.counts, spent.run.written) == (True, True, 256 * MIB)


@pytest.mark.parametrize("made", [None, {}])
def test_a_try_of_an_earlier_podbay_still_counts_for_usage(made: Any) -> None:
    spent = spent_in("etl", "load", kept(made=made))
    assert spent is not None
    assert spent.run is None
