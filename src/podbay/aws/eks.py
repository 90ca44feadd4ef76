"""An EKS cluster as a ClusterConfig: address and authority from DescribeCluster, tokens signed in this process.

Nothing is written down: neither a token nor a kubeconfig. The client mints anew before a token ends, and after a 401.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from podbay.aws.place import AwsLogin, EksPlace
from podbay.aws.token import CLUSTER_HEADER, URL_SECONDS, token_end, token_of
from podbay.errors import CredentialError, InvalidInputError, PodbayError, RegistryError
from podbay.kube.config import ClusterConfig, MintedToken, SecretText, TokenSource
from podbay.registries.amazon.session import Aws, AwsCall, AwsKeys

__all__ = ["Identity", "eks_config", "identity_of", "mint_token"]

Identity: TypeAlias = Callable[[], Awaitable[AwsLogin]]
"""Asked anew for each token: a connection may have been changed."""
SESSION: Final = "podbay"
_NOBODY: Final = AwsLogin()


async def identity_of(place: EksPlace, login: AwsLogin = _NOBODY) -> Aws:
    """Who acts: the login, its role, the place's role, one after the other. Raises CredentialError."""
    keys = None
    if login.access_key:
        keys = AwsKeys(
            access_key=login.access_key, secret_key=login.secret_key, session_token=login.session_token
        )
    aws = Aws(
        profile=place.profile or login.profile or None,
        keys=keys,
        region=place.region,
        endpoints=login.endpoints,
    )
    for role, external_id in ((login.role_arn, login.external_id), (place.role_arn, place.external_id)):
        if role:
            aws = await _assume(aws, role, external_id, place)
    return aws


async def _assume(aws: Aws, role: str, external_id: str, place: EksPlace) -> Aws:
    try:
        return await aws.assume(role, session=SESSION, external_id=external_id, region=place.region)
    except RegistryError as err:
        raise CredentialError(
            f"{place}: role {role} may not be assumed: {err}. Its trust policy must name who asks, and who asks needs "
            "sts:AssumeRole on it: podbay aws trust-policy caller --principal ARN"
        ) from err
    except KeyError as err:
        raise CredentialError(f"{place}: there is no role {role}") from err


async def mint_token(place: EksPlace, login: AwsLogin = _NOBODY) -> MintedToken:
    """A token for 14 minutes. Raises CredentialError."""
    try:
        aws = await identity_of(place, login)
        now = datetime.now(UTC)
        call = AwsCall("sts", "get-caller-identity", {}, place.region)
        url = await aws.use(call, lambda client: _presign(client, place.cluster_name))
    except (RegistryError, InvalidInputError) as err:
        raise CredentialError(f"{place}: no token: {err}") from err
    return MintedToken(SecretText(token_of(url)), token_end(now))


def _presign(client: Any, cluster: str) -> str:
    def name_cluster(request: Any, **_: Any) -> None:
        request.headers[CLUSTER_HEADER] = cluster

    # The client is made for this one URL, so nobody else's requests get the header.
    client.meta.events.register("before-sign.sts.GetCallerIdentity", name_cluster)
    url: str = client.generate_presigned_url("get_caller_identity", ExpiresIn=URL_SECONDS, HttpMethod="GET")
    return url


async def eks_config(place: EksPlace, identity: Identity | None = None) -> ClusterConfig:
    """Where the cluster is, and how tokens for it are had. Equal for equal places, whoever asks.

    Raises CredentialError, and InvalidInputError for a cluster that is not there.
    """

    async def login() -> AwsLogin:
        return await identity() if identity is not None else _NOBODY

    async def mint() -> MintedToken:
        try:
            return await mint_token(place, await login())
        except CredentialError:
            raise
        except (PodbayError, TimeoutError) as err:
            raise CredentialError(f"{place}: no token: {err}") from err

    described = await _describe(place, await login())
    return ClusterConfig(
        server=described["endpoint"].rstrip("/"),
        ca_pem=_authority(described, place),
        credential=TokenSource(place.source, mint),
        context=str(described["arn"]),
        origin=str(place),
    )


async def _describe(place: EksPlace, login: AwsLogin) -> dict[str, Any]:
    aws = await identity_of(place, login)
    call = AwsCall("eks", "describe-cluster", {"name": place.cluster_name}, place.region)
    try:
        found: dict[str, Any] = (await aws.do(call))["cluster"]
    except KeyError:
        raise InvalidInputError(
            f"there is no {place}{await _others(aws, place)}. Check name, region and account."
        ) from None
    except RegistryError as err:
        raise CredentialError(
            f"{place}: its address may not be read: {err}. Allow eks:DescribeCluster on it."
        ) from err
    status = str(found.get("status") or "")
    if not found.get("endpoint") or not found.get("certificateAuthority"):
        raise InvalidInputError(
            f"{place} has no address yet: its status is {status}. Wait until it is ACTIVE."
        )
    return found


async def _others(aws: Aws, place: EksPlace) -> str:
    """What there is instead, if one may know."""
    try:
        answer = await aws.do(AwsCall("eks", "list-clusters", {}, place.region))
    except (PodbayError, KeyError):
        return ""
    names = sorted(map(str, answer.get("clusters") or ()))
    return f"; {place.region} has {', '.join(names)}" if names else f"; {place.region} has none"


def _authority(described: dict[str, Any], place: EksPlace) -> str:
    try:
        text = base64.b64decode(described["certificateAuthority"]["data"]).decode("ascii")
    except (KeyError, TypeError, binascii.Error, UnicodeDecodeError):
        text = ""
    if "-----BEGIN" not in text:
        raise InvalidInputError(f"{place}: AWS tells of no certificate authority that can be read")
    return text
