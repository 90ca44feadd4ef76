"""The token that EKS takes: a presigned GetCallerIdentity request of STS, which names the cluster in a signed header. Pure.

The cluster sends the request on and learns from STS who has signed it. Source: aws-iam-authenticator
(sigs.k8s.io/aws-iam-authenticator, pkg/token), spec 83.
"""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import Final

__all__ = ["CLUSTER_HEADER", "LIFE", "PREFIX", "URL_SECONDS", "token_end", "token_of"]

PREFIX: Final = "k8s-aws-v1."
CLUSTER_HEADER: Final = "x-k8s-aws-id"
URL_SECONDS: Final = 60
"""X-Amz-Expires, as the authenticator wants it; the token itself is taken for 15 minutes after its signature."""
LIFE: Final = timedelta(minutes=14)
"""What of the 15 minutes is used: a clock may be wrong, and a request may take its time."""


def token_of(url: str) -> str:
    """The bearer token of a presigned URL."""
    return PREFIX + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def token_end(signed: datetime) -> datetime:
    """When a token that was signed then is not used any more."""
    return signed + LIFE
