"""Volumes that cannot be attached or mounted, as the kubelet's and the attach controller's events tell.

Source: pkg/volume/**, pkg/kubelet/volumemanager, pkg/controller/volume/attachdetach; podbay.node.volumes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from podbay.lifecycle.diagnosis import configuration
from podbay.lifecycle.diagnosis.category import Category, Rule, first_rule, rule
from podbay.lifecycle.diagnosis.model import Diagnosis
from podbay.lifecycle.diagnosis.sight import Sight, Told

__all__ = ["CATEGORIES", "CLAIM_MISSING", "find_volumes"]

CLAIM_MISSING: Final = Category(
    word="PvcMissing",
    meaning="The pod names a PersistentVolumeClaim that does not exist in its namespace.",
    fix="Create the PersistentVolumeClaim in the pod's namespace, or correct `claimName`.",
    blame="user",
    heals="never",
)
IN_USE: Final = Category(
    word="VolumeInUse",
    meaning="The volume can be attached to one node only, and another node still has it.",
    fix="Wait until the pod that uses it has ended; use a ReadWriteMany volume if tasks must share it.",
    blame="user",
    heals="maybe",
)
HOST_PATH: Final = Category(
    word="HostPathMissing",
    meaning="The node has not what a hostPath volume asks for, or not of that type.",
    fix="Create the path on the nodes, correct `hostPath.path`, or set `hostPath.type` to DirectoryOrCreate.",
    blame="user",
    heals="never",
)
DRIVER: Final = Category(
    word="VolumeDriverMissing",
    meaning="The node does not run the driver that the volume needs.",
    fix="Install the CSI driver on the nodes; on a node that has just started, wait for it.",
    blame="platform",
    heals="maybe",
)
DENIED: Final = Category(
    word="VolumeAccessDenied",
    meaning="The storage refuses the node or the pod's service account.",
    fix="Allow the nodes (NFS export, security group, IAM role of the driver) to use that storage.",
    blame="platform",
    heals="maybe",
)
TOKEN: Final = Category(
    word="ServiceAccountTokenFailed",
    meaning="The kubelet could not get a token for the pod's service account.",
    fix="Check that the service account still exists in the pod's namespace.",
    blame="platform",
    heals="maybe",
)
ATTACH: Final = Category(
    word="VolumeAttachFailed",
    meaning="The volume could not be attached to the node.",
    fix="Check the volume and the node at the storage provider; they must be in one zone, and the node below its number of volumes.",
    blame="platform",
    heals="maybe",
)
MOUNT: Final = Category(
    word="VolumeMountFailed",
    meaning="A volume could not be mounted, in words that are not known here.",
    fix="Read the evidence; check what the volume refers to and the storage behind it.",
    blame="platform",
    heals="maybe",
)

CATEGORIES: Final = (CLAIM_MISSING, IN_USE, HOST_PATH, DRIVER, DENIED, TOKEN, ATTACH, MOUNT)

_REASONS: Final = ("FailedMount", "FailedAttachVolume", "FailedMapVolume")
_RULES: Final[tuple[Rule, ...]] = (
    rule(
        configuration.SECRET_KEY,
        r"references non-existent secret key: (?P<key>\S+)",
        'Volume "{volume}" of {pod} needs key "{key}" of {what}, which does not have it',
        "Add the key to the Secret, or correct it in the volume's `items`.",
    ),
    rule(
        configuration.CONFIG_MAP_KEY,
        r"references non-existent config key: (?P<key>\S+)",
        'Volume "{volume}" of {pod} needs key "{key}" of {what}, which does not have it',
        "Add the key to the ConfigMap, or correct it in the volume's `items`.",
    ),
    rule(
        configuration.SECRET,
        r"secrets? \"(?P<name>[^\"]+)\" not found",
        'There is no Secret "{name}" in namespace {namespace}, and volume "{volume}" of {pod} needs it',
    ),
    rule(
        configuration.CONFIG_MAP,
        r"configmaps? \"(?P<name>[^\"]+)\" not found",
        'There is no ConfigMap "{name}" in namespace {namespace}, and volume "{volume}" of {pod} needs it',
    ),
    rule(
        CLAIM_MISSING,
        r"persistentvolumeclaims? \"(?P<name>[^\"]+)\" not found",
        'There is no PersistentVolumeClaim "{name}" in namespace {namespace}, and {pod} needs it',
    ),
    rule(
        configuration.NOT_YET,
        r"failed to sync (?:secret|configmap) cache|object \"[^\"]*\"/\"[^\"]*\" not registered",
        'The kubelet does not know yet what volume "{volume}" of {pod} refers to',
    ),
    rule(
        IN_USE,
        r"Multi-Attach error for volume \"(?P<name>[^\"]+)\".*?(?:used by pod\(s\) (?P<users>[^\s].*))?$",
        'Volume "{name}" of {pod} is still attached to another node {by}',
    ),
    rule(
        IN_USE,
        r"volume .*already (?:exclusively )?(?:attached|in use)|is in use by another",
        "A volume of {pod} is in use elsewhere",
    ),
    rule(
        HOST_PATH,
        r"hostPath type check failed: (?:[^:]*: )?(?P<path>/\S+)(?P<rest>.*)",
        'The path {path} of volume "{volume}" of {pod} is not on the node as the pod asks for it',
    ),
    rule(
        DRIVER,
        r"driver name (?P<name>\S+) not found in the list of registered CSI drivers",
        'The node does not run the driver {name}, which volume "{volume}" of {pod} needs',
    ),
    rule(
        DRIVER,
        r"no volume plugin matched|bad option; for several filesystems|unknown filesystem type|need a /sbin/mount",
        'The node has no driver for volume "{volume}" of {pod}',
    ),
    rule(
        DENIED,
        r"access denied by server|permission denied|AccessDenied|UnauthorizedOperation|not authorized|AuthorizationFailure",
        'The storage refuses to give volume "{volume}" to {pod}',
    ),
    rule(
        TOKEN,
        r"failed to fetch token: (?P<why>[^\n]{1,120})",
        "The kubelet got no service account token for {pod}",
    ),
    rule(
        ATTACH,
        r"AttachVolume\.\S+ failed for volume \"(?P<name>[^\"]+)\"",
        'Volume "{name}" of {pod} could not be attached to its node',
    ),
)


def find_volumes(sight: Sight) -> Iterator[Diagnosis]:
    """What holds up a pod that was given a node and has started nothing yet."""
    if sight.over or sight.begun:
        return
    told = sight.told(*_REASONS)
    # "timed out waiting for the condition" only repeats that others failed.
    exact = [each for each in told if first_rule(_RULES, [each.message])] or told
    seen: set[str] = set()
    for each in exact:
        found = _diagnosis(sight, each)
        if found.cause not in seen:
            seen.add(found.cause)
            yield found


def _diagnosis(sight: Sight, told: Told) -> Diagnosis:
    volume = told.message.partition('for volume "')[2].partition('"')[0]
    if not volume:
        volume = told.message.partition("unmounted volumes=[")[2].partition("]")[0]
    found = first_rule(_RULES, [told.message])
    if found is None:
        cause = f'Volume "{volume}" of {sight.name} could not be mounted' if volume else (
            f"The volumes of {sight.name} could not be mounted"
        )  # fmt: skip
        return MOUNT.found(cause, evidence=[told.line()])
    which, match = found
    users = match.groupdict().get("users") or ""
    names = {
        "pod": sight.name,
        "namespace": sight.namespace,
        "volume": volume,
        "what": "its Secret" if which.category is configuration.SECRET_KEY else "its ConfigMap",
        "by": f"by pod {users}" if users else "",
    }
    cause, fix = which.told(match, names)
    return which.category.found(cause.strip(), fix=fix, evidence=[told.line()])
