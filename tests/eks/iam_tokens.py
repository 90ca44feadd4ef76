"""EKS's side of a token: whose presigned request it is, by moto's STS, and what the cluster's access entries make of that.

moto knows keys, roles and identities, but takes no signature in a query. So the signature is computed here again, by
botocore with the secret that moto has, and moto's STS is then asked who the holder of that secret is. Rules as in
aws-iam-authenticator's verifier (sigs.k8s.io/aws-iam-authenticator, pkg/token) and the authentication of STS.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.iam.access_control import CreateAccessKeyFailure, create_access_key

ACCOUNT = "123456789012"
PREFIX = "k8s-aws-v1."
LIFE = timedelta(minutes=15)
SKEW = timedelta(minutes=5)
PARAMETERS = {
    "Action", "Version", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders",
    "X-Amz-Signature", "X-Amz-Security-Token",
}  # fmt: skip


class RefusedError(Exception):
    """Why a token or a signature does not hold."""


def url_of(token: str, *, host: str) -> str:
    """The request inside of a token, if it is one that may be sent on. Raises RefusedError."""
    if not token.startswith(PREFIX):
        raise RefusedError("token is missing the prefix k8s-aws-v1.")
    body = token.removeprefix(PREFIX)
    try:
        url = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode()
    except (binascii.Error, ValueError) as err:
        raise RefusedError("not base64") from err
    parts = urlsplit(url)
    query = parse_qs(parts.query, keep_blank_values=True)
    if parts.netloc != host or parts.path not in ("", "/"):
        raise RefusedError(f"unexpected address {parts.netloc}{parts.path}")
    if unknown := set(query) - PARAMETERS:
        raise RefusedError(f"parameter {min(unknown)} is not expected")
    if query.get("Action") != ["GetCallerIdentity"]:
        raise RefusedError("not GetCallerIdentity")
    if "x-k8s-aws-id" not in query.get("X-Amz-SignedHeaders", [""])[0].split(";"):
        raise RefusedError("the cluster is not signed")
    if not 0 <= int(query["X-Amz-Expires"][0]) <= LIFE.total_seconds():
        raise RefusedError("X-Amz-Expires")
    signed = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if not -SKEW < datetime.now(UTC) - signed < LIFE:
        raise RefusedError("the token has expired")
    return url


def caller(url: str, headers: Mapping[str, str], moto: str) -> str:
    """The ARN of who has signed this GET. Raises RefusedError."""
    query = parse_qs(urlsplit(url).query, keep_blank_values=True)
    key, _, region, service, _ = query["X-Amz-Credential"][0].split("/")
    token = query.get("X-Amz-Security-Token", [""])[0]
    try:
        known = create_access_key(ACCOUNT, "aws", key, {"X-Amz-Security-Token": token} if token else {})
    except CreateAccessKeyFailure as err:
        raise RefusedError(f"the access key is unknown: {err.reason}") from err
    found = known.create_credentials()
    pair: dict[str, Any] = {"aws_access_key_id": key, "aws_secret_access_key": found.secret_key}
    wanted = query["X-Amz-SignedHeaders"][0].split(";")
    missing = [name for name in wanted if name not in headers]
    if missing:
        raise RefusedError(f"signed header {missing[0]} is missing")
    plain = "&".join(part for part in url.split("&") if not part.startswith("X-Amz-Signature="))
    request = AWSRequest("GET", plain, headers={name: headers[name] for name in wanted})
    request.context["timestamp"] = query["X-Amz-Date"][0]
    signer = SigV4QueryAuth(Credentials(key, found.secret_key, token or None), service, region)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    if not hmac.compare_digest(signer.signature(text, request), query["X-Amz-Signature"][0]):
        raise RefusedError("the signature does not match")
    session = boto3.Session(**pair, aws_session_token=token or None, region_name=region)
    answer = session.client("sts", endpoint_url=moto).get_caller_identity()
    return str(answer["Arn"])


def role_of(arn: str) -> str:
    """The principal of an access entry: of a session of a role the role."""
    head, _, rest = arn.partition(":assumed-role/")
    if not rest:
        return arn
    return f"{head.replace(':sts:', ':iam:')}:role/{rest.split('/')[0]}"
