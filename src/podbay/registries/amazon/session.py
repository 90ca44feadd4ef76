"""Calls of AWS by boto3, one after the other, each of which can be shown before it is made; refusals as our own errors.

boto3 finds credentials and region by itself (environment, profile, web identity, instance); what it says about them names
no secret.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import orjson

from podbay.errors import CredentialError, InvalidInputError, RegistryError
from podbay.extras import pip_install
from podbay.kube.config import SecretText

__all__ = ["Aws", "AwsCall", "AwsKeys"]

T = TypeVar("T")

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


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsKeys:
    """Credentials that somebody hands over, instead of those that boto3 finds."""

    access_key: str
    secret_key: SecretText
    session_token: SecretText = field(default=SecretText(""))


class Aws:
    """One identity. Calls block in a thread; errors are CredentialError, InvalidInputError and RegistryError."""

    def __init__(
        self,
        *,
        profile: str | None = None,
        keys: AwsKeys | None = None,
        region: str = "",
        endpoints: Mapping[str, str] | None = None,
    ) -> None:
        self._profile = profile
        self._keys = keys
        self._region = region
        self._endpoints = endpoints or {}
        self._clients: dict[tuple[str, str], Any] = {}

    async def do(self, call: AwsCall) -> dict[str, Any]:
        """The answer. Raises KeyError with the code for what is not there (NoSuchEntity, …NotFoundException)."""
        return await asyncio.to_thread(self._do, call)

    async def use(self, call: AwsCall, work: Callable[[Any], T]) -> T:
        """What `work` makes of a client of its own; `call` names service and region, and the operation in errors."""
        return await asyncio.to_thread(self._use, call, work)

    async def assume(self, role_arn: str, *, session: str, external_id: str = "", region: str = "") -> Aws:
        """The role's identity, for an hour. Raises as `do`."""
        parameters = {"RoleArn": role_arn, "RoleSessionName": session}
        if external_id:
            parameters["ExternalId"] = external_id
        answer = await self.do(AwsCall("sts", "assume-role", parameters, region))
        given = answer["Credentials"]
        keys = AwsKeys(
            access_key=given["AccessKeyId"],
            secret_key=SecretText(given["SecretAccessKey"]),
            session_token=SecretText(given["SessionToken"]),
        )
        return Aws(keys=keys, region=region or self._region, endpoints=self._endpoints)

    def _do(self, call: AwsCall) -> dict[str, Any]:
        with _own_errors(call):
            key = (call.service, call.region)
            if key not in self._clients:
                self._clients[key] = self._client(*key)
            operation = getattr(self._clients[key], call.operation.replace("-", "_"))
            answer: dict[str, Any] = operation(**call.parameters)
            return answer

    def _use(self, call: AwsCall, work: Callable[[Any], T]) -> T:
        with _own_errors(call):
            return work(self._client(call.service, call.region))

    def _client(self, service: str, region: str) -> Any:
        import boto3

        keys = self._keys
        session = boto3.Session(
            profile_name=self._profile,
            region_name=region or self._region or None,
            aws_access_key_id=keys.access_key if keys else None,
            aws_secret_access_key=keys.secret_key.reveal() if keys else None,
            aws_session_token=(keys.session_token.reveal() or None) if keys else None,
        )
        endpoint = self._endpoints.get(service) or self._endpoints.get("")
        return session.client(service, endpoint_url=endpoint)


@contextmanager
def _own_errors(call: AwsCall) -> Iterator[None]:
    botocore = _botocore()
    try:
        yield
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
    except (OSError, ValueError) as err:
        # botocore reads the files of web identities and asks for container credentials by itself, with errors of Python's.
        raise CredentialError(f"AWS: the credentials cannot be had: {err}") from err


def _botocore() -> Any:
    try:
        import boto3  # noqa: F401
        import botocore.exceptions
    except ImportError:
        raise InvalidInputError(f"AWS needs boto3 here: {pip_install('aws')}") from None
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
