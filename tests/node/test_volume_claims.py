"""A claim may name any volume; a pod gets it only when the volume is the claim's own."""

from __future__ import annotations

from typing import Any

import pytest

from podbay.node.fields import NodeFacts
from podbay.node.references import PodObjects
from podbay.node.specs import HostPath
from podbay.node.volumes.keeper import PodVolumes, VolumeKeeper

CLAIM: dict[str, Any] = {
    "metadata": {"name": "c", "namespace": "eve", "uid": "u-eve"},
    "spec": {"volumeName": "pv"},
    "status": {"phase": "Bound"},
}
POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "eve", "uid": "u-pod"},
    "spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]},
}


class Stored:
    """The part of an API that looks up claims and volumes."""

    def __init__(self, volume: dict[str, Any]) -> None:
        self._objects = {"persistentvolumeclaims": CLAIM, "persistentvolumes": volume}

    async def get(self, resource: Any, name: str, *, namespace: str | None = None) -> dict[str, Any]:
        return self._objects[resource.resource]


def keeper(**claim_ref: Any) -> VolumeKeeper:
    volume = {"metadata": {"name": "pv"}, "spec": {"hostPath": {"path": "/data"}, **claim_ref}}
    missing: Any = None
    api: Any = Stored(volume)
    node = NodeFacts(name="n", ip="192.0.2.1", allocatable={})
    return VolumeKeeper(PodVolumes(api=api, runtime=missing, tokens=missing, node=node, host_paths=True))


async def test_its_own_volume_is_mounted() -> None:
    prepared = await keeper(claimRef={"uid": "u-eve"}).look(POD, PodObjects())
    assert prepared.sources == {"v": HostPath("/data")}
    assert not prepared.failures


@pytest.mark.parametrize(
    ("claim_ref", "said"),
    [
        (
            {"claimRef": {"uid": "u-victim"}},
            "its pv.Spec.ClaimRef.UID u-victim does not point to claim.UID u-eve",
        ),
        ({}, "it has a nil pv.Spec.ClaimRef indicating it is not yet bound to any claims"),
    ],
)
async def test_nobody_elses_volume_is_mounted(claim_ref: dict[str, Any], said: str) -> None:
    prepared = await keeper(**claim_ref).look(POD, PodObjects())
    assert not prepared.sources
    assert [f.message for f in prepared.failures] == [f"found PV object pv but {said}"]
