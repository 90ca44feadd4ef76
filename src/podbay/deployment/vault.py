"""Secret variables of a deployment: kept in the Secret `env-secrets` of its namespace, and nowhere else (spec 68-72).

Values come in as SecretText and leave only towards the cluster. Another field manager than `podbay apply` writes them, so
applying a podbay.yaml never touches a value. When a variable was set stands in an annotation; nothing derived from the
value does, for even a digest lets somebody guess.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from podbay.deployment.apply import Writer
from podbay.deployment.format import secret_name_errors
from podbay.deployment.labels import ownership_labels
from podbay.deployment.model import ENV_SECRETS, Deployment
from podbay.deployment.observe import Reader
from podbay.deployment.parts import SECRETS
from podbay.errors import ApiError, ConflictError, InvalidInputError, StateError
from podbay.kube.config import SecretText
from podbay.objects.meta import Object, annotations_of, metadata_of
from podbay.objects.resource import GVR

__all__ = ["Variable", "list_variables", "pods_using", "remove_variable", "set_variable"]

MANAGER: Final = "podbay-secrets"
TIMES_ANNOTATION: Final = "podbay.dev/secret-times"
_LARGEST: Final = 1_000_000
"""Bytes of all values together: a Secret ends at 1 MiB with everything around them."""
_ATTEMPTS: Final = 5
_PODS: Final = GVR("", "v1", "pods")


@dataclass(frozen=True, slots=True)
class Variable:
    """A secret variable without its value; `when` it was set last, as far as that is known."""

    name: str
    has_value: bool
    declared: bool
    when: datetime | None = None


async def list_variables(api: Reader, deployment: Deployment) -> list[Variable]:
    """Everything that has a value or should have one, by name."""
    secret = await _read(api, deployment)
    data, times = _data(secret), _times(secret)
    names = sorted({*data, *deployment.secrets})
    return [Variable(each, each in data, each in deployment.secrets, times.get(each)) for each in names]


async def set_variable(
    api: Writer,
    deployment: Deployment,
    name: str,
    value: SecretText,
    *,
    now: datetime,
    existing: bool = False,
) -> bool:
    """Give it a value; True when it had one. `existing` refuses a name that has none (rotate).

    Raises InvalidInputError for a bad name or value, StateError when the namespace is not there.
    """
    wrong = secret_name_errors(name)
    if wrong:
        raise InvalidInputError(f"secret variable {name}: {wrong[0]}")
    if not value:
        raise InvalidInputError(
            f"secret variable {name}: the value is empty; remove it with: podbay secrets rm {name}"
        )
    encoded = base64.b64encode(value.reveal().encode("utf-8", "surrogateescape")).decode()
    had = False

    def change(secret: Object | None) -> tuple[dict[str, str | None], dict[str, str]]:
        nonlocal had
        data = _data(secret)
        had = name in data
        if existing and not had:
            raise StateError(
                f"secret variable {name} has no value to rotate; set it: podbay secrets set {name}"
            )
        _refuse_too_large(name, {**data, name: encoded})
        times = {key: each.isoformat() for key, each in _times(secret).items() if key in data}
        return {name: encoded}, {**times, name: now.isoformat()}

    await _change(api, deployment, change)
    return had


def _refuse_too_large(name: str, encoded: Mapping[str, str]) -> None:
    size = sum(len(each) * 3 // 4 for each in encoded.values())
    if size > _LARGEST:
        raise InvalidInputError(
            f"secret variable {name}: all secret variables together would have {size} bytes; a Secret holds {_LARGEST}. "
            "Put large files into a Secret of their own."
        )


async def remove_variable(api: Writer, deployment: Deployment, name: str) -> bool:
    """Take it away; False when there was none."""
    there = False

    def change(secret: Object | None) -> tuple[dict[str, str | None], dict[str, str]] | None:
        nonlocal there
        there = name in _data(secret)
        if not there:
            return None
        return {name: None}, {key: each.isoformat() for key, each in _times(secret).items() if key != name}

    await _change(api, deployment, change)
    return there


async def pods_using(api: Reader, deployment: Deployment, name: str) -> list[str]:
    """Pods that have not ended and were started with the variable: they keep the value of their start (spec 69)."""
    pods = (await api.list(_PODS, namespace=deployment.namespace)).items
    running = [
        each for each in pods if (each.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    ]
    return [each["metadata"]["name"] for each in running if _uses(each, name)]


def _uses(pod: Object, key: str) -> bool:
    spec = pod.get("spec") or {}
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        for variable in container.get("env") or ():
            reference = (variable.get("valueFrom") or {}).get("secretKeyRef") or {}
            if reference.get("name") == ENV_SECRETS and reference.get("key") == key:
                return True
        if any(
            (each.get("secretRef") or {}).get("name") == ENV_SECRETS
            for each in container.get("envFrom") or ()
        ):
            return True
    return any(
        (each.get("secret") or {}).get("secretName") == ENV_SECRETS for each in spec.get("volumes") or ()
    )


Changer = Callable[[Object | None], tuple[Mapping[str, str | None], Mapping[str, str]] | None]


async def _change(api: Writer, deployment: Deployment, change: Changer) -> None:
    """Read, decide, write what was decided upon; again when somebody else wrote in between."""
    for _ in range(_ATTEMPTS):
        secret = await _read(api, deployment)
        decided = change(secret)
        if decided is None:
            return
        data, times = decided
        annotations = {TIMES_ANNOTATION: orjson.dumps(times, option=orjson.OPT_SORT_KEYS).decode()}
        try:
            await _write(api, deployment, secret, data, annotations)
            return
        except ApiError as err:
            if err.code == 404:
                raise StateError(
                    f"namespace {deployment.namespace} is not there; make it first: podbay apply"
                ) from err
            if err.code != 409:
                raise
    raise ConflictError(f"Secret {ENV_SECRETS} is being changed by somebody else all the time; try again")


async def _write(
    api: Writer,
    deployment: Deployment,
    secret: Object | None,
    data: Mapping[str, str | None],
    annotations: Mapping[str, str],
) -> None:
    metadata: dict[str, Any] = {"annotations": annotations}
    if secret is None:
        metadata |= {
            "name": ENV_SECRETS,
            "namespace": deployment.namespace,
            "labels": ownership_labels(deployment),
        }
        body = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": data}
        await api.create(SECRETS, body, namespace=deployment.namespace)
        return
    metadata["resourceVersion"] = metadata_of(secret)["resourceVersion"]
    await api.patch(
        SECRETS,
        ENV_SECRETS,
        {"metadata": metadata, "data": data},
        namespace=deployment.namespace,
        field_manager=MANAGER,
    )


async def _read(api: Reader, deployment: Deployment) -> Object | None:
    try:
        return await api.get(SECRETS, ENV_SECRETS, namespace=deployment.namespace)
    except ApiError as err:
        if err.code == 404:
            return None
        raise


def _data(secret: Object | None) -> dict[str, str]:
    return (secret or {}).get("data") or {}


def _times(secret: Object | None) -> dict[str, datetime]:
    """From the annotation; what is not readable there is as good as not said."""
    try:
        read = orjson.loads(annotations_of(secret or {}).get(TIMES_ANNOTATION) or "{}")
        return {str(key): datetime.fromisoformat(each) for key, each in read.items()}
    except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError):
        return {}
