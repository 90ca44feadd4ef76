"""What one container is made from: command, environment, mounts, limits, confinement. Pure.

Source: pkg/kubelet/kuberuntime/kuberuntime_container.go (generateContainerConfig), pkg/kubelet/kubelet_pods.go (makeMounts).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from podbay.node.env import EnvSources, config_error, environment
from podbay.node.expansion import expand
from podbay.node.labels import CONTAINER_KIND, IMAGE_ID, POD_NAME, POD_NAMESPACE, POD_UID
from podbay.node.observed import Image
from podbay.node.podspec import ContainerKind
from podbay.node.resources import container_limits
from podbay.node.security import ReadProfile, check_non_root, security_of, user_of
from podbay.node.specs import ContainerSpec, Device, ImageSource, Mount, MountSource
from podbay.objects.meta import Object, name_of, namespace_of, uid_of

__all__ = ["Ready", "container_spec"]

_PROPAGATION = {"None": "private", "HostToContainer": "host_to_container", "Bidirectional": "bidirectional"}
_REFERENCE = re.compile(r"\$\(([^)]*)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """All that a container needs beside the pod's own words."""

    image: Image
    image_name: str
    """As the status shows it."""
    sources: EnvSources
    volumes: Mapping[str, MountSource]
    read_only_volumes: frozenset[str]
    machine_memory: int
    read_profile: ReadProfile
    devices: Mapping[str, str] | None = None
    """Paths of block volumes by volume name."""
    target: str = ""
    """The id of the container whose processes an ephemeral one joins."""


def container_spec(
    pod: Object, kind: ContainerKind, container: Object, *, attempt: int, ready: Ready
) -> ContainerSpec:
    """Final values for the runtime. StartError CreateContainerConfigError when they cannot be had."""
    env = environment(pod, container, ready.sources)
    check_non_root(pod, container, ready.image.config.user)
    return ContainerSpec(
        name=container["name"],
        attempt=attempt,
        image=ready.image_name,
        image_id=ready.image.id,
        command=[expand(part, env) for part in container.get("command") or ()],
        args=[expand(part, env) for part in container.get("args") or ()],
        env=list(env.items()),
        working_dir=container.get("workingDir") or "",
        user=user_of(pod, container, ready.image.config.user),
        mounts=[_mount(mount, env, ready) for mount in container.get("volumeMounts") or ()],
        devices=[
            Device(path=(ready.devices or {}).get(d["name"], ""), target=d["devicePath"])
            for d in container.get("volumeDevices") or ()
        ],
        limits=container_limits(pod, container, machine_memory=ready.machine_memory),
        security=security_of(pod, container, ready.read_profile),
        stdin=bool(container.get("stdin")),
        stdin_once=bool(container.get("stdinOnce")),
        tty=bool(container.get("tty")),
        message_path=container.get("terminationMessagePath") or "",
        processes_of=ready.target,
        stop_signal=(container.get("lifecycle") or {}).get("stopSignal") or "",
        labels={
            POD_UID: uid_of(pod),
            POD_NAME: name_of(pod),
            POD_NAMESPACE: namespace_of(pod),
            CONTAINER_KIND: kind,
            IMAGE_ID: _shown_image_id(ready.image),
        },
    )


def _shown_image_id(image: Image) -> str:
    return image.digests[0] if image.digests else image.id


def _mount(mount: Object, env: Mapping[str, str], ready: Ready) -> Mount:
    name = mount["name"]
    source = ready.volumes.get(name)
    if source is None:
        raise config_error(f'cannot find volume "{name}" to mount into container')
    propagation = _PROPAGATION[mount.get("mountPropagation") or "None"]
    return Mount(
        source=source,
        target=posixpath.join("/", mount["mountPath"]),
        sub_path=_sub_path(mount, env),
        read_only=bool(mount.get("readOnly"))
        or name in ready.read_only_volumes
        or isinstance(source, ImageSource),
        recursive_read_only=mount.get("recursiveReadOnly") in ("Enabled", "IfPossible"),
        propagation=cast(Literal["private", "host_to_container", "bidirectional"], propagation),
    )


def _sub_path(mount: Object, env: Mapping[str, str]) -> str:
    expression = mount.get("subPathExpr")
    if not expression:
        return mount.get("subPath") or ""
    for match in _REFERENCE.finditer(expression.replace("$$", "")):
        if match.group(1) not in env:
            raise config_error(f"missing value for {match.group(1)}")
    path = expand(expression, env)
    if path.startswith("/"):
        raise config_error(f"error SubPath `{path}` must not be an absolute path")
    if ".." in path.split("/"):
        raise config_error(f"unable to use subPath, must not contain '..': {path}")
    return path
