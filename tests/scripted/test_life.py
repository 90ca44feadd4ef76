from __future__ import annotations

import math
from typing import Any

import pytest

from podbay.embedded.scripted import Attempt, LogLine, Rule, Script, Wait
from podbay.embedded.scripted.life import PodLife
from podbay.embedded.scripted.status import phase_of, pod_status
from podbay.errors import InvalidInputError
from podbay.objects.meta import Object

T0 = 1_767_225_600.0
"""2026-01-01T00:00:00Z."""


def pod(
    policy: str = "Never", *, names: str = "main", init: list[Object] | None = None, **more: Any
) -> Object:
    spec: Object = {
        "restartPolicy": policy,
        "containers": [{"name": n, "image": "localhost/bb:1"} for n in names.split()],
        **more.pop("spec", {}),
    }
    if init:
        spec["initContainers"] = init
    metadata = {"namespace": "d", "name": "p", "uid": "u", "generation": 1, **more}
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": "t"}
    return {"metadata": metadata, "spec": spec, "status": {"phase": "Pending", "conditions": [scheduled]}}


def rule(*attempts: Attempt, **more: Any) -> Rule:
    return Rule(containers=(("*", attempts or (Attempt(),)),), **more)


def played(p: Object, r: Rule, until: float) -> PodLife:
    life = PodLife(p, r, T0)
    life.advance(T0 + until)
    return life


def status(life: PodLife, at: float) -> Object:
    return pod_status(life, T0 + at, host_ip="127.0.0.1", pod_ip="10.244.0.2")


def state(life: PodLife, name: str = "main", at: float = 0) -> Object:
    found = status(life, at)
    statuses = found["containerStatuses"] + found.get("initContainerStatuses", [])
    return next(c for c in statuses if c["name"] == name)  # type: ignore[no-any-return]


def conditions(life: PodLife, at: float = 0) -> dict[str, tuple[str, ...]]:
    return {
        c["type"]: tuple(v for v in (c["status"], c.get("reason"), c.get("message")) if v)
        for c in status(life, at)["conditions"]
    }


def test_by_default_a_pod_succeeds_at_once() -> None:
    life = played(pod(), Rule(), 0)
    assert life.over
    found = status(life, 0)
    assert found["phase"] == "Succeeded"
    terminated = found["containerStatuses"][0]["state"]["terminated"]
    assert terminated == {
        "exitCode": 0,
        "reason": "Completed",
        "startedAt": "2026-01-01T00:00:00Z",
        "finishedAt": "2026-01-01T00:00:00Z",
        "containerID": terminated["containerID"],
    }
    assert conditions(life) == {
        "PodReadyToStartContainers": ("False",),
        "Initialized": ("True", "PodCompleted"),
        "Ready": ("False", "PodCompleted"),
        "ContainersReady": ("False", "PodCompleted"),
        "PodScheduled": ("True",),
    }


def test_a_running_pod_looks_as_a_kubelet_reports_it() -> None:
    life = played(pod(), rule(Attempt(run_seconds=10)), 3)
    assert life.next_at == T0 + 10
    found = status(life, 3)
    assert set(conditions(life, 3).values()) == {("True",)}
    assert {
        k: found[k] for k in ("phase", "podIP", "podIPs", "hostIP", "startTime", "observedGeneration")
    } == {
        "phase": "Running",
        "podIP": "10.244.0.2",
        "podIPs": [{"ip": "10.244.0.2"}],
        "hostIP": "127.0.0.1",
        "startTime": "2026-01-01T00:00:00Z",
        "observedGeneration": 1,
    }
    main = found["containerStatuses"][0]
    assert main["state"] == {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    assert (main["ready"], main["started"], main["restartCount"], main["lastState"]) == (True, True, 0, {})


def test_a_delay_is_container_creating_without_an_address() -> None:
    life = played(pod(), rule(Attempt(run_seconds=1), delay=5), 4)
    assert state(life)["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert "podIP" not in status(life, 4)
    assert status(life, 4)["phase"] == "Pending"
    unready = ("False", "ContainersNotReady", "containers with unready status: [main]")
    assert conditions(life)["Ready"] == unready
    assert conditions(life)["PodReadyToStartContainers"] == ("False",)
    life.advance(T0 + 6)
    assert phase_of(life) == "Succeeded"


def test_waits_come_one_after_the_other() -> None:
    waits = (Wait(2, "ErrImagePull", "no such image"), Wait(math.inf, "ImagePullBackOff"))
    life = played(pod(), rule(Attempt(waits=waits)), 1)
    assert state(life)["state"] == {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}
    life.advance(T0 + 1000)
    assert state(life)["state"] == {"waiting": {"reason": "ImagePullBackOff"}}
    assert (phase_of(life), life.next_at) == ("Pending", math.inf)


def test_failing_with_a_signal_and_a_reason() -> None:
    life = played(pod(), rule(Attempt(run_seconds=1, signal=9, reason="OOMKilled")), 2)
    terminated = state(life)["state"]["terminated"]
    assert (terminated["exitCode"], terminated["signal"], terminated["reason"]) == (137, 9, "OOMKilled")
    assert phase_of(life) == "Failed"
    assert conditions(life)["Ready"] == ("False", "PodFailed")
    assert conditions(life)["Initialized"] == ("True",)


def test_on_failure_restarts_until_it_works() -> None:
    life = played(pod("OnFailure"), rule(Attempt(run_seconds=1, exit_code=1), Attempt(run_seconds=5)), 2)
    main = state(life)
    assert (main["restartCount"], main["lastState"]["terminated"]["exitCode"]) == (1, 1)
    assert "running" in main["state"]
    life.advance(T0 + 6)
    assert (phase_of(life), state(life)["restartCount"]) == ("Succeeded", 1)


def test_the_first_restart_is_at_once_and_later_ones_back_off() -> None:
    life = PodLife(pod("Always"), rule(Attempt(run_seconds=1, exit_code=3)), T0)
    starts = []
    at = T0
    while at < T0 + 100:
        life.advance(at)
        main = life.containers[0]
        if main.state == "running" and main.started_at not in starts:
            starts.append(main.started_at)
        at = life.next_at
    assert [s - T0 for s in starts] == [0, 1, 12, 33, 74]
    life = played(pod("Always"), rule(Attempt(run_seconds=1, exit_code=3)), 5)
    assert state(life)["state"]["waiting"] == {
        "reason": "CrashLoopBackOff",
        "message": "back-off 10s restarting failed container=main pod=p_d(u)",
    }
    assert phase_of(life) == "Running"


def test_ending_at_once_for_ever_does_not_hang() -> None:
    life = played(pod("Always"), rule(restart_backoff=0), 60)
    assert 2 < life.containers[0].restarts < 1000


INIT = [{"name": "i", "image": "x"}]


def test_init_containers_come_first() -> None:
    life = played(pod(init=INIT), rule(Attempt(run_seconds=2)), 1)
    assert "running" in state(life, "i")["state"]
    assert state(life)["state"] == {"waiting": {"reason": "PodInitializing"}}
    incomplete = ("False", "ContainersNotInitialized", "containers with incomplete status: [i]")
    assert conditions(life)["Initialized"] == incomplete
    assert phase_of(life) == "Pending"
    life.advance(T0 + 3)
    assert phase_of(life) == "Running"
    assert state(life, "i")["ready"] is True
    life.advance(T0 + 4)
    assert phase_of(life) == "Succeeded"


def test_a_failed_init_container_fails_the_pod() -> None:
    failing = Rule(containers=(("i", (Attempt(exit_code=2),)),))
    life = played(pod(init=INIT), failing, 1)
    assert (phase_of(life), life.over) == ("Failed", True)
    assert state(life)["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert conditions(life)["Initialized"][:2] == ("False", "ContainersNotInitialized")


def test_sidecars_serve_until_the_main_containers_are_done() -> None:
    sidecar = [{"name": "s", "image": "x", "restartPolicy": "Always"}]
    one = Rule(containers=(("main", (Attempt(run_seconds=3),)),))
    life = played(pod(init=sidecar), one, 1)
    assert "running" in state(life, "s")["state"]
    assert "running" in state(life)["state"]
    life.advance(T0 + 3)
    assert phase_of(life) == "Succeeded"
    assert state(life, "s")["state"]["terminated"]["exitCode"] == 0


def test_two_containers_and_late_readiness() -> None:
    both = Rule(
        containers=(("a", (Attempt(run_seconds=9, ready_after=2),)), ("b", (Attempt(run_seconds=9),)))
    )
    life = played(pod(names="a b"), both, 1)
    assert conditions(life)["Ready"][2] == "containers with unready status: [a]"
    assert life.next_at == T0 + 2
    assert life.advance(T0 + 2)
    assert conditions(life)["Ready"] == ("True",)


def test_a_deadline_fails_the_pod() -> None:
    life = played(pod(spec={"activeDeadlineSeconds": 5}), rule(Attempt(run_seconds=60)), 6)
    found = status(life, 6)
    assert (found["phase"], found["reason"]) == ("Failed", "DeadlineExceeded")
    assert found["message"] == "Pod was active on the node longer than the specified deadline"


@pytest.mark.parametrize(
    ("stop", "ends_after", "code"),
    [
        ({}, 0, 143),
        ({"stop_seconds": 2}, 2, 143),
        ({"ignore_sigterm": True}, 30, 137),
        ({"stop_seconds": 99}, 30, 143),
    ],
)
def test_deletion_takes_its_time(stop: dict[str, Any], ends_after: float, code: int) -> None:
    life = played(pod("Always"), rule(Attempt(run_seconds=math.inf), **stop), 10)
    life.stop(T0 + 10, 30)
    assert life.next_at == T0 + 10 + ends_after
    life.advance(T0 + 9 + ends_after)
    assert not life.over
    life.advance(T0 + 10 + ends_after)
    assert life.over
    assert state(life)["state"]["terminated"]["exitCode"] == code


def test_a_second_deletion_brings_the_end_nearer() -> None:
    life = played(pod(), rule(Attempt(run_seconds=math.inf), ignore_sigterm=True), 1)
    life.stop(T0 + 1, 30)
    life.stop(T0 + 2, 1)
    assert life.next_at == T0 + 3


def test_the_same_seed_gives_the_same_life() -> None:
    jittery = rule(Attempt(run_seconds=1, jitter_seconds=5), delay_jitter=3)
    lives = [PodLife(pod(), jittery, T0, seed) for seed in ("1", "1", "2")]
    for life in lives:
        life.advance(T0 + 4)
    ends = [life.containers[0].until for life in lives]
    assert ends[0] == ends[1] != ends[2]


def test_log_lines_end_with_the_attempt() -> None:
    log = (LogLine(0, "a"), LogLine(2, "b"), LogLine(9, "never"))
    life = played(
        pod("OnFailure"), rule(Attempt(run_seconds=3, exit_code=1, log=log), Attempt(run_seconds=9)), 4
    )
    main = life.containers[0]
    assert [(at - T0, line.text) for at, line in main.lines(previous=True)] == [(0, "a"), (2, "b")]
    assert list(main.lines()) == []


def test_rules_are_read_in_order_and_globs_apply() -> None:
    script = Script.from_data(
        {
            "rules": [
                {"match": {"name": "x-*"}, "containers": {"*": {"run": "2m"}}},
                {"match": {"labels": {"app": "w*"}}, "containers": {"main": [{"exit_code": 1}]}},
                {"match": {"image": "localhost/*"}, "stop": {"ignore_sigterm": True}},
            ]
        }
    )
    assert script.rule_for(pod(name="x-1")).attempts("main")[0].run_seconds == 120
    assert script.rule_for(pod(labels={"app": "web"})).attempts("main")[0].exit_code == 1
    assert script.rule_for(pod()).ignore_sigterm
    assert script.rule_for(pod()).attempts("main") == (Attempt(),)


def test_annotations_overrule_one_pod() -> None:
    prefix = "scripted.podbay.dev/"
    annotations = {
        prefix + "run-seconds": "5",
        prefix + "exit-code.b": "3",
        prefix + "log": "one\ntwo",
        prefix + "start-delay-seconds": "1.5",
        prefix + "waiting-reason.b": "ImagePullBackOff",
    }
    found = Script().rule_for(pod(names="a b", annotations=annotations))
    assert found.delay == 1.5
    a, b = found.attempts("a")[0], found.attempts("b")[0]
    assert (a.run_seconds, a.exit_code, [line.text for line in a.log]) == (5, 0, ["one", "two"])
    assert (b.exit_code, b.waits) == (3, (Wait(math.inf, "ImagePullBackOff"),))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"rules": [{"when": 1}]}, "script.rules[0].when: unknown field"),
        ({"rules": [{"start": {"delay": "soon"}}]}, "script.rules[0].start.delay: 'soon' is not a duration"),
        ({"rules": [{"containers": {"*": []}}]}, "script.rules[0].containers[*]: expected an attempt"),
        ({"rules": [{"containers": {"*": {"wait": [{"for": 1}]}}}]}, "wait[0].reason: required"),
        ({"rules": [{"containers": {"*": {"exit_code": "x"}}}]}, "exit_code: 'x' is not a whole number"),
        (3, "script: expected a list of rules"),
    ],
)
def test_bad_scripts_name_the_field(data: Any, words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Script.from_data(data)
    assert words in str(caught.value)


@pytest.mark.parametrize("key", ["run-secs", "run-seconds"])
def test_bad_annotations_are_named(key: str) -> None:
    bad = pod(annotations={"scripted.podbay.dev/" + key: "x"})
    with pytest.raises(InvalidInputError, match=key):
        Script().rule_for(bad)
