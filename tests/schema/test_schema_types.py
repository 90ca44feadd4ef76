"""The type table: what patches, server-side apply and OpenAPI read from it."""

from __future__ import annotations

import pytest

from podbay.apiserver.schema.types import Schema, definition_name, struct_key

SCHEMA = Schema.load()
POD = SCHEMA.struct("io.k8s.api.core.v1.Pod")


def test_struct_is_found_by_definition_name_and_key() -> None:
    assert SCHEMA.struct("core/v1.Pod") is POD
    assert POD.name == "io.k8s.api.core.v1.Pod"
    assert (POD.go, POD.go_name) == ("v1.Pod", "Pod")
    with pytest.raises(KeyError):
        SCHEMA.struct("io.k8s.api.core.v1.Nope")


def test_names_round_trip() -> None:
    for name in SCHEMA.names():
        assert definition_name(struct_key(name)) == name


def test_every_field_of_every_struct_resolves() -> None:
    for name in SCHEMA.names():
        for field in SCHEMA.struct(name).fields.values():
            if field.type.is_struct_like:
                assert field.struct.fields is not None
            assert isinstance(field.atomic, bool)


def test_list_and_patch_facts() -> None:
    spec = POD.fields["spec"].struct
    containers = spec.fields["containers"]
    assert (containers.kind, containers.type.go, containers.required) == ("list", "[]v1.Container", True)
    assert (containers.list_type, containers.list_map_keys) == ("map", ("name",))
    assert (containers.patch_strategies, containers.patch_merge_key) == (("merge",), "name")
    volumes = spec.fields["volumes"]
    assert volumes.patch_strategies == ("merge", "retainKeys")
    ports = containers.struct.fields["ports"]
    assert ports.list_map_keys == ("containerPort", "protocol")
    assert ports.struct.fields["protocol"].default == "TCP"
    assert containers.struct.fields["command"].atomic
    assert not containers.atomic


def test_embedded_structs_are_flattened() -> None:
    volume = SCHEMA.struct("core/v1.Volume")
    assert {"name", "emptyDir", "hostPath", "configMap"} <= volume.fields.keys()
    assert volume.fields["emptyDir"].pointer


def test_atomic_structs_and_maps() -> None:
    assert SCHEMA.struct("core/v1.SecretKeySelector").atomic
    assert POD.fields["spec"].struct.fields["nodeSelector"].atomic
    assert not SCHEMA.struct("core/v1.ResourceRequirements").fields["limits"].atomic


def test_kinds_without_struct_are_known() -> None:
    assert SCHEMA.knows_kind("apps/v1", "Deployment")
    assert not SCHEMA.knows_kind("v2", "Pod")
    assert "io.k8s.api.apps.v1.Deployment" not in SCHEMA
