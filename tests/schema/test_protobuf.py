"""Bodies in protobuf: hand-made messages, broken ones, and what a real kubectl sends."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from podbay.apiserver.schema.decode import Target, decode, decode_options
from podbay.apiserver.schema.types import Schema
from podbay.errors import ApiError

SCHEMA = Schema.load()
POD = Target("Pod", "v1", "io.k8s.api.core.v1.Pod")
KUBECTL = Path(sys.executable).parent / "kubectl"


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def part(number: int, value: bytes | str | int) -> bytes:
    """One field of a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def envelope(message: bytes, api_version: str = "v1", kind: str = "Pod") -> bytes:
    return b"k8s\x00" + part(1, part(1, api_version) + part(2, kind)) + part(2, message)


def read(data: bytes, target: Target = POD) -> Any:
    return decode(SCHEMA, target, data, media_type="protobuf").obj


def refusal(data: bytes) -> str:
    with pytest.raises(ApiError) as caught:
        read(data)
    assert caught.value.code == 400
    return caught.value.message


def test_every_sort_of_field() -> None:
    timestamp = part(1, 1704067200) + part(2, 5)
    metadata = (
        part(1, "p") + part(8, timestamp) + part(10, -1 & 2**64 - 1) + part(11, part(1, "a") + part(2, "b"))
    )
    limits = part(1, part(1, "cpu") + part(2, part(1, "0.5")))
    probe = part(1, part(2, part(2, part(1, 1) + part(3, "http"))))
    container = (
        part(1, "main") + part(3, "sh") + part(3, "-c") + part(8, limits) + part(10, probe) + part(18, 1)
    )
    volume = part(1, "v") + part(2, part(2, b""))
    spec = part(1, volume) + part(2, container) + part(5, 0)
    assert read(envelope(part(1, metadata) + part(2, spec) + part(99, "skipped"))) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "p",
            "creationTimestamp": "2024-01-01T00:00:00Z",
            "deletionGracePeriodSeconds": -1,
            "labels": {"a": "b"},
        },
        "spec": {
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [
                {
                    "name": "main",
                    "command": ["sh", "-c"],
                    "resources": {"limits": {"cpu": "500m"}},
                    "livenessProbe": {"httpGet": {"port": "http"}},
                    "tty": True,
                }
            ],
            "activeDeadlineSeconds": 0,
        },
        "status": {},
    }


def test_named_lists_are_messages() -> None:
    target = Target(
        "SubjectAccessReview", "authorization.k8s.io/v1", "io.k8s.api.authorization.v1.SubjectAccessReview"
    )
    extra = part(1, "scopes") + part(2, part(1, "x") + part(1, "y"))
    data = envelope(part(2, part(3, "bob") + part(5, extra)), target.api_version, target.kind)
    assert read(data, target)["spec"] == {"user": "bob", "extra": {"scopes": ["x", "y"]}}


def test_delete_options() -> None:
    data = envelope(part(1, 0) + part(4, "Foreground"), "meta.k8s.io/v1", "DeleteOptions")
    assert decode_options(SCHEMA, data, media_type="protobuf") == {
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Foreground",
    }


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "empty data (<empty>)"),
        (b"k8s\x00", "empty body (6b387300)"),
        (
            b"{}",
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] ({})",
        ),
        (b"k8s\x00\x0a\x05", "unexpected EOF (6b3873000a05)"),
        (b"k8s\x00\x00", "proto: Unknown: illegal tag 0 (wire type 0) (6b38730000)"),
        (b"k8s\x00" + b"\xff" * 11, "proto: integer overflow (6b387300" + "ff" * 11 + ")"),
    ],
)
def test_broken_envelopes(data: bytes, sentence: str) -> None:
    assert refusal(data) == "the object provided is unrecognized (must be of type Pod): " + sentence


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (b"\x0a\x05", "unexpected EOF"),
        (part(2, 7), "proto: wrong wireType = 0 for field Spec"),
        (
            part(2, part(2, part(8, part(1, part(1, "cpu") + part(2, part(1, "lots")))))),
            "quantities must match",
        ),
        (b"\x0b", "proto: illegal wireType 3"),
    ],
)
def test_broken_messages(message: bytes, sentence: str) -> None:
    assert refusal(envelope(message)).startswith(
        'Pod in version "v1" cannot be handled as a Pod: ' + sentence
    )


def test_wrong_kind() -> None:
    assert refusal(envelope(b"", kind="Secret")) == (
        'Secret in version "v1" cannot be handled as a Pod: converting (v1.Secret) to (core.Pod): unknown conversion'
    )


@given(st.binary(max_size=60), st.binary(max_size=120))
def test_any_bytes(prefix: bytes, message: bytes) -> None:
    for data in (
        prefix,
        b"k8s\x00" + prefix,
        envelope(message),
        envelope(part(2, message)),
        envelope(part(1, message)),
    ):
        try:
            read(data)
        except ApiError as error:
            assert error.code == 400


@pytest.mark.skipif(not KUBECTL.exists(), reason="kubectl is not installed beside this Python")
async def test_what_kubectl_sends(tmp_path: Path) -> None:
    seen: list[tuple[str, bytes]] = []

    async def answer(raw: web.Request) -> web.Response:
        if raw.method == "POST":
            seen.append((raw.headers["Content-Type"], await raw.read()))
            return web.Response(
                status=201, body=b'{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s"}}'
            )
        return web.Response(status=404)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        process = await asyncio.create_subprocess_exec(
            KUBECTL,
            f"--server=http://{host}:{port}",
            "create",
            "secret",
            "generic",
            "s",
            "--from-literal=password=ä",
            "--validate=false",
            env={"HOME": str(tmp_path)},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()
    finally:
        await runner.cleanup()
    assert seen, errors.decode()
    content_type, body = seen[0]
    target = Target("Secret", "v1", "io.k8s.api.core.v1.Secret")
    media_type: Any = "protobuf" if "protobuf" in content_type else "json"
    decoded = decode(SCHEMA, target, body, media_type=media_type, field_validation="Strict").obj
    assert decoded["data"] == {"password": "w6Q="}
    assert decoded["metadata"]["name"] == "s"
    assert orjson.dumps(decoded)
