"""What `podbay shell` adds to a cluster: a container beside one that runs, or a copy of a pod that has ended. Pure.

Source: Kubernetes, "Debug Running Pods" and "Ephemeral Containers"; kubectl debug leaves out the same fields.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

from podbay.objects.meta import Object, labels_of, name_of, namespace_of
from podbay.pods.identity import DEPLOYMENT_LABEL, safe_label_value, with_suffix

__all__ = ["SHELL_OF_LABEL", "copy_of", "ephemeral_container", "find_container", "shell_command"]

SHELL_OF_LABEL: Final = "podbay.dev/shell-of"
"""On a copy that was made for a shell: the name of its original."""
_WAITING: Final = (
    '(n=$0; while kill -0 $$; do n=$((n-1)); [ "$n" -gt 0 ] || kill -9 $$; sleep 1; done) '
    ">/dev/null 2>&1 </dev/null & "
    'read -r go; exec "$@"'
)
"""Waits for one line, so that nothing is written before somebody reads it; is killed when its seconds are over."""
_INTERACTIVE: Final = ("sh", "-c", "command -v bash >/dev/null && exec bash; exec sh")
_NOT_COPIED: Final = ("args", "ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle")
_NOT_EPHEMERAL: Final = (*_NOT_COPIED, "resources", "resizePolicy", "restartPolicy", "restartPolicyRules")
_TOKENS: Final = "kube-api-access-"
"""Volumes that admission adds to every pod; it adds them to the copy as well."""


def shell_command(command: Sequence[str], seconds: int) -> list[str]:
    """What the container runs: an interactive shell when no command is given. It waits for a line of input first."""
    words = ["sh", "-c", _WAITING, str(seconds), *(command or _INTERACTIVE)]
    # Kubernetes takes $(NAME) for a variable, and two dollars for one.
    return [word.replace("$", "$$") for word in words]


def find_container(pod: Object, name: str) -> Object | None:
    """The container of that name; init containers last."""
    spec = pod.get("spec") or {}
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    return next((each for each in containers if each.get("name") == name), None)


def ephemeral_container(
    target: Mapping[str, Any], *, name: str, command: Sequence[str], tty: bool, image: str | None
) -> dict[str, Any]:
    """One beside `target`, with its image, environment, mounts and rights, that sees its processes."""
    made = {key: copy.deepcopy(value) for key, value in target.items() if key not in _NOT_EPHEMERAL}
    # The API takes no subPath in an ephemeral container.
    mounts = [
        each for each in made.pop("volumeMounts", ()) if not (each.get("subPath") or each.get("subPathExpr"))
    ]
    made |= _terminal(name, command, tty=tty, image=image)
    made["targetContainerName"] = target["name"]
    return made | ({"volumeMounts": mounts} if mounts else {})


def copy_of(
    pod: Object,
    container: str,
    *,
    suffix: str,
    command: Sequence[str],
    tty: bool,
    seconds: int,
    annotations: Mapping[str, str],
    image: str | None = None,
) -> Object:
    """A pod like `pod` whose one container is that one, with a shell; init containers prepare its volumes again.

    It has no label or annotation by which anybody could take it for the pod of a task.
    """
    labels = {SHELL_OF_LABEL: safe_label_value(name_of(pod)), "app.kubernetes.io/managed-by": "podbay"}
    deployment = labels_of(pod).get(DEPLOYMENT_LABEL)
    if deployment is not None:
        labels[DEPLOYMENT_LABEL] = deployment
    target = find_container(pod, container)
    assert target is not None
    spec = copy.deepcopy(dict(pod["spec"]))
    for key in (
        "nodeName",
        "ephemeralContainers",
        "priority",
        "preemptionPolicy",
        "hostname",
        "resourceClaims",
    ):
        spec.pop(key, None)
    main = {key: value for key, value in copy.deepcopy(dict(target)).items() if key not in _NOT_COPIED}
    main.pop("restartPolicy", None)
    main |= _terminal(container, command, tty=tty, image=image)
    spec["containers"] = [main]
    spec["initContainers"] = [each for each in spec.get("initContainers") or () if each["name"] != container]
    for each in (main, *spec["initContainers"]):
        each["volumeMounts"] = [m for m in each.get("volumeMounts") or () if not _is_token(m["name"])]
    spec["volumes"] = [each for each in spec.get("volumes") or () if not _is_token(each["name"])]
    spec |= {"restartPolicy": "Never", "activeDeadlineSeconds": seconds, "terminationGracePeriodSeconds": 1}
    metadata = {
        "name": with_suffix(name_of(pod), f"shell-{suffix}"),
        "namespace": namespace_of(pod),
        "labels": labels,
        "annotations": dict(annotations),
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _terminal(name: str, command: Sequence[str], *, tty: bool, image: str | None) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": name,
        "command": list(command),
        "stdin": True,
        "stdinOnce": True,
        "tty": tty,
    }
    return made | ({"image": image} if image else {})


def _is_token(volume: str) -> bool:
    return volume.startswith(_TOKENS)
