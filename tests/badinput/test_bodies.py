"""Bodies that are no objects: the status and the words of kube-apiserver, and never a 500."""

from __future__ import annotations

import json

import pytest
from raw_server import CONFIG_MAPS, Server

LIMIT = 3 * 1024 * 1024


def config_map(name: str, **more: object) -> bytes:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **more}).encode()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "unexpected end of JSON input"),
        (b"[]", "cannot unmarshal array"),
        (b'"text"', "cannot unmarshal string"),
        (b"{}{}", "after top-level value"),
        (b'{"kind":"ConfigMap","apiVersion":"v1",}', "invalid character '}'"),
        (b'{"kind":"ConfigMap","apiVersion":"v1","data":{"a":1}}', "cannot unmarshal number"),
        (b'{"kind":"ConfigMap","apiVersion":"v1","metadata":[]}', "cannot unmarshal array"),
        (b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"labels":{"a":true}}}', "cannot unmarshal bool"),
        (b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x"}}', "unknown conversion"),
        (b'{"kind":"ConfigMap","apiVersion":"v2","metadata":{"name":"x"}}', ""),
        (b'{"kind":"Unicorn","apiVersion":"example.com/v1","metadata":{"name":"x"}}', ""),
        (b'{"kind":7,"apiVersion":"v1"}', "cannot unmarshal number"),
        (b"\x00\x01\x02", "invalid character"),
        (b"\xff\xfe{\x00}\x00", "invalid character"),
        (b"nonsense", "invalid character"),
        (b"k8s\x00", ""),
        (b"[" * 20_000, ""),
        (b'{"a":' * 20_000, ""),
    ],
)
def test_json_that_is_none(server: Server, body: bytes, said: str) -> None:
    answer = server.ask("POST", CONFIG_MAPS, body)
    assert answer.status in (400, 422), answer.body
    assert said in answer.message


def test_no_body(server: Server) -> None:
    for method, path in (("POST", CONFIG_MAPS), ("PUT", f"{CONFIG_MAPS}/kube-root-ca.crt")):
        assert server.ask(method, path, headers={"Content-Length": "0"}).status in (400, 415)


@pytest.mark.parametrize(
    "body",
    [
        b"kind: [",
        b"\tkind: ConfigMap",
        b"a: &a [*a]",
        b"? {}",
        b"!!python/object/apply:os.system ['true']",
        b"a: &x [1]\nb: *x\n" + b"".join(b"c%d: [*x, *x]\n" % i for i in range(100)),
        b"&a [&b [&c [&d [x, x, x, x]]]]",
        b"- 1\n- 2",
        b"kind: ConfigMap\napiVersion: v1\nmetadata: {name: 2001-01-01}\ndata: {a: 1}\n",
        b"---\n...\n---\n",
        b"\xff\xff",
    ],
)
def test_yaml_that_is_none(server: Server, body: bytes) -> None:
    answer = server.ask("POST", CONFIG_MAPS, body, content_type="application/yaml")
    assert answer.status in (400, 422), answer.body
    assert answer.message


def test_yaml_that_would_explode(server: Server) -> None:
    """Aliases of aliases: small to send, huge to build."""
    levels = [b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for n in range(1, 12):
        levels.append(b"a%d: &a%d [%s]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)))
    answer = server.ask("POST", CONFIG_MAPS, b"\n".join(levels), content_type="application/yaml")
    assert answer.status in (400, 422)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"k8s\x00",
        b"k8s\x00\xff\xff\xff",
        b"\x0a\xff",
        b"k8s\x00\x0a\x0b\x0a\x02v1\x12\x03Pod" + b"\x12\xff",
    ],
)
def test_protobuf_that_is_none(server: Server, body: bytes) -> None:
    answer = server.ask("POST", CONFIG_MAPS, body or b"x", content_type="application/vnd.kubernetes.protobuf")
    assert answer.status in (400, 415, 422), answer.body
    assert answer.message


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "application/json; charset=", "x", "application/cbor"]
)
def test_other_content_types(server: Server, kind: str) -> None:
    answer = server.ask("POST", CONFIG_MAPS, config_map("typed"), content_type=kind)
    if kind.startswith("application/json"):
        assert answer.status in (201, 400, 409, 415)
        return
    assert answer.status == 415
    assert answer.message.startswith(
        "the body of the request was in an unknown format - accepted media types include:"
    )


def test_patches_of_the_wrong_type(server: Server) -> None:
    for kind in ("application/json", "text/plain", "application/merge-patch"):
        answer = server.ask("PATCH", f"{CONFIG_MAPS}/kube-root-ca.crt", b"{}", content_type=kind)
        assert (answer.status, answer.message) == (415, "415: Unsupported Media Type")


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("json", b"{}", 400),
        ("json", b'[{"op":"dance","path":"/data"}]', 422),
        ("json", b'[{"op":"add"}]', 422),
        ("json", b'[{"op":"remove","path":"/nope/nope"}]', 422),
        ("json", b'[{"op":"replace","path":"metadata","value":1}]', 422),
        (
            "json",
            b"[" + b",".join([b'{"op":"test","path":"/kind","value":"ConfigMap"}'] * 10_001) + b"]",
            413,
        ),
        ("merge", b"[]", 400),
        ("merge", b'{"data":7}', 422),
        ("merge", b'{"metadata":{"uid":"other"}}', 422),
        ("strategic-merge", b'"x"', 400),
        ("apply", b"{", 400),
    ],
)
def test_patches_that_are_none(server: Server, kind: str, body: bytes, status: int) -> None:
    server.ask("POST", CONFIG_MAPS, config_map("patched"))
    content = "application/apply-patch+yaml" if kind == "apply" else f"application/{kind}-patch+json"
    target = f"{CONFIG_MAPS}/patched" + ("?fieldManager=me" if kind == "apply" else "")
    answer = server.ask("PATCH", target, body, content_type=content)
    assert answer.status == status, answer.body
    assert answer.message


def test_bodies_over_the_limit(server: Server) -> None:
    answer = server.ask("POST", CONFIG_MAPS, config_map("big", data={"x": "y" * LIMIT}))
    assert (answer.status, answer.message) == (413, "Request entity too large: limit is 3145728")
    said_only = server.ask("POST", CONFIG_MAPS, b"{}", headers={"Content-Length": str(LIMIT * 1000)})
    assert said_only.status == 413


def test_chunked_bodies(server: Server) -> None:
    head = (
        f"POST {CONFIG_MAPS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    wire = server.wire()
    wire.send(
        head
        + b"".join(
            b"%x\r\n%s\r\n" % (len(p), p) for p in (config_map("chunked")[:20], config_map("chunked")[20:])
        )
    )
    wire.send(b"0\r\n\r\n")
    answer = wire.read()
    assert answer is not None
    assert answer.status == 201
    wire = server.wire()
    wire.send(head)
    block = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    try:
        for _ in range(60):
            wire.send(block)
    except OSError:
        pass  # the server may stop reading before all is sent
    refused = wire.read()
    assert refused is None or refused.status == 413


@pytest.mark.parametrize(
    "chunks", [b"zz\r\n", b"-1\r\nx\r\n", b"ffffffffffffffffff\r\n", b"5\r\nab\r\n0\r\n\r\n"]
)
def test_broken_chunks(server: Server, chunks: bytes) -> None:
    wire = server.wire()
    wire.send(
        f"POST {CONFIG_MAPS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        + chunks
    )
    wire.socket.settimeout(1)
    try:
        answer = wire.read()
    except TimeoutError:
        return  # it waits for the rest, as it may
    assert answer is None or answer.status == 400


@pytest.mark.parametrize(
    "quantity",
    [
        "lots",
        "",
        "1e",
        "--1",
        "1.2.3",
        "1KI",
        "0x10",
        "9" * 400,
        "1e999999999",
        "-1",
        "NaN",
        "1 Gi",
        None,
        [],
        True,
    ],
)
def test_impossible_quantities(server: Server, quantity: object) -> None:
    container = {"name": "a", "image": "b", "resources": {"limits": {"cpu": quantity}}}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q"}, "spec": {"containers": [container]}}
    answer = server.ask("POST", "/api/v1/namespaces/default/pods?dryRun=All", json.dumps(body).encode())
    assert answer.status in ((201,) if quantity in (None, "9" * 400) else (400, 422)), answer.body


@pytest.mark.parametrize(
    "spec",
    [
        {"containers": [{"name": "a", "image": "b", "ports": [{"containerPort": 2**40}]}]},
        {"containers": [{"name": "a", "image": "b", "ports": [{"containerPort": -1}]}]},
        {"containers": [{"name": "a", "image": "b", "ports": [{"containerPort": 1.5}]}]},
        {"containers": [{"name": "a", "image": "b"}], "activeDeadlineSeconds": 2**70},
        {"containers": [{"name": "a", "image": "b"}], "terminationGracePeriodSeconds": "x"},
        {"containers": [{"name": "a", "image": "b"}], "priority": 10**30},
        {"containers": "none"},
        {"containers": [None]},
        {"containers": [[]]},
        {"containers": {"name": "a"}},
        {"containers": [{"name": "a", "image": "b"}], "volumes": [{"name": "v", "hostPath": 3}]},
        [],
        "x",
    ],
)
def test_specs_of_the_wrong_shape(server: Server, spec: object) -> None:
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q"}, "spec": spec}
    answer = server.ask("POST", "/api/v1/namespaces/default/pods?dryRun=All", json.dumps(body).encode())
    assert answer.status in (400, 422), answer.body
    assert answer.message


def test_unknown_fields(server: Server) -> None:
    odd = config_map("odd", unknown=1)
    strict = server.ask("POST", f"{CONFIG_MAPS}?fieldValidation=Strict&dryRun=All", odd)
    assert strict.status == 400
    assert 'strict decoding error: unknown field "unknown"' in strict.message
    warned = server.ask("POST", f"{CONFIG_MAPS}?fieldValidation=Warn&dryRun=All", odd)
    assert warned.status == 201
    assert warned.headers["warning"] == '299 - "unknown field \\"unknown\\""'
    ignored = server.ask("POST", f"{CONFIG_MAPS}?fieldValidation=Ignore&dryRun=All", odd)
    assert (ignored.status, "warning" in ignored.headers) == (201, False)
    assert server.ask("POST", f"{CONFIG_MAPS}?fieldValidation=Sometimes", odd).status == 422


@pytest.mark.parametrize(
    "text", ["\ud800", "a\x00b", "\u202e", "x" * 300, "ä", "a/b", "..", ".", "%2e", " ", ""]
)
def test_names_that_are_none(server: Server, text: str) -> None:
    answer = server.ask("POST", f"{CONFIG_MAPS}?dryRun=All", config_map(text))
    assert answer.status in (400, 422), answer.body
    assert answer.message


def test_invalid_utf_8_in_a_body(server: Server) -> None:
    body = config_map("bytes").replace(b'"bytes"', b'"bytes","annotations":{"a":"\xff\xfe"}')
    answer = server.ask("POST", f"{CONFIG_MAPS}?dryRun=All", body)
    # Go's decoder reads each wrong byte as U+FFFD.
    assert answer.status == 201
    assert answer.json()["metadata"]["annotations"] == {"a": "\ufffd\ufffd"}
