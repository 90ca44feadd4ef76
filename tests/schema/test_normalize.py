"""What a round trip through the Go struct leaves."""

from __future__ import annotations

from typing import Any

import pytest

from podbay.apiserver.schema.decode import Target, decode, normalize
from podbay.apiserver.schema.types import Schema

SCHEMA = Schema.load()
POD = "io.k8s.api.core.v1.Pod"


def spec(value: dict[str, Any]) -> Any:
    return normalize(SCHEMA, "io.k8s.api.core.v1.PodSpec", value)


def test_empty_and_null_values_go_value_structs_come() -> None:
    obj = {"metadata": {"name": "a", "labels": {}, "annotations": None, "finalizers": []}, "spec": None}
    assert normalize(SCHEMA, POD, obj) == {
        "metadata": {"name": "a"},
        "spec": {"containers": None},
        "status": {},
    }


def test_zero_values_behind_pointers_stay() -> None:
    value = {
        "containers": [],
        "activeDeadlineSeconds": 0,
        "shareProcessNamespace": False,
        "hostNetwork": False,
    }
    assert spec(value) == {"containers": None, "activeDeadlineSeconds": 0, "shareProcessNamespace": False}


def test_container_gets_its_resources_struct() -> None:
    assert spec({"containers": [{"name": "a", "tty": False}, None]}) == {
        "containers": [{"name": "a", "resources": {}}, {"name": "", "resources": {}}]
    }


def test_empty_pointer_structs_stay() -> None:
    volume = {"name": "v", "emptyDir": {}, "secret": None}
    assert spec({"containers": None, "volumes": [volume]})["volumes"] == [{"name": "v", "emptyDir": {}}]


@pytest.mark.parametrize(
    ("written", "kept"),
    [("0.5", "500m"), (1, "1"), ("1000m", "1"), ("1024Ki", "1Mi"), (" 2 ", "2"), (None, "0"), ("1e3", "1e3")],
)
def test_quantities_are_canonical(written: Any, kept: str) -> None:
    limits = {"limits": {"cpu": written}}
    assert normalize(SCHEMA, "io.k8s.api.core.v1.ResourceRequirements", limits) == {"limits": {"cpu": kept}}


def test_numbers_as_quantities_keep_the_digits_of_the_text() -> None:
    target = Target("Pod", "v1", POD)
    data = b'{"spec":{"containers":[{"name":"a","resources":{"limits":{"cpu":0.10,"memory":1e3}}}]}}'
    container = decode(SCHEMA, target, data).obj["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"cpu": "100m", "memory": "1e3"}


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("2024-02-29T10:00:00Z", "2024-02-29T10:00:00Z"),
        ("2024-02-29T10:00:00.987654321Z", "2024-02-29T10:00:00Z"),
        ("2024-02-29T10:00:00+02:00", "2024-02-29T08:00:00Z"),
        ("2024-02-29T1:00:00Z", "2024-02-29T01:00:00Z"),
        ("0001-01-01T00:00:00Z", None),
    ],
)
def test_times_in_utc_seconds(written: str, kept: str | None) -> None:
    meta = normalize(SCHEMA, "meta/v1.ObjectMeta", {"creationTimestamp": written})
    assert meta.get("creationTimestamp") == kept
    assert ("creationTimestamp" in meta) == (kept is not None)


def test_times_without_omitzero_print_null() -> None:
    event = normalize(SCHEMA, "core/v1.Event", {"eventTime": None})
    assert event["eventTime"] is None
    assert event["firstTimestamp"] is None
    moment = normalize(SCHEMA, "core/v1.Event", {"eventTime": "2024-01-01T00:00:00.500000+01:00"})
    assert moment["eventTime"] == "2023-12-31T23:00:00.500000Z"


def test_required_lists_without_members_print_null() -> None:
    assert normalize(SCHEMA, "rbac/v1.Role", {"rules": []})["rules"] is None


def test_int_or_string() -> None:
    action = {"port": "http"}
    assert normalize(SCHEMA, "core/v1.HTTPGetAction", action) == {"port": "http"}
    assert normalize(SCHEMA, "core/v1.HTTPGetAction", {"port": 80}) == {"port": 80}
    assert normalize(SCHEMA, "core/v1.HTTPGetAction", {}) == {"port": 0}


def test_argument_is_left_alone() -> None:
    obj = {"spec": {"containers": [{"name": "a", "env": []}], "x": 1}}
    normalize(SCHEMA, POD, obj)
    assert obj == {"spec": {"containers": [{"name": "a", "env": []}], "x": 1}}
