"""What is done next for a pod, state by state."""

from __future__ import annotations

import pytest
from views import container, sandbox, spec, view

from podbay.node.actions import Actions, Stop, decide
from podbay.node.view import Probes, View

NEVER = {"policy": "Never"}
FAILURE = {"policy": "OnFailure"}


def start(*names: str) -> Actions:
    return Actions(start=names)


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        pytest.param(view(spec("m"), no_sandbox=True), Actions(new_sandbox=True), id="nothing yet"),
        pytest.param(view(spec("a", "b")), start("a", "b"), id="sandbox ready"),
        pytest.param(view(spec("a", "b"), container("a", "running")), start("b"), id="one of two runs"),
        pytest.param(view(spec("m"), container("m", "running")), Actions(), id="all run"),
        pytest.param(view(spec("m"), container("m", "0")), start("m"), id="Always after success"),
        pytest.param(
            view(spec("m", **FAILURE), container("m", "1")), start("m"), id="OnFailure after failure"
        ),
        pytest.param(
            view(spec("m", **FAILURE), container("m", "0")), Actions(finish=True), id="OnFailure done"
        ),
        pytest.param(
            view(spec("m", **NEVER), container("m", "1")), Actions(finish=True), id="Never after failure"
        ),
        pytest.param(
            view(spec("m", **NEVER), container("m", "created")), start("m"), id="made but not started"
        ),
        pytest.param(
            view(spec("m", **FAILURE), container("m", "lost")), start("m"), id="lost with the machine"
        ),
        pytest.param(
            view(spec("a", "b", **NEVER), container("a", "0"), container("b", "running")),
            Actions(),
            id="one left",
        ),
        # init containers
        pytest.param(view(spec("m", init=("i", "j"))), start("i"), id="first init"),
        pytest.param(view(spec("m", init=("i", "j")), container("i", "running")), Actions(), id="init runs"),
        pytest.param(view(spec("m", init=("i", "j")), container("i", "0")), start("j"), id="second init"),
        pytest.param(
            view(spec("m", init=("i", "j")), container("i", "0"), container("j", "0")),
            start("m"),
            id="inits done",
        ),
        pytest.param(view(spec("m", init=("i",)), container("i", "1")), start("i"), id="init tried again"),
        pytest.param(
            view(spec("m", init=("i",), **NEVER), container("i", "1")),
            Actions(finish=True),
            id="init failed for good",
        ),
        pytest.param(
            view(spec("m", init=("i",)), container("m", "running")), Actions(), id="init containers forgotten"
        ),
        # sidecars
        pytest.param(view(spec("m", init=("+s",))), start("s"), id="sidecar first"),
        pytest.param(
            view(spec("m", init=("+s",)), container("s", "running")), start("m"), id="main after sidecar"
        ),
        pytest.param(
            view(spec("m", init=("+s", "i")), container("s", "1")),
            start("s"),
            id="sidecar again before the next init",
        ),
        pytest.param(
            view(spec("m", init=("+s",)), container("s", "0"), container("m", "running")),
            start("s"),
            id="sidecar restarted beside main",
        ),
        pytest.param(
            view(spec("m", init=("+s",), **NEVER), container("s", "running"), container("m", "0")),
            Actions(finish=True),
            id="sidecar does not keep a pod alive",
        ),
        # a lost sandbox
        pytest.param(
            view(spec("m"), container("m", "137"), box=sandbox(ready=False)),
            Actions(new_sandbox=True),
            id="rebooted",
        ),
        pytest.param(
            view(spec("m", **NEVER), container("m", "137"), box=sandbox(ready=False)),
            Actions(finish=True),
            id="rebooted, Never",
        ),
        pytest.param(
            view(spec("m", **FAILURE), container("m", "0"), box=sandbox(ready=False)),
            Actions(finish=True),
            id="rebooted after success",
        ),
    ],
)
def test_next_step(seen: View, wanted: Actions) -> None:
    assert decide(seen) == wanted


def test_a_sidecar_with_a_startup_probe_holds_the_others_back() -> None:
    pod_spec = spec("m", init=("+s",))
    pod_spec["initContainers"][0]["startupProbe"] = {"exec": {}}
    assert decide(view(pod_spec, container("s", "running"))) == Actions()
    started = Probes(startup={"s-0": True})
    assert decide(view(pod_spec, container("s", "running"), probes=started)) == start("m")
    failed = Probes(startup={"s-0": False})
    (stop,) = decide(view(pod_spec, container("s", "running"), probes=failed)).stop
    assert stop.message == "Init container s failed startup probe"


@pytest.mark.parametrize(("kind", "word"), [("liveness", "liveness"), ("startup", "startup")])
def test_a_failed_probe_stops_the_container_that_will_be_restarted(kind: str, word: str) -> None:
    probes = Probes(**{kind: {"m-0": False}})
    stop = Stop(
        name="m",
        container_id="m-0",
        message=f"Container m failed {word} probe, will be restarted",
        cause=kind,
    )  # type: ignore[arg-type]
    assert decide(view(spec("m"), container("m", "running"), probes=probes)) == Actions(stop=(stop,))


def test_a_failed_probe_of_the_last_container_ends_the_pod() -> None:
    probes = Probes(liveness={"m-0": False})
    assert decide(view(spec("m", policy="Never"), container("m", "running"), probes=probes)) == Actions(
        finish=True
    )


def test_a_debug_container_starts_once_and_at_any_time() -> None:
    more = {"ephemeralContainers": [{"name": "d", "image": "i"}]}
    assert decide(view(spec("m", init=("i",), **more))) == start("d", "i")
    assert decide(view(spec("m", **more), container("m", "running"), container("d", "0"))) == Actions()
