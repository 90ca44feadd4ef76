"""Connections that cannot work, each with its sentence: contexts, methods, paths, files, proxies, certificates, a cluster
that goes away."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import socket
import ssl
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from external_cluster import LAUNCHER, External
from patience import PATIENCE, eventually
from test_external import last, steps

from podbay.airflow.connection import choose_cluster
from podbay.connections.reading import read_kubeconfig
from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.nodes import one_scripted_node
from podbay.errors import InvalidInputError
from podbay.kube.kubeconfig import load_kubeconfig, parse_kubeconfig
from podbay.kube.lease import DeskOptions, LeaseDesk
from podbay.kube.retry import Patience
from podbay.lifecycle import outage, requests
from podbay.lifecycle.engine import Driver, PodRun
from podbay.lifecycle.plan import PodPlan
from podbay.lifecycle.state import Phase
from podbay.pods.build import build_pod
from podbay.pods.identity import TaskIdentity
from podbay.pods.request import PodRequest
from podbay.testing import Environment


def refusal(given: dict[str, Any], extras: dict[str, Any]) -> str:
    with pytest.raises(InvalidInputError) as caught:
        choose_cluster(given, extras, connection="k8s")
    return str(caught.value)


def test_a_context_that_is_not_there(east: External) -> None:
    extras = {"kube_config": json.dumps(east.kubeconfig())}
    said = refusal({"in_cluster": False, "cluster_context": "other"}, extras)
    assert said == "kube_config of k8s: context 'other' does not exist. It has: work."


def test_two_ways_to_say_which_cluster(east: External) -> None:
    extras = {"kube_config": json.dumps(east.kubeconfig())}
    assert refusal({"in_cluster": True}, extras) == (
        "connection k8s: in_cluster and kube_config: only one of them can say which cluster is meant. "
        "Set in_cluster=False in the task to mean the connection's cluster"
    )
    said = refusal({"config_file": "x.yaml"}, extras)
    assert "kube_config_path (or config_file) and kube_config: only one" in said


def test_two_ways_to_log_in(east: External) -> None:
    user = {"token": "hidden", "exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "x"}}
    said = refusal({}, {"kube_config": json.dumps(east.kubeconfig(user))})
    assert "token and exec are two ways to log in, and which is meant is not said; keep one" in said
    assert "hidden" not in said


@pytest.mark.parametrize(
    ("user", "cluster", "field"),
    [
        ({"tokenFile": "secrets/token"}, {}, "users[u].user.tokenFile: secrets/token"),
        (
            {"token": "t"},
            {"certificate-authority": "ca.crt", "certificate-authority-data": None},
            "clusters[c].cluster.certificate-authority: ca.crt",
        ),
        (
            {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./get-token"}},
            {},
            "users[u].user.exec.command: get-token",
        ),
    ],
)
def test_relative_paths(
    east: External, user: dict[str, Any], cluster: dict[str, Any], field: str, tmp_path: Path
) -> None:
    """In a connection they lead nowhere; in a file they count from it."""
    document = east.kubeconfig(user, **cluster)
    said = refusal({}, {"kube_config": json.dumps(document)})
    assert f"kube_config of k8s: {field} is a relative path, and there is no file" in said
    with pytest.raises(InvalidInputError, match="is a relative path"):
        read_kubeconfig("-", text=json.dumps(document))
    path = tmp_path / "config"
    path.write_text(json.dumps(document))
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "token").write_text("t")
    (tmp_path / "ca.crt").write_text(base64.b64decode(east.cluster["certificate-authority-data"]).decode())
    assert choose_cluster({"config_file": str(path)}, {}, connection=None).config.server == east.server


def test_files_that_cannot_be_read(east: External, tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    assert f"kubeconfig {binary} cannot be read" in refusal({}, {"kube_config_path": str(binary)})
    missing = tmp_path / "missing"
    said = refusal({}, {"kube_config_path": str(missing)})
    assert f"kubeconfig {missing} does not exist" in said
    document = east.kubeconfig({"tokenFile": str(binary)})
    path = tmp_path / "config"
    path.write_text(json.dumps(document))
    with pytest.raises(InvalidInputError, match=f"{binary} cannot be read"):
        read_kubeconfig(str(path))
    document = east.kubeconfig({"tokenFile": str(missing)})
    assert f"{missing} does not exist" in refusal({}, {"kube_config": json.dumps(document)})


# -- proxies


@contextmanager
def proxy(answer: bytes = b"", *, to: int = 0) -> Iterator[str]:
    """A proxy that answers each CONNECT so, or that connects to a port of this machine."""

    writers: list[asyncio.StreamWriter] = []
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            if not to:
                writer.write(answer)
                await writer.drain()
                writer.close()
                return
            far, far_writer = await asyncio.open_connection("127.0.0.1", to)
            writers.append(far_writer)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(_pipe(reader, far_writer), _pipe(far, writer))

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        serving.add(asyncio.create_task(serve(reader, writer)))

    started, holder = threading.Event(), {}

    async def live() -> None:
        holder["loop"], holder["stop"] = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        holder["port"] = server.sockets[0].getsockname()[1]
        started.set()
        await holder["stop"].wait()
        server.close()
        # Those that are still open are not left to the garbage collector; asyncio tells of one that was accepted just now a
        # few turns of its loop later.
        await asyncio.sleep(0.1)
        for each in serving:
            each.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        for writer in writers:
            writer.close()
        await asyncio.sleep(0.1)

    thread = threading.Thread(target=lambda: asyncio.run(live()), daemon=True)
    thread.start()
    assert started.wait(60)
    try:
        yield f"http://127.0.0.1:{holder['port']}"
    finally:
        holder["loop"].call_soon_threadsafe(holder["stop"].set)
        thread.join()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(64 << 10):
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_proxies(east: External) -> None:
    token = east.account("proxied", LAUNCHER)
    with proxy(to=int(east.server.rpartition(":")[2])) as address:
        found = await steps(parse_kubeconfig(east.kubeconfig({"token": token}, **{"proxy-url": address})))
        assert {step.verdict for step in found} <= {"ok", "warning"}
    with proxy(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as address:
        (step,) = await steps(parse_kubeconfig(east.kubeconfig(**{"proxy-url": address})))
        assert (step.name, step.verdict) == ("address", "failed")
        assert "the proxy answered 403 and did not connect" in step.message
    (step,) = await steps(parse_kubeconfig(east.kubeconfig(**{"proxy-url": "http://127.0.0.1:1"})))
    assert "the proxy 127.0.0.1:1 cannot be reached" in step.message
    said = refusal({}, {"kube_config": json.dumps(east.kubeconfig(**{"proxy-url": "socks5://x"}))})
    assert "proxy-url: only http:// and https:// proxies can be used" in said


# -- certificates


def expired(directory: Path) -> tuple[Path, Path, str]:
    """A certificate that ended yesterday, its key, and its text; it is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "old")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now - timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    cert, secret = directory / "old.crt", directory / "old.key"
    text = made.public_bytes(serialization.Encoding.PEM).decode()
    cert.write_text(text)
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert, secret, text


@contextmanager
def shaking_hands(context: ssl.SSLContext) -> Iterator[int]:
    """A port where somebody begins TLS and then has nothing to say."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                found, _ = listener.accept()
                with (
                    found,
                    contextlib.suppress(OSError),
                    context.wrap_socket(found, server_side=True) as secured,
                ):
                    secured.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


async def test_an_expired_certificate_of_the_cluster(east: External, tmp_path: Path) -> None:
    cert, key, text = expired(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    authority = base64.b64encode(text.encode()).decode()
    with shaking_hands(context) as port:
        step = await last(
            east.kubeconfig(server=f"https://127.0.0.1:{port}", **{"certificate-authority-data": authority})
        )
    assert (step.name, step.verdict) == ("tls", "failed")
    assert "certificate has expired" in step.message


async def test_an_expired_certificate_of_ours(east: External, tmp_path: Path) -> None:
    cert, key, _ = expired(tmp_path)
    document = east.kubeconfig({"client-certificate": str(cert), "client-key": str(key)})
    step = await last(document)
    assert (step.name, step.verdict) == ("credential", "failed")
    assert "the client certificate ended on" in step.message


# -- a cluster that goes away


class Phases(Driver):
    def __init__(self) -> None:
        self.told: list[str] = []

    async def phase(self, phase: Phase, text: str) -> None:
        self.told.append(f"{phase}: {text}")


async def test_a_cluster_that_vanishes_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for, as an API server that restarts; the log and the end say so."""
    # Minutes, for people.
    monkeypatch.setattr(outage, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(outage, "LASTS_SECONDS", 0.5)
    monkeypatch.setattr(requests, "CLEANUP_SECONDS", 1.0)
    phases = Phases()
    desk = LeaseDesk(DeskOptions(agent="vanishing", patience=Patience(seconds=1.0)))
    with contextlib.ExitStack() as stack:
        environment = stack.enter_context(Environment.start(ClusterOptions(nodes=one_scripted_node())))
        config = load_kubeconfig(environment.kubeconfig)
        identity = TaskIdentity(deployment="tests", dag_id="d", run_id="r", task_id="t")
        request = PodRequest(
            identity=identity,
            namespace="default",
            image="busybox",
            result="none",
            annotations={"scripted.podbay.dev/run-seconds": "1000"},
            termination_grace_period_seconds=1,
        )
        plan = PodPlan(build=lambda _: build_pod(request))
        try:
            async with desk.lease(config) as cluster:
                run = PodRun(cluster, plan, phases)
                ending = asyncio.create_task(run.run())
                await eventually(lambda: run.state.phase == "running")
                await asyncio.to_thread(stack.close)
                # It has gone in the middle of a TLS handshake, perhaps, which asyncio leaves to the garbage collector.
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ResourceWarning)
                    gc.collect()
                await eventually(lambda: any("not reached" in each for each in phases.told))
                run.kill("the test")
                outcome = await asyncio.wait_for(ending, PATIENCE)
        finally:
            await desk.aclose()
    said = next(each for each in phases.told if "not reached" in each)
    assert said.startswith("running: Its cluster is not reached: API server https://127.0.0.1:")
    assert said.endswith("It is waited for; the pod may go on meanwhile")
    assert outcome.kind == "killed"
    assert "Its cluster is not reached: " in outcome.message
    assert outcome.message.endswith("The pod may still be there, and go on.")
