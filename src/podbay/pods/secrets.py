"""Keys of Kubernetes Secrets as environment variables or files of the main container. References only, never values.

Takes Airflow's `Secret(deploy_type, deploy_target, secret, key, items)` by its attributes (spec 72) and gives the same
pod, except that volumes have names that do not change from build to build.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from podbay.objects.meta import Object
from podbay.pods.fields import convert
from podbay.pods.merge import merge_pods
from podbay.pods.problems import Problem, kind_of

__all__ = ["LENT_PREFIX", "SecretReference", "attach_secrets", "read_secrets"]

LENT_PREFIX: Final = "lent-"
"""Of the names of Secrets that were made for one pod and go with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretReference:
    """What of a Secret goes where."""

    deploy_type: str
    """"env" or "volume"."""
    deploy_target: str | None = None
    """The variable's name, always in capitals; or the directory of the files. None with "env": all keys."""
    secret: str
    """The Secret's name, in the pod's namespace."""
    key: str | None = None
    """One key of it; None takes all. Files are always all keys, unless `items` says which."""
    items: Sequence[Mapping[str, Any]] = ()
    """For files: {key, path, mode} of each key to be seen."""


def read_secrets(given: Sequence[Any], problems: list[Problem]) -> list[SecretReference]:
    """References out of SecretReference, mappings or objects with the same attributes; what is wrong to `problems`.

    The same reference twice is one.
    """
    found: list[SecretReference] = []
    for index, each in enumerate(given):
        reference = _read(each, f"secrets[{index}]", problems)
        if reference is not None and reference not in found:
            found.append(reference)
    return found


def _read(given: Any, path: str, problems: list[Problem]) -> SecretReference | None:
    if isinstance(given, Mapping):
        values: dict[str, Any] = {name: given.get(name) for name in SecretReference.__slots__}
    elif hasattr(given, "deploy_type") and hasattr(given, "secret"):
        values = {name: getattr(given, name, None) for name in SecretReference.__slots__}
    else:
        problems.append(Problem(path, f"must be a Secret reference, not {kind_of(given)}"))
        return None
    before = len(problems)
    for name in ("deploy_type", "deploy_target", "secret", "key"):
        if not isinstance(values[name], str | None):
            problems.append(Problem(f"{path}.{name}", f"must be a string, not {kind_of(values[name])}"))
    if values["deploy_type"] not in ("env", "volume"):
        problems.append(Problem(f"{path}.deploy_type", "must be env or volume"))
    if not values["secret"]:
        problems.append(Problem(f"{path}.secret", "must name a Secret"))
    if not values["deploy_target"] and (values["key"] or values["deploy_type"] == "volume"):
        what = (
            "the directory of the files" if values["deploy_type"] == "volume" else "the variable for this key"
        )
        problems.append(Problem(f"{path}.deploy_target", f"must name {what}"))
    items = convert(list(values["items"] or ()), "[]KeyToPath", f"{path}.items", problems)
    if len(problems) > before:
        return None
    if values["deploy_type"] == "env" and values["deploy_target"]:
        values["deploy_target"] = values["deploy_target"].upper()
    return SecretReference(**{**values, "items": tuple(items or ())})


def attach_secrets(pod: Object, container_name: str, secrets: Sequence[SecretReference]) -> Object:
    """The pod with the secrets in its main container, by the same rules as any other layer over it."""
    container: Object = {"name": container_name}
    layer: Object = {"spec": {"containers": [container]}}
    for secret in secrets:
        if secret.deploy_type == "volume":
            name = _volume_name(secret)
            source: dict[str, Any] = {"secretName": secret.secret}
            if secret.items:
                source["items"] = [dict(item) for item in secret.items]
            layer["spec"].setdefault("volumes", []).append({"name": name, "secret": source})
            mount = {"name": name, "mountPath": secret.deploy_target, "readOnly": True}
            container.setdefault("volumeMounts", []).append(mount)
        elif secret.key is not None:
            reference = {"secretKeyRef": {"name": secret.secret, "key": secret.key}}
            container.setdefault("env", []).append({"name": secret.deploy_target, "valueFrom": reference})
        else:
            container.setdefault("envFrom", []).append({"secretRef": {"name": secret.secret}})
    return merge_pods(pod, layer) if secrets else pod


def _volume_name(secret: SecretReference) -> str:
    """Equal for equal references and different for others: a rebuilt pod is the same pod."""
    parts = [secret.secret, secret.deploy_target, [dict(item) for item in secret.items]]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return f"secretvol-{digest[:12]}"
