"""Containers and sandboxes that the runtime cannot create or start.

Sources: runc (libcontainer: rootfs, init, standard_init), containerd and CRI-O around it, Docker's daemon;
pkg/kubelet/kuberuntime (CreateContainerError, RunContainerError, StartError 128); CNI plugins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from podbay.lifecycle.diagnosis import image_rules
from podbay.lifecycle.diagnosis.category import Category, Rule, first_rule, rule
from podbay.lifecycle.diagnosis.images import architecture_line
from podbay.lifecycle.diagnosis.model import Diagnosis
from podbay.lifecycle.diagnosis.room import quantity
from podbay.lifecycle.diagnosis.sight import Seen, Sight
from podbay.objects.quantity import Quantity

__all__ = ["CATEGORIES", "NOT_EXECUTABLE", "NOT_FOUND", "START_REASONS", "find_starting"]

NOT_FOUND: Final = Category(
    word="CommandNotFound",
    meaning="The image does not have the program that the container is to run.",
    fix="Correct `command` (and `args`): the program must be in the image, on its PATH or by its whole path.",
    blame="user",
    heals="never",
)
NOT_EXECUTABLE: Final = Category(
    word="CommandNotExecutable",
    meaning="The file is there and cannot be executed: a directory, no execute permission, or not for this user.",
    fix="Make the file executable in the image (`chmod +x`), or let `command` name its interpreter.",
    blame="user",
    heals="never",
)
NO_COMMAND: Final = Category(
    word="NoCommand",
    meaning="Neither the pod nor the image says what to run.",
    fix="Set `command` in the pod, or CMD or ENTRYPOINT in the image.",
    blame="user",
    heals="never",
)
DIRECTORY: Final = Category(
    word="WorkingDirectory",
    meaning="The container cannot start in its working directory.",
    fix="Correct `workingDir`: it must be a directory that the container's user may enter.",
    blame="user",
    heals="never",
)
USER: Final = Category(
    word="UserNotFound",
    meaning="The container is to run as a user that its image does not know.",
    fix="Set `securityContext.runAsUser` to a number, or add the user to the image's /etc/passwd.",
    blame="user",
    heals="never",
)
MOUNT: Final = Category(
    word="MountPathConflict",
    meaning="A mount does not fit the image: a file over a directory, or a place that cannot be made.",
    fix="Correct `mountPath` and `subPath`: a directory is mounted over a directory, a file over a file.",
    blame="user",
    heals="never",
)
MEMORY: Final = Category(
    word="MemoryLimitTooSmall",
    meaning="The memory limit does not even suffice to start the container.",
    fix="Raise `resources.limits.memory`; a few tens of MiB are the least for most images.",
    blame="user",
    heals="never",
)
GPU: Final = Category(
    word="GpuUnavailable",
    meaning="The node's GPU runtime refuses the container: driver too old, or no device.",
    fix="Use an image for the CUDA version of the node's driver, or choose nodes with a newer driver.",
    blame="user",
    heals="never",
)
SECURITY: Final = Category(
    word="SecurityProfileMissing",
    meaning="The node does not have the seccomp or AppArmor profile that the container asks for.",
    fix="Install the profile on the nodes, or ask for RuntimeDefault.",
    blame="platform",
    heals="never",
)
BUSY: Final = Category(
    word="RuntimeOverloaded",
    meaning="The node's container runtime is too slow, or still busy with an earlier try.",
    fix="Wait; if it stays so, the node is overloaded: fewer pods or faster disks.",
    blame="infrastructure",
    heals="maybe",
)
FAILED: Final = Category(
    word="ContainerStartFailed",
    meaning="The runtime could not create or start the container, in words that are not known here.",
    fix="Read the evidence; it is the runtime's own message.",
    blame="platform",
    heals="maybe",
)
ADDRESSES: Final = Category(
    word="PodAddressesExhausted",
    meaning="The network plugin has no address left for the pod.",
    fix="Wait for other pods to end; give the cluster's network more addresses if this happens often.",
    blame="platform",
    heals="maybe",
)
NETWORK: Final = Category(
    word="NetworkNotReady",
    meaning="The node's network plugin is not ready.",
    fix="Wait; a node that has just started needs some seconds. If it stays so, look at the plugin's pods on that node.",
    blame="infrastructure",
    heals="maybe",
)
HANDLER: Final = Category(
    word="RuntimeHandlerMissing",
    meaning="The node's runtime does not know the handler of the pod's RuntimeClass.",
    fix="Correct `runtimeClassName`, or configure that handler on the nodes.",
    blame="platform",
    heals="never",
)
SANDBOX: Final = Category(
    word="SandboxFailed",
    meaning="The pod's sandbox (its network and namespaces) could not be made.",
    fix="Wait; if it stays so, have network plugin and runtime on that node looked at.",
    blame="infrastructure",
    heals="maybe",
)

CATEGORIES: Final = (
    NOT_FOUND, NOT_EXECUTABLE, NO_COMMAND, DIRECTORY, USER, MOUNT, MEMORY, GPU, SECURITY, BUSY, FAILED,
    ADDRESSES, NETWORK, HANDLER, SANDBOX,
)  # fmt: skip

START_REASONS: Final = frozenset({"StartError", "ContainerCannotRun"})
"""Reasons of an end that was no end: the container never ran."""
_WAITING: Final = frozenset(
    {"CreateContainerError", "RunContainerError", "PreCreateHookError", "PreStartHookError"}
)

_NO_MEMORY: Final = "cannot allocate memory"
_START_NEEDS: Final = Quantity.from_value(4 * 2**20)
"""Bytes below which a container's own start is what finds no memory; above it, the node."""
_UNIT_FORGOTTEN: Final = Quantity.from_value(2**20)
_WHO: Final = "container {container} of {pod}"
_RULES: Final[tuple[Rule, ...]] = (
    rule(
        image_rules.ARCHITECTURE,
        r"exec format error",
        "The program of " + _WHO + " is not built for the node's processor (image {image})",
    ),
    rule(
        DIRECTORY,
        r"chdir to cwd|\(working directory\)",
        "The working directory {directory} of " + _WHO + " cannot be entered",
    ),
    rule(
        USER,
        r"unable to find (?:user|group) (?P<user>[^\s:]+)|no users found|no matching entries in (?:passwd|group) file",
        'The image {image} knows no user or group "{user}", as whom ' + _WHO + " is to run",
    ),
    rule(
        MEMORY,
        r"container init was OOM-killed|memory limit too low|minimum memory limit allowed",
        _WHO + " does not even start within its memory limit of {memory}",
    ),
    rule(
        GPU,
        r"nvidia-container-cli|could not select device driver|unresolvable CDI devices|libcuda",
        "The GPU runtime of the node refuses " + _WHO,
    ),
    rule(
        MOUNT,
        r"not a directory: unknown: are you trying to mount|Are you trying to mount a directory onto a file|"
        r"error mounting \"?(?P<source>[^\"]*)\"? to rootfs at \"?(?P<path>[^\":]*)|failed to mount \"(?P<target>[^\"]*)\"",
        "A mount of " + _WHO + " does not fit its image {at}",
    ),
    rule(
        image_rules.DISK_FULL,
        r"no space left on device|disk quota exceeded",
        "The node has no disk space left to start " + _WHO,
    ),
    rule(
        SECURITY,
        r"seccomp profile|apparmor|cannot load seccomp",
        "The node cannot apply the security profile of " + _WHO,
    ),
    rule(
        NOT_EXECUTABLE,
        r"exec:? \"?(?P<program>[^\":]+)\"?: (?:permission denied|is a directory)",
        '"{program}", which ' + _WHO + " is to run, is not executable",
    ),
    rule(
        NOT_FOUND,
        r"exec: \"?(?P<program>[^\"]+?)\"?: (?:executable file not found|stat |no such file)",
        'The image {image} has no program "{program}", which ' + _WHO + " is to run",
    ),
    rule(
        NOT_FOUND,
        r"exec /?(?P<program>\S+): no such file or directory|executable file (?:`(?P<other>[^`]+)` )?not found",
        "The image {image} does not have the program that " + _WHO + " is to run, or not its interpreter",
        "Correct `command`; of a script, its first line must name an interpreter that the image has.",
    ),
    rule(
        NO_COMMAND,
        r"no command specified|no entrypoint and no command|args must not be empty",
        "Neither " + _WHO + " nor its image {image} says what to run",
    ),
    rule(
        BUSY,
        r"context deadline exceeded|is reserved for|name .* is already in use|DeadlineExceeded|no answer from runc",
        "The container runtime of the node is too slow to start " + _WHO,
    ),
)
_SANDBOX: Final[tuple[Rule, ...]] = (
    rule(
        ADDRESSES,
        r"failed to assign an IP address|no IP addresses available|no available IPs|failed to allocate for range|IPAM.*exhausted",
        "The network has no address left for {pod}",
    ),
    rule(
        NETWORK,
        r"cni plugin not initialized|cni config uninitialized|network is not ready|networkPlugin.*not ready|NetworkPluginNotReady",
        "The network plugin of the node is not ready for {pod}",
    ),
    rule(
        HANDLER,
        r"(?:no runtime for|runtime handler) \"?(?P<name>[^\"\s]+)\"? (?:is configured|not found|not supported)",
        'The node\'s container runtime has no handler "{name}", which the RuntimeClass of {pod} asks for',
    ),
    rule(
        image_rules.DISK_FULL,
        r"no space left on device",
        "The node has no disk space left for {pod}",
    ),
)


def find_starting(sight: Sight) -> Iterator[Diagnosis]:
    """Containers the runtime refused, then sandboxes."""
    for each in sight.containers:
        text = _refusal(each)
        if text is not None:
            yield _start(sight, each, text)
    if sight.over or sight.begun:
        return
    told = sight.told("FailedCreatePodSandBox", "FailedCreatePodContainer", "NetworkNotReady")
    if not told:
        return
    found = first_rule(_SANDBOX, [f"{each.reason} {each.message}" for each in told])
    evidence = [each.line() for each in told[:2]]
    if found is None:
        yield SANDBOX.found(f"The sandbox of {sight.name} could not be made on its node", evidence=evidence)
        return
    which, match = found
    cause, fix = which.told(match, {"pod": sight.name})
    yield which.category.found(cause, fix=fix, evidence=evidence)


def _refusal(seen: Seen) -> str | None:
    """The runtime's words about a container that did not start; None when it did or was not tried."""
    if seen.waiting is not None and seen.waiting.reason in _WAITING:
        return _with_directory(seen, seen.waiting.message)
    if seen.ended is not None and seen.ended.reason in START_REASONS:
        return _with_directory(seen, seen.ended.message)
    return None


def _with_directory(seen: Seen, text: str) -> str:
    """The words, with what they leave out: that the directory which cannot be made is the working directory."""
    directory = seen.spec.get("workingDir")
    if isinstance(directory, str) and directory and f"mkdir {directory}:" in text:
        return f"{text} (working directory)"
    return text


def _no_memory(seen: Seen, texts: Sequence[str]) -> list[str]:
    """What the runtime leaves out when it cannot even make the container's cgroup: that its limit is to blame."""
    limit = quantity(seen.limit("memory"))
    if limit is None or limit >= _START_NEEDS or not any(_NO_MEMORY in each.lower() for each in texts):
        return []
    return ["memory limit too low"]


def _memory(seen: Seen) -> tuple[str, str]:
    """The memory limit in words, and what to do when its unit was forgotten."""
    limit = seen.limit("memory")
    found = quantity(limit)
    if found is None or not limit.isdecimal() or found >= _UNIT_FORGOTTEN:
        return limit or "unknown size", ""
    fix = f"Write a unit: `resources.limits.memory` {limit}Mi; without one it counts bytes."
    return f"{limit} bytes", fix


def _start(sight: Sight, seen: Seen, text: str) -> Diagnosis:
    events = [told.message for told in sight.told("Failed", container=seen.name)[:3]]
    found = first_rule(_RULES, [*_no_memory(seen, [text, *events]), text, *events])
    evidence = [
        seen.line(),
        f"the runtime says: {text}" if text else "",
        *(f"event Failed: {e}" for e in events[:1]),
    ]
    if found is None:
        cause = f"Container {seen.name} of {sight.name} could not be started"
        return FAILED.found(cause, evidence=evidence, container=seen.name)
    which, match = found
    groups = match.groupdict()
    path = groups.get("path") or groups.get("target")
    memory, unit = _memory(seen)
    names = {
        "container": seen.name,
        "pod": sight.name,
        "image": seen.image,
        "memory": memory,
        "directory": seen.spec.get("workingDir") or "of the image",
        "at": f"at {path}" if path else "",
    }
    cause, fix = which.told(match, names)
    if which.category is MEMORY:
        fix = unit
    if which.category is image_rules.ARCHITECTURE:
        evidence.append(architecture_line(sight))
    cause = cause[:1].upper() + cause[1:]
    return which.category.found(cause.strip(), fix=fix, evidence=evidence, container=seen.name)
