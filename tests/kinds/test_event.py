"""Events: one collection under two names, with the rules of each."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from whole_server import Server

from podbay.apiserver.kinds.event import CORE_EVENT, from_core, to_core

CORE = "/api/v1/namespaces/ns/events"
EVENTS = "/apis/events.k8s.io/v1/namespaces/ns/events"
POD = {"kind": "Pod", "namespace": "ns", "name": "p"}


def core_event(name: str = "e", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "involvedObject": POD, "reason": "Why", "message": "what\n", **more}


def new_event(name: str = "n", **more: Any) -> dict[str, Any]:
    body = {
        "metadata": {"name": name},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "podbay.dev/agent",
        "reportingInstance": "agent-1",
        "action": "Start",
        "reason": "Started",
        "type": "Normal",
        "regarding": POD,
        "note": "what",
    }
    return {**body, **more}


def test_either_name_shows_what_the_other_wrote(server: Server) -> None:
    server.create(CORE, core_event(source={"component": "kubelet", "host": "node"}, count=3))
    code, seen = server.call("GET", f"{EVENTS}/e")
    assert (code, seen["apiVersion"]) == (200, "events.k8s.io/v1")
    assert (seen["regarding"], seen["note"], seen["deprecatedCount"]) == (POD, "what\n", 3)
    assert seen["deprecatedSource"] == {"component": "kubelet", "host": "node"}
    assert not {"involvedObject", "message", "source", "count"} & seen.keys()
    server.create(EVENTS, new_event())
    code, seen = server.call("GET", f"{CORE}/n")
    assert (code, seen["apiVersion"], seen["involvedObject"], seen["message"]) == (200, "v1", POD, "what")
    assert len(server.call("GET", CORE)[1]) == len(server.call("GET", EVENTS)[1]) == 2


def test_core_events_need_little(server: Server) -> None:
    assert server.refusals("POST", CORE, core_event()) == []
    other = core_event("x", involvedObject={**POD, "namespace": "other"})
    assert server.refusals("POST", CORE, other) == [
        'involvedObject.namespace: Invalid value: "other": does not match event.namespace'
    ]


def test_events_with_a_time_need_all(server: Server) -> None:
    body = core_event(eventTime="2026-01-01T00:00:00.000000Z", reason="")
    causes = server.refusals("POST", CORE, body)
    assert [c for c in causes if "Required" in c] == [
        "reportingComponent: Required value",
        "reportingInstance: Required value",
        "action: Required value",
        "reason: Required value",
    ]


@pytest.mark.parametrize(
    ("change", "causes"),
    [
        ({}, []),
        ({"type": "Odd"}, ['type: Invalid value: "": has invalid value: Odd']),
        ({"deprecatedCount": 2}, ['count: Invalid value: "": needs to be unset']),
        ({"deprecatedSource": {"host": "h"}}, ['source: Invalid value: "": needs to be unset']),
        ({"action": "a" * 129}, ['action: Invalid value: "": can have at most 128 characters']),
        ({"note": "a" * 1025}, ['message: Invalid value: "": can have at most 1024 characters']),
        (
            {"series": {"count": 1, "lastObservedTime": None}},
            [
                'series.count: Invalid value: "": should be at least 2',
                "series.lastObservedTime: Required value",
            ],
        ),
    ],
)
def test_new_style_events_are_strict(server: Server, change: dict[str, Any], causes: list[str]) -> None:
    assert server.refusals("POST", EVENTS, new_event(**change)) == causes


def test_new_style_events_change_only_in_their_series(server: Server) -> None:
    server.create(EVENTS, new_event())
    series = {"count": 2, "lastObservedTime": "2026-01-01T00:01:00.000000Z"}
    assert server.refusals("PATCH", f"{EVENTS}/n", {"series": series}) == []
    assert server.refusals("PATCH", f"{EVENTS}/n", {"note": "other"}) == [
        'message: Invalid value: "other": field is immutable'
    ]


def test_rows_name_object_reporter_and_count(server: Server) -> None:
    made = server.create(
        CORE,
        core_event(
            source={"component": "kubelet", "host": "node"},
            type="Warning",
            firstTimestamp="2020-01-01T00:00:00Z",
            lastTimestamp="2999-01-01T00:00:00Z",
        ),
    )
    last, *middle, first, count, name = server.row(CORE_EVENT, made)
    assert middle == ["Warning", "Why", "pod/p", "", "kubelet, node", "what"]
    assert (last, first[-1] in "dy", count, name) == ("<invalid>", True, 1, "e")


def test_selects_by_what_it_is_about(server: Server) -> None:
    server.create(CORE, core_event())
    server.create(EVENTS, new_event())
    for path, field in ((CORE, "involvedObject.name"), (EVENTS, "regarding.name")):
        assert len(server.call("GET", f"{path}?fieldSelector={field}=p")[1]) == 2
        assert server.call("GET", f"{path}?fieldSelector={field}=q")[1] == []
    assert len(server.call("GET", f"{CORE}?fieldSelector=source=podbay.dev/agent")[1]) == 1


@given(st.dictionaries(st.sampled_from([*new_event(), "deprecatedCount", "deprecatedSource"]), st.integers()))
def test_converting_forth_and_back_changes_nothing(event: dict[str, Any]) -> None:
    assert from_core(to_core(event)) == event
