from __future__ import annotations

import copy
from typing import Any

import pytest
from admission_builders import World, pod, reason, request, resources, run
from hypothesis import given
from hypothesis import strategies as st

from podbay.apiserver.admission.limit_ranger import LimitRanger, apply_defaults

PLUGIN = LimitRanger()
ANNOTATION = "kubernetes.io/limit-ranger"


def _world(*limits: dict[str, Any], name: str = "lr") -> World:
    world = World()
    world.put("limitranges", {"metadata": {"name": name}, "spec": {"limits": list(limits)}})
    return world


def _container(**bounds: dict[str, str]) -> dict[str, Any]:
    return {"type": "Container", **bounds}


def test_defaults_fill_what_is_missing_and_say_so() -> None:
    world = _world(_container(default={"cpu": "2", "memory": "1Gi"}, defaultRequest={"cpu": "1"}))
    subject = pod(
        {}, resources({"memory": "1Mi"}), initContainers=[{"name": "i", **resources(None, {"cpu": "3"})}]
    )
    admitted = run(world, request("pods", subject), PLUGIN).obj
    assert admitted is not None
    spec = admitted["spec"]
    everything = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "1Gi"}}
    assert spec["containers"][0]["resources"] == everything
    assert spec["containers"][1]["resources"]["requests"] == {"cpu": "1", "memory": "1Mi"}
    assert spec["initContainers"][0]["resources"]["limits"] == {"cpu": "3", "memory": "1Gi"}
    assert admitted["metadata"]["annotations"][ANNOTATION] == (
        "LimitRanger plugin set: cpu, memory request for container c0; cpu, memory limit for container c0; "
        "cpu request for container c1; cpu, memory limit for container c1; "
        "cpu, memory request for init container i; memory limit for init container i"
    )


def test_complete_pods_are_left_alone() -> None:
    world = _world(_container(default={"cpu": "2"}))
    subject = pod(resources({"cpu": "1"}, {"cpu": "1"}))
    before = copy.deepcopy(subject)
    assert run(world, request("pods", subject), PLUGIN).obj == before


def test_a_maximum_is_a_default_limit() -> None:
    admitted = run(_world(_container(max={"cpu": "2"})), request("pods", pod()), PLUGIN).obj
    assert admitted is not None
    assert admitted["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "2"},
        "limits": {"cpu": "2"},
    }


@pytest.mark.parametrize(
    ("limit", "containers", "message"),
    [
        (
            _container(min={"cpu": "50m"}),
            [resources({"cpu": "40m"}, {"cpu": "200m"})],
            "minimum cpu usage per Container is 50m, but request is 40m",
        ),
        (
            _container(max={"memory": "2Gi"}),
            [resources({"memory": "1Gi"}, {"memory": "3Gi"})],
            "maximum memory usage per Container is 2Gi, but limit is 3Gi",
        ),
        (
            _container(max={"memory": "2Gi"}),
            [resources({"memory": "3Gi"}, {"memory": "1Gi"})],
            "maximum memory usage per Container is 2Gi, but request is 3Gi",
        ),
        (
            _container(min={"memory": "2Gi"}),
            [resources({"memory": "3Gi"}, {"memory": "1Gi"})],
            "minimum memory usage per Container is 2Gi, but limit is 1Gi",
        ),
        (
            _container(maxLimitRequestRatio={"cpu": "1.5"}),
            [resources({"cpu": "1"}, {"cpu": "2"})],
            "cpu max limit to request ratio per Container is 1500m, but provided ratio is 2.000000",
        ),
        (
            _container(maxLimitRequestRatio={"cpu": "2"}),
            [resources({"cpu": "1"}, {})],
            "cpu max limit to request ratio per Container is 2, but no limit is specified or limit is 0",
        ),
        (
            _container(maxLimitRequestRatio={"cpu": "2"}),
            [resources({"cpu": "0"}, {"cpu": "1"})],
            "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
        ),
        (
            {"type": "Pod", "max": {"cpu": "1"}},
            [resources({}, {"cpu": "600m"}), resources({}, {"cpu": "600m"})],
            "maximum cpu usage per Pod is 1, but limit is 1200m",
        ),
        (
            {"type": "Pod", "max": {"memory": "1Gi"}},
            [{}],
            "maximum memory usage per Pod is 1Gi.  No limit is specified",
        ),
        (
            {"type": "Pod", "min": {"memory": "1Gi"}},
            [{}],
            "minimum memory usage per Pod is 1Gi.  No request is specified",
        ),
        (
            {"type": "Pod", "min": {"memory": "1Gi"}},
            [resources({"memory": "1Mi"})],
            "minimum memory usage per Pod is 1Gi, but request is 1Mi",
        ),
    ],
)
def test_bounds(limit: dict[str, Any], containers: list[dict[str, Any]], message: str) -> None:
    assert reason(_world(limit), request("pods", pod(*containers)), PLUGIN) == message


def test_several_reasons_come_in_brackets() -> None:
    world = _world({"type": "Pod", "min": {"cpu": "1"}, "max": {"memory": "1"}})
    assert reason(world, request("pods", pod()), PLUGIN) == (
        "[minimum cpu usage per Pod is 1.  No request is specified, "
        "maximum memory usage per Pod is 1.  No limit is specified]"
    )


def test_bounds_hold_for_init_containers_and_count_the_largest_one() -> None:
    big = {"name": "i", **resources({"cpu": "3"}, {"cpu": "3"})}
    subject = pod(resources({"cpu": "1"}, {"cpu": "1"}), initContainers=[big])
    for limit in (_container(max={"cpu": "2"}), {"type": "Pod", "max": {"cpu": "2"}}):
        message = f"maximum cpu usage per {limit['type']} is 2, but limit is 3"
        assert reason(_world(limit), request("pods", copy.deepcopy(subject)), PLUGIN) == message


def test_sidecars_run_beside_the_containers() -> None:
    one = resources({"cpu": "1"}, {"cpu": "1"})
    subject = pod(one, initContainers=[{"name": "s", "restartPolicy": "Always", **one}])
    message = reason(_world({"type": "Pod", "max": {"cpu": "1500m"}}), request("pods", subject), PLUGIN)
    assert message == "maximum cpu usage per Pod is 1500m, but limit is 2"


def test_pod_level_resources_replace_the_sum() -> None:
    subject = pod(resources({"cpu": "1"}, {"cpu": "1"}), **resources({"cpu": "5"}, {"cpu": "5"}))
    message = reason(_world({"type": "Pod", "max": {"cpu": "2"}}), request("pods", subject), PLUGIN)
    assert message == "maximum cpu usage per Pod is 2, but limit is 5"


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("1Gi", "minimum storage usage per PersistentVolumeClaim is 5Gi, but request is 1Gi"),
        ("20Gi", "maximum storage usage per PersistentVolumeClaim is 10Gi, but request is 20Gi"),
        (
            None,
            "[minimum storage usage per PersistentVolumeClaim is 5Gi.  No request is specified, "
            "maximum storage usage per PersistentVolumeClaim is 10Gi.  No request is specified]",
        ),
    ],
)
def test_claims(storage: str | None, message: str) -> None:
    world = _world({"type": "PersistentVolumeClaim", "min": {"storage": "5Gi"}, "max": {"storage": "10Gi"}})
    requests = {} if storage is None else {"storage": storage}
    claim = {"metadata": {"name": "c"}, "spec": {"resources": {"requests": requests}}}
    assert reason(world, request("persistentvolumeclaims", claim), PLUGIN) == message


def test_updates_of_pods_are_free_but_resizes_are_not() -> None:
    world = _world(_container(min={"cpu": "1"}))
    small = pod(resources({"cpu": "1m"}, {"cpu": "1m"}))
    run(world, request("pods", small, operation="UPDATE", old=small), PLUGIN)
    attributes = request("pods", small, operation="UPDATE", old=small, subresource="resize")
    assert reason(world, attributes, PLUGIN) == "minimum cpu usage per Container is 1, but request is 1m"


def test_objects_on_their_way_out_are_free() -> None:
    world = _world({"type": "PersistentVolumeClaim", "min": {"storage": "5Gi"}})
    old = {"metadata": {"name": "c", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    claim = {"metadata": {"name": "c"}, "spec": {}}
    run(world, request("persistentvolumeclaims", claim, operation="UPDATE", old=old), PLUGIN)


def test_huge_values_are_compared_in_whole_units() -> None:
    world = _world(_container(max={"memory": "4E"}))
    subject = pod(resources({"memory": "1Gi"}, {"memory": "5E"}))
    message = "maximum memory usage per Container is 4E, but limit is 5E"
    assert reason(world, request("pods", subject), PLUGIN) == message


amounts = st.dictionaries(
    st.sampled_from(["cpu", "memory", "example.com/gpu"]),
    st.sampled_from(["1", "2", "500m", "1Gi"]),
    max_size=3,
)
holders = st.fixed_dictionaries({}, optional={"requests": amounts, "limits": amounts})
containers = st.lists(st.fixed_dictionaries({}, optional={"resources": holders}), min_size=1, max_size=3)


@given(containers, containers, amounts, amounts)
def test_defaults_are_idempotent(
    main: list[dict[str, Any]], init: list[dict[str, Any]], requests: dict[str, str], limits: dict[str, str]
) -> None:
    limit_range = {"spec": {"limits": [_container(default=limits, defaultRequest=requests)]}}
    subject = copy.deepcopy(pod(*main, initContainers=[{"name": f"i{n}", **c} for n, c in enumerate(init)]))
    apply_defaults(limit_range, subject)
    once = copy.deepcopy(subject)
    apply_defaults(limit_range, subject)
    assert subject == once
    for container in subject["spec"]["containers"]:
        given_limits = container.get("resources", {}).get("limits", {})
        assert set(limits) <= set(given_limits)
