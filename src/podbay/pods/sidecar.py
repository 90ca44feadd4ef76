"""How a pod is given a way out for its result: the native sidecar, or the main container's termination message.

The sidecar is an init container with `restartPolicy: Always` (Kubernetes 1.29 and later): it runs beside the task, never
keeps the pod alive, and gets SIGTERM when the main container has ended. It then prints the result file to its own log,
which outlives the containers, and, if small, also to its termination message, which comes with the pod's status. Nobody
has to be listening, and nothing is executed in the pod (design D9). The printed form and its reader: result.py.
"""

from __future__ import annotations

from typing import Any, Final

from podbay.objects.meta import Object
from podbay.pods.fields import convert
from podbay.pods.merge import main_container, merge_containers
from podbay.pods.problems import Problem
from podbay.pods.request import SidecarOptions
from podbay.pods.resources import is_guaranteed
from podbay.pods.result import MAGIC, RESULT_DIRECTORY, RESULT_PATH

__all__ = ["DEFAULT_IMAGE", "SIDECAR_NAME", "add_sidecar", "sidecar_script", "use_termination_message"]

SIDECAR_NAME: Final = "airflow-xcom-sidecar"
"""Upstream's name: dashboards and mutation hooks know it."""
DEFAULT_IMAGE: Final = "alpine:3.24.2"
"""Upstream's image: sites without access to public registries have it already. A fixed tag is not pulled again."""

_VOLUME: Final = "xcom"
_NOBODY: Final = 65534
_MESSAGE_ROOM: Final = 3072
# Ten times upstream's CPU: with 1m on a busy node the shell may not have started when a short task ends, and a signal
# before that is lost. Limits, because a quota on limits refuses a container without them (spec 36); theirs is what
# printing some megabytes takes.
_RESOURCES: Final = {
    "requests": {"cpu": "10m", "memory": "16Mi"},
    "limits": {"cpu": "100m", "memory": "64Mi"},
}
_GUARANTEED_RESOURCES: Final = {
    "requests": {"cpu": "50m", "memory": "32Mi"},
    "limits": {"cpu": "50m", "memory": "32Mi"},
}
_FOLLOWED: Final = (
    "readOnlyRootFilesystem",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "seLinuxOptions",
    "seccompProfile",
)

# POSIX sh, run as process 1, where a signal without a handler is ignored. The handler does all the work, for a flag set
# between a test and the following wait would be seen only when that wait ends. `sleep` runs in the
# background because a shell handles a signal at once only while it waits. It is short, so that a shell which loses a
# signal between two commands loses seconds and not the result. It is killed by -9, because a child that is not yet `sleep`
# still has the shell's handler and would forget a softer signal. $((…)) drops the blanks that some `wc` print.
_SCRIPT: Final = """\
finish() {
  trap '' TERM INT
  kill -9 $! 2>/dev/null
  report
  report message 2>/dev/null >/dev/termination-log
  exit 0
}
report() {
  if [ ! -s "$file" ] || [ ! -f "$file" ]; then
    echo '%(magic)s none'
  elif [ ! -r "$file" ]; then
    echo '%(magic)s unreadable'
  elif size=$(wc -c <"$file") && size=$((size)) && [ "$size" -gt %(limit)d ]; then
    echo "%(magic)s too-large bytes=$size limit=%(limit)d"
  elif [ -z "$1" ] || [ "$size" -le %(room)d ]; then
    echo '%(magic)s begin'
    cat "$file"
    echo
    echo "%(magic)s end bytes=$size $(digest)"
  fi
}
digest() {
  if sum=$(sha256sum <"$file" 2>/dev/null); then
    echo "sha256=${sum%%%% *}"
  elif sum=$(cksum <"$file" 2>/dev/null); then
    echo "cksum=${sum%%%% *}"
  else
    echo 'none='
  fi
}
file=%(path)s
trap finish TERM INT
while :; do
  sleep 5 &
  wait $!
done
"""


def sidecar_script(max_result_bytes: int) -> str:
    """The shell program of the sidecar."""
    words = {"path": RESULT_PATH, "magic": MAGIC, "limit": max_result_bytes, "room": _MESSAGE_ROOM}
    return _SCRIPT % words


def add_sidecar(pod: Object, container_name: str, options: SidecarOptions, problems: list[Problem]) -> None:
    """Add the sidecar, its volume and the main container's mount, in place; what is wrong goes to `problems`.

    It stands last among the init containers, which is first in the order of ending, so that no slower sidecar delays the
    result. An init container of its name in a template is taken as wishes about it (image, resources, …); the options
    override those.
    """
    spec = pod["spec"]
    main = main_container(pod, container_name)
    for index, other in enumerate(spec["containers"]):
        if other.get("name") == SIDECAR_NAME:
            message = f"{SIDECAR_NAME} is the name of the result sidecar; give this container another one"
            problems.append(Problem(f"spec.containers[{index}].name", message))
            return
    others = spec.get("initContainers") or []
    wished = next((each for each in others if each.get("name") == SIDECAR_NAME), None)
    sidecar = merge_containers(_usual(pod, main), wished or {})
    sidecar = merge_containers(sidecar, _demanded(options, problems))
    sidecar.pop("args", None)
    sidecar["volumeMounts"] = [dict(_result_mount(main, spec), readOnly=True)]
    spec["initContainers"] = [each for each in others if each is not wished] + [sidecar]


def use_termination_message(pod: Object, container_name: str) -> None:
    """Make the result file the main container's termination message, in place.

    The kubelet mounts a file at that path, so the task must write into it; renaming another file over it fails.
    """
    main = main_container(pod, container_name)
    main["terminationMessagePath"] = RESULT_PATH
    main["terminationMessagePolicy"] = "File"


def _result_mount(main: Object, spec: dict[str, Any]) -> dict[str, Any]:
    """The main container's mount of the result directory: its own if it has one, else a new one on a new volume.

    New ones come first, as upstream has them: a mount below the directory must be made after it.
    """
    for mount in main.get("volumeMounts") or ():
        if str(mount.get("mountPath")).rstrip("/") == RESULT_DIRECTORY:
            return dict(mount)
    mount = {"name": _VOLUME, "mountPath": RESULT_DIRECTORY}
    main["volumeMounts"] = [mount, *(main.get("volumeMounts") or ())]
    volumes = spec.get("volumes") or []
    if all(each.get("name") != _VOLUME for each in volumes):
        spec["volumes"] = [{"name": _VOLUME, "emptyDir": {}}, *volumes]
    return mount


def _usual(pod: Object, main: Object) -> dict[str, Any]:
    """The sidecar as it is where nobody says anything about it."""
    return {
        "name": SIDECAR_NAME,
        "image": DEFAULT_IMAGE,
        "resources": _default_resources(pod),
        "securityContext": _following(pod, main),
    }


def _demanded(options: SidecarOptions, problems: list[Problem]) -> dict[str, Any]:
    """What the options say, and what makes it the sidecar: over the wishes of a template."""
    if options.max_result_bytes < 1:
        problems.append(Problem("sidecar.max_result_bytes", "must be at least 1"))
    found = {
        "image": options.image or None,
        "imagePullPolicy": options.image_pull_policy or None,
        "resources": convert(options.resources, "ResourceRequirements", "sidecar.resources", problems),
        "securityContext": convert(
            options.security_context, "SecurityContext", "sidecar.security_context", problems
        ),
        "command": ["sh", "-c", sidecar_script(options.max_result_bytes)],
        "restartPolicy": "Always",
    }
    return {key: value for key, value in found.items() if value is not None}


def _default_resources(pod: Object) -> dict[str, Any]:
    spec = pod["spec"]
    others = [each for each in spec.get("initContainers") or () if each.get("name") != SIDECAR_NAME]
    chosen = _GUARANTEED_RESOURCES if is_guaranteed([*spec["containers"], *others]) else _RESOURCES
    return {part: dict(values) for part, values in chosen.items()}


def _following(pod: Object, main: Object) -> dict[str, Any]:
    """The main container's security context as far as it says who reads files and what a namespace demands.

    A pod that a restricted namespace admits stays so, and a file that only the task's user may read is read. Where root
    is forbidden and no user is named, the image's own would be root: nobody stands in.
    """
    own = main.get("securityContext") or {}
    found = {key: own[key] for key in _FOLLOWED if key in own} | {"allowPrivilegeEscalation": False}
    if (own.get("capabilities") or {}).get("drop"):
        found["capabilities"] = {"drop": list(own["capabilities"]["drop"])}
    whole = (pod["spec"].get("securityContext") or {}) | own
    if whole.get("runAsNonRoot") and whole.get("runAsUser") is None:
        found["runAsUser"] = _NOBODY
    return found
