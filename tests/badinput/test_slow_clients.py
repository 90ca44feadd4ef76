"""Clients that take their time, go away in the middle, or never read: nobody else notices."""

from __future__ import annotations

import gc
import os
import resource
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
from patience import PATIENCE
from raw_server import CONFIG_MAPS, Server

from podbay.apiserver import connections, http
from podbay.embedded.cluster import ClusterOptions
from podbay.testing import Environment
from podbay.testing.requests import Requests


def head(server: Server, method: str, target: str, *more: str) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: x", f"Authorization: Bearer {server.token}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def is_well(server: Server) -> None:
    assert server.ask("GET", "/readyz").status == 200


def test_heads_that_never_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.5)
    slow = [server.wire() for _ in range(20)]
    for wire in slow[:10]:
        wire.send(b"GET /readyz HTTP/1.1\r\nHost: x\r\nX-A: ")
    is_well(server)
    for wire in slow:
        assert wire.closed()


def test_heads_that_come_letter_by_letter(server: Server) -> None:
    wire = server.wire()
    for byte in head(server, "GET", "/readyz"):
        wire.send(bytes([byte]))
    answer = wire.read()
    assert answer is not None
    assert answer.body == b"ok"


def test_bodies_that_never_come(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_TIMEOUT", 0.5)
    wire = server.wire()
    wire.send(
        head(server, "POST", CONFIG_MAPS, "Content-Type: application/json", "Content-Length: 100")
        + b'{"kind"'
    )
    is_well(server)
    answer = wire.read()
    assert answer is not None
    assert answer.status in (400, 408, 504)
    assert answer.message


def test_requests_cut_in_the_middle(server: Server) -> None:
    whole = (
        head(server, "POST", CONFIG_MAPS, "Content-Type: application/json", "Content-Length: 60")
        + b'{"metadata":{"name":"cut"}}'
    )
    for length in range(0, len(whole), 37):
        wire = server.wire()
        wire.send(whole[:length])
        wire.close()
    is_well(server)
    assert server.ask("GET", f"{CONFIG_MAPS}/cut").status == 404


def test_resets(server: Server) -> None:
    """The other side vanishes without a goodbye, in the handshake, the head, the body and a watch."""
    for data in (None, b"", b"GET /", head(server, "GET", f"{CONFIG_MAPS}?watch=true")):
        raw = socket.create_connection(server.address)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        if data is None:
            raw.close()
            continue
        wrapped = server.tls().wrap_socket(raw)
        wrapped.sendall(data)
        time.sleep(0.05)
        wrapped.close()
    is_well(server)


def test_half_closed_sockets(server: Server) -> None:
    """A client that has said all it will say still gets its answer."""
    raw = socket.create_connection(server.address)
    raw.sendall(b"\x16\x03\x01")
    raw.shutdown(socket.SHUT_WR)
    raw.close()
    wire = server.wire()
    wire.send(head(server, "GET", f"{CONFIG_MAPS}/kube-root-ca.crt", "Connection: close"))
    answer = wire.read()
    assert answer is not None
    assert answer.status == 200
    is_well(server)


def test_plain_http_on_the_tls_port(server: Server) -> None:
    with socket.create_connection(server.address, timeout=PATIENCE) as raw:
        raw.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            raw.recv(1024)
        except ConnectionError:
            pass
    is_well(server)


def test_a_handshake_that_never_ends(server: Server) -> None:
    silent = [socket.create_connection(server.address) for _ in range(50)]
    is_well(server)
    for raw in silent:
        raw.close()


def test_a_watcher_that_never_reads(server: Server) -> None:
    """It is dropped or kept, but it costs neither memory without bound nor anybody else's time."""
    lazy = server.wire()
    lazy.send(head(server, "GET", f"{CONFIG_MAPS}?watch=true"))
    before = _memory()
    body = {"metadata": {"name": "busy"}, "data": {"x": "y" * 200_000}}
    with Requests(server.kubeconfig) as api:
        assert api.call("POST", CONFIG_MAPS, body)[0] == 201
        for n in range(150):
            patch = {"data": {"n": str(n)}}
            code, _ = api.call(
                "PATCH",
                f"{CONFIG_MAPS}/busy",
                patch,
                headers={"Content-Type": "application/merge-patch+json"},
            )
            assert code == 200
        api.call("DELETE", f"{CONFIG_MAPS}/busy")
    # 150 versions of 200 kB; the history of changes keeps them for everybody, a queue of this watcher must not.
    assert _memory() - before < 150 << 20
    is_well(server)


def _memory() -> int:
    """Resident bytes of this process, which is also the server's."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_many_writers_of_one_object(server: Server) -> None:
    with Requests(server.kubeconfig) as api:
        api.call("POST", CONFIG_MAPS, {"metadata": {"name": "shared"}, "data": {}})
    codes: list[int] = []

    def write(writer: int) -> None:
        with Requests(server.kubeconfig) as own:
            for n in range(15):
                patch = {"data": {f"w{writer}-{n}": "x"}}
                code, _ = own.call(
                    "PATCH",
                    f"{CONFIG_MAPS}/shared",
                    patch,
                    headers={"Content-Type": "application/merge-patch+json"},
                )
                codes.append(code)
                current = own.call("GET", f"{CONFIG_MAPS}/shared")[1]
                codes.append(own.call("PUT", f"{CONFIG_MAPS}/shared", current)[0])

    threads = [threading.Thread(target=write, args=(w,)) for w in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) <= {200, 409}
    with Requests(server.kubeconfig) as api:
        final = api.call("GET", f"{CONFIG_MAPS}/shared")[1]
        api.call("DELETE", f"{CONFIG_MAPS}/shared")
    assert len(final["data"]) == 150, "a patch without a version is never lost"


@pytest.mark.slow
def test_thousands_of_idle_watches(server: Server) -> None:
    """As many as the limit of open files allows, both ends being in this process; at most 3,000."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wanted = min(3_000, (hard - 500) // 2)
    before, started = _memory(), time.monotonic()
    watchers: list[ssl.SSLSocket] = []
    try:
        context = server.tls()
        request = head(
            server, "GET", f"{CONFIG_MAPS}?watch=true&resourceVersion=0&fieldSelector=metadata.name%3Didle"
        )
        for _ in range(wanted):
            wrapped = context.wrap_socket(socket.create_connection(server.address))
            wrapped.sendall(request)
            watchers.append(wrapped)
        opened = time.monotonic() - started
        is_well(server)
        per_watch = (_memory() - before) / wanted
        print(f"{wanted} watches in {opened:.1f} s, {per_watch / 1024:.0f} KiB each with the client's end")
        assert per_watch < 130 * 1024
        with Requests(server.kubeconfig) as api:
            assert api.call("POST", CONFIG_MAPS, {"metadata": {"name": "idle"}})[0] == 201
        assert _heard(watchers, b'"ADDED"') == wanted
        is_well(server)
    finally:
        for wrapped in watchers:
            wrapped.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        server.ask("DELETE", f"{CONFIG_MAPS}/idle")
    is_well(server)


def _heard(watchers: list[ssl.SSLSocket], word: bytes) -> int:
    """How many have been told, each waiting for its turn."""
    told = 0
    for wrapped in watchers:
        wrapped.settimeout(PATIENCE)
        seen = b""
        while word not in seen:
            data = wrapped.recv(4096)
            assert data, "a watch has ended"
            seen += data
        told += 1
    return told


def test_stopping_does_not_wait_for_clients() -> None:
    """Clients that keep their connections open, or never say goodbye, neither hold the server nor leave sockets."""
    with Environment.start(ClusterOptions(nodes=())) as environment:
        own = Server(environment)
        idle = [own.wire() for _ in range(5)]
        for wire in idle[:3]:
            wire.send(head(own, "GET", "/readyz"))
            assert wire.read() is not None
        watcher = own.wire()
        watcher.send(head(own, "GET", f"{CONFIG_MAPS}?watch=true"))
        started = time.monotonic()
    # An idle connection lasts 90 seconds, a watch as long as it likes.
    assert time.monotonic() - started < 30
    own.close()
    # A socket that was not closed would warn when it is collected, and warnings are errors.
    gc.collect()
