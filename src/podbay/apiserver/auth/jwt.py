"""Compact JSON Web Signatures for service account tokens: sign, verify, publish the public key.

Only what kube-apiserver issues and accepts: RS256 and ES256/384/512, the algorithm fixed by the key and never
by the token, so `alg: none` and key confusion have nothing to work on. Claims are not judged here (tokens.py).
Source: RFC 7515, RFC 7517, kubernetes pkg/serviceaccount/{jwt,openidmetadata}.go.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

__all__ = ["PrivateKey", "PublicKey", "SigningKey", "VerificationKey", "unverified_claims", "verify"]

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_CURVES: dict[str, tuple[str, str, hashes.HashAlgorithm]] = {
    "secp256r1": ("ES256", "P-256", hashes.SHA256()),
    "secp384r1": ("ES384", "P-384", hashes.SHA384()),
    "secp521r1": ("ES512", "P-521", hashes.SHA512()),
}


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes | None:
    """Strict base64url without padding, or None."""
    if "=" in text or not text.isascii():
        return None
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key under the id that tokens name it by (the hash of its DER form)."""

    kid: str
    algorithm: str
    key: PublicKey

    @classmethod
    def of(cls, key: PublicKey) -> VerificationKey:
        der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        algorithm = "RS256" if isinstance(key, rsa.RSAPublicKey) else _CURVES[key.curve.name][0]
        return cls(_encode(hashlib.sha256(der).digest()), algorithm, key)

    def accepts(self, message: bytes, signature: bytes) -> bool:
        """Is this the key's signature of the message."""
        try:
            if isinstance(self.key, rsa.RSAPublicKey):
                self.key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
                return True
            size = (self.key.curve.key_size + 7) // 8
            if len(signature) != 2 * size:
                return False
            r, s = int.from_bytes(signature[:size]), int.from_bytes(signature[size:])
            self.key.verify(encode_dss_signature(r, s), message, ec.ECDSA(_CURVES[self.key.curve.name][2]))
        except InvalidSignature:
            return False
        return True

    def jwk(self) -> dict[str, str]:
        """The key as an entry of a JSON Web Key Set."""
        entry = {"use": "sig", "kty": "RSA", "kid": self.kid, "alg": self.algorithm}
        if isinstance(self.key, rsa.RSAPublicKey):
            rsa_numbers = self.key.public_numbers()
            return {**entry, "n": _encode(_unsigned(rsa_numbers.n)), "e": _encode(_unsigned(rsa_numbers.e))}
        numbers = self.key.public_numbers()
        size = (self.key.curve.key_size + 7) // 8
        point = {"x": _encode(numbers.x.to_bytes(size)), "y": _encode(numbers.y.to_bytes(size))}
        return {**entry, "kty": "EC", "crv": _CURVES[self.key.curve.name][1], **point}


def _unsigned(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key that signs tokens; its repr shows the id only."""

    key: PrivateKey = field(repr=False)
    public: VerificationKey

    @classmethod
    def of(cls, key: PrivateKey) -> SigningKey:
        return cls(key, VerificationKey.of(key.public_key()))

    def sign(self, claims: Mapping[str, Any]) -> str:
        """The compact token with these claims."""
        header = {"alg": self.public.algorithm, "kid": self.public.kid}
        message = f"{_encode(orjson.dumps(header))}.{_encode(orjson.dumps(claims))}"
        return f"{message}.{_encode(self._signature(message.encode()))}"

    def _signature(self, message: bytes) -> bytes:
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        size = (self.key.curve.key_size + 7) // 8
        r, s = decode_dss_signature(self.key.sign(message, ec.ECDSA(_CURVES[self.key.curve.name][2])))
        return r.to_bytes(size) + s.to_bytes(size)


def _json_part(text: str) -> dict[str, Any] | None:
    data = _decode(text)
    if data is None:
        return None
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def unverified_claims(token: str) -> dict[str, Any] | None:
    """The claims of something shaped like a token. Nothing vouches for them: use them to choose a verifier only."""
    parts = token.split(".")
    return _json_part(parts[1]) if len(parts) == 3 else None


def verify(token: str, keys: Mapping[str, VerificationKey]) -> dict[str, Any] | None:
    """The claims of a token that one of the keys (by id) signed, else None."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    header, signature = _json_part(parts[0]), _decode(parts[2])
    if header is None or signature is None or "crit" in header:
        return None
    kid = header.get("kid") or ""
    candidates = [keys[kid]] if kid in keys else [] if kid else list(keys.values())
    message = token.rpartition(".")[0].encode()
    for key in candidates:
        if header.get("alg") == key.algorithm and key.accepts(message, signature):
            return _json_part(parts[1])
    return None
