"""Tokens and certificates that prove nothing."""

from __future__ import annotations

import base64
import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from raw_server import CONFIG_MAPS, Server, Wire

ACCOUNT = "/api/v1/namespaces/default/serviceaccounts/default"


def encoded(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def token_of(server: Server, seconds: int = 600) -> str:
    body = json.dumps({"spec": {"expirationSeconds": seconds}}).encode()
    issued = server.ask("POST", f"{ACCOUNT}/token", body)
    assert issued.status == 201, issued.body
    token: str = issued.json()["status"]["token"]
    return token


def refused(server: Server, authorization: str) -> None:
    answer = server.ask("GET", CONFIG_MAPS, headers={"Authorization": authorization})
    assert (answer.status, answer.message) == (401, "Unauthorized")


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer nonsense",
        "Bearer a.b.c",
        "Bearer " + "x" * 100_000,
        "Bearer ....",
        f"Bearer {encoded({'alg': 'none'})}.{encoded({'sub': 'system:serviceaccount:default:default'})}.",
        "Bearer \u00e9",
    ],
)
def test_tokens_that_are_none(server: Server, authorization: str) -> None:
    refused(server, authorization)


@pytest.mark.parametrize("authorization", ["Basic YTpi", "Bearer", "Bearer ", "Negotiate x", "bearer"])
def test_nobody_in_particular(server: Server, authorization: str) -> None:
    """Other schemes are not looked at: the request is anonymous."""
    answer = server.ask("GET", CONFIG_MAPS, headers={"Authorization": authorization})
    assert (answer.status, answer.json()["reason"]) == (403, "Forbidden")
    assert 'User "system:anonymous" cannot list resource "configmaps"' in answer.message


def test_changed_tokens(server: Server) -> None:
    head, claims, signature = token_of(server).split(".")
    stolen = json.loads(base64.urlsafe_b64decode(claims + "=="))
    stolen["sub"] = "system:serviceaccount:kube-system:default"
    refused(server, f"Bearer {head}.{encoded(stolen)}.{signature}")
    refused(server, f"Bearer {encoded({'alg': 'none', 'typ': 'JWT'})}.{claims}.")
    refused(server, f"Bearer {encoded({'alg': 'HS256', 'typ': 'JWT'})}.{claims}.{signature}")
    refused(server, f"Bearer {head}.{claims}.{signature[:-4]}AAAA")
    refused(server, f"Bearer {head}.{claims}")


def test_a_foreign_key(server: Server) -> None:
    """A token of the same shape, signed by somebody else."""
    head, claims, _ = token_of(server).split(".")
    key = ec.generate_private_key(ec.SECP256R1())
    signed = key.sign(f"{head}.{claims}".encode(), ec.ECDSA(hashes.SHA256()))
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    r, s = decode_dss_signature(signed)
    raw = base64.urlsafe_b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).rstrip(b"=").decode()
    refused(server, f"Bearer {head}.{claims}.{raw}")


def test_a_good_token_is_let_in(server: Server) -> None:
    answer = server.ask("GET", CONFIG_MAPS, headers={"Authorization": f"Bearer {token_of(server)}"})
    assert answer.status == 403
    assert 'User "system:serviceaccount:default:default" cannot list' in answer.message


def _certificate(directory: Path, *, days: int, organization: str = "system:masters") -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes-admin"),
        ]
    )
    now = datetime.now(UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / "crt").write_bytes(cert.public_bytes(pem))
    (directory / "key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    )
    return directory / "crt", directory / "key"


@pytest.mark.parametrize("days", [10, -1])
def test_certificates_of_another_authority(server: Server, tmp_path: Path, days: int) -> None:
    """They get nowhere: not as their name, not as anonymous."""
    context = server.tls()
    context.load_cert_chain(*_certificate(tmp_path, days=days))
    try:
        wire = Wire(server.address, context)
        wire.send(f"GET {CONFIG_MAPS} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = wire.read()
        wire.close()
    except (ssl.SSLError, ConnectionError):
        return
    assert answer is None or answer.status == 401


def test_old_protocols(server: Server) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    Wire(server.address, context).close()


def test_who_acts_as_another_does_so_on_every_path(server: Server) -> None:
    """Paths of our own included: the administrator's own rights count for nothing then."""
    for path in (CONFIG_MAPS, "/podbay.dev/v1/faults"):
        assert server.ask("GET", path).status == 200
        answer = server.ask("GET", path, headers={"Impersonate-User": "eve"})
        assert (answer.status, answer.json()["reason"]) == (403, "Forbidden")
        assert 'User "eve" cannot' in answer.message
    admins = {"Impersonate-User": "eve", "Impersonate-Group": "system:masters"}
    assert server.ask("GET", "/podbay.dev/v1/faults", headers=admins).status == 200


def test_secrets_are_not_logged(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    token = token_of(server)
    server.ask("GET", "/nope", headers={"Authorization": f"Bearer {token}x"})
    server.ask("GET", f"/api/v1/{token}")
    assert token not in caplog.text
    assert server.token not in caplog.text
