"""The cluster's own certificate authority and keys, kept in one directory and reused while they hold.

    ca.crt, ca.key          signs the other two; in every kubeconfig
    server.crt, server.key  what the API server shows on its port
    admin.crt, admin.key    client certificate of the administrator (group system:masters)
    sa.key                  signs service account tokens

Elliptic curve P-256 throughout, so that a first start takes milliseconds. Not for reading client certificates
(apiserver/auth/certificates.py). Source: RFC 5280, https://kubernetes.io/docs/setup/best-practices/certificates.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from podbay.aio.clock import Clock
from podbay.apiserver.auth.jwt import SigningKey, VerificationKey
from podbay.embedded.private_files import make_private_directory, write_private
from podbay.errors import StateError

__all__ = ["Pki"]

_CA_LIFETIME = timedelta(days=3650)
_LEAF_LIFETIME = timedelta(days=365)
"""Some clients refuse server certificates that live longer than 398 days."""
_RENEW_BEFORE_END = timedelta(days=30)
_CLOCK_SKEW = timedelta(hours=1)
"""Certificates begin this much early, for containers and virtual machines whose clock is behind."""

SERVICE_IP = "10.96.0.1"
"""Address of the `kubernetes` service, the first of the default service range."""
_NAMES = (
    "localhost",
    "127.0.0.1",
    "::1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    SERVICE_IP,
)


@dataclass(frozen=True, kw_only=True)
class Pki:
    """All certificates and keys of a cluster. Paths are for TLS, which reads files; texts are PEM."""

    ca_cert: Path
    serving_cert: Path
    serving_key: Path
    ca_pem: str = field(repr=False)
    admin_cert_pem: str = field(repr=False)
    admin_key_pem: str = field(repr=False)
    signing_key: SigningKey

    @property
    def verification_keys(self) -> Mapping[str, VerificationKey]:
        """The keys by which service account tokens are checked, by their ids."""
        return {self.signing_key.public.kid: self.signing_key.public}

    @classmethod
    def load_or_create(cls, directory: Path, *, clock: Clock, hosts: Sequence[str] = ()) -> Pki:
        """Read what the directory has and make what is missing, damaged, near its end or for other hosts.

        hosts are further names or addresses that clients reach the server by. Raises StateError when the
        directory cannot be read or written.
        """
        try:
            make_private_directory(directory)
            return _load_or_create(directory, clock.now(), tuple(dict.fromkeys((*_NAMES, *hosts))))
        except OSError as err:
            raise StateError(
                f"cannot keep the cluster's certificates in {directory}: {err.strerror or err}. "
                "Make the directory readable and writable for you, or set PODBAY_HOME to another place."
            ) from err


@dataclass(frozen=True, slots=True)
class _Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def _load_or_create(directory: Path, now: datetime, names: tuple[str, ...]) -> Pki:
    ca = _load(directory, "ca", now)
    if ca is None:
        ca = _new_ca(now)
        _store(directory, "ca", ca)
    server = _load(directory, "server", now, issuer=ca)
    if server is None or not _covers(server.certificate, names):
        server = _new_leaf(ca, now, "kube-apiserver", names=names)
        _store(directory, "server", server)
    admin = _load(directory, "admin", now, issuer=ca)
    if admin is None:
        admin = _new_leaf(ca, now, "kubernetes-admin", organization="system:masters")
        _store(directory, "admin", admin)
    return Pki(
        ca_cert=directory / "ca.crt",
        serving_cert=directory / "server.crt",
        serving_key=directory / "server.key",
        ca_pem=ca.certificate_pem().decode(),
        admin_cert_pem=admin.certificate_pem().decode(),
        admin_key_pem=_key_pem(admin.key).decode(),
        signing_key=SigningKey.of(_signing_key(directory)),
    )


def _signing_key(directory: Path) -> ec.EllipticCurvePrivateKey:
    key = _load_key(directory / "sa.key")
    if key is None:
        key = ec.generate_private_key(ec.SECP256R1())
        write_private(directory / "sa.key", _key_pem(key))
    return key


def _load(directory: Path, name: str, now: datetime, *, issuer: _Pair | None = None) -> _Pair | None:
    """The pair when it is there, whole, signed by the issuer and good for a while; else None."""
    key = _load_key(directory / f"{name}.key")
    try:
        certificate = x509.load_pem_x509_certificate((directory / f"{name}.crt").read_bytes())
        if issuer is not None:
            certificate.verify_directly_issued_by(issuer.certificate)
    except (FileNotFoundError, ValueError, TypeError, InvalidSignature):
        return None
    if key is None or certificate.public_key() != key.public_key():
        return None
    in_time = certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - _RENEW_BEFORE_END
    return _Pair(certificate, key) if in_time else None


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    try:
        path.chmod(0o600)
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _store(directory: Path, name: str, pair: _Pair) -> None:
    write_private(directory / f"{name}.key", _key_pem(pair.key))
    write_private(directory / f"{name}.crt", pair.certificate_pem())


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _new_ca(now: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    # The time in the name keeps a renewed authority apart from the one that an old kubeconfig trusts.
    subject = _subject(f"podbay-ca@{int(now.timestamp())}")
    builder = _builder(subject, key.public_key(), now, _CA_LIFETIME).issuer_name(subject)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(ca=True), critical=True)
    return _Pair(builder.sign(key, hashes.SHA256()), key)


def _new_leaf(
    ca: _Pair, now: datetime, common_name: str, *, organization: str = "", names: Sequence[str] = ()
) -> _Pair:
    """A server certificate when there are names for it, else a client certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    usage = ExtendedKeyUsageOID.SERVER_AUTH if names else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = _builder(_subject(common_name, organization), key.public_key(), now, _LEAF_LIFETIME)
    builder = builder.issuer_name(ca.certificate.subject)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(ca=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key())
    builder = builder.add_extension(authority, critical=False)
    if names:
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    return _Pair(builder.sign(ca.key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - _CLOCK_SKEW).not_valid_after(now + lifetime)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _subject(common_name: str, organization: str = "") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not ca,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _covers(certificate: x509.Certificate, names: Sequence[str]) -> bool:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return {_general_name(name) for name in names} <= set(found)
