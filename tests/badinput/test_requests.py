"""Request lines, paths, queries and headers that no client would send on purpose."""

from __future__ import annotations

import pytest
from raw_server import CONFIG_MAPS, Server

PODS = "/api/v1/namespaces/default/pods"


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/namespaces/default/configmaps/..",
        "/api/v1/namespaces/default/configmaps/../secrets",
        "/api/v1/namespaces/default/configmaps/..%2fsecrets",
        "/api/v1/namespaces/default/configmaps/a%2Fb",
        "/api/v1/namespaces/..%2f..%2f/configmaps/x",
        "/api/v1/namespaces/default/configmaps/%00",
        "/api/v1/namespaces/default/configmaps/a%0d%0aX-Evil:%201",
        "/api/v1//namespaces//default//configmaps//x",
        "/api/v1/namespaces/default/configmaps/x/unknown",
        "/api/v1/namespaces/default/configmaps/x/y/z/w",
        "/api/v1/namespaces/default/pods/x/exec",
        "/apis//v1/pods",
        "/apis/rbac.authorization.k8s.io/v9/roles",
        "/apis/example.com",
        "/api/v2/pods",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/openapi/v3/../../etc/passwd",
        "/openapi/v3/apis/nope",
        "/healthz/nope",
        "/nope",
    ],
)
def test_paths_that_lead_nowhere(server: Server, target: str) -> None:
    answer = server.ask("GET", target)
    assert answer.status in (400, 404, 301), answer.body
    assert b"root:" not in answer.body


@pytest.mark.parametrize(
    "target", ["/api/v1/namespaces/%ff%fe/pods", "/%zz", "/api/v1/pods/%", b"/api/v1/\xff"]
)
def test_paths_that_are_no_text(server: Server, target: str | bytes) -> None:
    answer = server.ask("GET", target)
    assert answer.status in (400, 404), answer.body


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=-1", 200),
        ("limit=x", 400),
        ("limit=99999999999999999999", 400),
        ("timeoutSeconds=abc&watch=1", 400),
        ("labelSelector=a%3D%3D%3Db", 400),
        ("labelSelector=%21", 400),
        ("labelSelector=" + "a" * 70 + "%3Db", 400),
        ("fieldSelector=metadata.name", 400),
        ("fieldSelector=status.nope%3Dx", 400),
        ("resourceVersion=abc", 400),
        ("resourceVersion=-1", 400),
        ("continue=%ff%00", 400),
        ("continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiLi4vIn0", 400),
        ("watch=maybe", 200),
        ("dryRun=Some", 200),
        ("pretty=perhaps", 200),
        ("unknown=1", 200),
        ("labelSelector=%ff%fe", 400),
        ("%ff=%fe&&&===", 200),
        ("limit=1&limit=2", 200),
        ("a=" + "b" * 100_000, 200),
        ("&".join(f"p{n}=1" for n in range(20_000)), 200),
    ],
)
def test_queries(server: Server, query: str, status: int) -> None:
    if query == "watch=maybe":
        # Whatever is not a truth value in Go's words switches the watch on or is refused; it must end.
        query += "&timeoutSeconds=1"
    answer = server.ask("GET", f"{PODS}?{query}")
    assert answer.status in (status, 400), answer.body
    if answer.status != 200:
        assert answer.message


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "OPTIONS", "BREW", "get", "PROPFIND"])
def test_methods_that_nothing_serves(server: Server, method: str) -> None:
    answer = server.ask(method, PODS)
    assert answer.status in (400, 403, 405, 501), answer.body


def test_methods_in_the_wrong_place(server: Server) -> None:
    for method, target in (
        ("POST", f"{CONFIG_MAPS}/x"),
        ("PUT", CONFIG_MAPS),
        ("PATCH", CONFIG_MAPS),
        ("POST", "/version"),
    ):
        answer = server.ask(method, target, b"{}")
        assert answer.status == (404 if target == "/version" else 405) or target == "/version", (
            method,
            target,
        )
    assert server.ask("HEAD", f"{CONFIG_MAPS}/kube-root-ca.crt").status in (200, 405)


def test_very_long_things(server: Server) -> None:
    long_path = server.ask("GET", "/api/v1/namespaces/default/configmaps/" + "x" * 200_000)
    assert long_path.status in (400, 404, 414, 431)
    long_header = server.ask("GET", PODS, headers={"X-Long": "y" * 200_000})
    assert long_header.status in (200, 431)
    too_long = server.ask("GET", PODS, headers={"X-Long": "y" * 1_200_000})
    assert too_long.status == 431
    many = server.ask("GET", PODS, headers={f"X-{n}": "1" for n in range(2_000)})
    assert many.status in (200, 431, 400)


@pytest.mark.parametrize(
    "raw",
    [
        b"GET\r\n\r\n",
        b"\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\r\n c\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET / HTTP/1.1\r\nContent-Length: abc\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -5\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\nHost: x\r\n\r\n12345",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: x\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: nonsense\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00" * 100 + b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"GET http://other/api HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_bytes_that_are_no_request(server: Server, raw: bytes) -> None:
    wire = server.wire()
    wire.send(raw)
    wire.socket.settimeout(1)
    try:
        answer = wire.read()
    except TimeoutError:
        return  # it waits for more, as it may
    assert answer is None or answer.status < 500 or answer.status in (501, 505), answer


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "application/json;as=Table;g=meta.k8s.io;v=v9",
        "*/*;q=0",
        ";;;,,,",
        "a/b" * 5000,
        "application/yaml",
        "\xff",
    ],
)
def test_accept(server: Server, accept: str) -> None:
    answer = server.ask("GET", PODS, headers={"Accept": accept})
    assert answer.status in (200, 406, 400), answer.body
    if answer.status == 406:
        assert "application/json" in answer.message


def test_headers_that_impersonate_badly(server: Server) -> None:
    answer = server.ask("GET", PODS, headers={"Impersonate-Group": "system:masters"})
    assert answer.status == 400
    assert "without impersonating a user" in answer.message
    answer = server.ask("GET", PODS, headers={"Impersonate-User": "jane"})
    assert (answer.status, answer.json()["reason"]) == (403, "Forbidden")


def test_http_1_0(server: Server) -> None:
    """Old clients get whole answers and a closed connection; a watch streams until its end."""
    for target in (PODS, f"{PODS}?watch=true&timeoutSeconds=1"):
        wire = server.wire()
        wire.send(f"GET {target} HTTP/1.0\r\nAuthorization: Bearer {server.token}\r\n\r\n".encode())
        answer = wire.read()
        assert answer is not None
        assert answer.status == 200, answer
        assert "transfer-encoding" not in answer.headers
        assert wire.closed()


def test_pipelined_requests(server: Server) -> None:
    wire = server.wire()
    head = f"GET {CONFIG_MAPS}/kube-root-ca.crt HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n\r\n"
    wrong = f"GET {CONFIG_MAPS}/nope HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n\r\n"
    wire.send((head + wrong).encode() * 10)
    statuses = []
    for _ in range(20):
        answer = wire.read()
        assert answer is not None
        statuses.append(answer.status)
    assert statuses == [200, 404] * 10


def test_upgrades_to_nowhere(server: Server) -> None:
    for protocol in ("websocket", "SPDY/3.1", "h2c", "nonsense"):
        answer = server.ask("GET", PODS, headers={"Upgrade": protocol, "Connection": "Upgrade"})
        assert answer.status < 500
        answer = server.ask(
            "GET", f"{PODS}/nope/exec", headers={"Upgrade": protocol, "Connection": "Upgrade"}
        )
        assert answer.status in (400, 404)


def test_expectations(server: Server) -> None:
    body = b'{"metadata":{"name":"expected"}}'
    answer = server.ask("POST", f"{CONFIG_MAPS}?dryRun=All", body, headers={"Expect": "100-continue"})
    assert answer.status in (100, 201)
    answer = server.ask("POST", f"{CONFIG_MAPS}?dryRun=All", body, headers={"Expect": "miracles"})
    assert answer.status in (201, 417)


def test_compressed_bodies(server: Server) -> None:
    answer = server.ask("POST", CONFIG_MAPS, b"\x1f\x8b nonsense", headers={"Content-Encoding": "gzip"})
    assert answer.status in (400, 415), answer
