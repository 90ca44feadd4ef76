"""Google Artifact Registry: access tokens as logins, valid for an hour, and the grant that a principal needs. Extra `gcp`.

google-auth finds the identity by itself: a service account's file, workload identity federation, the metadata server.
Source: https://cloud.google.com/artifact-registry/docs/docker/authentication; spec 63.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from podbay.errors import CredentialError, InvalidInputError
from podbay.extras import pip_install
from podbay.kube.config import SecretText
from podbay.registries.image_name import parse_image_name
from podbay.registries.logins import Login

__all__ = ["GoogleToken", "grant_command", "is_google", "mint_google_token"]

_USER: Final = "oauth2accesstoken"
_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_HOST: Final = re.compile(r"(?P<location>[a-z0-9-]+)-docker\.pkg\.dev|(?:[a-z]+\.)?gcr\.io")
_PRINCIPAL: Final = re.compile(r"(?:serviceAccount|user|group):[^@\s*]+@[^@\s*]+|principal(?:Set)?://[^\s]+")


@dataclass(frozen=True, slots=True)
class GoogleToken:
    """A login and the end of its life."""

    login: Login
    expires: datetime | None


def is_google(host: str) -> bool:
    """Whether tokens for this registry are had from Google."""
    return _HOST.fullmatch(host) is not None


async def mint_google_token(load: Callable[[], Any] | None = None) -> GoogleToken:
    """A new access token of this process's identity. Raises CredentialError, InvalidInputError without google-auth."""
    return await asyncio.to_thread(_mint, load)


def _mint(load: Callable[[], Any] | None) -> GoogleToken:
    try:
        import google.auth
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request
    except ImportError:
        raise InvalidInputError(f"Google Artifact Registry needs google-auth: {pip_install('gcp')}") from None
    try:
        credentials = load() if load is not None else google.auth.default(scopes=[_SCOPE])[0]
        credentials.refresh(Request())
    except GoogleAuthError as err:
        raise CredentialError(
            f"Google gives no token: {_first(err)}. Set GOOGLE_APPLICATION_CREDENTIALS to a service account's file, "
            "log in with `gcloud auth application-default login`, or run where a service account is attached."
        ) from err
    expires = credentials.expiry.replace(tzinfo=UTC) if credentials.expiry else None
    return GoogleToken(Login(_USER, SecretText(str(credentials.token))), expires)


def _first(error: Exception) -> str:
    """The error's sentence; the answer that google-auth adds as a second argument may be long."""
    return str(error.args[0] if error.args else error).strip().rstrip(".")[:300]


def grant_command(image: str, principal: str) -> str:
    """The command by which the repository's owner lets a principal pull. Raises InvalidInputError."""
    name = parse_image_name(image)
    found = _HOST.fullmatch(name.registry)
    parts = name.path.split("/")
    if found is None or not found["location"] or len(parts) < 2:
        raise InvalidInputError(
            f"{image}: an Artifact Registry image is LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/NAME"
        )
    if "@" in principal and ":" not in principal:
        principal = f"serviceAccount:{principal}"
    if not _PRINCIPAL.fullmatch(principal) or "allUsers" in principal:
        raise InvalidInputError(
            f"principal {principal}: write the address of a service account, or user:ADDRESS"
        )
    words = [
        "gcloud",
        "artifacts",
        "repositories",
        "add-iam-policy-binding",
        parts[1],
        f"--project={parts[0]}",
    ]
    words += [
        f"--location={found['location']}",
        f"--member={principal}",
        "--role=roles/artifactregistry.reader",
    ]
    return shlex.join(words)
