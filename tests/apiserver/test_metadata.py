"""Metadata rules; whole sentences are recorded answers of a real cluster."""

from __future__ import annotations

from typing import Any

import pytest

from podbay.apiserver import metadata
from podbay.apiserver.field import FieldError, Path
from podbay.apiserver.label_selectors import validate_label_selector
from podbay.apiserver.registry import ResourceType, Strategy
from podbay.objects.resource import GVR

CONFIG_MAPS = ResourceType(
    gvr=GVR("", "v1", "configmaps"),
    kind="ConfigMap",
    type_name="io.k8s.api.core.v1.ConfigMap",
    namespaced=True,
    strategy=Strategy(),
)


def obj(**meta: Any) -> dict[str, Any]:
    base = {
        "name": "p",
        "namespace": "ns",
        "uid": "u",
        "resourceVersion": "1",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return {"metadata": {**base, **meta}}


def texts(errors: list[FieldError]) -> list[str]:
    return [str(error) for error in errors]


def test_a_plain_object_is_valid() -> None:
    assert metadata.validate_metadata(CONFIG_MAPS, obj(labels={"a": "b"}, annotations={"A/b": "x"})) == []
    assert metadata.validate_metadata_update(obj(), obj()) == []


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"name": ""}, "metadata.name: Required value: name or generateName is required"),
        (
            {"name": "a" * 254},
            f'metadata.name: Invalid value: "{"a" * 254}": must be no more than 253 characters',
        ),
        ({"namespace": ""}, "metadata.namespace: Required value"),
        (
            {"labels": {"a": "x" * 64}},
            f'metadata.labels: Invalid value: "{"x" * 64}": must be no more than 63 bytes',
        ),
        (
            {"finalizers": ["nope"]},
            'metadata.finalizers[0]: Invalid value: "nope": name is neither a standard finalizer name '
            "nor is it fully qualified",
        ),
        (
            {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x"}]},
            'metadata.ownerReferences.uid: Invalid value: "": must not be empty',
        ),
        (
            {"annotations": {"a": "x" * (256 * 1024)}},
            "metadata.annotations: Too long: may not be more than 262144 bytes",
        ),
        (
            {"managedFields": [{"operation": "Guess", "manager": "m"}]},
            'metadata.managedFields[0].operation: Invalid value: "Guess": must be `Apply` or `Update`',
        ),
        ({"generation": -1}, "metadata.generation: Invalid value: -1: must be greater than or equal to 0"),
    ],
)
def test_refuses_on_create(meta: dict[str, Any], message: str) -> None:
    assert texts(metadata.validate_metadata(CONFIG_MAPS, obj(**meta))) == [message]


def test_generate_name_is_checked_as_a_prefix() -> None:
    assert metadata.validate_metadata(CONFIG_MAPS, obj(generateName="a-", name="a-xyz")) == []
    errors = texts(metadata.validate_metadata(CONFIG_MAPS, obj(generateName="Aa-", name="ok")))
    assert [e.split(":")[0] for e in errors] == ["metadata.generateName"]


def test_cluster_scoped_objects_have_no_namespace() -> None:
    nodes = ResourceType(
        gvr=GVR("", "v1", "nodes"), kind="Node", type_name="", namespaced=False, strategy=Strategy()
    )
    assert texts(metadata.validate_metadata(nodes, obj())) == [
        "metadata.namespace: Forbidden: not allowed on this type"
    ]


def test_only_one_controller() -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "uid": "u", "controller": True}
    owners = [{**owner, "name": "a"}, {**owner, "name": "b"}]
    (error,) = texts(metadata.validate_metadata(CONFIG_MAPS, obj(ownerReferences=owners)))
    assert error.endswith(
        'Only one reference can have Controller set to true. Found "true" in references for Pod/a and Pod/b'
    )


def test_events_own_nothing() -> None:
    owner = {"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "u"}
    (error,) = texts(metadata.validate_metadata(CONFIG_MAPS, obj(ownerReferences=[owner])))
    assert error.endswith("/v1, Kind=Event is disallowed from being an owner")


@pytest.mark.parametrize(
    ("new", "old", "message"),
    [
        ({"uid": "q"}, {}, 'metadata.uid: Invalid value: "q": field is immutable'),
        ({"name": "q"}, {}, 'metadata.name: Invalid value: "q": field is immutable'),
        (
            {"resourceVersion": ""},
            {},
            'metadata.resourceVersion: Invalid value: "": must be specified for an update',
        ),
        (
            {"generation": 1},
            {"generation": 2},
            "metadata.generation: Invalid value: 1: must not be decremented",
        ),
        (
            {"deletionGracePeriodSeconds": 0},
            {},
            "metadata.deletionGracePeriodSeconds: Invalid value: 0: field is immutable",
        ),
        (
            {"finalizers": ["x.dev/b"], "deletionTimestamp": "2026-01-01T00:00:00Z"},
            {"finalizers": ["x.dev/a"], "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
            'found new finalizers []string{"x.dev/b"}',
        ),
    ],
)
def test_refuses_on_update(new: dict[str, Any], old: dict[str, Any], message: str) -> None:
    assert texts(metadata.validate_metadata_update(obj(**new), obj(**old))) == [message]


def test_each_cause_is_reported_as_often_as_a_real_cluster_does() -> None:
    changed = metadata.update_errors(CONFIG_MAPS, obj(uid="q"), obj(), whole=1)
    assert texts(changed) == ['metadata.uid: Invalid value: "q": field is immutable'] * 2
    bad_label = metadata.update_errors(CONFIG_MAPS, obj(labels={"a": "b c"}), obj(), whole=1)
    assert len(bad_label) == 4


def test_system_fields_are_the_servers() -> None:
    new = {
        "metadata": {
            "name": "a",
            "uid": "mine",
            "deletionTimestamp": "x",
            "selfLink": "y",
            "namespace": "other",
        }
    }
    metadata.fill_for_create(new, uid="u", now="2026-01-01T00:00:00Z", namespace="")
    assert new == {"metadata": {"name": "a", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}}


def test_generated_names_fit_a_label() -> None:
    assert metadata.generate_name("job-", "abcde") == "job-abcde"
    assert metadata.generate_name("x" * 80, "abcde") == "x" * 58 + "abcde"


@pytest.mark.parametrize(
    ("expression", "messages"),
    [
        ({"key": "a", "operator": "Exists"}, []),
        (
            {"key": "a", "operator": "In"},
            [
                "s.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
            ],
        ),
        (
            {"key": "a", "operator": "Exists", "values": ["b"]},
            [
                "s.matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            ],
        ),
        (
            {"key": "a", "operator": "Like"},
            ['s.matchExpressions[0].operator: Invalid value: "Like": not a valid selector operator'],
        ),
    ],
)
def test_label_selectors_in_objects(expression: dict[str, Any], messages: list[str]) -> None:
    assert texts(validate_label_selector({"matchExpressions": [expression]}, Path("s"))) == messages
