"""The Secrets and ConfigMaps that a pod names, and reading them from the API in one go.

Source: pkg/api/v1/pod/util.go (VisitPodSecretNames, VisitPodConfigmapNames).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from podbay.errors import ApiError
from podbay.node.podspec import all_containers
from podbay.objects.api import ClusterApi
from podbay.objects.meta import Object, namespace_of
from podbay.objects.resource import GVR

__all__ = ["CONFIG_MAPS", "SECRETS", "PodObjects", "object_names", "pull_secret_names", "read_objects"]

SECRETS = GVR("", "v1", "secrets")
CONFIG_MAPS = GVR("", "v1", "configmaps")


@dataclass(frozen=True, slots=True)
class PodObjects:
    """What was there when it was read, by (namespace, name)."""

    secrets: dict[tuple[str, str], Object] = field(default_factory=dict, repr=False)
    config_maps: dict[tuple[str, str], Object] = field(default_factory=dict)

    def secret(self, namespace: str, name: str) -> Object | None:
        return self.secrets.get((namespace, name))

    def config_map(self, namespace: str, name: str) -> Object | None:
        return self.config_maps.get((namespace, name))


def pull_secret_names(pod: Object) -> list[str]:
    """imagePullSecrets, in order."""
    return [s["name"] for s in pod["spec"].get("imagePullSecrets") or () if s.get("name")]


def object_names(pod: Object) -> set[tuple[str, str]]:
    """("secrets" or "configmaps", name) of everything the pod refers to."""
    found = {("secrets", name) for name in pull_secret_names(pod)}
    for _, container in all_containers(pod["spec"]):
        found |= set(_of_container(container))
    for volume in pod["spec"].get("volumes") or ():
        found |= set(_of_volume(volume))
    return {(kind, name) for kind, name in found if name}


def _of_container(container: Object) -> Iterator[tuple[str, str]]:
    for source in container.get("envFrom") or ():
        yield "secrets", (source.get("secretRef") or {}).get("name") or ""
        yield "configmaps", (source.get("configMapRef") or {}).get("name") or ""
    for entry in container.get("env") or ():
        source = entry.get("valueFrom") or {}
        yield "secrets", (source.get("secretKeyRef") or {}).get("name") or ""
        yield "configmaps", (source.get("configMapKeyRef") or {}).get("name") or ""


def _of_volume(volume: Object) -> Iterator[tuple[str, str]]:
    yield "secrets", (volume.get("secret") or {}).get("secretName") or ""
    yield "configmaps", (volume.get("configMap") or {}).get("name") or ""
    for source in (volume.get("projected") or {}).get("sources") or ():
        yield "secrets", (source.get("secret") or {}).get("name") or ""
        yield "configmaps", (source.get("configMap") or {}).get("name") or ""


async def read_objects(api: ClusterApi, pod: Object) -> PodObjects:
    """Everything the pod refers to that exists now."""
    objects = PodObjects()
    namespace = namespace_of(pod)
    for kind, name in object_names(pod):
        resource, into = (
            (SECRETS, objects.secrets) if kind == "secrets" else (CONFIG_MAPS, objects.config_maps)
        )
        try:
            into[namespace, name] = await api.get(resource, name, namespace=namespace)
        except ApiError as error:
            if error.code != 404:
                raise
    return objects
