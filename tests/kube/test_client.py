"""Requests to a real API server that refuses, delays, drops and forgets: each outcome is found out, never guessed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from parts import CONFIGMAPS, client_of, configmap, declare
from patience import PATIENCE

from podbay.errors import ApiError, ClosedError, UnreachableError
from podbay.kube.client import PODS, KubeClient
from podbay.kube.config import Anonymous, ClusterConfig
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.objects.meta import name_of, uid_of
from podbay.testing import Environment
from podbay.testing.requests import Requests

LOST: list[dict[str, Any]] = [
    {"do": "refuse", "status": 504, "after": True},
    {"do": "refuse", "status": 500, "after": True},
    {"do": "drop", "after": True},
]
"""The request takes effect and its answer does not come."""
REFUSED: list[dict[str, Any]] = [
    {"do": "refuse", "status": 429, "retry_after": 1},
    {"do": "refuse", "status": 429},
    {"do": "refuse", "status": 500},
    {"do": "refuse", "status": 503},
    {"do": "refuse", "status": 504},
    {"do": "drop"},
]


def name_of_fault(fault: dict[str, Any]) -> str:
    return f"{fault['do']}{fault.get('status', '')}"


lost = pytest.mark.parametrize("fault", LOST, ids=name_of_fault)
refused = pytest.mark.parametrize("fault", REFUSED, ids=name_of_fault)


def open_connections(server: str) -> int:
    """Of this process, to that port."""
    port, found = urlsplit(server).port, 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as each:
            found += each.family in (socket.AF_INET, socket.AF_INET6) and each.getpeername()[1] == port
    return found


async def test_no_connection_outlives_its_client(podbay_cluster: Environment, api: Requests) -> None:
    api.call("GET", "/version")
    others = open_connections(api.server)
    async with client_of(podbay_cluster.kubeconfig) as client:
        await client.list(PODS, namespace="default")
        given_up = [asyncio.create_task(client.list(PODS, namespace="default")) for _ in range(20)]
        # Some are in the middle of their handshakes then.
        for _ in range(10):
            await asyncio.sleep(0)
        for each in given_up:
            each.cancel()
        await asyncio.gather(*given_up, return_exceptions=True)
        assert open_connections(api.server) > others
    assert open_connections(api.server) == others


async def test_the_verbs(podbay_cluster: Environment, podbay_namespace: str) -> None:
    ns = podbay_namespace
    async with client_of(podbay_cluster.kubeconfig) as client:
        made = await client.create(CONFIGMAPS, configmap("a", x="1"), namespace=ns)
        assert (await client.get(CONFIGMAPS, "a", namespace=ns))["data"] == {"x": "1"}
        changed = await client.update(CONFIGMAPS, {**made, "data": {"x": "2"}}, namespace=ns)
        assert changed["data"] == {"x": "2"}
        patches: list[tuple[Any, Any]] = [
            ("merge", {"data": {"y": "m"}}),
            ("strategic", {"data": {"y": "s"}}),
            ("json", [{"op": "replace", "path": "/data/y", "value": "j"}]),
        ]
        for kind, patch in patches:
            got = await client.patch(CONFIGMAPS, "a", patch, namespace=ns, patch_type=kind)
            assert got["data"]["y"] == kind[0]
        applied = await client.patch(
            CONFIGMAPS,
            "a",
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"y": "a"}},
            namespace=ns,
            patch_type="apply",
            field_manager="test",
            force=True,
        )
        assert applied["data"]["y"] == "a"
        listed = await client.list(CONFIGMAPS, namespace=ns, field_selector="metadata.name=a")
        assert [(o["kind"], name_of(o)) for o in listed.items] == [("ConfigMap", "a")]
        with pytest.raises(ApiError) as caught:
            await client.delete(CONFIGMAPS, "a", namespace=ns, options={"preconditions": {"uid": "other"}})
        assert caught.value.code == 409
        await client.delete(CONFIGMAPS, "a", namespace=ns, options={"preconditions": {"uid": uid_of(made)}})
        with pytest.raises(ApiError) as caught:
            await client.get(CONFIGMAPS, "a", namespace=ns)
        assert (caught.value.code, caught.value.reason) == (404, "NotFound")
        assert 'configmaps "a" not found' in caught.value.message
        assert client.counter.of(ns, "a")["patch"] == 4


async def test_a_dry_run_makes_nothing(podbay_cluster: Environment, podbay_namespace: str) -> None:
    async with client_of(podbay_cluster.kubeconfig) as client:
        await client.create(CONFIGMAPS, configmap("dry"), namespace=podbay_namespace, dry_run=True)
        with pytest.raises(ApiError):
            await client.get(CONFIGMAPS, "dry", namespace=podbay_namespace)


async def test_long_lists_come_in_pages(
    podbay_cluster: Environment, podbay_namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from podbay.kube import client as module

    monkeypatch.setattr(module, "PAGE", 7)
    async with client_of(podbay_cluster.kubeconfig) as client:
        names = [f"c{number:02d}" for number in range(20)]
        for name in names:
            await client.create(CONFIGMAPS, configmap(name), namespace=podbay_namespace)
        found = await client.list(CONFIGMAPS, namespace=podbay_namespace)
        assert [n for n in map(name_of, found.items) if n.startswith("c")] == names
        assert client.counter.total["list"] >= 3


@refused
async def test_what_is_refused_is_sent_again(
    podbay_cluster: Environment, podbay_namespace: str, api: Requests, fault: dict[str, Any]
) -> None:
    match = {"resource": "configmaps", "namespace": podbay_namespace}
    async with client_of(podbay_cluster.kubeconfig) as client:
        declare(api, **fault, count=2, match=match)
        await client.create(CONFIGMAPS, configmap("c", identity="1"), namespace=podbay_namespace)
        declare(api, **fault, count=1, match=match)
        await client.delete(CONFIGMAPS, "c", namespace=podbay_namespace)


@lost
async def test_a_lost_create_is_recognised(
    podbay_cluster: Environment, podbay_namespace: str, api: Requests, fault: dict[str, Any]
) -> None:
    async with client_of(podbay_cluster.kubeconfig) as client:
        declare(api, **fault, count=1, match={"verb": "create", "resource": "configmaps"})
        made = await client.create(CONFIGMAPS, configmap("c", identity="try-1"), namespace=podbay_namespace)
        there = await client.get(CONFIGMAPS, "c", namespace=podbay_namespace)
        assert uid_of(made) == uid_of(there) != ""
        # Without identity annotations the whole content decides.
        declare(api, **fault, count=1, match={"verb": "create", "resource": "configmaps"})
        made = await client.create(CONFIGMAPS, configmap("plain", x="1"), namespace=podbay_namespace)
        assert made["data"] == {"x": "1"}


@lost
async def test_an_object_of_somebody_else_is_not_taken_for_ours(
    podbay_cluster: Environment, podbay_namespace: str, api: Requests, fault: dict[str, Any]
) -> None:
    async with client_of(podbay_cluster.kubeconfig) as client:
        await client.create(CONFIGMAPS, configmap("c", identity="theirs"), namespace=podbay_namespace)
        declare(api, do="refuse", status=504, count=1, match={"verb": "create", "resource": "configmaps"})
        with pytest.raises(ApiError) as caught:
            await client.create(CONFIGMAPS, configmap("c", identity="ours"), namespace=podbay_namespace)
        assert caught.value.reason == "AlreadyExists"


async def test_a_conflict_at_once_is_no_lost_create(
    podbay_cluster: Environment, podbay_namespace: str
) -> None:
    async with client_of(podbay_cluster.kubeconfig) as client:
        await client.create(CONFIGMAPS, configmap("c", identity="1"), namespace=podbay_namespace)
        with pytest.raises(ApiError) as caught:
            await client.create(CONFIGMAPS, configmap("c", identity="1"), namespace=podbay_namespace)
        assert caught.value.reason == "AlreadyExists"


async def test_a_generated_name_is_not_sent_twice(
    podbay_cluster: Environment, podbay_namespace: str, api: Requests
) -> None:
    declare(
        api, do="refuse", status=504, after=True, count=1, match={"verb": "create", "resource": "configmaps"}
    )
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "g-"}}
    async with client_of(podbay_cluster.kubeconfig) as client:
        with pytest.raises(ApiError) as caught:
            await client.create(CONFIGMAPS, obj, namespace=podbay_namespace)
        assert caught.value.code == 504
        found = await client.list(CONFIGMAPS, namespace=podbay_namespace)
        assert len([o for o in found.items if name_of(o).startswith("g-")]) == 1


class Answers:
    """A server that answers one request per connection with the next of `bodies`; an empty one hangs up unanswered."""

    def __init__(self, *bodies: bytes) -> None:
        self.bodies = list(bodies)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        await reader.readexactly(int(length[1]) if length else 0)
        writer.write(self.bodies.pop(0))
        writer.close()


def refusal(code: int, reason: str) -> bytes:
    body = f'{{"kind": "Status", "status": "Failure", "code": {code}, "reason": "{reason}", "message": "no"}}'
    head = f"HTTP/1.1 {code} {reason}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


FORBIDDEN, TAKEN = refusal(403, "Forbidden"), refusal(409, "AlreadyExists")


@pytest.mark.parametrize(
    ("bodies", "doubt"), [([FORBIDDEN], False), ([b"", FORBIDDEN], True), ([b"", TAKEN, FORBIDDEN], True)]
)
async def test_a_refusal_after_a_lost_answer_says_so(bodies: list[bytes], doubt: bool) -> None:
    """The first attempt may have made it, whatever is said to the second."""
    server = await asyncio.start_server(Answers(*bodies).serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        async with client_of(ClusterConfig(server=f"http://127.0.0.1:{port}")) as client:
            with pytest.raises(ApiError) as caught:
                await client.create(CONFIGMAPS, configmap("c"), namespace="default")
        assert (caught.value.code, caught.value.after_doubt) == (403, doubt)
    finally:
        server.close()


@lost
async def test_a_lost_delete_is_recognised(
    podbay_cluster: Environment, podbay_namespace: str, api: Requests, fault: dict[str, Any]
) -> None:
    async with client_of(podbay_cluster.kubeconfig) as client:
        made = await client.create(CONFIGMAPS, configmap("c"), namespace=podbay_namespace)
        declare(api, **fault, count=1, match={"verb": "delete", "resource": "configmaps"})
        options = {"preconditions": {"uid": uid_of(made)}}
        answer = await client.delete(CONFIGMAPS, "c", namespace=podbay_namespace, options=options)
        assert answer["status"] == "Success"
        with pytest.raises(ApiError) as caught:
            await client.delete(CONFIGMAPS, "c", namespace=podbay_namespace)
        assert caught.value.code == 404


@lost
async def test_a_lost_patch_and_update_by_version_are_recognised(
    podbay_cluster: Environment, podbay_namespace: str, api: Requests, fault: dict[str, Any]
) -> None:
    async with client_of(podbay_cluster.kubeconfig) as client:
        made = await client.create(CONFIGMAPS, configmap("c", x="1", gone="1"), namespace=podbay_namespace)
        version = made["metadata"]["resourceVersion"]
        declare(api, **fault, count=1, match={"verb": "patch", "resource": "configmaps"})
        patch = {"metadata": {"resourceVersion": version}, "data": {"x": "2", "gone": None}}
        patched = await client.patch(CONFIGMAPS, "c", patch, namespace=podbay_namespace)
        assert patched["data"] == {"x": "2"}
        declare(api, **fault, count=1, match={"verb": "update", "resource": "configmaps"})
        updated = await client.update(CONFIGMAPS, {**patched, "data": {"x": "3"}}, namespace=podbay_namespace)
        assert updated["data"] == {"x": "3"}
        # The old version is out of date now, and nobody has done what this one asks for.
        with pytest.raises(ApiError) as caught:
            await client.patch(CONFIGMAPS, "c", patch, namespace=podbay_namespace)
        assert caught.value.code == 409


async def test_a_json_patch_is_not_repeated_in_doubt(
    podbay_cluster: Environment, podbay_namespace: str, api: Requests
) -> None:
    async with client_of(podbay_cluster.kubeconfig) as client:
        made = await client.create(CONFIGMAPS, configmap("c", x="1"), namespace=podbay_namespace)
        declare(
            api,
            do="refuse",
            status=504,
            after=True,
            count=1,
            match={"verb": "patch", "resource": "configmaps"},
        )
        add = {"op": "add", "path": "/metadata/finalizers", "value": ["podbay.dev/a"]}
        with pytest.raises(ApiError) as caught:
            await client.patch(CONFIGMAPS, "c", [add], namespace=podbay_namespace, patch_type="json")
        assert caught.value.code == 504
        undo = {"op": "remove", "path": "/metadata/finalizers"}
        test = {
            "op": "test",
            "path": "/metadata/resourceVersion",
            "value": made["metadata"]["resourceVersion"],
        }
        with pytest.raises(ApiError):
            await client.patch(CONFIGMAPS, "c", [test, undo], namespace=podbay_namespace, patch_type="json")
        await client.patch(CONFIGMAPS, "c", [undo], namespace=podbay_namespace, patch_type="json")


async def test_retry_after_slows_everybody(
    podbay_cluster: Environment, podbay_namespace: str, api: Requests
) -> None:
    async with client_of(podbay_cluster.kubeconfig) as client:
        await client.get(CONFIGMAPS, "kube-root-ca.crt", namespace="kube-system")
        declare(api, do="refuse", status=429, retry_after=1, count=1, match={"resource": "configmaps"})
        started = time.monotonic()
        first = asyncio.ensure_future(client.list(CONFIGMAPS, namespace=podbay_namespace))
        await asyncio.sleep(0.1)
        # Another pod's request, which nobody refused, waits as well.
        await client.list(PODS, namespace=podbay_namespace)
        assert time.monotonic() - started >= 0.9
        await first
        assert client.gate.throttle.window < 32


async def test_an_eviction_refused_by_a_budget_is_an_answer(
    podbay_cluster: Environment, podbay_namespace: str, api: Requests
) -> None:
    declare(api, do="refuse", status=429, match={"subresource": "eviction"})
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    async with client_of(podbay_cluster.kubeconfig) as client:
        with pytest.raises(ApiError) as caught:
            await client.create(PODS, eviction, namespace=podbay_namespace, name="p", subresource="eviction")
        assert caught.value.code == 429
        assert client.counter.total["create"] == 1


async def test_patience_ends(podbay_cluster: Environment, podbay_namespace: str, api: Requests) -> None:
    declare(api, do="refuse", status=503, match={"resource": "configmaps", "namespace": podbay_namespace})
    async with client_of(podbay_cluster.kubeconfig, patience=1.0) as client:
        with pytest.raises(ApiError) as caught:
            await client.get(CONFIGMAPS, "x", namespace=podbay_namespace)
        assert caught.value.code == 503
        assert "podbay cluster fault" in caught.value.message


async def test_an_unreachable_server_is_named() -> None:
    config = ClusterConfig(server="https://127.0.0.1:9", credential=Anonymous())
    async with client_of(config, patience=0.5) as client:
        with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9") as caught:
            await client.get(CONFIGMAPS, "x", namespace="n")
    assert (caught.value.kind, caught.value.maybe_sent) == ("refused", False)


async def test_an_unknown_name_is_said() -> None:
    config = ClusterConfig(server="https://no-such-host.invalid:6443")
    async with client_of(config, patience=0.3) as client:
        with pytest.raises(UnreachableError, match=r"no-such-host\.invalid") as caught:
            await client.get(CONFIGMAPS, "x", namespace="n")
    assert caught.value.kind in ("dns", "refused")


async def test_a_wrong_ca_is_said_at_once(podbay_cluster: Environment) -> None:
    good = load_kubeconfig(podbay_cluster.kubeconfig)
    config = ClusterConfig(server=good.server, credential=good.credential, certificate=good.certificate)
    started = time.monotonic()
    async with client_of(config, patience=30) as client:
        with pytest.raises(UnreachableError, match="certificate-authority-data") as caught:
            await client.get(CONFIGMAPS, "x", namespace="n")
    assert caught.value.permanent
    assert time.monotonic() - started < 15


async def test_plain_http_on_a_tls_port_is_said(podbay_cluster: Environment) -> None:
    good = load_kubeconfig(podbay_cluster.kubeconfig)
    config = ClusterConfig(server=good.server.replace("https", "http"))
    async with client_of(config, patience=0.3) as client:
        with pytest.raises((UnreachableError, ApiError)):
            await client.get(CONFIGMAPS, "x", namespace="n")


async def test_a_client_outside_its_block_says_so(podbay_cluster: Environment) -> None:
    from podbay.aio.clock import SystemClock

    client = KubeClient(load_kubeconfig(podbay_cluster.kubeconfig), SystemClock())
    with pytest.raises(ClosedError, match="async with"):
        await client.get(CONFIGMAPS, "x", namespace="n")


async def test_many_requests_stay_within_the_window(
    podbay_cluster: Environment, podbay_namespace: str
) -> None:
    async with client_of(podbay_cluster.kubeconfig) as client:
        names = [f"m{number}" for number in range(100)]
        await asyncio.gather(
            *(client.create(CONFIGMAPS, configmap(name), namespace=podbay_namespace) for name in names)
        )
        found = await client.list(CONFIGMAPS, namespace=podbay_namespace)
        assert {n for n in map(name_of, found.items) if n.startswith("m")} == set(names)


async def test_a_cancelled_request_gives_its_place_back(
    podbay_cluster: Environment, podbay_namespace: str, api: Requests
) -> None:
    declare(
        api,
        do="delay",
        seconds=300,
        count=40,
        match={"resource": "configmaps", "namespace": podbay_namespace},
    )
    async with client_of(podbay_cluster.kubeconfig) as client:
        waiting = [
            asyncio.ensure_future(client.get(CONFIGMAPS, "x", namespace=podbay_namespace)) for _ in range(60)
        ]
        await asyncio.sleep(0.3)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        api.call("DELETE", "/podbay.dev/v1/faults")
        await asyncio.wait_for(client.list(PODS, namespace=podbay_namespace), PATIENCE)
