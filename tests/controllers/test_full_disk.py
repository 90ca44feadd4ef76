"""A disk without room refuses writes; schedulers, recorders, heartbeats and controllers live on and catch up."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

import pytest
from control_plane import NODES, PODS, control_plane
from cryptography.hazmat.primitives.asymmetric import ec

from podbay.aio.virtual import VirtualClock
from podbay.apiserver.auth.jwt import SigningKey
from podbay.apiserver.server import COMPACT_SECONDS, ServerOptions, serve
from podbay.apiserver.storage import Store
from podbay.apiserver.storage.file import StateFile
from podbay.embedded.controllers import LocalStorage
from podbay.embedded.scripted import ScriptedNode
from podbay.errors import ApiError, StateError
from podbay.objects.meta import Object

FULL = "the state file cannot grow: the disk is full"


def refuse(*_: Any) -> NoReturn:
    raise StateError(FULL)


def node_is_ready(node: Object | None) -> bool:
    assert node is not None
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])


async def test_a_cluster_outlives_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [ScriptedNode(name="n1", capacity={"cpu": "2", "memory": "4Gi", "pods": "110"})]
    async with control_plane(nodes, provisioner=LocalStorage("/srv/claims")) as plane:
        ends = {"scripted.podbay.dev/run-seconds": "5"}
        await plane.run_pod("ends", annotations=ends, requests={"cpu": "1"})
        await plane.phase("ends", "Running")
        # Written while it is full: a binding, a refusal with its event, leases, the end of a pod.
        await plane.run_pod("fits")
        await plane.run_pod("huge", requests={"cpu": "64"})
        monkeypatch.setattr(StateFile, "append", refuse)
        await plane.clock.advance(120)
        with pytest.raises(ApiError) as caught:
            await plane.run_pod("refused")
        assert (caught.value.code, caught.value.reason) == (500, "InternalError")
        assert FULL in caught.value.message
        assert [p["metadata"]["name"] for p in (await plane.api.list(PODS, namespace="default")).items] == [
            "ends",
            "fits",
            "huge",
        ]
        monkeypatch.undo()
        await plane.phase("fits", "Running", seconds=180)
        await plane.phase("ends", "Succeeded", seconds=180)
        await plane.run_pod("next", requests={"cpu": "1"})
        await plane.phase("next", "Running", seconds=180)

        async def ready() -> bool:
            return node_is_ready(await plane.find(NODES, "n1", None))

        await plane.until(ready, seconds=60)


async def test_history_is_compacted_after_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualClock()
    key = SigningKey.of(ec.generate_private_key(ec.SECP256R1()))
    options = ServerOptions(
        state=None, signing_key=key, verification_keys={key.public.kid: key.public}, clock=clock
    )
    tries: list[None] = []

    def compact(_store: Store) -> int:
        tries.append(None)
        raise StateError(FULL)

    monkeypatch.setattr(Store, "compact", compact)
    async with serve(options):
        for _ in range(3):
            await asyncio.sleep(0)
            await clock.advance(COMPACT_SECONDS)
    assert len(tries) == 3
