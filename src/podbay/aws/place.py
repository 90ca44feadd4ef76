"""What a connection says of an EKS cluster (`podbay_eks`), and what an AWS connection of Airflow says of an identity. Pure.

Fields of AWS connections: airflow.providers.amazon.aws.utils.connection_wrapper.AwsConnectionWrapper.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from podbay.errors import InvalidInputError
from podbay.kube.config import SecretText

__all__ = ["FIELD", "AwsLogin", "EksPlace", "read_aws_login"]

FIELD: Final = "podbay_eks"
"""In the extra of a Kubernetes connection."""
_CLUSTER: Final = re.compile(r"[0-9A-Za-z][\w-]{0,99}")
_REGION: Final = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]+")
_ROLE: Final = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class EksPlace:
    """Which cluster, as whom. Holds no secret. Equal ones share tokens."""

    cluster_name: str
    region: str
    role_arn: str = ""
    """Assumed before anything is asked; else the identity itself."""
    external_id: str = ""
    aws_conn_id: str = ""
    """Airflow's AWS connection; else what boto3 finds: environment, profile, IRSA, Pod Identity, instance."""
    profile: str = ""

    def __post_init__(self) -> None:
        for name, pattern, example in (
            ("cluster_name", _CLUSTER, "gpu-cluster"),
            ("region", _REGION, "us-east-1"),
        ):
            if not pattern.fullmatch(getattr(self, name)):
                raise InvalidInputError(
                    f"{FIELD}.{name}: {getattr(self, name)!r} is none; write it as {example}"
                )
        if self.role_arn and not _ROLE.fullmatch(self.role_arn):
            raise InvalidInputError(
                f"{FIELD}.role_arn: {self.role_arn!r} is no role; write arn:aws:iam::111122223333:role/NAME"
            )
        if self.aws_conn_id and self.profile:
            raise InvalidInputError(f"{FIELD}: aws_conn_id and profile are two identities; keep one")

    def __str__(self) -> str:
        return f"EKS cluster {self.cluster_name} in {self.region}"

    @property
    def source(self) -> str:
        """Unlike for places whose tokens must not be shared."""
        who = self.aws_conn_id or self.profile or "default"
        acting = f" as {self.role_arn} {self.external_id}".rstrip() if self.role_arn else ""
        return f"{self} by {who}{acting}"

    def to_extra(self) -> dict[str, str]:
        """The fields that are set."""
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsLogin:
    """An identity as Airflow stores it."""

    access_key: str = ""
    secret_key: SecretText = field(default=SecretText(""))
    session_token: SecretText = field(default=SecretText(""))
    profile: str = ""
    endpoints: Mapping[str, str] = field(default_factory=dict)
    """Addresses by service; "" for all others."""
    role_arn: str = ""
    external_id: str = ""


def read_aws_login(
    name: str, *, login: str | None, password: str | None, extra: Mapping[str, Any]
) -> AwsLogin:
    """From an AWS connection's fields. Raises InvalidInputError for ways that are not supported."""
    method = extra.get("assume_role_method") or "assume_role"
    if extra.get("role_arn") and method != "assume_role":
        raise InvalidInputError(
            f"connection {name}: assume_role_method: {method} is not supported; only assume_role is. With a web "
            "identity (IRSA) leave the connection away: it is found by itself."
        )
    access = str(login or extra.get("aws_access_key_id") or "")
    secret = str(password or extra.get("aws_secret_access_key") or "")
    if bool(access) != bool(secret):
        raise InvalidInputError(
            f"connection {name}: an access key needs both its id (login) and its secret (password)"
        )
    return AwsLogin(
        access_key=access,
        secret_key=SecretText(secret),
        session_token=SecretText(str(extra.get("aws_session_token") or "")),
        profile=str(extra.get("profile_name") or ""),
        endpoints=_endpoints(extra),
        role_arn=str(extra.get("role_arn") or ""),
        external_id=str(_mapping(extra, "assume_role_kwargs").get("ExternalId") or ""),
    )


def _endpoints(extra: Mapping[str, Any]) -> dict[str, str]:
    services = _mapping(extra, "service_config")
    found = {"": str(extra.get("endpoint_url") or "")}
    found |= {name: str(_mapping(services, name).get("endpoint_url") or "") for name in services}
    return {name: url for name, url in found.items() if url}


def _mapping(extra: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = extra.get(name)
    return found if isinstance(found, Mapping) else {}
