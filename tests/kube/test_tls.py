"""Certificates in files that are written anew while they are used."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from parts import client_of
from self_signed import Authority

from podbay.errors import CredentialError
from podbay.kube.client import PODS
from podbay.kube.config import ClientCertificate, ClusterConfig
from podbay.kube.tls import TlsContexts


def two_authorities(directory: Path) -> tuple[Authority, Authority]:
    for name in ("one", "two"):
        (directory / name).mkdir()
    return Authority.make(directory / "one"), Authority.make(directory / "two")


def test_the_former_certificate_serves_in_the_middle_of_a_renewal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    used, renewed = two_authorities(tmp_path)
    shown = ClientCertificate(cert_path=used.certificate, key_path=used.key)
    contexts = TlsContexts(ClusterConfig(server="https://x", ca_path=used.certificate, certificate=shown))
    before = contexts.context(shown)
    assert before is not None
    with caplog.at_level(logging.WARNING):
        whole = renewed.certificate.read_text()
        used.certificate.write_text(whole[:100])
        assert contexts.context(shown) is before
        # The key is still that of the former certificate.
        used.certificate.write_text(whole)
        assert contexts.context(shown) is before
        used.key.unlink()
        assert contexts.context(shown) is before
    assert len(caplog.records) == 1
    used.key.write_text(renewed.key.read_text())
    after = contexts.context(shown)
    assert after is not None
    assert after is not before
    assert contexts.context(shown) is after


def test_nothing_stands_in_for_another_certificate(tmp_path: Path) -> None:
    good, other = two_authorities(tmp_path)
    contexts = TlsContexts(ClusterConfig(server="https://x", ca_path=good.certificate))
    assert contexts.context(ClientCertificate(cert_path=good.certificate, key_path=good.key)) is not None
    with pytest.raises(CredentialError, match="client certificate cannot be used"):
        contexts.context(ClientCertificate(cert_path=other.certificate, key_path=good.key))


async def test_files_that_were_never_good_are_an_error_of_the_credentials(tmp_path: Path) -> None:
    certificate, key = tmp_path / "c", tmp_path / "k"
    certificate.write_text("x")
    key.write_text("y")
    shown = ClientCertificate(cert_path=certificate, key_path=key)
    async with client_of(ClusterConfig(server="https://127.0.0.1:1", certificate=shown)) as client:
        with pytest.raises(CredentialError, match="client certificate cannot be used"):
            await client.get(PODS, "p", namespace="n")
