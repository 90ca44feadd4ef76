"""A GKE cluster as a ClusterConfig: address and authority from Google's API, access tokens minted in this process.

Source: https://cloud.google.com/kubernetes-engine/docs/reference/rest/v1/projects.locations.clusters
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import orjson

from podbay.errors import CredentialError, InvalidInputError
from podbay.gke.place import GkePlace
from podbay.kube.config import ClusterConfig, MintedToken, TokenSource
from podbay.registries.google import GoogleToken, mint_google_token

__all__ = ["gke_config"]

SECONDS: Final = 30.0
_API: Final = "https://container.googleapis.com/"


async def gke_config(place: GkePlace, load: Callable[[], Any] | None = None) -> ClusterConfig:
    """Where the cluster is, and how tokens for it are had. Equal for equal places, whoever asks.

    Raises CredentialError, and InvalidInputError for a cluster that is not there.
    """

    async def mint() -> MintedToken:
        found = await mint_google_token(load)
        return MintedToken(found.login.password, found.expires)

    described = await _describe(place, await mint_google_token(load))
    server, authority = _address(described, place)
    return ClusterConfig(
        server=server,
        ca_pem=authority,
        credential=TokenSource(str(place), mint),
        context=place.context,
        origin=str(place),
    )


async def _describe(place: GkePlace, token: GoogleToken) -> dict[str, Any]:
    # The name by which gcloud is told of another address: private access points have one.
    base = os.environ.get("CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER") or _API
    url = (
        f"{base.rstrip('/')}/v1/projects/{place.project}/locations/{place.location}/clusters/{place.cluster}"
    )
    headers = {"Authorization": f"Bearer {token.login.password.reveal()}"}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS), trust_env=True) as session,
            session.get(url, headers=headers) as answer,
        ):
            body = await answer.read()
            status = answer.status
        found = orjson.loads(body) if body else {}
    except (aiohttp.ClientError, TimeoutError, OSError) as err:
        raise CredentialError(
            f"{place}: {base} was not reached: {err or type(err).__name__}. Check the network from here."
        ) from err
    except orjson.JSONDecodeError:
        raise CredentialError(f"{place}: {base} answered {status} with something else than JSON") from None
    if status == 404:
        raise InvalidInputError(f"there is no {place}. Check name, location and project.")
    if status != 200:
        said = (found.get("error") or {}).get("message") if isinstance(found, dict) else ""
        raise CredentialError(
            f"{place}: its address may not be read ({status}): {said}. Allow container.clusters.get on it."
        )
    return dict(found)


def _address(described: dict[str, Any], place: GkePlace) -> tuple[str, str]:
    """Server and authority; of a cluster without an address of its own the DNS name, whose certificate the world knows."""
    endpoints = described.get("controlPlaneEndpointsConfig") or {}
    name = (endpoints.get("dnsEndpointConfig") or {}).get("endpoint")
    by_address = (endpoints.get("ipEndpointsConfig") or {}).get("enabled", True)
    if name and not by_address:
        return f"https://{name}", ""
    if not described.get("endpoint"):
        raise InvalidInputError(f"{place} has no address yet: its status is {described.get('status')}")
    try:
        authority = base64.b64decode(described["masterAuth"]["clusterCaCertificate"]).decode("ascii")
    except (KeyError, TypeError, binascii.Error, UnicodeDecodeError):
        authority = ""
    if "-----BEGIN" not in authority:
        raise InvalidInputError(f"{place}: Google tells of no certificate authority that can be read")
    return f"https://{described['endpoint']}", authority
