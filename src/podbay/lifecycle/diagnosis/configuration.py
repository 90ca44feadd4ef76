"""What a container refers to and does not get: Secrets, ConfigMaps, users, sub-paths.

Source: pkg/kubelet/kubelet_pods.go (makeEnvironmentVariables), kuberuntime_container.go, security_context.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from podbay.lifecycle.diagnosis.category import Category, Rule, first_rule, rule
from podbay.lifecycle.diagnosis.model import Diagnosis
from podbay.lifecycle.diagnosis.sight import Sight

__all__ = [
    "CATEGORIES",
    "CONFIG_MAP",
    "CONFIG_MAP_KEY",
    "NOT_YET",
    "SECRET",
    "SECRET_KEY",
    "find_configuration",
]

SECRET: Final = Category(
    word="SecretMissing",
    meaning="The pod needs a Secret that does not exist in its namespace.",
    fix="Create the Secret in the pod's namespace, correct its name, or mark the reference `optional: true`.",
    blame="user",
    heals="never",
)
SECRET_KEY: Final = Category(
    word="SecretKeyMissing",
    meaning="The Secret exists and does not have the key.",
    fix="Add the key to the Secret, correct its name, or mark the reference `optional: true`.",
    blame="user",
    heals="never",
)
CONFIG_MAP: Final = Category(
    word="ConfigMapMissing",
    meaning="The pod needs a ConfigMap that does not exist in its namespace.",
    fix="Create the ConfigMap in the pod's namespace, correct its name, or mark the reference `optional: true`.",
    blame="user",
    heals="never",
)
CONFIG_MAP_KEY: Final = Category(
    word="ConfigMapKeyMissing",
    meaning="The ConfigMap exists and does not have the key.",
    fix="Add the key to the ConfigMap, correct its name, or mark the reference `optional: true`.",
    blame="user",
    heals="never",
)
NON_ROOT: Final = Category(
    word="RunAsNonRoot",
    meaning="The pod must not run as root, and its image would, or does not show that it would not.",
    fix="Set `securityContext.runAsUser` to a number other than 0, or build the image with a numeric USER.",
    blame="user",
    heals="never",
)
SUB_PATH: Final = Category(
    word="SubPathFailed",
    meaning="The subPath of a volume mount cannot be prepared in its volume.",
    fix="Correct `volumeMounts[].subPath`: it must lie in the volume, and its parents must be directories.",
    blame="user",
    heals="never",
)
NOT_YET: Final = Category(
    word="KubeletNotReady",
    meaning="The kubelet has not read what the pod refers to yet; it does so after its own start.",
    fix="Wait; if it stays so, have the kubelet on that node looked at.",
    blame="infrastructure",
    heals="maybe",
)
CONFIG: Final = Category(
    word="ContainerConfigError",
    meaning="The container's configuration cannot be made, in words that are not known here.",
    fix="Read the evidence and correct what it names.",
    blame="user",
    heals="maybe",
)

CATEGORIES: Final = (SECRET, SECRET_KEY, CONFIG_MAP, CONFIG_MAP_KEY, NON_ROOT, SUB_PATH, NOT_YET, CONFIG)

_WHO = "container {container} of {pod}"
_RULES: Final[tuple[Rule, ...]] = (
    rule(
        SECRET_KEY,
        r"couldn't find key (?P<key>\S+) in Secret (?:(?P<namespace>[^\s/]+)/)?(?P<name>\S+)",
        'Secret "{name}" has no key "{key}", which ' + _WHO + " needs",
        'Add the key "{key}" to Secret "{name}", correct the key\'s name, or mark the reference `optional: true`.',
    ),
    rule(
        CONFIG_MAP_KEY,
        r"couldn't find key (?P<key>\S+) in ConfigMap (?:(?P<namespace>[^\s/]+)/)?(?P<name>\S+)",
        'ConfigMap "{name}" has no key "{key}", which ' + _WHO + " needs",
        'Add the key "{key}" to ConfigMap "{name}", correct the key\'s name, or mark the reference `optional: true`.',
    ),
    rule(
        SECRET,
        r"secrets? \"?(?P<name>[^\"\s]+)\"? not found",
        'There is no Secret "{name}" in namespace {namespace}, and ' + _WHO + " needs it",
    ),
    rule(
        CONFIG_MAP,
        r"configmaps? \"?(?P<name>[^\"\s]+)\"? not found",
        'There is no ConfigMap "{name}" in namespace {namespace}, and ' + _WHO + " needs it",
    ),
    rule(
        NON_ROOT,
        r"non-numeric user \((?P<user>[^)]*)\)",
        "The image of "
        + _WHO
        + ' runs as user "{user}", of whom the kubelet cannot tell that it is not root',
        "Set `securityContext.runAsUser` to that user's number, or write a number as USER in the image.",
    ),
    rule(
        NON_ROOT,
        r"runAsUser breaks non-root policy",
        _WHO + " asks for user 0 and for `runAsNonRoot: true`",
        "Set `securityContext.runAsUser` to a number other than 0.",
    ),
    rule(
        NON_ROOT,
        r"image will run as root|runAsNonRoot|breaks non-root policy",
        "The image of " + _WHO + " runs as root, which `runAsNonRoot: true` forbids",
    ),
    rule(
        SUB_PATH,
        r"failed to prepare subPath for volumeMount \"(?P<mount>[^\"]*)\"",
        'The subPath of mount "{mount}" cannot be prepared for ' + _WHO,
    ),
    rule(
        NOT_YET,
        r"failed to sync (?:secret|configmap) cache|have not yet been read|object \"[^\"]*\"/\"[^\"]*\" not registered",
        "The kubelet does not know yet what " + _WHO + " refers to",
    ),
)


def find_configuration(sight: Sight) -> Iterator[Diagnosis]:
    """Containers that wait for their configuration."""
    for each in sight.containers:
        if each.waiting is None or each.waiting.reason != "CreateContainerConfigError":
            continue
        names = {"container": each.name, "pod": sight.name, "namespace": sight.namespace}
        events = sight.told("Failed", container=each.name)
        found = first_rule(_RULES, [each.waiting.message, *(told.message for told in events[:3])])
        if found is None:
            cause = f"The configuration of container {each.name} of {sight.name} cannot be made"
            yield CONFIG.found(cause, evidence=[each.line()], container=each.name)
            continue
        which, match = found
        # A name in a namespace that the message tells is the pod's own namespace all the same.
        cause, fix = which.told(match, names)
        cause = cause[:1].upper() + cause[1:]
        yield which.category.found(cause, fix=fix, evidence=[each.line()], container=each.name)
