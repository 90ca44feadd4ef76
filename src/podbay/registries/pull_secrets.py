"""Registry logins of a deployment: Secrets of type kubernetes.io/dockerconfigjson in its namespace, proven before written.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/pull-image-private-registry/. Written by a field manager
of its own, so that applying a podbay.yaml neither changes nor removes a login. Annotations say where a login comes from
and when it ends; a login itself leaves towards the cluster and the registry alone.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from podbay.deployment.apply import Writer
from podbay.deployment.labels import REGISTRY_LABEL, ownership_labels
from podbay.deployment.model import Deployment
from podbay.deployment.observe import Reader
from podbay.deployment.parts import SECRETS
from podbay.errors import ApiError, ConflictError, InvalidInputError, StateError
from podbay.objects.meta import Object, annotations_of, labels_of, metadata_of, name_of
from podbay.registries.logins import KeyedLogin, parse_docker_config, to_docker_config

__all__ = [
    "MANAGER",
    "SOURCE_ANNOTATION",
    "PullSecret",
    "Unreadable",
    "list_pull_secrets",
    "logins_of",
    "look_at_pull_secrets",
    "read_pull_secret",
    "remove_pull_secret",
    "secret_name_for",
    "write_pull_secret",
]

MANAGER: Final = "podbay-registry"
TYPE: Final = "kubernetes.io/dockerconfigjson"
LABEL: Final = REGISTRY_LABEL
SOURCE_ANNOTATION: Final = "podbay.dev/registry-source"
"""login, docker-config, ecr, google or azure: who can mint it anew."""
EXPIRES_ANNOTATION: Final = "podbay.dev/registry-expires"
RENEWED_ANNOTATION: Final = "podbay.dev/registry-renewed"
_KEY: Final = ".dockerconfigjson"


@dataclass(frozen=True, slots=True, kw_only=True)
class PullSecret:
    """One Secret with its logins; `expires` where that is known."""

    name: str
    logins: tuple[KeyedLogin, ...]
    source: str = "login"
    expires: datetime | None = None
    renewed: datetime | None = None
    version: str = ""
    """resourceVersion it was read at; empty: to be made."""
    ours: bool = True

    @property
    def places(self) -> str:
        return ", ".join(each.place for each in self.logins) or "nothing"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A Secret that is not there, or whose logins cannot be read, and why."""

    name: str
    reason: str


def secret_name_for(place: str) -> str:
    """A name after the registry: `registry-ghcr-io-team`."""
    slug = re.sub(r"[^a-z0-9]+", "-", place.lower()).strip("-")
    return f"registry-{slug}"[:63].strip("-")


async def list_pull_secrets(api: Reader, namespace: str, also: Sequence[str] = ()) -> list[PullSecret]:
    """Every Secret that Podbay keeps for pulling, and those of these names, by name."""
    found = {name_of(each): each for each in await _list(api, namespace)}
    for name in also:
        if name not in found and (secret := await _read(api, namespace, name)) is not None:
            found[name] = secret
    return [_parse(found[name]) for name in sorted(found) if found[name].get("type") == TYPE]


async def look_at_pull_secrets(
    api: Reader, namespace: str, names: Sequence[str] = ()
) -> list[PullSecret | Unreadable]:
    """Every Secret that Podbay keeps, or these: each by itself, so that one that is gone or damaged hides no other.

    Raises what concerns them all: no way to the cluster, no login there.
    """
    if names:
        return [await _look(api, namespace, each) for each in names]
    listed = sorted(await _list(api, namespace), key=name_of)
    return [_parse_or_say(each) for each in listed if each.get("type") == TYPE]


async def _look(api: Reader, namespace: str, name: str) -> PullSecret | Unreadable:
    try:
        found = await read_pull_secret(api, namespace, name)
    except InvalidInputError as err:
        return Unreadable(name, str(err))
    except ApiError as err:
        if err.code == 401:
            raise
        return Unreadable(name, f"Secret {name} cannot be read: {err.message}")
    return found or Unreadable(
        name,
        f"namespace {namespace} has no Secret {name}; make it with podbay registry add, or name it no longer "
        "(a CronJob: render it anew)",
    )


def _parse_or_say(secret: Object) -> PullSecret | Unreadable:
    try:
        return _parse(secret)
    except InvalidInputError as err:
        return Unreadable(name_of(secret), str(err))


async def read_pull_secret(api: Reader, namespace: str, name: str) -> PullSecret | None:
    """One by name; None when there is none. Raises InvalidInputError for a Secret of another type."""
    secret = await _read(api, namespace, name)
    if secret is None:
        return None
    if secret.get("type") != TYPE:
        raise InvalidInputError(
            f"Secret {name} is of type {secret.get('type')}, not {TYPE}; choose another --name"
        )
    return _parse(secret)


async def logins_of(api: Reader, deployment: Deployment) -> list[KeyedLogin]:
    """All logins by which pods of the deployment pull."""
    secrets = await list_pull_secrets(api, deployment.namespace, deployment.pods.all_pull_secrets)
    return [login for each in secrets for login in each.logins]


async def write_pull_secret(
    api: Writer, namespace: str, wanted: PullSecret, *, now: datetime, labels: Mapping[str, str] | None = None
) -> None:
    """Make it or replace its logins; proving them is the caller's affair and comes before.

    Raises StateError without a namespace, ConflictError when somebody else has changed it since it was read.
    """
    data = {_KEY: base64.b64encode(to_docker_config(wanted.logins)).decode()}
    annotations: dict[str, str | None] = {
        SOURCE_ANNOTATION: wanted.source,
        RENEWED_ANNOTATION: now.isoformat(timespec="seconds"),
        EXPIRES_ANNOTATION: wanted.expires.isoformat(timespec="seconds") if wanted.expires else None,
    }
    try:
        if wanted.version:
            patch: dict[str, Any] = {
                "metadata": {"annotations": annotations, "resourceVersion": wanted.version},
                "data": data,
            }
            await api.patch(SECRETS, wanted.name, patch, namespace=namespace, field_manager=MANAGER)
            return
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": TYPE,
            "metadata": {
                "name": wanted.name,
                "namespace": namespace,
                "labels": {**(labels or {}), LABEL: "true"},
                "annotations": {key: value for key, value in annotations.items() if value is not None},
            },
            "data": data,
        }
        await api.create(SECRETS, body, namespace=namespace)
    except ApiError as err:
        if err.code == 404:
            raise StateError(f"namespace {namespace} is not there; make it first: podbay apply") from err
        if err.code == 409:
            raise ConflictError(
                f"Secret {wanted.name} was changed by somebody else in this moment; try again"
            ) from err
        raise


async def remove_pull_secret(api: Writer, deployment: Deployment, name: str) -> bool:
    """Delete one that Podbay keeps; False when there is none. Raises StateError for somebody else's."""
    secret = await _read(api, deployment.namespace, name)
    if secret is None:
        return False
    if labels_of(secret).get(LABEL) != "true":
        raise StateError(
            f"Secret {name} was not made by `podbay registry`; delete it with kubectl if it may go"
        )
    options = {"preconditions": {"uid": metadata_of(secret)["uid"]}}
    await api.delete(SECRETS, name, namespace=deployment.namespace, options=options)
    return True


def labels_for(deployment: Deployment) -> dict[str, str]:
    """As the deployment's other objects."""
    return ownership_labels(deployment)


async def _list(api: Reader, namespace: str) -> Sequence[Object]:
    return (await api.list(SECRETS, namespace=namespace, label_selector=f"{LABEL}=true")).items


async def _read(api: Reader, namespace: str, name: str) -> Object | None:
    try:
        return await api.get(SECRETS, name, namespace=namespace)
    except ApiError as err:
        if err.code == 404:
            return None
        raise


def _parse(secret: Object) -> PullSecret:
    name, notes = name_of(secret), annotations_of(secret)
    text = base64.b64decode((secret.get("data") or {}).get(_KEY) or "e30=")
    return PullSecret(
        name=name,
        logins=parse_docker_config(text, f"Secret {name}").logins,
        source=notes.get(SOURCE_ANNOTATION) or "login",
        expires=_moment(notes.get(EXPIRES_ANNOTATION)),
        renewed=_moment(notes.get(RENEWED_ANNOTATION)),
        version=str(metadata_of(secret).get("resourceVersion") or ""),
        ours=labels_of(secret).get(LABEL) == "true",
    )


def _moment(text: str | None) -> datetime | None:
    """Of an annotation, which anybody may write; a time without a zone says as little as none."""
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return found if found is not None and found.utcoffset() is not None else None
