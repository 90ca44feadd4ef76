"""ECR's hosts, and authorization tokens for them: user AWS, valid for 12 hours, for all that the caller may pull.

Source: https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html; spec 54-60.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from podbay.errors import InvalidInputError, RegistryError
from podbay.kube.config import SecretText
from podbay.registries.amazon.session import Aws, AwsCall
from podbay.registries.logins import Login

__all__ = ["PUBLIC_HOST", "EcrHost", "EcrToken", "ecr_host", "is_ecr", "mint_token"]

PUBLIC_HOST: Final = "public.ecr.aws"
_PUBLIC_REGION: Final = "us-east-1"
"""Tokens for ECR Public are had here only."""
_HOST: Final = re.compile(
    r"(?P<account>[0-9]{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z]{2,}(?:-[a-z]+)+-[0-9]+)\.(?P<suffix>amazonaws\.com(?:\.cn)?|on\.aws|on\.amazonwebservices\.com\.cn)"
)


@dataclass(frozen=True, slots=True)
class EcrHost:
    """Account and region of a private registry; both empty for ECR Public."""

    host: str
    account: str = ""
    region: str = ""

    @property
    def partition(self) -> str:
        """The first part of its ARNs after `arn`."""
        if self.region.startswith("cn-"):
            return "aws-cn"
        return "aws-us-gov" if self.region.startswith("us-gov-") else "aws"


@dataclass(frozen=True, slots=True)
class EcrToken:
    """A login and the end of its life."""

    login: Login
    expires: datetime


def is_ecr(host: str) -> bool:
    """Whether tokens for this registry are had from AWS."""
    return host == PUBLIC_HOST or _HOST.fullmatch(host) is not None


def ecr_host(host: str) -> EcrHost:
    """The parts of the name. Raises InvalidInputError."""
    if host == PUBLIC_HOST:
        return EcrHost(host)
    found = _HOST.fullmatch(host)
    if found is None:
        raise InvalidInputError(
            f"{host} is not an ECR registry such as 123456789012.dkr.ecr.eu-central-1.amazonaws.com or {PUBLIC_HOST}"
        )
    return EcrHost(host, found["account"], found["region"])


async def mint_token(aws: Aws, host: str) -> EcrToken:
    """A new token. Raises CredentialError, or RegistryError that names the action which lacks."""
    parsed = ecr_host(host)
    if parsed.account:
        # The token opens every registry that the caller may pull from; the account of the host is in the host only.
        answer = await aws.do(AwsCall("ecr", "get-authorization-token", {}, parsed.region))
        listed: list[Any] = answer.get("authorizationData") or []
        data: Any = listed[0] if listed else {}
    else:
        answer = await aws.do(AwsCall("ecr-public", "get-authorization-token", {}, _PUBLIC_REGION))
        data = answer.get("authorizationData") or {}
    try:
        user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
        expires: datetime = data["expiresAt"]
    except (KeyError, ValueError, TypeError):
        raise RegistryError("odd", f"AWS answers without a token for {host}") from None
    return EcrToken(Login(user, SecretText(password)), expires.astimezone(UTC))
