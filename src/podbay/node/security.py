"""Security contexts: the pod's and the container's together as what a runtime enforces. Pure.

Source: pkg/securitycontext/util.go, pkg/kubelet/kuberuntime/security_context.go (verifyRunAsNonRoot).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from podbay.errors import StartError
from podbay.node.podspec import pod_text
from podbay.node.specs import Capabilities, Security, User
from podbay.objects.meta import Object

__all__ = ["ReadProfile", "check_non_root", "effective", "security_of", "user_of"]

ReadProfile = Callable[[str], Mapping[str, Any]]
"""The content of a Localhost seccomp profile by its name. StartError when it is not there."""


def effective(pod: Object, container: Object) -> dict[str, Any]:
    """The container's security context, completed by the pod's."""
    shared = pod["spec"].get("securityContext") or {}
    inherited = (
        "runAsUser",
        "runAsGroup",
        "runAsNonRoot",
        "seccompProfile",
        "appArmorProfile",
        "seLinuxOptions",
    )
    own = {k: v for k, v in (container.get("securityContext") or {}).items() if v is not None}
    return {k: shared[k] for k in inherited if shared.get(k) is not None} | own


def check_non_root(pod: Object, container: Object, image_user: str) -> None:
    """StartError CreateContainerConfigError when runAsNonRoot is asked for and cannot be kept."""
    context = effective(pod, container)
    if not context.get("runAsNonRoot"):
        return
    where = f'(pod: "{pod_text(pod)}", container: {container["name"]})'
    if context.get("runAsUser") is not None:
        if context["runAsUser"] == 0:
            raise _refused(f"container's runAsUser breaks non-root policy {where}")
        return
    name = image_user.partition(":")[0]
    # ASCII alone: what is no number to the runtime is looked up as a name, which may be root's.
    numeric = name.isascii() and name.isdigit()
    if not name or (numeric and not name.strip("0")):
        raise _refused(f"container has runAsNonRoot and image will run as root {where}")
    if not numeric:
        raise _refused(
            f"container has runAsNonRoot and image has non-numeric user ({name}), "
            f"cannot verify user is non-root {where}"
        )


def _refused(message: str) -> StartError:
    return StartError("CreateContainerConfigError", message)


def user_of(pod: Object, container: Object, image_user: str) -> User:
    """Whom the container runs as."""
    context = effective(pod, container)
    shared = pod["spec"].get("securityContext") or {}
    groups = list(shared.get("supplementalGroups") or ())
    if shared.get("fsGroup") is not None:
        groups.append(shared["fsGroup"])
    return User(
        uid=context.get("runAsUser"),
        gid=context.get("runAsGroup"),
        name=image_user,
        groups=groups,
        merge_image_groups=shared.get("supplementalGroupsPolicy") != "Strict",
    )


def security_of(pod: Object, container: Object, read_profile: ReadProfile) -> Security:
    """The container's confinement. Without a seccomp profile the runtime's default one applies, as with RuntimeDefault.

    procMount is not looked at: only a user namespace makes "Unmasked" harmless, and no runtime here has them.
    """
    context = effective(pod, container)
    capabilities = context.get("capabilities") or {}
    privileged = bool(context.get("privileged"))
    return Security(
        privileged=privileged,
        capabilities=Capabilities(
            add=[_bare(c) for c in capabilities.get("add") or ()],
            drop=[_bare(c) for c in capabilities.get("drop") or ()],
        ),
        read_only_root=bool(context.get("readOnlyRootFilesystem")),
        no_new_privileges=context.get("allowPrivilegeEscalation") is False,
        seccomp="unconfined" if privileged else _seccomp(context.get("seccompProfile"), read_profile),
        apparmor=_apparmor(context.get("appArmorProfile")),
    )


def _bare(capability: str) -> str:
    return capability.upper().removeprefix("CAP_")


def _seccomp(
    profile: Object | None, read_profile: ReadProfile
) -> Literal["default", "unconfined"] | Mapping[str, Any]:
    kind = (profile or {}).get("type") or "RuntimeDefault"
    if kind == "Localhost":
        return read_profile((profile or {}).get("localhostProfile") or "")
    return "unconfined" if kind == "Unconfined" else "default"


def _apparmor(profile: Object | None) -> str:
    kind = (profile or {}).get("type")
    if kind == "Localhost":
        return (profile or {}).get("localhostProfile") or ""
    return "unconfined" if kind == "Unconfined" else ""
