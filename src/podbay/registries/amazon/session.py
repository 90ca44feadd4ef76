"""Calls of AWS by boto3, one after the other, each of which can be shown before it is made; refusals as our own errors.

boto3 finds credentials and region by itself (environment, profile, web identity, instance); what it says about them names
no secret.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from podbay.errors import CredentialError, InvalidInputError, RegistryError

__all__ = ["Aws", "AwsCall"]

_SKEWED: Final = (
    "RequestTimeTooSkewed",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "RequestExpired",
)
_OLD: Final = ("ExpiredToken", "ExpiredTokenException")
_DENIED: Final = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")


@dataclass(frozen=True, slots=True)
class AwsCall:
    """One operation as the AWS command line writes it: iam attach-role-policy."""

    service: str
    operation: str
    parameters: Mapping[str, Any]
    region: str = ""

    def __str__(self) -> str:
        words = ["aws", self.service, self.operation]
        for name, value in self.parameters.items():
            text = value if isinstance(value, str) else orjson.dumps(value).decode()
            words += [f"--{_dashed(name)}", text]
        if self.region:
            words += ["--region", self.region]
        return shlex.join(words)


class Aws:
    """One identity. Calls block in a thread; errors are CredentialError, InvalidInputError and RegistryError."""

    def __init__(self, *, profile: str | None = None) -> None:
        self._profile = profile
        self._clients: dict[tuple[str, str], Any] = {}

    async def do(self, call: AwsCall) -> dict[str, Any]:
        """The answer. Raises KeyError with the code for what is not there (NoSuchEntity, …NotFoundException)."""
        return await asyncio.to_thread(self._do, call)

    def _do(self, call: AwsCall) -> dict[str, Any]:
        botocore = _botocore()
        try:
            client = self._client(call.service, call.region)
            answer: dict[str, Any] = getattr(client, call.operation.replace("-", "_"))(**call.parameters)
            return answer
        except botocore.ClientError as err:
            raise _refusal(call, err.response.get("Error") or {}) from err
        except (botocore.NoCredentialsError, botocore.PartialCredentialsError) as err:
            raise CredentialError(
                "AWS: no credentials here. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "or run where a role is attached."
            ) from err
        except botocore.NoRegionError as err:
            raise InvalidInputError("AWS: no region is chosen; give --region or set AWS_REGION") from err
        except botocore.ParamValidationError as err:
            raise InvalidInputError(f"AWS: {call.service} {call.operation}: {err}") from err
        except botocore.BotoCoreError as err:
            raise CredentialError(f"AWS: {call.service} {call.operation}: {err}") from err

    def _client(self, service: str, region: str) -> Any:
        if (service, region) not in self._clients:
            import boto3

            session = boto3.Session(profile_name=self._profile, region_name=region or None)
            self._clients[service, region] = session.client(service)
        return self._clients[service, region]


def _botocore() -> Any:
    try:
        import boto3  # noqa: F401
        import botocore.exceptions
    except ImportError:
        raise InvalidInputError("Amazon ECR needs boto3: pip install podbay[aws]") from None
    return botocore.exceptions


def _refusal(call: AwsCall, error: Mapping[str, Any]) -> Exception:
    code, said = str(error.get("Code") or ""), str(error.get("Message") or "")
    if "NotFound" in code or code in ("NoSuchEntity", "NoSuchEntityException"):
        return KeyError(code)
    if code in _SKEWED and (
        "expired" in said.lower() or "skew" in (code + said).lower() or "not yet" in said.lower()
    ):
        return CredentialError(
            f"AWS refuses the signature's time: set this machine's clock (NTP). It says: {said}"
        )
    if code in _OLD:
        return CredentialError(f"AWS: the session token has expired; log in to AWS again. It says: {said}")
    if code in (
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "SignatureDoesNotMatch",
        "AuthFailure",
    ):
        return CredentialError(f"AWS does not know these credentials ({code}): {said}")
    if code in _DENIED:
        # AWS's own sentence names principal, action and resource.
        return RegistryError("denied", f"AWS denies {call.service}:{call.operation}: {said}")
    return RegistryError("odd", f"AWS refuses {call.service} {call.operation} ({code}): {said}")


def _dashed(name: str) -> str:
    return "".join(f"-{each.lower()}" if each.isupper() else each for each in name).lstrip("-")
