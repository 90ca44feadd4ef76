"""Who a verified client certificate speaks for: CN is the user, each O a group.

TLS has checked the chain before this is asked. Not for making certificates (embedded/pki.py).
Source: k8s.io/apiserver/pkg/authentication/request/x509/x509.go.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from podbay.apiserver.request import User

__all__ = ["CertificateSubject"]

_UID_OID = x509.ObjectIdentifier("1.3.6.1.4.1.57683.2")
"""Kubernetes' own attribute for a user's uid in a certificate subject."""


@dataclass(frozen=True, slots=True)
class CertificateSubject:
    """The parts of a client certificate that make a user."""

    common_name: str
    organizations: tuple[str, ...] = ()
    uid: str = ""
    fingerprint: str = ""
    """SHA-256 of the certificate in hex; becomes the user's credential id."""

    @classmethod
    @functools.lru_cache(maxsize=256)  # a connection shows the same certificate with each request
    def of_der(cls, der: bytes) -> CertificateSubject | None:
        """Read a DER certificate (`ssl_object.getpeercert(True)`); None when it cannot be read."""
        try:
            subject = x509.load_der_x509_certificate(der).subject
        except ValueError:
            return None
        names = [str(a.value) for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        uids = [str(a.value) for a in subject.get_attributes_for_oid(_UID_OID)]
        organizations = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        return cls(
            names[-1] if names else "",
            tuple(str(a.value) for a in organizations),
            uids[0] if len(uids) == 1 else "",
            hashlib.sha256(der).hexdigest(),
        )

    def user(self) -> User | None:
        """The user, without the group that every authenticated user has; None without a common name."""
        if not self.common_name:
            return None
        credential = {"authentication.kubernetes.io/credential-id": (f"X509SHA256={self.fingerprint}",)}
        return User(self.common_name, self.uid, self.organizations, credential if self.fingerprint else {})
