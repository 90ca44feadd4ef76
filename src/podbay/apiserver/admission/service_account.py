"""Admission plugin ServiceAccount: every pod runs as an account of its namespace and gets its token mounted.

Source: plugin/pkg/admission/serviceaccount/admission.go.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from podbay.apiserver.admission.base import Attributes, ClusterReader
from podbay.apiserver.admission.pod_secrets import secret_names
from podbay.apiserver.admission.pods import new_pod_spec, spec_of
from podbay.apiserver.admission.refusal import forbidden
from podbay.apiserver.field import go_quote
from podbay.objects.meta import Object, annotations_of, name_of

__all__ = ["ServiceAccount", "random_suffix"]

_MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
_ENFORCE_ANNOTATION = "kubernetes.io/enforce-mountable-secrets"
_TRUE_WORDS = frozenset(["1", "t", "T", "TRUE", "true", "True"])
_MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_VOLUME_PREFIX = "kube-api-access-"
_TOKEN_SECONDS = 3607
"""An hour, and 7 seconds by which Kubernetes recognises tokens of this volume."""
_CHECKED = frozenset([("CREATE", ""), ("UPDATE", "ephemeralcontainers")])
_ALPHANUMERIC = "bcdfghjklmnpqrstvwxz2456789"


def random_suffix() -> str:
    """Five characters as Kubernetes generates for names: no vowels, no digits that look like letters."""
    return "".join(random.choices(_ALPHANUMERIC, k=5))


class ServiceAccount:
    """Fills in the account, its image pull secrets and its token volume; refuses accounts that are missing."""

    name = "ServiceAccount"

    def __init__(self, suffix: Callable[[], str] = random_suffix) -> None:
        """suffix makes the five characters that end the token volume's name."""
        self._suffix = suffix

    def admit(self, attributes: Attributes, reader: ClusterReader) -> None:
        spec = new_pod_spec(attributes)
        if spec is None or attributes.obj is None:
            return
        if _is_mirror(attributes.obj):
            # A changed mirror pod would no longer match its manifest, and the node would delete it.
            self.validate(attributes, reader)
            return
        account_name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        # The old field name stays in step with the new one.
        spec["serviceAccountName"] = spec["serviceAccount"] = account_name
        account = _find_account(attributes, reader, account_name)
        if _should_mount(account, spec):
            self._mount_token(spec)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [{"name": s.get("name", "")} for s in account["imagePullSecrets"]]

    def validate(self, attributes: Attributes, reader: ClusterReader) -> None:
        if attributes.resource.key != "pods" or attributes.obj is None:
            return
        if (attributes.operation, attributes.subresource) not in _CHECKED:
            return
        problem = next(_problems(attributes, reader, attributes.obj), None)
        if problem is not None:
            raise forbidden(attributes, problem)

    def _mount_token(self, spec: dict[str, Any]) -> None:
        names = [volume.get("name") or "" for volume in spec.get("volumes") or ()]
        existing = [name for name in names if name.startswith(_VOLUME_PREFIX)]
        volume_name = existing[0] if existing else _VOLUME_PREFIX + self._suffix()
        needed = False
        for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
            mounts = container.get("volumeMounts") or []
            # A mount of the pod's own at this path replaces the token.
            if all(mount.get("mountPath") != _MOUNT_PATH for mount in mounts):
                mount = {"name": volume_name, "readOnly": True, "mountPath": _MOUNT_PATH}
                container["volumeMounts"] = [*mounts, mount]
                needed = True
        if needed and not existing:
            volume = {"name": volume_name, "projected": _token_source()}
            spec["volumes"] = [*(spec.get("volumes") or ()), volume]


def _problems(attributes: Attributes, reader: ClusterReader, pod: Object) -> Iterator[str]:
    spec = spec_of(pod)
    account_name = spec.get("serviceAccountName") or ""
    if attributes.subresource:
        yield from _ephemeral_problems(_find_account(attributes, reader, account_name), spec)
    elif _is_mirror(pod):
        yield from _mirror_problems(spec)
    elif not account_name:
        yield f"no service account specified for pod {attributes.namespace}/{name_of(pod)}"
    else:
        yield from _reference_problems(_find_account(attributes, reader, account_name), spec)


def _is_mirror(pod: Object) -> bool:
    return _MIRROR_ANNOTATION in annotations_of(pod)


def _find_account(attributes: Attributes, reader: ClusterReader, name: str) -> Object:
    account = reader.get("serviceaccounts", attributes.namespace, name)
    if account is None:
        where = f"{attributes.namespace}/{name}"
        reason = f"serviceaccount {go_quote(name)} not found"
        raise forbidden(attributes, f"error looking up service account {where}: {reason}")
    return account


def _should_mount(account: Object, spec: dict[str, Any]) -> bool:
    for holder in (spec, account):
        wish = holder.get("automountServiceAccountToken")
        if wish is not None:
            return bool(wish)
    return True


def _token_source() -> dict[str, Any]:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    certificate = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    return {
        "defaultMode": 0o644,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": _TOKEN_SECONDS, "path": "token"}},
            {"configMap": certificate},
            {"downwardAPI": {"items": [namespace]}},
        ],
    }


def _mirror_problems(spec: dict[str, Any]) -> Iterator[str]:
    if spec.get("serviceAccountName") or spec.get("serviceAccount"):
        yield "a mirror pod may not reference service accounts"
    if next(secret_names(spec), None) is not None:
        yield "a mirror pod may not reference secrets"
    for volume in spec.get("volumes") or ():
        sources = (volume.get("projected") or {}).get("sources") or ()
        if any(source.get("serviceAccountToken") is not None for source in sources):
            yield "a mirror pod may not use ServiceAccountToken volume projections"


def _reference_problems(account: Object, spec: dict[str, Any]) -> Iterator[str]:
    """References to secrets that the account does not list, if the account asks for this check."""
    if annotations_of(account).get(_ENFORCE_ANNOTATION) not in _TRUE_WORDS:
        return
    allowed = {secret.get("name", "") for secret in account.get("secrets") or ()}
    reason = f"is not allowed because service account {name_of(account)} does not reference that"
    for volume in spec.get("volumes") or ():
        if volume.get("secret") is not None:
            name = volume["secret"].get("secretName", "")
            if name not in allowed:
                yield f'volume with secret.secretName="{name}" {reason} secret'
    yield from _env_problems(spec.get("initContainers"), "init container", allowed, reason)
    yield from _env_problems(spec.get("containers"), "container", allowed, reason)
    allowed_pull = {secret.get("name", "") for secret in account.get("imagePullSecrets") or ()}
    for index, secret in enumerate(spec.get("imagePullSecrets") or ()):
        name = secret.get("name", "")
        if name not in allowed_pull:
            yield f'imagePullSecrets[{index}].name="{name}" {reason} imagePullSecret'


def _ephemeral_problems(account: Object, spec: dict[str, Any]) -> Iterator[str]:
    if annotations_of(account).get(_ENFORCE_ANNOTATION) in _TRUE_WORDS:
        allowed = {secret.get("name", "") for secret in account.get("secrets") or ()}
        reason = f"is not allowed because service account {name_of(account)} does not reference that"
        yield from _env_problems(spec.get("ephemeralContainers"), "ephemeral container", allowed, reason)


def _env_problems(
    containers: list[dict[str, Any]] | None, label: str, allowed: set[str], reason: str
) -> Iterator[str]:
    for container in containers or ():
        for variable in container.get("env") or ():
            reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
            if reference is not None and reference.get("name", "") not in allowed:
                where = f"{label} {container.get('name')} with envVar {variable.get('name')}"
                name = reference.get("name", "")
                yield f'{where} referencing secret.secretName="{name}" {reason} secret'
