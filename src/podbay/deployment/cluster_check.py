"""What a cluster would say to a pod, asked without making it: a server-side dry run and a look at what the pod names.

The dry run goes through everything a create goes through (service account, sizes, quota, admission policies). What it does
not look at is whether Secrets, ConfigMaps and claims are there: a pod that lacks one is admitted and then never starts.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from podbay.deployment.model import ENV_SECRETS
from podbay.deployment.observe import Reader
from podbay.deployment.parts import SECRETS
from podbay.errors import ApiError
from podbay.objects.meta import Object, metadata_of
from podbay.objects.resource import GVR
from podbay.pods.problems import Problem
from podbay.pods.resources import all_containers

__all__ = ["ClusterVerdict", "DryRunner", "check_in_cluster"]

_PODS: Final = GVR("", "v1", "pods")
_CONFIGMAPS: Final = GVR("", "v1", "configmaps")
_CLAIMS: Final = GVR("", "v1", "persistentvolumeclaims")
_FULL: Final = "exceeded quota"


class DryRunner(Reader, Protocol):
    """What of a client is needed here."""

    async def create(
        self, resource: GVR, obj: Object, *, namespace: str | None = None, dry_run: bool = False
    ) -> Object: ...


@dataclass(frozen=True, slots=True)
class ClusterVerdict:
    """Problems would keep the pod from starting as things stand; notes would only delay it."""

    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Reference:
    """Something the pod names: a whole object or one key of it."""

    path: str
    resource: GVR
    name: str
    key: str | None = None


async def check_in_cluster(
    api: DryRunner, pod: Object, namespace: str, *, dry_run: bool = True
) -> ClusterVerdict:
    """Ask. `dry_run` is False for a pod whose size is not known yet, which the cluster would fill up with defaults.

    Raises what the network says; a refusal of the pod is a problem, not an error.
    """
    problems: list[Problem] = []
    notes: list[str] = []
    if dry_run:
        problems, notes = await _dry_run(api, pod, namespace)
    cache: dict[tuple[GVR, str], Object | None] = {}
    for reference in _references(pod):
        which = (reference.resource, reference.name)
        if which not in cache:
            cache[which] = await _get(api, reference, namespace)
        message = _missing(reference, cache[which], namespace)
        if message:
            problems.append(Problem(reference.path, message))
    return ClusterVerdict(tuple(dict.fromkeys(problems)), tuple(notes))


async def _dry_run(api: DryRunner, pod: Object, namespace: str) -> tuple[list[Problem], list[str]]:
    asked = copy.deepcopy(pod)
    metadata = metadata_of(asked)
    # Under a name of its own: a pod of the real name may be running, which is no problem.
    metadata["generateName"] = f"{str(metadata.pop('name', '') or 'check')[:50]}-"
    metadata["namespace"] = namespace
    try:
        await api.create(_PODS, asked, namespace=namespace, dry_run=True)
    except ApiError as err:
        if err.code == 401:
            raise
        if _FULL in err.message:
            return [], [f"the quota is used up now, so the pod would wait: {err.message}"]
        causes = [
            Problem(str(each.get("field") or ""), str(each.get("message") or "")) for each in err.causes
        ]
        return causes if causes and all(each.path for each in causes) else [Problem("", err.message)], []
    return [], []


async def _get(api: Reader, reference: _Reference, namespace: str) -> Object | None:
    try:
        return await api.get(reference.resource, reference.name, namespace=namespace)
    except ApiError as err:
        if err.code == 404:
            return None
        raise


def _missing(reference: _Reference, found: Object | None, namespace: str) -> str:
    kind = {"secrets": "Secret", "configmaps": "ConfigMap"}.get(
        reference.resource.resource, "PersistentVolumeClaim"
    )
    if found is None:
        return f"{kind} {reference.name} is not in namespace {namespace}"
    keys = {**(found.get("data") or {}), **(found.get("binaryData") or {})}
    if reference.key is not None and reference.key not in keys:
        fix = f"; set it: podbay secrets set {reference.key}" if reference.name == ENV_SECRETS else ""
        return f"{kind} {reference.name} has no key {reference.key}{fix}"
    return ""


def _references(pod: Object) -> Iterator[_Reference]:
    """Everything a pod cannot start without; what is marked optional is left out."""
    spec = pod.get("spec") or {}
    for path, container in all_containers(pod):
        for index, variable in enumerate(container.get("env") or ()):
            source = variable.get("valueFrom") or {}
            place = f"{path}.env[{index}].valueFrom"
            yield from _named(source.get("secretKeyRef"), f"{place}.secretKeyRef", SECRETS)
            yield from _named(source.get("configMapKeyRef"), f"{place}.configMapKeyRef", _CONFIGMAPS)
        for index, source in enumerate(container.get("envFrom") or ()):
            place = f"{path}.envFrom[{index}]"
            yield from _named(source.get("secretRef"), f"{place}.secretRef", SECRETS)
            yield from _named(source.get("configMapRef"), f"{place}.configMapRef", _CONFIGMAPS)
    for index, volume in enumerate(spec.get("volumes") or ()):
        place = f"spec.volumes[{index}]"
        yield from _named(volume.get("secret"), f"{place}.secret", SECRETS, name="secretName")
        yield from _named(volume.get("configMap"), f"{place}.configMap", _CONFIGMAPS)
        claim = volume.get("persistentVolumeClaim")
        yield from _named(claim, f"{place}.persistentVolumeClaim", _CLAIMS, name="claimName")
    for index, secret in enumerate(spec.get("imagePullSecrets") or ()):
        yield from _named(secret, f"spec.imagePullSecrets[{index}]", SECRETS)


def _named(source: Any, path: str, resource: GVR, *, name: str = "name") -> Iterator[_Reference]:
    if isinstance(source, Mapping) and source.get(name) and not source.get("optional"):
        yield _Reference(path, resource, str(source[name]), source.get("key"))
