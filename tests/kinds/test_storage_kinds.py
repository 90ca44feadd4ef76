"""PersistentVolumeClaims and PersistentVolumes."""

from __future__ import annotations

from typing import Any

import pytest
from whole_server import Server

from podbay.apiserver.kinds.persistentvolume import PERSISTENT_VOLUME
from podbay.apiserver.kinds.persistentvolumeclaim import PERSISTENT_VOLUME_CLAIM

CLAIMS = "/api/v1/namespaces/ns/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"


def claim(**spec: Any) -> dict[str, Any]:
    base = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"metadata": {"name": "c"}, "spec": {**base, **spec}}


def volume(**spec: Any) -> dict[str, Any]:
    base = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/tmp"}}
    return {"metadata": {"name": "v"}, "spec": {**base, **spec}}


def test_a_new_claim_is_pending_and_protected(server: Server) -> None:
    made = server.create(CLAIMS, {**claim(), "status": {"phase": "Bound"}})
    assert made["status"] == {"phase": "Pending"}
    assert made["spec"]["volumeMode"] == "Filesystem"
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    assert server.row(PERSISTENT_VOLUME_CLAIM, made) == [
        "c",
        "Pending",
        "",
        "",
        "",
        "",
        "<unset>",
        "Filesystem",
    ]


@pytest.mark.parametrize(
    ("spec", "causes"),
    [
        ({"accessModes": []}, ["spec.accessModes: Required value: at least 1 access mode is required"]),
        (
            {"accessModes": ["RW"]},
            [
                'spec.accessModes: Unsupported value: "RW": supported values: "ReadOnlyMany", "ReadWriteMany", '
                '"ReadWriteOnce", "ReadWriteOncePod"'
            ],
        ),
        (
            {"accessModes": ["ReadWriteOnce", "ReadWriteOncePod"]},
            ["spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"],
        ),
        ({"resources": {}}, ["spec.resources[storage]: Required value"]),
        (
            {"resources": {"requests": {"storage": "0"}}},
            ['spec.resources[storage]: Invalid value: "0": must be greater than zero'],
        ),
        (
            {"volumeMode": "Odd"},
            ['spec.volumeMode: Unsupported value: "Odd": supported values: "Block", "Filesystem"'],
        ),
    ],
)
def test_claim_rules(server: Server, spec: dict[str, Any], causes: list[str]) -> None:
    assert server.refusals("POST", CLAIMS, claim(**spec)) == causes


def test_a_claim_is_fixed_but_for_its_volume(server: Server) -> None:
    server.create(CLAIMS, claim())
    change = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    (cause,) = server.refusals("PATCH", f"{CLAIMS}/c", change)
    assert cause.startswith(
        "spec: Forbidden: spec is immutable after creation except resources.requests and "
        "volumeAttributesClassName for bound claims\n"
    )
    assert '"1Gi"' in cause
    assert server.refusals("PATCH", f"{CLAIMS}/c", {"spec": {"volumeName": "v"}}) == []
    status = {"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}}
    assert server.refusals("PATCH", f"{CLAIMS}/c/status", status) == []
    assert server.refusals("PATCH", f"{CLAIMS}/c", change) == []
    _, bound = server.call("GET", f"{CLAIMS}/c")
    assert server.row(PERSISTENT_VOLUME_CLAIM, bound)[1:5] == ["Bound", "v", "1Gi", "RWO"]


def test_a_new_volume_has_defaults(server: Server) -> None:
    made = server.create(VOLUMES, volume())
    assert made["status"]["phase"] == "Pending"
    assert made["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert made["spec"]["hostPath"] == {"path": "/tmp", "type": ""}
    assert server.row(PERSISTENT_VOLUME, made) == [
        "v",
        "1Gi",
        "RWO",
        "Retain",
        "Pending",
        "",
        "",
        "<unset>",
        "",
        "Filesystem",
    ]


@pytest.mark.parametrize(
    ("spec", "causes"),
    [
        ({"hostPath": None}, ["spec: Required value: must specify a volume type"]),
        (
            {"nfs": {"server": "s", "path": "/p"}},
            ["spec.nfs: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            {"hostPath": {"path": "/a/../b"}},
            ["spec.hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"],
        ),
        (
            {"hostPath": None, "local": {"path": "/x"}},
            ["spec.nodeAffinity: Required value: Local volume requires node affinity"],
        ),
        (
            {"hostPath": {"path": "/"}, "persistentVolumeReclaimPolicy": "Recycle"},
            [
                "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"
            ],
        ),
        (
            {"capacity": {"storage": "-1"}},
            [
                "spec.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
                'spec.capacity[storage]: Invalid value: "-1": must be greater than zero',
            ],
        ),
    ],
)
def test_volume_rules(server: Server, spec: dict[str, Any], causes: list[str]) -> None:
    assert server.refusals("POST", VOLUMES, volume(**spec)) == causes


def test_a_volume_keeps_its_source(server: Server) -> None:
    server.create(VOLUMES, volume())
    (cause,) = server.refusals("PATCH", f"{VOLUMES}/v", {"spec": {"hostPath": {"path": "/other"}}})
    assert cause.startswith(
        "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n"
    )


def test_a_change_of_phase_is_dated(server: Server) -> None:
    made = server.create(VOLUMES, volume())
    change = {"status": {"phase": "Available"}}
    _, changed = server.call("PATCH", f"{VOLUMES}/v/status", change)
    assert changed["status"]["phase"] == "Available"
    assert changed["status"]["lastPhaseTransitionTime"] >= made["status"]["lastPhaseTransitionTime"]
