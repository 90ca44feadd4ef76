"""What outside services need to check service account tokens: the two OpenID discovery documents.

Source: kubernetes pkg/serviceaccount/openidmetadata.go, OpenID Connect Discovery 1.0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from podbay.apiserver.auth.jwt import VerificationKey

__all__ = ["CACHE_CONTROL", "CONFIG_PATH", "JWKS_CONTENT_TYPE", "JWKS_PATH", "jwks", "openid_configuration"]

CONFIG_PATH = "/.well-known/openid-configuration"
JWKS_PATH = "/openid/v1/jwks"
JWKS_CONTENT_TYPE = "application/jwk-set+json"
CACHE_CONTROL = "public, max-age=3600"
"""Header of both answers; keys may be cached for an hour."""


def openid_configuration(issuer: str, jwks_uri: str, keys: Iterable[VerificationKey]) -> dict[str, Any]:
    """The discovery document. jwks_uri is where clients outside reach JWKS_PATH (https://host:port/openid/v1/jwks)."""
    return {
        "issuer": issuer,
        "jwks_uri": jwks_uri,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": sorted({key.algorithm for key in keys}),
    }


def jwks(keys: Iterable[VerificationKey]) -> dict[str, Any]:
    """The JSON Web Key Set of the keys that sign tokens."""
    return {"keys": [key.jwk() for key in keys]}
