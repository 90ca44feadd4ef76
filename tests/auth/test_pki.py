"""Certificates: a real handshake with them, when they are kept and when they are made anew."""

from __future__ import annotations

import asyncio
import os
import ssl
import stat
import time
from datetime import timedelta
from pathlib import Path

import pytest
from auth_parts import HandClock
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from podbay.aio.clock import SystemClock
from podbay.apiserver.auth.certificates import CertificateSubject
from podbay.embedded.pki import Pki
from podbay.errors import StateError

FILES = ("admin.crt", "admin.key", "ca.crt", "ca.key", "sa.key", "server.crt", "server.key")


def _contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def test_files_are_private_and_complete(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        Pki.load_or_create(tmp_path / "a" / "pki", clock=HandClock())
    finally:
        os.umask(old)
    directory = tmp_path / "a" / "pki"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert sorted(p.name for p in directory.iterdir()) == list(FILES)
    assert {stat.S_IMODE(p.stat().st_mode) for p in directory.iterdir()} == {0o600}


def test_open_modes_are_closed(tmp_path: Path) -> None:
    directory = tmp_path / "pki"
    Pki.load_or_create(directory, clock=HandClock())
    directory.chmod(0o755)
    (directory / "ca.key").chmod(0o644)
    Pki.load_or_create(directory, clock=HandClock())
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "ca.key").stat().st_mode) == 0o600


async def test_handshake_with_and_without_a_client_certificate(tmp_path: Path) -> None:
    pki = Pki.load_or_create(tmp_path, clock=SystemClock(), hosts=("192.0.2.7", "box.example"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.serving_cert, pki.serving_key)
    context.load_verify_locations(pki.ca_cert)
    context.verify_mode = ssl.CERT_OPTIONAL
    seen: list[bytes | None] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("ssl_object").getpeercert(True))
        writer.write(b"x")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with server:
        for client_certificate in (False, True):
            client = ssl.create_default_context(cadata=pki.ca_pem)
            client.verify_flags |= ssl.VERIFY_X509_STRICT
            if client_certificate:
                client.load_cert_chain(tmp_path / "admin.crt", tmp_path / "admin.key")
            for name in (
                "localhost",
                "127.0.0.1",
                "::1",
                "kubernetes.default.svc",
                "10.96.0.1",
                "192.0.2.7",
                "box.example",
            ):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", port, ssl=client, server_hostname=name
                )
                assert await reader.read() == b"x"
                writer.close()
                await writer.wait_closed()
    without, certificate = seen[0], seen[-1]
    assert without is None
    assert certificate is not None
    subject = CertificateSubject.of_der(certificate)
    assert subject is not None
    assert (subject.common_name, subject.organizations) == ("kubernetes-admin", ("system:masters",))
    user = subject.user()
    assert user is not None
    assert user.extra["authentication.kubernetes.io/credential-id"][0].startswith("X509SHA256=")


def test_what_holds_is_kept(tmp_path: Path) -> None:
    clock = HandClock()
    first = Pki.load_or_create(tmp_path, clock=clock, hosts=("a.example",))
    before = _contents(tmp_path)
    clock.forward(timedelta(days=300).total_seconds())
    second = Pki.load_or_create(tmp_path, clock=clock)
    assert _contents(tmp_path) == before
    assert second.signing_key.public.kid == first.signing_key.public.kid
    assert list(second.verification_keys) == [first.signing_key.public.kid]


@pytest.mark.parametrize(
    ("days", "renewed"),
    [
        (336, {"server.crt", "server.key", "admin.crt", "admin.key"}),
        (3630, set(FILES) - {"sa.key"}),
        (-1, set(FILES) - {"sa.key"}),
    ],
)
def test_renewal_near_the_end(tmp_path: Path, days: int, renewed: set[str]) -> None:
    clock = HandClock()
    Pki.load_or_create(tmp_path, clock=clock)
    before = _contents(tmp_path)
    clock.forward(timedelta(days=days).total_seconds())
    Pki.load_or_create(tmp_path, clock=clock)
    after = _contents(tmp_path)
    assert {name for name in FILES if before[name] != after[name]} == renewed


def test_new_host_renews_the_serving_certificate_only(tmp_path: Path) -> None:
    Pki.load_or_create(tmp_path, clock=HandClock())
    before = _contents(tmp_path)
    Pki.load_or_create(tmp_path, clock=HandClock(), hosts=("192.0.2.1",))
    after = _contents(tmp_path)
    assert {name for name in FILES if before[name] != after[name]} == {"server.crt", "server.key"}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", [b"", b"garbage \xff", None])
def test_damaged_and_missing_files_are_made_anew(tmp_path: Path, name: str, content: bytes | None) -> None:
    Pki.load_or_create(tmp_path, clock=HandClock())
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    pki = Pki.load_or_create(tmp_path, clock=HandClock())
    ca = x509.load_pem_x509_certificate(pki.ca_pem.encode())
    for leaf in ("server", "admin"):
        certificate = x509.load_pem_x509_certificate((tmp_path / f"{leaf}.crt").read_bytes())
        certificate.verify_directly_issued_by(ca)
        key = serialization.load_pem_private_key((tmp_path / f"{leaf}.key").read_bytes(), None)
        assert key.public_key() == certificate.public_key()


def test_certificate_of_another_key_is_not_used(tmp_path: Path) -> None:
    Pki.load_or_create(tmp_path / "a", clock=HandClock())
    Pki.load_or_create(tmp_path / "b", clock=HandClock())
    (tmp_path / "a" / "admin.crt").write_bytes((tmp_path / "b" / "admin.crt").read_bytes())
    pki = Pki.load_or_create(tmp_path / "a", clock=HandClock())
    x509.load_pem_x509_certificate(pki.admin_cert_pem.encode()).verify_directly_issued_by(
        x509.load_pem_x509_certificate(pki.ca_pem.encode())
    )


def test_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StateError, match=r"cannot keep the cluster's certificates in .*file/pki.*PODBAY_HOME"
    ):
        Pki.load_or_create(tmp_path / "file" / "pki", clock=HandClock())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_directory_is_one_clear_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StateError, match="Permission denied"):
            Pki.load_or_create(tmp_path, clock=HandClock())
    finally:
        tmp_path.chmod(0o700)


def test_repr_shows_no_key(tmp_path: Path) -> None:
    shown = repr(Pki.load_or_create(tmp_path, clock=HandClock()))
    assert "BEGIN" not in shown
    assert "PrivateKey" not in shown


def test_generation_is_quick(tmp_path: Path) -> None:
    """Aim: 50 ms for everything; ten times that fails on any machine."""
    start = time.thread_time()
    Pki.load_or_create(tmp_path, clock=HandClock())
    assert time.thread_time() - start < 0.5


def test_unreadable_certificate_is_nobody() -> None:
    assert CertificateSubject.of_der(b"no certificate") is None
